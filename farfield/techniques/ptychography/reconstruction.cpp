#include "farfield/techniques/ptychography/reconstruction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"
#include "farfield/techniques/ptychography/constraints.hpp"
#include "farfield/techniques/ptychography/initial.hpp"
#include "farfield/techniques/ptychography/modes.hpp"
#include "farfield/techniques/ptychography/product.hpp"
#include "farfield/techniques/ptychography/refine_background.hpp"
#include "farfield/techniques/ptychography/refine_intensity.hpp"
#include "farfield/techniques/ptychography/refine_positions.hpp"
#include "farfield/techniques/ptychography/stop_rules.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Error;
using core::ErrorCode;
using technique::StepState;

/// Fewer patterns than this do not overlap enough to be worth a start while more are coming.
constexpr std::size_t kFirstPatterns = 4;
/// While the scan is coming the object is laid out with room to grow.
constexpr Index kLiveMargin = 64;
/// Objects beyond this are taken for a slip of units.
constexpr double kLongestSide_px = 1e5, kLargestArea_px = 4e8;

std::unique_ptr<Algorithm> make_algorithm(const Options& o) {
  switch (o.algorithm) {
    case AlgorithmKind::lsqml: return make_lsqml(o);
    default: throw Error(ErrorCode::unsupported, fmt::format("algorithm {} is not built yet", name(o.algorithm)));
  }
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
/// A length for people: 3.1 m, 12 um.
std::string length_text(double metres) {
  for (const auto& [unit, name] : {std::pair(1.0, "m"), std::pair(1e-3, "mm"), std::pair(1e-6, "um")})
    if (metres >= unit) return fmt::format("{:.3g} {}", metres / unit, name);
  return fmt::format("{:.3g} nm", metres * 1e9);
}

/// Options that must be what they were for a checkpoint to go on: they decide what its numbers mean.
constexpr const char* kFixedOptions[] = {"algorithm", "likelihood", "acceleration", "probe-modes", "opr-modes", "dc", "crop", "bin",
                                         "pad", "flip-y", "flip-x", "transpose", "saturation", "propagation", "energy", "distance",
                                         "detector-pixel", "position-scale-y", "position-scale-x", "swap-positions"};

class Reconstruction final : public technique::Technique {
public:
  Reconstruction(const Options& options, const technique::Resources& resources)
      : options_(options), resources_(resources), random_(resources.seed, 1) {
    validate(options_);
  }

  void begin(const model::Acquisition& acquisition) override {
    model::validate(acquisition, acquisition.source);
    acquisition_ = acquisition.clone();
    preparation_ = FramePreparation(acquisition_.detector, options_);
    geometry_ = Geometry(acquisition_, options_, preparation_.shape());
    patterns_ = Patterns(preparation_.shape(), preparation_.dtype());
    algorithm_ = make_algorithm(options_);
    state_.shape = preparation_.shape();
    background_start_ = starting_background(acquisition_, options_);
    require_memory(std::max<Index>(acquisition_.scan.expected_frames, 0), 0);
    const double extra = algorithm_->bytes_per_pattern(state_.shape, static_cast<int>(options_.probe_modes));
    if (extra > 0 && acquisition_.scan.expected_frames > 0)
      warnings_.push_back(fmt::format("algorithm {} keeps {} of waves beside the patterns", name(options_.algorithm),
                                      bytes_text(extra * static_cast<double>(acquisition_.scan.expected_frames))));
    started_s_ = resources_.clock->now_s();
  }

  void push(std::span<const model::FrameView> frames) override {
    for (const auto& frame : frames) {
      const auto known = awaited_.find(frame.id);
      void* tile = known != awaited_.end() ? known->second.tile : patterns_.add(frame.id);
      if (tile == nullptr) continue;  // a duplicate
      if (const auto reason = preparation_.prepare(frame.image, tile)) {
        if (known == awaited_.end()) patterns_.drop_last();
        rejected_.emplace_back(frame.id, *reason);
        continue;
      }
      const double counts = total_counts(tile, patterns_.dtype(), patterns_.shape().size());
      if (known == awaited_.end()) {
        counts_.push_back(counts);
        continue;
      }
      if (counts != known->second.counts)
        throw Error(ErrorCode::conflict, fmt::format("the checkpoint belongs to other patterns: frame {} has {} counts, there it had {}",
                                                     frame.id, counts, known->second.counts));
      awaited_.erase(known);
    }
  }

  void annotate(model::FrameId id, const model::Values& values) override {
    if (const auto position = geometry_.position_px(values)) {
      const auto [y, x] = *position;
      if (std::isfinite(y) && std::isfinite(x)) patterns_.set_position(id, y, x);
      else unplaced_[id] = fmt::format("its position ({}, {}) px is not finite", y, x);
    }
    if (const auto monitor = values.find("monitor"); monitor != values.end() && options_.fit_intensity)
      if (std::isfinite(monitor->second) && monitor->second > 0) monitors_[id] = monitor->second;
  }

  void end_of_scan() override { ended_ = true; }

  StepState step(std::stop_token stop, technique::Observer& observer) override {
    report(observer);
    if (stop.stop_requested()) return StepState::working;
    if (!take_in(observer)) return StepState::waiting;
    if (const auto end = verdict(options_, course())) return *end;

    const ModulusSums sums = iterate(stop);
    const bool whole = !stop.stop_requested() || sums.valid == valid_of_pass_;
    if (!whole) return StepState::working;  // stopped on the way: the pass is made again when it goes on
    valid_of_pass_ = sums.valid;

    if (!(sums.valid > 0)) throw Error(ErrorCode::corrupt_data, "no pixel of any pattern can be used: all are masked or saturated");
    cost_.push_back(sums.cost / sums.valid);
    r_factor_.push_back(sums.amplitude > 0 ? sums.abs_difference / sums.amplitude : 0);
    if (!ended_) live_passes_ = iterations();
    const Course now = course();
    observer.progress({now.passes(), planned_passes(options_, now), now.seconds, {{"cost", cost_.back()}, {"r_factor", r_factor_.back()}}});
    const auto end = verdict(options_, now);
    if (end == StepState::not_converged)
      observer.warning(fmt::format("the cost of iteration {} is {}: it diverged; a smaller object-step or probe-step, or another start, may help",
                                   now.passes(), cost_.back()));
    return end.value_or(StepState::working);
  }

  model::Product snapshot() const override {
    require_started();
    return product();
  }

  model::Product finish(technique::Observer& observer) override {
    report(observer);
    require_started();
    auto out = product();
    const ModulusSums sums = evaluate();
    const auto add = [&](const char* metric, double value) {
      if (std::isfinite(value)) out.metrics[metric] = value;
    };
    add("final_cost", sums.cost / sums.valid);
    add("final_r_factor", sums.abs_difference / sums.amplitude);
    return out;
  }

  void save(technique::Sink& sink) const override {
    put_text(sink, "options", core::options_to_json(schema().values(options_)));
    if (!model_) return put_values(sink, "counters", std::vector<std::int64_t>{0});  // nothing but frames yet: they come again
    const auto slots = static_cast<Index>(state_.y.size());
    put_values(sink, "counters", std::vector<std::int64_t>{1, state_.shape.ny, state_.shape.nx, static_cast<std::int64_t>(patterns_.dtype()),
                                                           slots, taken_in_, live_passes_});
    std::vector<std::int64_t> ids, order(patterns_.ready().begin(), patterns_.ready().begin() + taken_in_);
    std::vector<double> recorded;
    for (Index slot = 0; slot < slots; ++slot) ids.push_back(patterns_.id(slot));
    for (const Index slot : order) recorded.insert(recorded.end(), {patterns_.y(slot), patterns_.x(slot)});
    put_values(sink, "ids", ids);
    put_values(sink, "order", order);
    put_values(sink, "recorded_positions", recorded);
    put_values(sink, "counts", std::span(counts_.data(), static_cast<std::size_t>(slots)));
    put_values(sink, "cost", cost_);
    put_values(sink, "r_factor", r_factor_);
    put_values(sink, "numbers", std::vector<double>{seconds(), planning_s_, valid_of_pass_});
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
    if (counters.size() != 7) throw Error(ErrorCode::corrupt_data, fmt::format("checkpoint block counters has {} values instead of 7", counters.size()));
    const Shape shape{counters[1], counters[2]};
    if (shape != patterns_.shape() || counters[3] != static_cast<std::int64_t>(patterns_.dtype()))
      throw Error(ErrorCode::conflict, fmt::format("the checkpoint belongs to other patterns: {} x {} px there, {} x {} px of {} here", shape.ny,
                                                   shape.nx, patterns_.shape().ny, patterns_.shape().nx, core::name(patterns_.dtype())));
    if (!math::import_fft_wisdom(get_text(source, "fft_wisdom")))
      warnings_.push_back("FFTW does not accept the wisdom of the checkpoint: the last bits may differ from an uninterrupted computation");

    const auto ids = get_values<std::int64_t>(source, "ids");
    const auto slots = static_cast<Index>(ids.size());
    const auto order = get_values<std::int64_t>(source, "order");
    const auto recorded = get_values<double>(source, "recorded_positions", 2 * static_cast<Index>(order.size()));
    const auto counts = get_values<double>(source, "counts", slots);
    const auto damaged = [](const char* what) { throw Error(ErrorCode::corrupt_data, fmt::format("checkpoint: {}", what)); };
    if (slots != counters[4] || static_cast<Index>(order.size()) != counters[5]) damaged("the numbers of patterns contradict each other");
    if (std::any_of(order.begin(), order.end(), [&](Index slot) { return slot < 0 || slot >= slots; })) damaged("a pattern out of range");
    require_memory(slots, 0);
    for (Index slot = 0; slot < slots; ++slot) {
      const auto i = static_cast<std::size_t>(slot);
      void* tile = patterns_.add(ids[i]);
      if (tile == nullptr) damaged("a frame that is there twice");
      awaited_[ids[i]] = {tile, counts[i]};
    }
    for (std::size_t i = 0; i < order.size(); ++i)
      patterns_.set_position(ids[static_cast<std::size_t>(order[i])], recorded[2 * i], recorded[2 * i + 1]);
    if (patterns_.ready() != order) damaged("a pattern that is there twice");
    counts_ = counts;
    state_ = restore_state(source, shape, slots);
    for (const Index slot : order)
      if (std::isnan(state_.y[static_cast<std::size_t>(slot)])) damaged("a pattern without a position");
    taken_in_ = static_cast<Index>(order.size());
    live_passes_ = counters[6];
    cost_ = get_values<double>(source, "cost");
    r_factor_ = get_values<double>(source, "r_factor", static_cast<Index>(cost_.size()));
    const auto numbers = get_values<double>(source, "numbers", 3);
    const auto random = get_values<std::uint64_t>(source, "random", 4);
    random_.set_state({random[0], random[1], random[2], random[3]});
    make_model();
    seconds_before_ = numbers[0];
    planning_s_ += numbers[1];
    valid_of_pass_ = numbers[2];
    PrefixedSource own(source, "algorithm/");
    algorithm_->restore(own);
  }

private:
  struct Awaited {
    void* tile;
    double counts;
  };

  static void put_text(technique::Sink& sink, std::string_view block, const std::string& text) {
    sink.put(block, std::as_bytes(std::span(text)));
  }
  static std::string get_text(technique::Source& source, std::string_view block) {
    const auto bytes = source.get(block);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::int64_t iterations() const { return static_cast<std::int64_t>(cost_.size()); }
  double seconds() const { return seconds_before_ + resources_.clock->now_s() - started_s_ - planned_here_s_; }
  Course course() const { return {ended_, cost_, live_passes_, seconds()}; }
  StartInputs start_inputs() {
    return {options_, acquisition_, geometry_, *model_, counts_, *resources_.pool, sharing_, resources_.seed};
  }

  void report(technique::Observer& observer) {
    for (const auto& [id, reason] : rejected_) observer.rejected(id, reason);
    rejections_ += static_cast<Index>(rejected_.size());
    if (!rejected_.empty() && first_rejection_.empty()) first_rejection_ = rejected_.front().second;
    rejected_.clear();
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
        throw Error(ErrorCode::conflict,
                    fmt::format("option {} = {} must be {} as in the checkpoint", option, core::to_text(here.at(option)),
                                found == there.end() ? "unset" : core::to_text(found->second)));
    }
  }

  /// Throws `resource_exhausted` when `patterns` of them and an object of so many pixels are more than allowed.
  void require_memory(Index patterns, double object_pixels) const {
    const double limit = resources_.memory_limit_bytes;
    if (limit <= 0) return;
    const double counts = static_cast<double>(patterns * state_.shape.size() * core::item_size(patterns_.dtype()));
    const double waves = static_cast<double>(patterns) * algorithm_->bytes_per_pattern(state_.shape, static_cast<int>(options_.probe_modes));
    // The object, its last step, and a gradient and an illumination for each thread.
    const double object = object_pixels * (16.0 + 12.0 * resources_.pool->size());
    if (counts + waves + object <= limit) return;
    std::string text = fmt::format("algorithm {} needs about {} ({} of patterns, {} of object", name(options_.algorithm),
                                   bytes_text(counts + waves + object), bytes_text(counts), bytes_text(object));
    if (waves > 0) text += fmt::format(", {} of waves", bytes_text(waves));
    text += fmt::format("), more than the limit of {}", bytes_text(limit));
    if (waves > 0 && counts + object <= limit) text += fmt::format("; algorithm lsqml needs {}", bytes_text(counts + object));
    throw Error(ErrorCode::resource_exhausted, text);
  }

  /// Plans the transforms: not before a checkpoint's wisdom has been read.
  void make_model() {
    const double before = resources_.clock->now_s();
    model_.emplace(cpu_kernels(core::isa()), geometry_.propagator(effort(options_.fft_planning)), patterns_, preparation_.valid(),
                   preparation_.saturation(), options_.likelihood);
    planned_here_s_ = resources_.clock->now_s() - before;
    planning_s_ = planned_here_s_;
    for (int t = 0; t < resources_.pool->size(); ++t) workspaces_.emplace_back(state_.shape, static_cast<int>(options_.probe_modes));
  }

  /// Takes in the patterns that are complete by now. False: too few to work on.
  bool take_in(technique::Observer& observer) {
    const auto& ready = patterns_.ready();
    if (!ended_) {
      if (!awaited_.empty() || ready.size() < kFirstPatterns) return false;
    } else if (!checked_) {
      check_whole(observer);
      checked_ = true;
    }
    if (static_cast<Index>(ready.size()) == taken_in_) return true;
    check_extent();
    const bool first = !model_;
    if (first) make_model();
    lay_out(ended_ ? 0 : kLiveMargin, first);
    if (first) {
      state_.background = background_start_.clone();
      if (options_.rescale_probe) rescale_probe(state_, start_inputs());
    }
    set_monitors();
    taken_in_ = static_cast<Index>(ready.size());
    valid_of_pass_ = 0;
    return true;
  }

  /// Makes the object cover all windows, and fills what is new.
  void lay_out(Index margin, bool first = false) {
    const Regrid before{state_.origin_y, state_.origin_x, state_.object.extents()};
    const bool moved = cover(state_, patterns_, 1, margin);
    if (first) state_.probe = starting_probe(start_inputs());
    if (!moved) return;
    fill_object(state_, before.old_y, before.old_x, before.old_extents, start_inputs());
    if (!first) algorithm_->regrid(state_, before);
  }

  /// The scan is complete: what can be said against it as a whole.
  void check_whole(technique::Observer& observer) {
    if (!awaited_.empty())
      throw Error(ErrorCode::conflict, fmt::format("the checkpoint holds frame {} and {} more, which this scan lacks", awaited_.begin()->first, awaited_.size() - 1));
    const auto& ready = patterns_.ready();
    std::vector<std::uint8_t> has_position(static_cast<std::size_t>(patterns_.slots()));
    for (const Index slot : ready) has_position[static_cast<std::size_t>(slot)] = 1;
    for (Index slot = 0; slot < patterns_.slots(); ++slot)
      if (has_position[static_cast<std::size_t>(slot)] == 0) {
        const auto reason = unplaced_.find(patterns_.id(slot));
        rejected_.emplace_back(patterns_.id(slot), reason != unplaced_.end() ? reason->second : "it has no position");
      }
    report(observer);
    if (ready.empty())
      throw Error(ErrorCode::corrupt_data, rejections_ == 0 ? std::string("the scan has no frames")
                                                            : fmt::format("none of the {} frames can be used; the first: {}", rejections_, first_rejection_));
    const double y = patterns_.y(ready[0]), x = patterns_.x(ready[0]);
    if (ready.size() > 1 && std::all_of(ready.begin(), ready.end(), [&](Index slot) { return patterns_.y(slot) == y && patterns_.x(slot) == x; }))
      throw Error(ErrorCode::corrupt_data, fmt::format("all {} positions are equal, ({}, {}) px; neighbouring patterns must overlap, but differ",
                                                       ready.size(), y, x));
    if (std::none_of(ready.begin(), ready.end(), [&](Index slot) { return counts_[static_cast<std::size_t>(slot)] > 0; }))
      throw Error(ErrorCode::corrupt_data, fmt::format("all {} patterns are empty", ready.size()));
  }

  void check_extent() const {
    double y0 = 1e300, x0 = 1e300, y1 = -1e300, x1 = -1e300;
    for (const Index slot : patterns_.ready()) {
      y0 = std::min(y0, patterns_.y(slot));
      x0 = std::min(x0, patterns_.x(slot));
      y1 = std::max(y1, patterns_.y(slot));
      x1 = std::max(x1, patterns_.x(slot));
    }
    const double height = y1 - y0 + static_cast<double>(state_.shape.ny), width = x1 - x0 + static_cast<double>(state_.shape.nx);
    if (!(height <= kLongestSide_px && width <= kLongestSide_px && height * width <= kLargestArea_px)) {
      const bool wide = width >= height;
      const auto pixel = wide ? geometry_.pixel_x_m() : geometry_.pixel_y_m();
      const double size = wide ? width : height, span = wide ? x1 - x0 : y1 - y0;
      const std::string limit = fmt::format("at most {:.0g} px a side and {:.0g} px in all; are the positions in the unit that the scan says?",
                                            kLongestSide_px, kLargestArea_px);
      throw Error(ErrorCode::corrupt_data,
                  pixel ? fmt::format("object would be {} {} (positions span {} at {} a pixel: {:.3g} px); {}", length_text(size * *pixel),
                                      wide ? "wide" : "high", length_text(span * *pixel), length_text(*pixel), size, limit)
                        : fmt::format("object would be {:.3g} px {} (positions span {:.3g} px); {}", size, wide ? "wide" : "high", span, limit));
    }
    require_memory(patterns_.slots(), height * width);
  }

  /// Intensity factors of new patterns from their monitors; patterns without one keep 1.
  void set_monitors() {
    double sum = 0, number = 0;
    for (const Index slot : patterns_.ready())
      if (const auto found = monitors_.find(patterns_.id(slot)); found != monitors_.end()) {
        sum += found->second;
        ++number;
      }
    const auto& ready = patterns_.ready();
    for (std::size_t i = static_cast<std::size_t>(taken_in_); i < ready.size() && number > 0; ++i)
      if (const auto found = monitors_.find(patterns_.id(ready[i])); found != monitors_.end()) {
        state_.amplitude[static_cast<std::size_t>(ready[i])] = static_cast<float>(std::sqrt(found->second * number / sum));
        state_.place(ready[i]);
      }
  }

  /// One pass with everything that follows it.
  ModulusSums iterate(std::stop_token stop) {
    const Options& o = options_;
    const std::int64_t k = iterations();
    const auto& ready = patterns_.ready();
    const bool fit_background = o.fit_background && o.background_plan.active(k);
    Pass pass{o, k, state_, *model_, ready, *resources_.pool, workspaces_, random_, sharing_, stop,
              o.object_plan.active(k), o.probe_plan.active(k), o.mode_plan.active(k), o.opr_modes > 0 && o.opr_plan.active(k),
              o.refine_positions && o.position_plan.active(k), observations_};
    observations_.resize(static_cast<std::size_t>(patterns_.slots()));
    begin_probe_variation(state_, workspaces_, pass.update_opr ? static_cast<int>(o.opr_modes) : 0);
    begin_background(state_, patterns_, ready, workspaces_, fit_background, sharing_);
    const ModulusSums sums = algorithm_->iterate(pass);
    if (stop.stop_requested() || !std::isfinite(sums.cost)) return sums;

    if (pass.update_opr) refine_probe_variation(state_, workspaces_, ready, model_->kernels(), sharing_);
    if (fit_background) refine_background(state_, workspaces_, static_cast<Index>(ready.size()), o.likelihood, sharing_);
    bool place = false;
    if (o.fit_intensity && o.intensity_plan.active(k)) {
      refine_intensity(state_, ready, observations_, sharing_);
      place = true;
    }
    if (pass.refine_positions) {
      refine_positions(state_, patterns_, ready, observations_, o, sharing_);
      place = true;
    }
    if (place) lay_out(0);
    constrain(k, pass.update_probe);
    return sums;
  }

  void constrain(std::int64_t k, bool probe_changed) {
    const Options& o = options_;
    // Full-batch algorithms remember directions or waves mode by mode; their products are made orthogonal instead.
    if (o.orthogonalise && probe_changed && !algorithm_->full_batch()) orthogonalise(state_.probe, state_.opr_modes() > 0 ? 1 : 0);
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
    if (o.object_constraint_plan.active(k)) constrain_object(state_.object, o);
  }

  ModulusSums evaluate() const {
    const auto& ready = patterns_.ready();
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

  model::Product product() const {
    std::vector<UsedPattern> used;
    for (Index i = 0; i < taken_in_; ++i) {
      const Index slot = patterns_.ready()[static_cast<std::size_t>(i)];
      used.push_back({slot, patterns_.id(slot), patterns_.y(slot), patterns_.x(slot)});
    }
    auto out = make_product(state_, {options_, acquisition_, geometry_, std::move(used), cost_, r_factor_, resources_.seed});
    out.metrics["seconds"] = seconds();
    out.metrics["planning_seconds"] = planning_s_;
    return out;
  }

  Options options_;
  technique::Resources resources_;
  model::Acquisition acquisition_;
  FramePreparation preparation_;
  Geometry geometry_;
  Sharing sharing_;

  Patterns patterns_;
  std::vector<double> counts_;                          ///< total, by slot
  std::map<model::FrameId, double> monitors_;
  std::map<model::FrameId, Awaited> awaited_;           ///< frames of a checkpoint that have not come again yet
  std::vector<std::pair<model::FrameId, std::string>> rejected_;
  std::map<model::FrameId, std::string> unplaced_;      ///< why a position cannot be used
  std::string first_rejection_;
  Index rejections_ = 0;
  std::vector<std::string> warnings_;
  bool ended_ = false, checked_ = false;

  core::Array<float, 2> background_start_;
  State state_;
  std::optional<ForwardModel> model_;                   ///< from the first pass on
  std::unique_ptr<Algorithm> algorithm_;
  std::vector<Workspace> workspaces_;
  std::vector<Observation> observations_;
  math::Random random_;

  Index taken_in_ = 0;                                  ///< ready patterns that the state knows
  std::int64_t live_passes_ = 0;
  std::vector<double> cost_, r_factor_;                 ///< by pass
  double valid_of_pass_ = 0;                            ///< valid pixels that a whole pass sees
  double started_s_ = 0, seconds_before_ = 0, planning_s_ = 0, planned_here_s_ = 0;
};

}  // namespace

std::unique_ptr<technique::Technique> make_reconstruction(const Options& options, const technique::Resources& resources) {
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
