#include "farfield/pipeline/reader.hpp"

namespace farfield::pipeline {
namespace {
constexpr std::size_t kSpareBuffers = 2;
constexpr Index kBytesOfValues = 128;  // a small map, about
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
      const Index cost = piece.pixels.size() + static_cast<Index>(piece.values.size()) * kBytesOfValues;
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
  const Index frame_bytes = corrector_.frame_bytes(), stride = (frame_bytes + 63) / 64 * 64;
  piece.pixels = buffer(stride * static_cast<Index>(batch.frames.size()));
  std::byte* out = piece.pixels.data();
  for (const auto& frame : batch.frames) {
    if (!account_.receive(frame.id)) continue;
    try {
      piece.frames.push_back({frame.id, corrector_.apply(frame.image, out)});
      out += stride;
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
