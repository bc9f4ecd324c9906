// The adapter: the technique contract on one side, moments and kernels on the other.

#include "farfield/techniques/statistics/technique.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "farfield/parallel/communicator.hpp"
#include "farfield/techniques/statistics/kernels.hpp"
#include "farfield/techniques/statistics/options.hpp"
#include "farfield/techniques/statistics/simulate.hpp"

namespace farfield::techniques::statistics {
namespace {

using core::Error;
using core::ErrorCode;
using core::Index;

/// Running moments of `count` frames; m2 is the sum of squared deviations from the mean.
struct Moments {
  Index count = 0;
  core::Array<double, 2> mean, m2;
};

class Mean final : public technique::Technique {
public:
  Mean(const MeanOptions& options, const technique::Resources& resources) : options_(options), resources_(resources) {}

  void begin(const model::Acquisition& acquisition) override {
    const auto& detector = acquisition.detector;
    ny_ = detector.ny;
    nx_ = detector.nx;
    expected_ = std::max<Index>(acquisition.scan.expected_frames, 0);
    valid_ = core::Array<std::uint8_t, 2>({ny_, nx_}, 1);
    if (!detector.pixel_mask.empty())
      std::transform(detector.pixel_mask.begin(), detector.pixel_mask.end(), valid_.begin(),
                     [](std::uint32_t bits) { return bits == 0; });
    if (std::count(valid_.begin(), valid_.end(), 1) == 0)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("the pixel mask hides all {} x {} pixels; at least one must be good", ny_, nx_));
    moments_ = {0, core::Array<double, 2>({ny_, nx_}), core::Array<double, 2>({ny_, nx_})};
    started_s_ = resources_.clock->now_s();
  }

  void push(std::span<const model::FrameView> frames) override {
    for (const auto& frame : frames) {
      if (!is_mine(frame.id) || seen_.contains(frame.id)) continue;
      if (frame.image.ny != ny_ || frame.image.nx != nx_) {
        rejected_.emplace_back(
            frame.id, fmt::format("{} x {} pixels instead of {} x {}", frame.image.ny, frame.image.nx, ny_, nx_));
      } else if (!all_finite(frame.image, valid_)) {
        rejected_.emplace_back(frame.id, "a pixel that is not masked is not finite");
      } else {
        seen_.insert(frame.id);
        ++moments_.count;
        // Pixels do not depend on each other: any number of threads gives the same bits.
        resources_.pool->split(ny_, [&](Index begin, Index end, int) {
          add_frame(rows(frame.image, begin, end), moments_.count,
                    moments_.mean.view().window({begin, 0}, {end - begin, nx_}),
                    moments_.m2.view().window({begin, 0}, {end - begin, nx_}));
        });
      }
    }
  }

  void annotate(model::FrameId, const model::Values&) override {}  // no value changes a mean
  void end_of_scan() override { ended_ = true; }

  technique::StepState step(std::stop_token, technique::Observer& observer) override {
    for (const auto& [id, reason] : rejected_) observer.rejected(id, reason);
    rejected_.clear();
    if (moments_.count > reported_) {
      reported_ = moments_.count;
      observer.progress(
          {reported_, expected_, resources_.clock->now_s() - started_s_, {{"mean_counts", mean_counts(moments_)}}});
    }
    return ended_ ? technique::StepState::finished : technique::StepState::waiting;
  }

  model::Product snapshot() const override { return product(moments_); }

  void save(technique::Sink& sink) const override {
    const std::vector<model::FrameId> seen(seen_.begin(), seen_.end());
    sink.put("seen", std::as_bytes(std::span(seen)));
    sink.put("mean", std::as_bytes(std::span(moments_.mean.begin(), moments_.mean.end())));
    sink.put("m2", std::as_bytes(std::span(moments_.m2.begin(), moments_.m2.end())));
  }

  void restore(technique::Source& source) override {
    const auto seen = source.get("seen");
    std::vector<model::FrameId> ids(seen.size() / sizeof(model::FrameId));
    copy_block(seen, std::as_writable_bytes(std::span(ids)), "seen");
    copy_block(source.get("mean"), std::as_writable_bytes(std::span(moments_.mean.begin(), moments_.mean.end())),
               "mean");
    copy_block(source.get("m2"), std::as_writable_bytes(std::span(moments_.m2.begin(), moments_.m2.end())), "m2");
    seen_ = {ids.begin(), ids.end()};
    reported_ = moments_.count = static_cast<Index>(seen_.size());
  }

  model::Product finish(technique::Observer&) override {
    return resources_.communicator == nullptr ? product(moments_) : product(over_all_ranks());
  }

private:
  /// Several ranks read the same scan and share the frames out by id.
  bool is_mine(model::FrameId id) const {
    const auto* ranks = resources_.communicator;
    return ranks == nullptr || id % ranks->size() == ranks->rank();
  }
  static core::AnyImage rows(core::AnyImage image, Index begin, Index end) {
    image.data = static_cast<const std::byte*>(image.data) + begin * image.row_stride * core::item_size(image.dtype);
    image.ny = end - begin;
    return image;
  }
  static void copy_block(std::span<const std::byte> from, std::span<std::byte> to, const char* name) {
    if (from.size() != to.size())
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("checkpoint block {} has {} bytes, this scan needs {}", name, from.size(), to.size()));
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
  }

  /// Moments of all frames from those of the parts (Chan, Golub, LeVeque 1983, doi:10.1080/00031305.1983.10483115):
  /// mean = sum n_i mean_i / n,  m2 = sum (m2_i + n_i (mean_i - mean)^2).
  Moments over_all_ranks() const {
    auto& ranks = *resources_.communicator;
    const auto own = static_cast<double>(moments_.count);
    double total = own;
    ranks.all_reduce(std::span(&total, 1), parallel::Reduce::sum);
    Moments all{static_cast<Index>(total), moments_.mean.clone(), moments_.m2.clone()};
    if (all.count == 0) return all;
    for (double& v : all.mean) v *= own / total;
    ranks.all_reduce({all.mean.begin(), all.mean.end()}, parallel::Reduce::sum);
    for (Index i = 0; i < all.m2.size(); ++i) {
      const double d = moments_.mean.data()[i] - all.mean.data()[i];
      all.m2.data()[i] += own * d * d;
    }
    ranks.all_reduce({all.m2.begin(), all.m2.end()}, parallel::Reduce::sum);
    return all;
  }

  double mean_counts(const Moments& m) const {
    double sum = 0;
    for (Index i = 0; i < m.mean.size(); ++i)
      if (valid_.data()[i] != 0) sum += m.mean.data()[i];
    return sum / static_cast<double>(std::count(valid_.begin(), valid_.end(), 1));
  }

  model::Product product(const Moments& m) const {
    if (m.count <= options_.ddof)
      throw Error(ErrorCode::corrupt_data, fmt::format("{} usable frames; the variance with ddof {} needs at least {}",
                                                       m.count, options_.ddof, options_.ddof + 1));
    // A pixel that was never measured has no mean: NaN, not 0.
    core::Array<double, 2> mean({ny_, nx_}, std::numeric_limits<double>::quiet_NaN());
    core::Array<double, 2> variance({ny_, nx_}, std::numeric_limits<double>::quiet_NaN());
    double variance_sum = 0;
    Index good = 0;
    for (Index i = 0; i < mean.size(); ++i) {
      if (valid_.data()[i] == 0) continue;
      mean.data()[i] = m.mean.data()[i];
      variance.data()[i] = m.m2.data()[i] / static_cast<double>(m.count - options_.ddof);
      variance_sum += variance.data()[i];
      ++good;
    }
    model::Product out;
    out.technique = "statistics";
    out.verb = "mean";
    out.datasets.push_back(
        {"mean", core::AnyArray(mean), "counts", {"y", "x"}, "mean over the frames; NaN where masked"});
    out.datasets.push_back(
        {"variance", core::AnyArray(variance), "counts^2", {"y", "x"}, "variance over the frames; NaN where masked"});
    out.metrics = {{"frames", static_cast<double>(m.count)},
                   {"mean_counts", mean_counts(m)},
                   {"mean_variance", variance_sum / static_cast<double>(good)}};
    return out;
  }

  MeanOptions options_;
  technique::Resources resources_;
  Index ny_ = 0, nx_ = 0, expected_ = 0;
  core::Array<std::uint8_t, 2> valid_;
  Moments moments_;
  std::set<model::FrameId> seen_;  // the frames that the moments hold
  std::vector<std::pair<model::FrameId, std::string>> rejected_;
  Index reported_ = 0;
  double started_s_ = 0;
  bool ended_ = false;
};

}  // namespace

const technique::TechniqueInfo& info() {
  static const technique::TechniqueInfo value{
      .name = "statistics",
      .summary = "mean and variance of every pixel over the frames of a scan",
      .references = {"10.1080/00401706.1962.10490022", "10.1080/00031305.1983.10483115"},
      .verbs = {{.name = "mean",
                 .summary = "mean and variance of every pixel",
                 .options = mean_schema(),
                 .inputs = {"frames"},
                 .outputs = {"mean", "variance"},
                 .analyse = [](const core::OptionValues& values,
                               const technique::Resources& resources) -> std::unique_ptr<technique::Technique> {
                   return std::make_unique<Mean>(mean_schema().make(values), resources);
                 }},
                {.name = "simulate",
                 .summary = "Poisson frames of known mean",
                 .options = simulate_schema(),
                 .inputs = {},
                 .outputs = {"mean", "variance"},
                 .simulate = [](const core::OptionValues& values, const technique::Resources& resources) {
                   return make_simulation(simulate_schema().make(values), resources.seed);
                 }}}};
  return value;
}

}  // namespace farfield::techniques::statistics
