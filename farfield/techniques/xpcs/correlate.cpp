#include "farfield/techniques/xpcs/correlate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "farfield/techniques/xpcs/frame_analysis.hpp"
#include "farfield/techniques/xpcs/relaxation.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {
namespace {

using core::Array;
using core::Error;
using core::ErrorCode;
using technique::StepState;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// g2 is judged again when so much more of the scan has come.
constexpr double kJudgeEvery = 1.1;

LagScheme scheme_of(const CorrelateOptions& options) {
  if (options.linear > 0) {
    if (options.max_delay > 0)
      throw Error(ErrorCode::invalid_argument, "--linear is itself the longest delay; leave --max-delay out");
    return LagScheme::linear(options.linear);
  }
  return LagScheme::multi_tau(options.delays_per_level, options.max_delay);
}

class Correlate final : public FrameAnalysis {
public:
  Correlate(const CorrelateOptions& options, const technique::Resources& resources)
      : FrameAnalysis(options.intake, scheme_of(options), resources), options_(options) {
    if (options.damage > 0 && options.part == 0)
      throw Error(ErrorCode::invalid_argument,
                  "--damage compares parts of the scan; say with --part how long they are");
    part_steps_ = options.part > 0 ? std::max<Index>(options.part / intake_.frames_per_step(), 1) : 0;
    if (part_steps_ == 1)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--part {} is one time step; at least 2 are needed", options.part));
  }

  void begin(const model::Acquisition& acquisition) override {
    FrameAnalysis::begin(acquisition);
    if (part_steps_ > 0) new_part();
  }

  StepState step(std::stop_token, technique::Observer& observer) override {
    report(observer);
    for (const auto& warning : std::exchange(warnings_, {})) observer.warning(warning);
    if (options_.tau_error > 0 && known(observer)) return StepState::converged;
    return ended() ? StepState::finished : StepState::waiting;
  }

  model::Product snapshot() const override { return product(); }

  model::Product finish(technique::Observer& observer) override {
    close();
    for (const auto& warning : std::exchange(warnings_, {})) observer.warning(warning);
    return product();
  }

  void save(technique::Sink& sink) const override {
    FrameAnalysis::save(sink);
    if (!part_) return;
    int count = 0;
    part_->save([&](auto bytes) { sink.put(fmt::format("part_{}", count++), bytes); });
    const auto parts = static_cast<Index>(parts_.size());
    sink.put("parts", std::as_bytes(std::span(&parts, 1)));
    for (std::size_t i = 0; i < parts_.size(); ++i)
      for (const auto& [table, name] :
           {std::pair{&parts_[i].g2, "g2"}, {&parts_[i].error, "error"}, {&parts_[i].bin_error, "bin_error"}})
        sink.put(fmt::format("part_{}_{}", name, i), std::as_bytes(std::span(table->begin(), table->end())));
  }

  void restore(technique::Source& source) override {
    FrameAnalysis::restore(source);
    if (part_steps_ == 0) return;
    int count = 0;
    new_part();
    part_->restore([&] { return source.get(fmt::format("part_{}", count++)); });
    const auto bytes = source.get("parts");
    Index parts = 0;
    if (bytes.size() != sizeof parts) throw Error(ErrorCode::corrupt_data, "the checkpoint's parts are broken");
    std::memcpy(&parts, bytes.data(), sizeof parts);
    if (parts < 0 || parts > absorbed_steps())
      throw Error(ErrorCode::corrupt_data, "the checkpoint's parts are broken");
    const auto lags = static_cast<Index>(lags_of(scheme_, part_steps_).size());
    parts_.clear();
    for (Index i = 0; i < parts; ++i) {
      const Array<double, 2> none({lags, map_.dynamic_bins()});
      G2Table table{none.clone(), none.clone(), none.clone()};
      for (auto [array, name] :
           {std::pair{&table.g2, "g2"}, {&table.error, "error"}, {&table.bin_error, "bin_error"}}) {
        const auto from = source.get(fmt::format("part_{}_{}", name, i));
        if (from.size() != static_cast<std::size_t>(array->size()) * sizeof(double))
          throw Error(ErrorCode::corrupt_data, "the checkpoint's parts are broken");
        if (!from.empty()) std::memcpy(array->data(), from.data(), from.size());
      }
      parts_.push_back(std::move(table));
      look_for_damage(parts_.size(), false);  // what was worth a warning was told then
    }
  }

private:
  Index boundary() const override {
    return part_steps_ == 0 ? INT64_MAX : (absorbed_steps() / part_steps_ + 1) * part_steps_;
  }

  void absorbed(EventBlock& block) override {
    if (!part_) return;
    part_->absorb(block, *resources_.pool);
    if (absorbed_steps() % part_steps_ != 0) return;
    parts_.push_back(part_table({}));
    new_part();
    look_for_damage(parts_.size(), options_.damage > 0);
  }

  void new_part() {
    const auto [first, last] = own_tiles();
    part_.emplace(tiling_, scheme_, part_steps_, first, last);
  }
  G2Table part_table(const EventBlock& rest) const {
    auto sums = part_->sums(rest, *resources_.pool);
    add_over_ranks(sums, resources_.communicator);
    return g2_of(sums, tiling_.order, map_.dynamic_bins());
  }

  /// For decisions the more cautious of the two errors.
  static double error_of(const G2Table& table, Index lag, Index q) {
    const double by_bins = table.bin_error(lag, q);
    return std::isnan(by_bins) ? table.error(lag, q) : std::max(by_bins, table.error(lag, q));
  }

  /// The drift of a bin: g2 of the last part less that of the first, averaged over the delays of level 0, in standard
  /// errors. The errors of neighbouring delays are taken as one and the same: rather too cautious than too nervous.
  /// `part`: from 1.
  void look_for_damage(std::size_t part, bool tell) {
    const G2Table &first = parts_.front(), &last = parts_[part - 1];
    const Index delays = std::min(scheme_.lags(0), first.g2.extent(0));
    for (Index q = 0; q < first.g2.extent(1); ++q) {
      double drift = 0, error = 0;
      for (Index i = 0; i < delays; ++i) {
        drift += last.g2(i, q) - first.g2(i, q);
        error += std::hypot(error_of(last, i, q), error_of(first, i, q));
      }
      const double sigmas = error > 0 ? std::abs(drift) / error : 0;
      largest_drift_ = std::max(largest_drift_, sigmas);
      if (tell && sigmas >= options_.damage)
        warnings_.push_back(
            fmt::format("g2 of bin {} in part {} is {:+.3g} off the first part, {:.1f} standard errors: the sample may "
                        "be changing in "
                        "the beam",
                        q + 1, part, drift / static_cast<double>(delays), sigmas));
    }
  }

  /// Whether every bin's relaxation time is known well enough.
  bool known(technique::Observer& observer) {
    if (steps() < 16 || static_cast<double>(steps()) < kJudgeEvery * static_cast<double>(judged_)) return false;
    judged_ = steps();
    const auto binned = sums();
    const double worst = largest_tau_error(g2_of(binned, tiling_.order, map_.dynamic_bins()), delays_of(binned));
    if (!(worst > 0 && worst <= options_.tau_error)) return false;
    observer.warning(
        fmt::format("after {} time steps every relaxation time is known to {:.3g}: stopped", steps(), worst));
    return true;
  }

  /// Relative, of all bins that were measured; infinite where one has no relaxation that could be seen.
  static double largest_tau_error(const G2Table& table, const std::vector<double>& delays) {
    double worst = 0;
    for (Index q = 0; q < table.g2.extent(1); ++q) {
      if (std::isnan(table.g2(0, q))) continue;
      std::vector<double> g2, error;
      for (Index i = 0; i < table.g2.extent(0); ++i) {
        g2.push_back(table.g2(i, q));
        error.push_back(error_of(table, i, q));
      }
      worst = std::max(worst, relaxation(delays, g2, error).relative_error);
    }
    return worst;
  }

  /// In frames.
  std::vector<double> delays_of(const BinSums& sums) const {
    std::vector<double> out;
    for (const Lag& lag : sums.lags) out.push_back(static_cast<double>(lag.steps() * intake_.frames_per_step()));
    return out;
  }

  model::Product product() const {
    require_steps(2);
    PixelCorrelations pixels;
    const auto binned = sums(options_.keep_pixels ? &pixels : nullptr);
    const auto table = g2_of(binned, tiling_.order, map_.dynamic_bins());
    auto out = scattering("correlate", binned);
    std::vector<model::Dataset> own;
    const auto add = [&](const char* name, core::AnyArray data, std::vector<std::string> axes, const char* help,
                         const char* draw, const char* unit = "") {
      own.push_back({name, std::move(data), unit, std::move(axes), help, draw});
    };
    const auto delays = delays_of(binned);
    add(result::kDelay, core::AnyArray(core::View<const double, 1>(delays.data(), {static_cast<Index>(delays.size())})),
        {"delay"}, "times the metric frame_time_s, where it is known: seconds", "abscissa-log", "frames");
    add(result::kG2, core::AnyArray(table.g2), {"delay", "q"}, "symmetrically normalised; one column per dynamic bin",
        "curves");
    add(result::kG2Error, core::AnyArray(table.error), {"delay", "q"}, "standard error of the mean over pixels",
        "error");
    add_parts(own);
    if (options_.keep_pixels) {
      const auto& p = tiling_.order.pixel;
      const double level = intensity_scale();  // so that intensities are in counts per frame
      for (float& v : pixels.g2) v *= static_cast<float>(level * level);
      for (auto* image : {&pixels.past, &pixels.future})
        for (float& v : *image) v *= static_cast<float>(level);
      add(result::kPixelG2, core::AnyArray(pixels.g2), {"delay", "slot"}, "mean over pairs of I_t I_t+k", "none");
      add(result::kPixelIp, core::AnyArray(pixels.past), {"delay", "slot"}, "mean over pairs of I_t", "none");
      add(result::kPixelIf, core::AnyArray(pixels.future), {"delay", "slot"}, "mean over pairs of I_t+k", "none");
      add(result::kPixel, core::AnyArray(core::View<const std::uint32_t, 1>(p.data(), {tiling_.order.slots()})),
          {"slot"}, "y * nx + x of each", "none");
    }
    out.datasets.insert(out.datasets.begin(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
    out.metrics["pairs_of_last_delay"] = static_cast<double>(binned.pairs.back());
    if (part_steps_ > 0) out.metrics["largest_drift"] = largest_drift_;
    if (const double error = largest_tau_error(table, delays); error > 0 && std::isfinite(error))
      out.metrics["tau_error"] = error;
    return out;
  }

  void add_parts(std::vector<model::Dataset>& own) const {
    if (part_steps_ == 0) return;
    const Index begun = part_->steps() + block_.steps;
    const auto done = static_cast<Index>(parts_.size()), parts = done + (begun >= 2 ? 1 : 0);
    if (parts == 0) return;
    const auto lags = static_cast<Index>(lags_of(scheme_, part_steps_).size());
    Array<double, 3> g2({parts, lags, map_.dynamic_bins()}, kNone), error(g2.extents(), kNone);
    const auto put = [&](Index part, const G2Table& table) {
      for (Index i = 0; i < table.g2.extent(0); ++i)
        for (Index q = 0; q < table.g2.extent(1); ++q) {
          g2(part, i, q) = table.g2(i, q);
          error(part, i, q) = table.error(i, q);
        }
    };
    for (Index p = 0; p < done; ++p) put(p, parts_[static_cast<std::size_t>(p)]);
    if (parts > done) {
      std::optional<EventBlock> copy;
      put(done, part_table(complete_block(copy)));
    }
    own.push_back({result::kG2Partial,
                   core::AnyArray(g2),
                   "",
                   {"part", "delay", "q"},
                   "g2 within each part of the scan; NaN where a part is too short",
                   "none"});
    own.push_back(
        {result::kG2PartialError, core::AnyArray(error), "", {"part", "delay", "q"}, "its standard error", "none"});
  }

  const CorrelateOptions options_;
  Index part_steps_ = 0;
  std::optional<Correlator> part_;  // of the part at work
  std::vector<G2Table> parts_;
  std::vector<std::string> warnings_;
  double largest_drift_ = 0;
  Index judged_ = 0;
};

class Saxs final : public FrameAnalysis {
public:
  Saxs(const SaxsOptions& options, const technique::Resources& resources)
      : FrameAnalysis(options.intake, {0, 0, 0}, resources) {}
  StepState step(std::stop_token, technique::Observer& observer) override {
    report(observer);
    return ended() ? StepState::finished : StepState::waiting;
  }
  model::Product snapshot() const override {
    require_steps(1);
    return scattering("saxs", sums());
  }
  model::Product finish(technique::Observer&) override {
    close();
    return snapshot();
  }
};

}  // namespace

std::unique_ptr<technique::Technique> make_correlate(const CorrelateOptions& options,
                                                     const technique::Resources& resources) {
  return std::make_unique<Correlate>(options, resources);
}
std::unique_ptr<technique::Technique> make_saxs(const SaxsOptions& options, const technique::Resources& resources) {
  return std::make_unique<Saxs>(options, resources);
}

}  // namespace farfield::techniques::xpcs
