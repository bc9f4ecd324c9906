#include "farfield/pipeline/reader.hpp"

#include <algorithm>

namespace farfield::pipeline {
namespace {
constexpr std::size_t kSpareBuffers = 2;
constexpr Index kBytesOfValues = 128;  // a small map, about
constexpr Index kBytesOfFrame = 64;    // an empty sparse frame is not free
}  // namespace

Reader::Reader(model::FrameSource& source, const Corrector& corrector, FrameAccount& account,
               const ReaderOptions& options)
    : source_(source),
      corrector_(corrector),
      account_(account),
      options_(options),
      queue_(options.queue_bytes),
      thread_([this](std::stop_token stop) { run(stop); }) {}

Reader::~Reader() {
  thread_.request_stop();
  queue_.close();
}

void Reader::run(std::stop_token stop) {
  auto* times = options_.stage_times;
  const auto now = [&] { return times != nullptr ? options_.clock->now_s() : 0; };
  try {
    double asked_s = now();
    const auto take = [&](const model::FrameBatch& batch) {
      if (batch.frames.empty() && batch.values.empty() && batch.bad.empty()) return;  // a live source that waits
      const double came_s = now();
      if (times != nullptr) {
        for (const auto& frame : batch.frames) times->record(frame.id, kStageSource, asked_s, came_s);
        for (const auto& [id, reason] : batch.bad)
          times->record(id, kStageSource, asked_s, came_s, StageStatus::damaged);
      }
      Piece piece = correct(batch);
      piece.queued_s = now();
      if (times != nullptr)
        for (const auto& frame : piece.frames) times->record(frame.id, kStageCorrect, came_s, piece.queued_s);
      hand_on(std::move(piece), stop);
      asked_s = now();
    };
    while (!stop.stop_requested() && source_.next(stop, take)) {}
    if (!kept_values_.empty()) hand_on({}, stop);
  } catch (...) {
    error_ = std::current_exception();
  }
  queue_.close();
}

void Reader::hand_on(Piece piece, std::stop_token stop) {
  piece.values.insert(piece.values.begin(), kept_values_.begin(), kept_values_.end());
  kept_values_.clear();
  if (piece.frames.empty() && piece.values.empty()) return;
  Index cost = piece.pixels.size() + static_cast<Index>(piece.values.size()) * kBytesOfValues +
               static_cast<Index>(piece.frames.size()) * kBytesOfFrame;
  if (piece.keep)
    for (const auto& f : piece.frames) cost += f.image.ny * f.image.nx * core::item_size(f.image.dtype);
  if (options_.when_full == WhenFull::block || piece.frames.empty()) {
    queue_.push(std::move(piece), cost, stop);
    return;
  }
  if (queue_.try_push(piece, cost)) return;
  for (const auto& frame : piece.frames) {
    account_.drop(frame.id, "the technique was too slow: its queue was full");
    if (options_.stage_times != nullptr)
      options_.stage_times->record(frame.id, kStageQueue, piece.queued_s, piece.queued_s, StageStatus::dropped);
  }
  kept_values_ = std::move(piece.values);  // they may belong to other frames
}

Piece Reader::correct(const model::FrameBatch& batch) {
  for (const auto& [id, reason] : batch.bad) account_.drop(id, reason);
  Piece piece;
  piece.values = batch.values;
  if (batch.keep && std::all_of(batch.frames.begin(), batch.frames.end(),
                                [&](const auto& frame) { return corrector_.passes(frame); })) {
    for (const auto& frame : batch.frames)
      if (account_.receive(frame.id)) piece.frames.push_back(frame);
    piece.keep = batch.keep;
    return piece;
  }
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
  if (piece.pixels.empty()) return;
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kSpareBuffers) spare_.push_back(std::move(piece.pixels));
}

void Reader::rethrow() {
  if (error_) std::rethrow_exception(error_);
}

}  // namespace farfield::pipeline
