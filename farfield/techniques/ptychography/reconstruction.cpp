#include "farfield/techniques/ptychography/reconstruction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"
#include "farfield/techniques/ptychography/constraints.hpp"
#include "farfield/techniques/ptychography/initial.hpp"
#include "farfield/techniques/ptychography/intake.hpp"
#include "farfield/techniques/ptychography/live_rounds.hpp"
#include "farfield/techniques/ptychography/modes.hpp"
#include "farfield/techniques/ptychography/product.hpp"
#include "farfield/techniques/ptychography/refine_background.hpp"
#include "farfield/techniques/ptychography/refine_intensity.hpp"
#include "farfield/techniques/ptychography/refine_positions.hpp"
#include "farfield/techniques/ptychography/stop_rules.hpp"
#include "farfield/techniques/ptychography/tiles.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Error;
using core::ErrorCode;
using technique::StepState;

/// Fewer patterns than this do not overlap enough to be worth a start while more are coming.
constexpr std::size_t kFirstPatterns = 4;
/// While the scan is coming the object is laid out with room to grow.
constexpr Index kLiveMargin = 64;
/// Pixels of one round while the scan is coming: about 0.1 s of work for two cores, so that new patterns, pictures and
/// a stop do not wait longer.
constexpr Index kRoundPixels = Index{1} << 25;
constexpr Index kLeastRound = 64;

std::unique_ptr<Algorithm> make_algorithm(const Options& o) {
  switch (o.algorithm) {
    case AlgorithmKind::lsqml: return make_lsqml(o);
    case AlgorithmKind::rpie:
    case AlgorithmKind::epie: return make_pie(o);
    case AlgorithmKind::cgml: return make_cgml(o);
    case AlgorithmKind::dm:
    case AlgorithmKind::raar: return make_projection(o);
  }
  throw Error(ErrorCode::internal, "unknown algorithm");
}

math::FftEffort effort(PlanningEffort planning) {
  switch (planning) {
    case PlanningEffort::estimate: return math::FftEffort::estimate;
    case PlanningEffort::measure: return math::FftEffort::measure;
    case PlanningEffort::patient: return math::FftEffort::patient;
  }
  return math::FftEffort::measure;
}

/// Bytes for people.
std::string bytes_text(double bytes) {
  return bytes >= 1e9 ? fmt::format("{:.1f} GB", bytes / 1e9) : fmt::format("{:.1f} MB", bytes / 1e6);
}
/// Options that must be what they were for a checkpoint to go on: they decide what its numbers mean.
constexpr const char* kFixedOptions[] = {"algorithm",
                                         "likelihood",
                                         "acceleration",
                                         "probe-modes",
                                         "opr-modes",
                                         "dc",
                                         "crop",
                                         "bin",
                                         "pad",
                                         "flip-y",
                                         "flip-x",
                                         "transpose",
                                         "saturation",
                                         "propagation",
                                         "energy",
                                         "distance",
                                         "detector-pixel",
                                         "position-scale-y",
                                         "position-scale-x",
                                         "swap-positions"};

class Reconstruction final : public technique::Technique {
public:
  Reconstruction(const Options& options, const technique::Resources& resources)
      : options_(options), resources_(resources), random_(resources.seed, 1) {
    validate(options_);
    if (resources.communicator != nullptr && resources.communicator->size() > 1)
      tiles_ = std::make_unique<TileSharing>(*resources.communicator);
  }

  void begin(const model::Acquisition& acquisition) override {
    model::validate(acquisition, acquisition.source);
    acquisition_ = acquisition.clone();
    intake_ = Intake(acquisition_, options_, tiles_.get());
    algorithm_ = make_algorithm(options_);
    state_.shape = intake_.preparation().shape();
    background_start_ = starting_background(acquisition_, options_);
    const Index expected = std::max<Index>(acquisition_.scan.expected_frames, 0) / sharing().size();
    require_memory(expected, 0);
    const double extra = algorithm_->bytes_per_pattern(state_.shape, static_cast<int>(options_.probe_modes));
    if (extra > 0 && expected > 0)
      warnings_.push_back(fmt::format("algorithm {} keeps {} of waves beside the patterns", name(options_.algorithm),
                                      bytes_text(extra * static_cast<double>(expected))));
    started_s_ = resources_.clock->now_s();
  }

  void push(std::span<const model::FrameView> frames) override { intake_.push(frames); }
  void annotate(model::FrameId id, const model::Values& values) override { intake_.annotate(id, values); }
  void end_of_scan() override { ended_ = true; }

  StepState step(std::stop_token stop, technique::Observer& observer) override {
    report(observer);
    if (stop.stop_requested()) return StepState::working;
    if (!take_in(observer)) return StepState::waiting;
    if (const auto end = verdict(options_, course())) return *end;

    const auto slots = slots_of_pass();
    ModulusSums sums = iterate(stop, slots);
    if (tiles_) sums = tiles_->total(sums);
    // A full-batch algorithm ends a pass or gives nothing; what it judges a pass by may differ from pass to pass.
    const bool whole = !stop.stop_requested() || !algorithm_->full_batch() || sums.valid > 0;
    if (!whole) return StepState::working;  // stopped on the way: the pass is made again when it goes on
    empty_cost_ = sums.measured_intensity / sums.valid;

    if (!(sums.valid > 0))
      throw Error(ErrorCode::corrupt_data, "no pixel of any pattern can be used: all are masked or saturated");
    cost_.push_back(sums.cost / sums.valid);
    r_factor_.push_back(sums.amplitude > 0 ? sums.abs_difference / sums.amplitude : 0);
    if (!ended_) {
      rounds_.visited(slots);
      live_passes_ = iterations();
    }
    const Course now = course();
    observer.progress({now.passes(),
                       planned_passes(options_, now),
                       now.seconds,
                       {{"cost", cost_.back()}, {"r_factor", r_factor_.back()}}});
    const auto end = verdict(options_, now);
    if (end == StepState::not_converged)
      observer.warning(
          fmt::format("the cost of iteration {} is {}: it diverged; a smaller object-step or probe-step, or another "
                      "start, may help",
                      now.passes(), cost_.back()));
    return end.value_or(StepState::working);
  }

  /// With several processes snapshot() and finish() are called on all of them; the first has the product.
  model::Product snapshot() const override {
    require_started();
    return product();
  }

  model::Product finish(technique::Observer& observer) override {
    report(observer);
    require_started();
    auto out = product();
    ModulusSums sums = evaluate();
    if (tiles_) sums = tiles_->total(sums);
    const auto add = [&](const char* metric, double value) {
      if (std::isfinite(value)) out.metrics[metric] = value;
    };
    add("final_cost", sums.cost / sums.valid);
    add("final_r_factor", sums.abs_difference / sums.amplitude);
    return out;
  }

  void save(technique::Sink& sink) const override {
    put_text(sink, "options", core::options_to_json(schema().values(options_)));
    if (!model_)
      return put_values(sink, "counters", std::vector<std::int64_t>{0});  // nothing but frames yet: they come again
    put_values(sink, "counters", std::vector<std::int64_t>{1, live_passes_});
    intake_.save(sink, static_cast<Index>(state_.y.size()), taken_in_);
    rounds_.save(sink);
    put_values(sink, "cost", cost_);
    put_values(sink, "r_factor", r_factor_);
    put_values(sink, "numbers", std::vector<double>{seconds(), planning_s_, empty_cost_});
    put_values(sink, "random", std::span<const std::uint64_t>(random_.state()));
    put_text(sink, "fft_wisdom", math::export_fft_wisdom());
    save_state(state_, sink);
    PrefixedSink own(sink, "algorithm/");
    algorithm_->save(own);
  }

  void restore(technique::Source& source) override {
    require_same_options(get_text(source, "options"));
    const auto counters = get_values<std::int64_t>(source, "counters");
    if (counters == std::vector<std::int64_t>{0}) return;
    if (counters.size() != 2)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("checkpoint block counters has {} values instead of 2", counters.size()));
    if (!math::import_fft_wisdom(get_text(source, "fft_wisdom")))
      warnings_.push_back(
          "FFTW does not accept the wisdom of the checkpoint: the last bits may differ from an uninterrupted "
          "computation");

    taken_in_ = intake_.restore(source);
    state_ = restore_state(source, state_.shape, patterns().slots());
    for (const Index slot : patterns().ready())
      if (std::isnan(state_.y[static_cast<std::size_t>(slot)]))
        throw Error(ErrorCode::corrupt_data, "checkpoint: a pattern without a position");
    live_passes_ = counters[1];
    rounds_.restore(source, patterns().slots());
    cost_ = get_values<double>(source, "cost");
    r_factor_ = get_values<double>(source, "r_factor", static_cast<Index>(cost_.size()));
    const auto numbers = get_values<double>(source, "numbers", 3);
    const auto random = get_values<std::uint64_t>(source, "random", 4);
    random_.set_state({random[0], random[1], random[2], random[3]});
    make_model();
    seconds_before_ = numbers[0];
    planning_s_ += numbers[1];
    empty_cost_ = numbers[2];
    PrefixedSource own(source, "algorithm/");
    algorithm_->restore(own);
    if (tiles_) tiles_->align(state_, *model_);
  }

private:
  static void put_text(technique::Sink& sink, std::string_view block, const std::string& text) {
    sink.put(block, std::as_bytes(std::span(text)));
  }
  static std::string get_text(technique::Source& source, std::string_view block) {
    const auto bytes = source.get(block);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::int64_t iterations() const { return static_cast<std::int64_t>(cost_.size()); }
  double seconds() const { return seconds_before_ + resources_.clock->now_s() - started_s_ - planned_here_s_; }
  Sharing& sharing() const { return tiles_ ? static_cast<Sharing&>(*tiles_) : alone_; }
  /// The same on all processes, so that they come to the same verdict.
  Course course() const {
    double time = seconds();
    sharing().sum(std::span(&time, 1));
    return {ended_, cost_, live_passes_, time / sharing().size(), empty_cost_};
  }
  StartInputs start_inputs() {
    return {options_,         acquisition_,     intake_.geometry(), *model_,
            intake_.counts(), *resources_.pool, sharing(),          resources_.seed};
  }

  const Patterns& patterns() const { return intake_.patterns(); }

  void report(technique::Observer& observer) {
    intake_.report(observer);
    for (const auto& warning : warnings_) observer.warning(warning);
    warnings_.clear();
  }

  void require_started() const {
    if (!model_) throw Error(ErrorCode::unavailable, "no pattern with a position has arrived yet");
  }

  void require_same_options(const std::string& json) const {
    const auto there = schema().check(core::options_from_json(json)), here = schema().values(options_);
    for (const char* option : kFixedOptions) {
      const auto found = there.find(option);
      if (found == there.end() || found->second != here.at(option))
        throw Error(ErrorCode::conflict, fmt::format("option {} = {} must be {} as in the checkpoint", option,
                                                     core::to_text(here.at(option)),
                                                     found == there.end() ? "unset" : core::to_text(found->second)));
    }
  }

  /// Throws `resource_exhausted` when so many patterns and an object of so many pixels are more than allowed.
  void require_memory(Index number, double object_pixels) const {
    const double limit = resources_.memory_limit_bytes;
    if (limit <= 0) return;
    const double counts = static_cast<double>(number * state_.shape.size() * core::item_size(patterns().dtype()));
    const double waves = static_cast<double>(number) *
                         algorithm_->bytes_per_pattern(state_.shape, static_cast<int>(options_.probe_modes));
    // The object, its last step, and a gradient and an illumination for each thread.
    const double object = object_pixels * (16.0 + 12.0 * resources_.pool->size());
    if (counts + waves + object <= limit) return;
    std::string text =
        fmt::format("algorithm {} needs about {} ({} of patterns, {} of object", name(options_.algorithm),
                    bytes_text(counts + waves + object), bytes_text(counts), bytes_text(object));
    if (waves > 0) text += fmt::format(", {} of waves", bytes_text(waves));
    text += fmt::format("), more than the limit of {}", bytes_text(limit));
    if (waves > 0 && counts + object <= limit)
      text += fmt::format("; algorithm lsqml needs {}", bytes_text(counts + object));
    throw Error(ErrorCode::resource_exhausted, text);
  }

  /// Plans the transforms: not before a checkpoint's wisdom has been read.
  void make_model() {
    const double before = resources_.clock->now_s();
    model_.emplace(cpu_kernels(core::isa()), intake_.geometry().propagator(effort(options_.fft_planning)), patterns(),
                   intake_.preparation().valid(), intake_.preparation().saturation(), options_.likelihood);
    planned_here_s_ = resources_.clock->now_s() - before;
    planning_s_ = planned_here_s_;
    for (int t = 0; t < resources_.pool->size(); ++t)
      workspaces_.emplace_back(state_.shape, static_cast<int>(options_.probe_modes));
  }

  /// Takes in the patterns that are complete by now. False: too few to work on.
  bool take_in(technique::Observer& observer) {
    const auto& ready = patterns().ready();
    if (!ended_) {
      if (tiles_ || intake_.awaiting() || ready.size() < kFirstPatterns) return false;
    } else if (!complete_) {
      intake_.complete(observer, sharing());
      complete_ = true;
    }
    if (static_cast<Index>(ready.size()) == taken_in_) return true;
    require_memory(patterns().slots(), intake_.object_pixels());
    const bool first = !model_;
    if (first) make_model();
    lay_out(ended_ ? 0 : kLiveMargin, first);
    if (first) {
      state_.background = background_start_.clone();
      if (options_.rescale_probe) rescale_probe(state_, start_inputs());
    }
    set_monitors();
    taken_in_ = static_cast<Index>(ready.size());
    return true;
  }

  /// Makes the object cover all windows, and fills what is new.
  void lay_out(Index margin, bool first = false) {
    const Regrid before{state_.origin_y, state_.origin_x, state_.object.extents()};
    const bool moved = cover(state_, patterns(), 1, margin);
    if (first) state_.probe = starting_probe(start_inputs());
    if (moved) {
      fill_object(state_, before.old_y, before.old_x, before.old_extents, start_inputs());
      if (!first) algorithm_->regrid(state_, before);
    }
    if (tiles_) tiles_->align(state_, *model_);
  }

  /// Intensity factors of new patterns from their monitors; patterns without one keep 1.
  void set_monitors() {
    if (!options_.fit_intensity) return;
    double sums[2] = {0, 0};  // monitors, their number
    const auto& ready = patterns().ready();
    for (const Index slot : ready)
      if (const auto monitor = intake_.monitor(patterns().id(slot))) {
        sums[0] += *monitor;
        ++sums[1];
      }
    sharing().sum(std::span<double>(sums));
    for (std::size_t i = static_cast<std::size_t>(taken_in_); i < ready.size(); ++i)
      if (const auto monitor = intake_.monitor(patterns().id(ready[i]))) {
        state_.amplitude[static_cast<std::size_t>(ready[i])] =
            static_cast<float>(std::sqrt(*monitor * sums[1] / sums[0]));
        state_.place(ready[i]);
      }
  }

  /// While the scan is coming a part of the patterns, where an algorithm does not need all of them together, nor
  /// anything that is refined after a pass.
  std::vector<Index> slots_of_pass() {
    const auto& ready = patterns().ready();
    const Options& o = options_;
    const bool parts = !algorithm_->full_batch() && o.opr_modes == 0 && !o.fit_background && !o.fit_intensity;
    if (ended_ || !parts) return ready;
    const Index pixels = state_.shape.size() * state_.modes();
    return rounds_.choose(ready, std::max(kLeastRound, kRoundPixels / pixels));
  }

  /// What the plans of features and the growth of batches go by: whole passes, those of the coming scan counted by the
  /// visits of a pattern, so that a long scan does not look old while half of it is new.
  std::int64_t passes_of_plan() const {
    const auto known = static_cast<double>(patterns().ready().size());
    const auto live = known > 0 ? static_cast<std::int64_t>(rounds_.total() / known) : 0;
    return iterations() - live_passes_ + std::min(live, live_passes_);
  }

  /// One pass over `ready` with everything that follows it.
  ModulusSums iterate(std::stop_token stop, const std::vector<Index>& ready) {
    const Options& o = options_;
    const std::int64_t k = passes_of_plan();
    const bool fit_background = o.fit_background && o.background_plan.active(k);
    Pass pass{o,
              k,
              state_,
              *model_,
              ready,
              *resources_.pool,
              workspaces_,
              random_,
              sharing(),
              stop,
              o.object_plan.active(k),
              o.probe_plan.active(k),
              o.mode_plan.active(k),
              o.opr_modes > 0 && o.opr_plan.active(k),
              o.refine_positions && o.position_plan.active(k),
              observations_};
    observations_.resize(static_cast<std::size_t>(patterns().slots()));
    begin_probe_variation(state_, workspaces_, pass.update_opr ? static_cast<int>(o.opr_modes) : 0);
    begin_background(state_, patterns(), ready, workspaces_, fit_background, sharing());
    const double sent_before = tiles_ ? tiles_->bytes_sent() : 0;
    const ModulusSums sums = algorithm_->iterate(pass);
    if (tiles_ && !algorithm_->full_batch()) tiles_->average(state_, *model_);
    if (tiles_) sent_bytes_ += tiles_->bytes_sent() - sent_before;
    ++passes_here_;
    const bool broken = !std::isfinite(sums.cost);
    const bool cut_short = stop.stop_requested() && algorithm_->full_batch() && !(sums.valid > 0);
    if (cut_short || (tiles_ ? tiles_->agree(broken) : broken)) return sums;

    if (pass.update_opr) refine_probe_variation(state_, workspaces_, ready, model_->kernels(), sharing());
    if (fit_background) refine_background(state_, patterns(), ready, workspaces_, o.likelihood, sharing());
    bool place = false;
    if (o.fit_intensity && o.intensity_plan.active(k)) {
      refine_intensity(state_, ready, observations_, sharing());
      place = true;
    }
    if (pass.refine_positions) {
      refine_positions(state_, patterns(), ready, observations_, o, sharing());
      place = true;
    }
    if (place) lay_out(0);
    constrain(k, pass.update_probe);
    return sums;
  }

  void constrain(std::int64_t k, bool probe_changed) {
    const Options& o = options_;
    // Full-batch algorithms remember directions or waves mode by mode; their products are made orthogonal instead.
    if (o.orthogonalise && probe_changed && !algorithm_->full_batch())
      orthogonalise(state_.probe, state_.opr_modes() > 0 ? 1 : 0);
    if (o.probe_constraint_plan.active(k)) {
      if (o.probe_support > 0) apply_support(state_, o.probe_support);
      if (o.probe_photons > 0) hold_photons(state_, o.probe_photons);
      if (o.centre_probe)
        if (const Offset offset = probe_offset(state_); offset != Offset{}) {
          move_probe(state_, offset);
          lay_out(0);
          algorithm_->forget();
        }
    }
    if (o.object_constraint_plan.active(k)) {
      constrain_object(state_.object, o);
      // At the rim of a tile neighbouring pixels are missing.
      if (tiles_ && (o.object_smoothness > 0 || o.object_tv > 0)) tiles_->average(state_, *model_);
    }
  }

  ModulusSums evaluate() const {
    const auto& ready = patterns().ready();
    std::vector<ModulusSums> each(static_cast<std::size_t>(taken_in_));
    auto work = std::vector<Workspace>();
    for (int t = 0; t < resources_.pool->size(); ++t) work.emplace_back(state_.shape, state_.modes());
    resources_.pool->for_each(taken_in_, [&](Index i, int thread) {
      Workspace& w = work[static_cast<std::size_t>(thread)];
      const Index slot = ready[static_cast<std::size_t>(i)];
      model_->exit_waves(state_, slot, w);
      each[static_cast<std::size_t>(i)] = model_->compare(state_, slot, w);
    });
    ModulusSums sums;  // in the order of patterns, whatever the threads
    for (const auto& one : each) sums += one;
    return sums;
  }

  /// Patterns with next to no light: less than a hundredth of the median counts.
  Index dead_frames() const {
    std::vector<double> counts;
    for (Index i = 0; i < taken_in_; ++i)
      counts.push_back(intake_.counts()[static_cast<std::size_t>(patterns().ready()[static_cast<std::size_t>(i)])]);
    if (counts.empty()) return 0;
    const auto middle = counts.begin() + std::ssize(counts) / 2;
    std::nth_element(counts.begin(), middle, counts.end());
    const double least = 0.01 * *middle;
    return std::count_if(counts.begin(), counts.end(), [&](double c) { return c < least; });
  }

  model::Product product() const {
    std::optional<Whole> whole;
    double sent[2] = {sent_bytes_, tiles_ ? static_cast<double>(tiles_->border_pixels()) : 0};
    if (tiles_) {
      whole = tiles_->gather(state_, patterns(), 1);
      tiles_->sum(std::span<double>(sent));
      if (!whole) return {};
    }
    std::vector<UsedPattern> used;
    if (whole) {
      for (std::size_t i = 0; i < whole->ids.size(); ++i)
        used.push_back({static_cast<Index>(i), whole->ids[i], whole->recorded_y[i], whole->recorded_x[i]});
    } else {
      for (Index i = 0; i < taken_in_; ++i) {
        const Index slot = patterns().ready()[static_cast<std::size_t>(i)];
        used.push_back({slot, patterns().id(slot), patterns().y(slot), patterns().x(slot)});
      }
    }
    auto out = make_product(whole ? whole->state : state_, {options_, acquisition_, intake_.geometry(), std::move(used),
                                                            cost_, r_factor_, resources_.seed});
    out.metrics["seconds"] = seconds();
    out.metrics["planning_seconds"] = planning_s_;
    if (!tiles_) out.metrics["dead_frames"] = static_cast<double>(dead_frames());
    if (live_passes_ > 0 && taken_in_ > 0)
      out.metrics["visits_while_scanning"] = rounds_.total() / static_cast<double>(taken_in_);
    if (tiles_ && passes_here_ > 0) {
      out.metrics["bytes_sent_per_iteration"] = sent[0] / static_cast<double>(passes_here_);
      out.metrics["border_pixels"] = sent[1];
    }
    return out;
  }

  Options options_;
  technique::Resources resources_;
  model::Acquisition acquisition_;
  mutable Sharing alone_;
  std::unique_ptr<TileSharing> tiles_;  ///< of several processes; null: alone

  Intake intake_;
  std::vector<std::string> warnings_;
  bool ended_ = false, complete_ = false;

  core::Array<float, 2> background_start_;
  State state_;
  std::optional<ForwardModel> model_;  ///< from the first pass on
  std::unique_ptr<Algorithm> algorithm_;
  std::vector<Workspace> workspaces_;
  std::vector<Observation> observations_;
  math::Random random_;

  LiveRounds rounds_;  ///< visits made before the end of the scan
  Index taken_in_ = 0;  ///< ready patterns that the state knows
  std::int64_t live_passes_ = 0;
  std::vector<double> cost_, r_factor_;  ///< by pass
  double sent_bytes_ = 0;  ///< by this process during passes made here
  std::int64_t passes_here_ = 0;
  double empty_cost_ = 0;  ///< mean measured counts
  double started_s_ = 0, seconds_before_ = 0, planning_s_ = 0, planned_here_s_ = 0;
};

}  // namespace

std::unique_ptr<technique::Technique> make_reconstruction(const Options& options,
                                                          const technique::Resources& resources) {
  return std::make_unique<Reconstruction>(options, resources);
}

technique::Verb reconstruct_verb() {
  return {.name = "reconstruct",
          .summary = "object and probe from diffraction patterns",
          .options = schema(),
          .inputs = {"frames"},
          .outputs = product_outputs(),
          .analyse = [](const core::OptionValues& values, const technique::Resources& resources) {
            return make_reconstruction(schema().make(values), resources);
          }};
}

}  // namespace farfield::techniques::ptychography
