#pragma once
// The thread that drains a source into a bounded queue, correcting frames on the way.

#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/pipeline/bounded_queue.hpp"
#include "farfield/pipeline/corrections.hpp"
#include "farfield/pipeline/frame_account.hpp"
#include "farfield/pipeline/stage_times.hpp"

namespace farfield::pipeline {

/// A batch that owns its pixels, or keeps those of the source alive.
struct Piece {
  std::vector<model::FrameView> frames;  ///< into `pixels`, or what `keep` keeps
  std::vector<std::pair<model::FrameId, model::Values>> values;
  core::Array<std::byte, 1> pixels;
  std::shared_ptr<const void> keep;
  double queued_s = 0;  ///< when it was ready, where stage times are kept
};

/// What becomes of frames that come faster than they are used.
enum class WhenFull {
  block,  ///< the source waits
  drop,   ///< they are dropped, with that reason in the account
};

/// The stages whose times a run records, in this order.
inline const std::vector<std::string> kStages{"source", "correct", "queue", "technique"};
enum Stage : std::size_t { kStageSource, kStageCorrect, kStageQueue, kStageTechnique };

struct ReaderOptions {
  Index queue_bytes = Index{32} << 20;
  WhenFull when_full = WhenFull::block;
  StageTimesWriter* stage_times = nullptr;  ///< made with kStages; null: times are not kept
  const core::Clock* clock = nullptr;       ///< of the stage times
};

class Reader {
public:
  /// Starts to read. `source`, `corrector` and `account` outlive it.
  Reader(model::FrameSource& source, const Corrector& corrector, FrameAccount& account, const ReaderOptions& options);
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
  void hand_on(Piece piece, std::stop_token stop);
  core::Array<std::byte, 1> buffer(Index bytes);

  model::FrameSource& source_;
  const Corrector& corrector_;
  FrameAccount& account_;
  ReaderOptions options_;
  BoundedQueue<Piece> queue_;
  std::vector<std::pair<model::FrameId, model::Values>> kept_values_;  // of pieces that had no room
  std::mutex mutex_;
  std::vector<core::Array<std::byte, 1>> spare_;
  std::vector<std::byte> scratch_;
  std::exception_ptr error_;
  std::jthread thread_;
};

}  // namespace farfield::pipeline
