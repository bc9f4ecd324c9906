#pragma once
// The thread that drains a source into a bounded queue, correcting frames on the way.

#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/pipeline/bounded_queue.hpp"
#include "farfield/pipeline/corrections.hpp"
#include "farfield/pipeline/frame_account.hpp"

namespace farfield::pipeline {

/// A batch that owns its pixels.
struct Piece {
  std::vector<model::FrameView> frames;  ///< into `pixels`
  std::vector<std::pair<model::FrameId, model::Values>> values;
  core::Array<std::byte, 1> pixels;
};

class Reader {
public:
  /// Starts to read. `source`, `corrector` and `account` outlive it.
  Reader(model::FrameSource& source, const Corrector& corrector, FrameAccount& account, Index queue_bytes);
  /// Stops reading and waits for the thread.
  ~Reader();

  BoundedQueue<Piece>& queue() { return queue_; }
  /// Gives the buffer of a used piece back: a fresh one would cost a page fault per 4 KiB.
  void recycle(Piece piece);
  /// Once the queue is drained: throws what ended the source, if that was an error.
  void rethrow();

private:
  void run(std::stop_token stop);
  Piece correct(const model::FrameBatch& batch);
  core::Array<std::byte, 1> buffer(Index bytes);

  model::FrameSource& source_;
  const Corrector& corrector_;
  FrameAccount& account_;
  BoundedQueue<Piece> queue_;
  std::mutex mutex_;
  std::vector<core::Array<std::byte, 1>> spare_;
  std::vector<std::byte> scratch_;
  std::exception_ptr error_;
  std::jthread thread_;
};

}  // namespace farfield::pipeline
