#include "farfield/pipeline/driver.hpp"

#include <array>

#include "farfield/parallel/communicator.hpp"
#include "farfield/pipeline/preview.hpp"
#include "farfield/pipeline/reader.hpp"

namespace farfield::pipeline {
namespace {

using core::Error;
using core::ErrorCode;
using technique::StepState;

bool is_end(StepState state) {
  return state == StepState::finished || state == StepState::converged || state == StepState::not_converged;
}

/// Keeps the account and remembers the iteration; passes everything on.
class Recorder final : public technique::Observer {
public:
  Recorder(DriverObserver& user, FrameAccount& account) : user_(user), account_(account) {}
  void progress(const technique::Progress& p) override {
    iteration_ = p.iteration;
    user_.progress(p);
  }
  void rejected(model::FrameId id, const std::string& reason) override {
    account_.drop(id, reason);
    user_.rejected(id, reason);
  }
  void warning(const std::string& message) override { user_.warning(message); }
  std::int64_t iteration() const { return iteration_; }

private:
  DriverObserver& user_;
  FrameAccount& account_;
  std::int64_t iteration_ = 0;
};

/// True every `period_s`, never for 0.
class Timer {
public:
  Timer(const core::Clock& clock, double period_s) : clock_(clock), period_s_(period_s), last_s_(clock.now_s()) {}
  bool due() const { return period_s_ > 0 && clock_.now_s() - last_s_ >= period_s_; }
  void restart() { last_s_ = clock_.now_s(); }

private:
  const core::Clock& clock_;
  double period_s_, last_s_;
};

class Driver {
public:
  Driver(model::FrameSource& source, technique::Technique& technique, FrameAccount& account, DriverObserver& observer,
         const core::Clock& clock, const DriverOptions& options, std::stop_token stop)
      : technique_(technique),
        account_(account),
        user_(observer),
        recorder_(observer, account),
        options_(options),
        clock_(clock),
        stop_(stop),
        several_(options.communicator != nullptr && options.communicator->size() > 1),
        corrector_(source.acquisition(), options.corrections),
        checkpoint_timer_(clock, options.checkpoint ? options.checkpoint_every_s : 0),
        preview_timer_(clock, options.preview != nullptr ? options.preview_every_s : 0) {
    if (several_ && options.iterate_while_reading)
      throw Error(ErrorCode::unsupported, "several ranks need the whole scan before they iterate");
    technique_.begin(corrector_.acquisition());
    if (options.resume != nullptr) technique_.restore(*options.resume);
    if (options.preview != nullptr) previews_.emplace(*options.preview);
    reader_.emplace(source, corrector_, account,
                    ReaderOptions{options.queue_bytes, options.when_full, options.stage_times, &clock});
  }

  Outcome run() {
    Outcome outcome;
    for (;;) {
      take_frames(outcome.state == StepState::waiting || !fed_);
      if (agreed_stop()) return stopped(outcome);
      // The ranks must do the same steps; they are stopped between them.
      outcome.state = technique_.step(several_ ? std::stop_token{} : stop_, recorder_);
      stepped_ = true;
      if (is_end(outcome.state)) break;
      if (outcome.state == StepState::waiting && ended_)
        throw Error(ErrorCode::internal, "the technique waits for more although the scan has ended");
      if (agreed(checkpoint_timer_.due())) {
        options_.checkpoint(technique_);
        checkpoint_timer_.restart();
      }
      if (agreed(preview_timer_.due() && previews_ && previews_->idle())) show_preview();
    }
    account_.close();  // a technique that has seen enough leaves the rest unread: it is missing
    // A converged or finished computation may end while a stop is on its way: it is whole all the same.
    outcome.product = technique_.finish(recorder_);
    return outcome;
  }

private:
  /// Live: what is there, waiting only when there is nothing else to do. Otherwise everything.
  void take_frames(bool idle) {
    if (ended_) return;
    auto& queue = reader_->queue();
    if (!options_.iterate_while_reading) {
      while (auto piece = queue.pop(stop_)) feed(std::move(*piece));
    } else {
      auto piece = idle ? queue.pop(stop_) : queue.try_pop();
      for (; piece; piece = queue.try_pop()) feed(std::move(*piece));
    }
    if (!queue.drained() || stop_.stop_requested()) return;
    reader_->rethrow();
    account_.close();
    technique_.end_of_scan();
    ended_ = true;
  }

  void feed(Piece piece) {
    auto* times = options_.stage_times;
    const double begin_s = times != nullptr ? clock_.now_s() : 0;
    for (const auto& [id, values] : piece.values) technique_.annotate(id, values);
    technique_.push(piece.frames);
    if (times != nullptr) {
      const double end_s = clock_.now_s();
      for (const auto& frame : piece.frames) {
        times->record(frame.id, kStageQueue, piece.queued_s, begin_s);
        times->record(frame.id, kStageTechnique, begin_s, end_s);
      }
    }
    for (const auto& frame : piece.frames) account_.process(frame.id);
    fed_ = true;
    reader_->recycle(std::move(piece));
    const auto totals = account_.totals();
    user_.reading(totals.received, totals.expected);
  }

  bool agreed(bool own) const {
    if (!several_) return own;
    double any = own ? 1 : 0;
    options_.communicator->all_reduce(std::span(&any, 1), parallel::Reduce::max);
    return any > 0;
  }
  bool agreed_stop() const { return agreed(stop_.stop_requested()); }

  Outcome stopped(Outcome& outcome) {
    outcome.stopped = true;
    account_.close();
    if (options_.checkpoint && stepped_) options_.checkpoint(technique_);
    try {
      if (fed_) outcome.product = technique_.snapshot();
    } catch (const Error&) {
      // Too early: there is nothing to show yet.
    }
    return std::move(outcome);
  }

  void show_preview() {
    auto product = technique_.snapshot();
    if (previews_) previews_->offer(std::move(product), recorder_.iteration());
    preview_timer_.restart();
  }

  technique::Technique& technique_;
  FrameAccount& account_;
  DriverObserver& user_;
  Recorder recorder_;
  const DriverOptions& options_;
  const core::Clock& clock_;
  std::stop_token stop_;
  bool several_;
  Corrector corrector_;
  Timer checkpoint_timer_, preview_timer_;
  std::optional<PreviewThread> previews_;
  std::optional<Reader> reader_;
  bool fed_ = false, ended_ = false, stepped_ = false;
};

}  // namespace

Outcome drive(model::FrameSource& source, technique::Technique& technique, FrameAccount& account,
              DriverObserver& observer, const core::Clock& clock, const DriverOptions& options, std::stop_token stop) {
  return Driver(source, technique, account, observer, clock, options, stop).run();
}

}  // namespace farfield::pipeline
