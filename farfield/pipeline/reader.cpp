#include "farfield/pipeline/reader.hpp"

namespace farfield::pipeline {
namespace {
constexpr std::size_t kSpareBuffers = 2;
constexpr Index kBytesOfValues = 128;  // a small map, about
constexpr Index kBytesOfFrame = 64;    // an empty sparse frame is not free
}  // namespace

Reader::Reader(model::FrameSource& source, const Corrector& corrector, FrameAccount& account, Index queue_bytes)
    : source_(source),
      corrector_(corrector),
      account_(account),
      queue_(queue_bytes),
      thread_([this](std::stop_token stop) { run(stop); }) {}

Reader::~Reader() {
  thread_.request_stop();
  queue_.close();
}

void Reader::run(std::stop_token stop) {
  try {
    const auto take = [&](const model::FrameBatch& batch) {
      Piece piece = correct(batch);
      const Index cost = piece.pixels.size() + static_cast<Index>(piece.values.size()) * kBytesOfValues +
                         static_cast<Index>(piece.frames.size()) * kBytesOfFrame;
      queue_.push(std::move(piece), cost, stop);
    };
    while (!stop.stop_requested() && source_.next(stop, take)) {}
  } catch (...) {
    error_ = std::current_exception();
  }
  queue_.close();
}

Piece Reader::correct(const model::FrameBatch& batch) {
  for (const auto& [id, reason] : batch.bad) account_.drop(id, reason);
  Piece piece;
  piece.values = batch.values;
  // Rows of pixels begin on a cache line, whatever the size of a frame.
  const auto stride = [&](const model::FrameView& frame) { return (corrector_.bytes_of(frame) + 63) / 64 * 64; };
  Index bytes = 0;
  for (const auto& frame : batch.frames) bytes += stride(frame);
  piece.pixels = buffer(bytes);
  std::byte* out = piece.pixels.data();
  for (const auto& frame : batch.frames) {
    if (!account_.receive(frame.id)) continue;
    try {
      piece.frames.push_back(corrector_.apply(frame, out, scratch_));
      out += stride(frame);
    } catch (const core::Error& e) {
      account_.drop(frame.id, e.what());
    }
  }
  return piece;
}

core::Array<std::byte, 1> Reader::buffer(Index bytes) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& spare : spare_)
      if (spare.size() >= bytes) {
        auto found = std::move(spare);
        spare = std::move(spare_.back());
        spare_.pop_back();
        return found;
      }
  }
  return core::Array<std::byte, 1>({bytes});
}

void Reader::recycle(Piece piece) {
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kSpareBuffers) spare_.push_back(std::move(piece.pixels));
}

void Reader::rethrow() {
  if (error_) std::rethrow_exception(error_);
}

}  // namespace farfield::pipeline
