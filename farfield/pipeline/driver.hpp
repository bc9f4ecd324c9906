#pragma once
// Runs one technique on one scan: source -> corrections -> bounded queue -> technique, with the frame
// account, previews and checkpoints on the way. A reader thread belongs to the source, the calling thread to
// the technique; the same code serves files, simulations and live streams.

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "farfield/core/clock.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/pipeline/corrections.hpp"
#include "farfield/pipeline/frame_account.hpp"
#include "farfield/pipeline/reader.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::pipeline {

/// What the technique reports, and how far the source has come.
struct DriverObserver : technique::Observer {
  virtual void reading(Index /*received*/, Index /*expected, -1: not known*/) {}
};

/// Takes previews on a thread of its own; a preview that comes while one is being shown is left out.
struct PreviewSink {
  virtual ~PreviewSink() = default;
  /// `iteration` is the last one reported. May throw: the failure is logged, the computation goes on.
  virtual void show(const model::Product& product, std::int64_t iteration) = 0;
  /// Whether anybody looks: a snapshot need not be made for nobody.
  virtual bool wanted() const { return true; }
};

struct DriverOptions {
  CorrectionOptions corrections{};
  /// Steps lie between pushes, as with a live source. Otherwise the whole scan is pushed first, so that a
  /// result does not depend on how fast frames came.
  bool iterate_while_reading = false;
  /// Frames waiting between reader and technique; the reader waits when they are more.
  Index queue_bytes = Index{32} << 20;
  WhenFull when_full = WhenFull::block;
  StageTimesWriter* stage_times = nullptr;  ///< made with kStages; null: the times of the frames are not kept

  technique::Source* resume = nullptr;  ///< a checkpoint to go on from
  /// Saves the technique; called between steps every `checkpoint_every_s` (0: never), and when stopped.
  std::function<void(const technique::Technique&)> checkpoint{};
  double checkpoint_every_s = 0;
  PreviewSink* preview = nullptr;
  double preview_every_s = 10;
  /// With several ranks the loop decides together: a stop or a checkpoint is one of all ranks or of none.
  parallel::Communicator* communicator = nullptr;
};

struct Outcome {
  technique::StepState state = technique::StepState::working;  ///< of the last step
  bool stopped = false;                  ///< stop was requested before the technique was done
  /// finish(), or the last snapshot() when stopped; empty when stopped before there was anything to show.
  std::optional<model::Product> product;
};

/// Throws what source and technique throw; frames that cannot be used are in `account` instead.
/// `account` must be new, made with the expected number of frames of the source.
Outcome drive(model::FrameSource& source, technique::Technique& technique, FrameAccount& account,
              DriverObserver& observer, const core::Clock& clock, const DriverOptions& options, std::stop_token stop);

}  // namespace farfield::pipeline
