#include "farfield/techniques/xpcs/two_time_analysis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "farfield/parallel/communicator.hpp"
#include "farfield/techniques/xpcs/frame_analysis.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/two_time.hpp"

namespace farfield::techniques::xpcs {
namespace {

using core::Array;
using core::Error;
using core::ErrorCode;
using technique::StepState;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr Index kTileFloats = Index{1} << 18;  // rows worked on at once: they stay in the cache

constexpr Index kOverviewEdge = 512;

/// What c2 is made of: the events of a whole scan. It does not change any more.
struct KeptScan {
  std::vector<EventBlock> blocks;
  Tiling tiling;
};

/// c2 of one bin, 0 before the diagonal, as files have it.
class C2Rows final : public model::RowSource {
public:
  C2Rows(std::shared_ptr<const KeptScan> scan, Index steps, Index bin, bool by_static)
      : scan_(std::move(scan)), shape_{steps, steps}, bin_(bin), by_static_(by_static) {}

  core::DType dtype() const override { return core::DType::f32; }
  const std::vector<Index>& shape() const override { return shape_; }
  void read(Index first, Index count, void* out) const override {
    if (first < 0 || count < 0 || first > shape_[0] - count) throw Error(ErrorCode::internal, "rows outside of c2");
    if (!work_) work_ = std::make_unique<Work>(*scan_, bin_, by_static_);
    const core::View<float, 2> rows(static_cast<float*>(out), {count, shape_[1]});
    work_->two_time.rows(first, rows);
    for (Index y = 0; y < count; ++y) std::fill_n(&rows(y, 0), first + y, 0.0F);
    if (first + count == shape_[0]) work_.reset();  // the events of the next bin need the room
  }

private:
  struct Work {
    Work(const KeptScan& scan, Index bin, bool by_static)
        : series(gather_bin(scan.blocks, scan.tiling, bin)), two_time(series, by_static) {}
    BinSeries series;
    TwoTime two_time;
  };
  std::shared_ptr<const KeptScan> scan_;
  std::vector<Index> shape_;
  Index bin_;
  bool by_static_;
  mutable std::unique_ptr<Work> work_;
};

/// A small picture of c2: means over squares of `step` x `step`, from rows as they pass.
class Overview {
public:
  explicit Overview(Index steps)
      : step_((steps + kOverviewEdge - 1) / kOverviewEdge),
        edge_((steps + step_ - 1) / step_),
        sum_({edge_, edge_}),
        count_({edge_, edge_}) {}
  void add(Index first, core::View<const float, 2> rows) {
    for (Index y = 0; y < rows.extent(0); ++y)
      for (Index x = first + y; x < rows.extent(1); ++x) {
        const auto v = static_cast<double>(rows(y, x));
        if (!(v == v)) continue;
        const Index a = (first + y) / step_, b = x / step_;
        sum_(a, b) += v;
        count_(a, b) += 1;
      }
  }
  Index edge() const { return edge_; }
  core::AnyArray image() const {
    Array<float, 2> out({edge_, edge_}, std::numeric_limits<float>::quiet_NaN());
    for (Index y = 0; y < edge_; ++y)
      for (Index x = y; x < edge_; ++x)
        if (count_(y, x) > 0) out(y, x) = out(x, y) = static_cast<float>(sum_(y, x) / count_(y, x));
    return core::AnyArray(out);
  }

private:
  Index step_, edge_;
  Array<double, 2> sum_, count_;
};

class TwoTimeAnalysis final : public FrameAnalysis {
public:
  TwoTimeAnalysis(const TwoTimeOptions& options, const technique::Resources& resources)
      : FrameAnalysis(options.intake, {0, 0, 0}, resources, false), options_(options) {}

  void begin(const model::Acquisition& acquisition) override {
    FrameAnalysis::begin(acquisition);
    const Index bins = map_.dynamic_bins();
    for (const double bin : options_.bins) {
      if (!(bin >= 1 && bin <= static_cast<double>(bins) && bin == std::floor(bin)))
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("--bins {}: the q-map has the dynamic bins 1 to {}", bin, bins));
      bins_.push_back(static_cast<Index>(bin));
    }
    std::sort(bins_.begin(), bins_.end());
    bins_.erase(std::unique(bins_.begin(), bins_.end()), bins_.end());
    if (bins_.empty()) {
      bins_.resize(static_cast<std::size_t>(bins));
      std::iota(bins_.begin(), bins_.end(), 1);
    }
    matrices_.resize(bins_.size());
    curves_.resize(bins_.size());
  }

  StepState step(std::stop_token stop, technique::Observer& observer) override {
    report(observer);
    if (!ended()) return StepState::waiting;
    close();
    if (steps() < 2) return StepState::finished;  // finish() says so
    if (done_ == 0) prepare(&observer);
    if (stop.stop_requested()) return StepState::working;
    // Every rank takes the same number of steps, also where it has one bin less.
    const Index ranks = rank_count(), each = (static_cast<Index>(bins_.size()) + ranks - 1) / ranks;
    if (done_ < each) {
      const Index count = std::min<Index>(resources_.pool->size(), each - done_);
      resources_.pool->for_each(count, [&](Index i, int) {
        const Index bin = (done_ + i) * ranks + rank();
        if (bin < static_cast<Index>(bins_.size())) correlate(static_cast<std::size_t>(bin));
      });
      done_ += count;
      observer.progress({done_, each, 0, {}});
    }
    return done_ < each ? StepState::working : StepState::finished;
  }

  model::Product snapshot() const override { return product(); }
  model::Product finish(technique::Observer&) override {
    close();
    return product();
  }

  void save(technique::Sink& sink) const override {
    FrameAnalysis::save(sink);
    const auto& kept = kept_->blocks;
    for (std::size_t b = 0; b < kept.size(); ++b) {
      sink.put(fmt::format("kept_valid_{}", b), std::as_bytes(std::span(kept[b].valid)));
      for (std::size_t i = 0; i < kept[b].parts.size(); ++i) {
        const auto& part = kept[b].parts[i];
        sink.put(fmt::format("kept_begin_{}_{}", b, i), std::as_bytes(std::span(part.begin)));
        sink.put(fmt::format("kept_events_{}_{}", b, i), std::as_bytes(part.all()));
      }
    }
    sink.put("done", std::as_bytes(std::span(&done_, 1)));
    for (std::size_t b = 0; b < bins_.size(); ++b)
      if (!matrices_[b].empty())
        sink.put(fmt::format("c2_{}", b),
                 {static_cast<const std::byte*>(matrices_[b].data()), static_cast<std::size_t>(matrices_[b].bytes())});
  }

  void restore(technique::Source& source) override {
    FrameAnalysis::restore(source);
    kept_ = std::make_shared<KeptScan>();
    for (int b = 0; source.has(fmt::format("kept_valid_{}", b)); ++b) {
      EventBlock block;
      restore_block(source, fmt::format("kept_valid_{}", b), fmt::format("kept_begin_{}_", b),
                    fmt::format("kept_events_{}_", b), block);
      kept_->blocks.push_back(std::move(block));
    }
    const auto done = source.get("done");
    if (done.size() != sizeof done_) throw Error(ErrorCode::corrupt_data, "the checkpoint contradicts itself");
    std::memcpy(&done_, done.data(), sizeof done_);
    if (done_ == 0) return;
    prepare(nullptr);
    if (in_pieces_) {  // c2 is not in the checkpoint: its curves are made again
      done_ = 0;
      return;
    }
    for (std::size_t b = 0; b < bins_.size(); ++b) {
      const auto name = fmt::format("c2_{}", b);
      if (!source.has(name)) continue;
      const auto bytes = source.get(name);
      core::AnyArray c2(core::DType::f32, {steps(), steps()});
      if (bytes.size() != static_cast<std::size_t>(c2.bytes()))
        throw Error(ErrorCode::corrupt_data, "the checkpoint contradicts itself");
      std::memcpy(c2.data(), bytes.data(), bytes.size());
      CurveSums sums(steps(), options_.part, cuts_);
      sums.add(0, c2.view<float, 2>());
      curves_[b] = sums.curves();
      matrices_[b] = std::move(c2);
    }
  }

private:
  Index rank() const { return resources_.communicator == nullptr ? 0 : resources_.communicator->rank(); }
  Index rank_count() const { return resources_.communicator == nullptr ? 1 : resources_.communicator->size(); }

  void absorbed(EventBlock& block) override { kept_->blocks.push_back(std::move(block)); }

  /// What needs the length of the scan.
  void prepare(technique::Observer* observer) {
    cuts_.clear();
    for (const double cut : options_.cuts) {
      if (cut >= 0 && cut < static_cast<double>(steps())) cuts_.push_back(static_cast<Index>(cut));
      else if (observer != nullptr)  // a source may promise more or less than comes: this should not cost the scan
        observer->warning(fmt::format("--cuts {} is left out: the scan has {} time steps", cut, steps()));
    }
    choose_form(observer);
  }

  /// Whether c2 of all bins, and the events, would not fit the memory: then it is made row by row while it is written.
  void choose_form(technique::Observer* observer) {
    double events = 0;
    for (const auto& block : kept_->blocks)
      for (const auto& part : block.parts) events += static_cast<double>(part.all().size());
    const auto n = static_cast<double>(steps()), bins = static_cast<double>(bins_.size());
    const double bytes = 4 * n * n * bins + 2 * sizeof(SlotEvent) * events;
    double over = resources_.memory_limit_bytes > 0 && bytes > resources_.memory_limit_bytes ? 1 : 0;
    if (rank_count() > 1) resources_.communicator->all_reduce(std::span(&over, 1), parallel::Reduce::max);
    in_pieces_ = over > 0;  // ranks may have different memories; all must do the same
    if (!in_pieces_) return;
    kept_->tiling = tiling_;
    if (observer != nullptr)
      observer->warning(
          fmt::format("c2 of {} bins over {} time steps would need {:.2g} GiB, {:.2g} GiB may be used: it is worked "
                      "out twice, the second time while it is written",
                      bins_.size(), steps(), bytes / 0x1p30, resources_.memory_limit_bytes / 0x1p30));
  }

  bool by_static() const { return options_.smoothing == Smoothing::static_bins; }

  void correlate(std::size_t bin) {
    const auto series = gather_bin(kept_->blocks, tiling_, bins_[bin]);
    const TwoTime two_time(series, by_static());
    CurveSums sums(series.steps, options_.part, cuts_);
    const Index rows = std::clamp<Index>(kTileFloats / series.steps, 1, series.steps);
    core::AnyArray matrix(core::DType::f32, {in_pieces_ ? rows : series.steps, series.steps});
    const auto c2 = matrix.view<float, 2>();
    std::optional<Overview> overview;
    if (in_pieces_) overview.emplace(series.steps);
    for (Index first = 0; first < series.steps; first += rows) {
      const Index count = std::min(rows, series.steps - first);
      const auto tile = c2.window({in_pieces_ ? 0 : first, 0}, {count, series.steps});
      two_time.rows(first, tile);
      sums.add(first, tile);
      if (overview) overview->add(first, tile);
    }
    curves_[bin] = sums.curves();
    if (overview) {
      matrices_[bin] = overview->image();
      return;
    }
    mirror(c2);
    matrices_[bin] = std::move(matrix);
  }

  static void mirror(core::View<float, 2> c2) {
    constexpr Index kEdge = 32;  // of squares that fit the first cache
    const Index n = c2.extent(0);
    for (Index y0 = 0; y0 < n; y0 += kEdge)
      for (Index x0 = 0; x0 <= y0; x0 += kEdge)
        for (Index y = y0; y < std::min(y0 + kEdge, n); ++y)
          for (Index x = x0; x < std::min({x0 + kEdge, y, n}); ++x) c2(y, x) = c2(x, y);
  }

  model::Product product() const {
    require_steps(2);
    auto out = scattering("twotime", sums());
    const auto bins = static_cast<Index>(bins_.size());
    const Index n = steps(), windows = std::max<Index>(n / options_.part - 1, 0), span = std::min(options_.part, n);
    Array<double, 2> g2({n, bins});
    Array<double, 3> partial({span, windows, bins});
    const auto cuts = static_cast<Index>(cuts_.size());
    Array<double, 3> cut_time({cuts, n, bins}), cut_age({cuts, n, bins});
    for (Index b = 0; b < bins; ++b) {
      const auto& curves = curves_[static_cast<std::size_t>(b)];
      const bool mine = b % rank_count() == rank(), known = curves.g2.size() == n;
      for (Index k = 0; k < n; ++k) g2(k, b) = known ? curves.g2(k) : mine ? kNone : 0;
      for (Index k = 0; k < span; ++k)
        for (Index w = 0; w < windows; ++w) partial(k, w, b) = known ? curves.partial(k, w) : mine ? kNone : 0;
      for (Index c = 0; c < cuts; ++c)
        for (Index t = 0; t < n; ++t) {
          cut_time(c, t, b) = known ? curves.cut_time(c, t) : mine ? kNone : 0;
          cut_age(c, t, b) = known ? curves.cut_age(c, t) : mine ? kNone : 0;
        }
    }
    std::vector<double> delays(static_cast<std::size_t>(n)), cut_frames;
    for (Index k = 0; k < n; ++k)
      delays[static_cast<std::size_t>(k)] = static_cast<double>(k * intake_.frames_per_step());
    for (const Index cut : cuts_) cut_frames.push_back(static_cast<double>(cut * intake_.frames_per_step()));

    std::vector<model::Dataset> own;
    const auto add = [&](std::string name, core::AnyArray data, std::vector<std::string> axes, const char* help,
                         const char* draw, const char* unit = "") {
      own.push_back({std::move(name), std::move(data), unit, std::move(axes), help, draw});
    };
    const auto reduced = [&](auto& array) -> auto& {
      if (rank_count() > 1) resources_.communicator->all_reduce({array.begin(), array.end()}, parallel::Reduce::sum);
      return array;
    };
    const auto list = [](const auto& v) {
      using T = typename std::decay_t<decltype(v)>::value_type;
      return core::AnyArray(core::View<const T, 1>(v.data(), {static_cast<Index>(v.size())}));
    };
    add(result::kBins, list(bins_), {"bin"}, "numbers of the dynamic bins", "none");
    add(result::kDelay, list(delays), {"delay"}, "times the metric frame_time_s, where it is known: seconds",
        "abscissa-log", "frames");
    add(result::kC2G2, core::AnyArray(reduced(g2)), {"delay", "bin"}, "mean of c2 over each diagonal", "curves");
    if (windows > 0)
      add(result::kC2G2Partial, core::AnyArray(reduced(partial)), {"delay", "part", "bin"},
          "the same in windows along the diagonal", "none");
    if (cuts > 0) {
      add(result::kCut, list(cut_frames), {"cut"}, "where c2 is cut", "none", "frames");
      add(result::kC2CutTime, core::AnyArray(reduced(cut_time)), {"cut", "t", "bin"}, "c2(cut, t)", "none");
      add(result::kC2CutAge, core::AnyArray(reduced(cut_age)), {"cut", "delay", "bin"}, "c2 across the diagonal",
          "none");
    }
    const bool all = done_ * rank_count() >= bins && ended();
    for (Index b = 0; b < bins && all; ++b) {
      const Index bin = bins_[static_cast<std::size_t>(b)];
      auto c2 = matrices_[static_cast<std::size_t>(b)];  // shared: it does not change any more
      if (rank_count() > 1) {
        const Index edge = in_pieces_ ? Overview(n).edge() : n;
        c2 = c2.empty() ? core::AnyArray(core::DType::f32, {edge, edge}) : c2.clone();
        const auto whole = c2.view<float, 2>();
        resources_.communicator->all_reduce({whole.begin(), whole.end()}, parallel::Reduce::sum);
      }
      const auto name = fmt::format(result::kC2, bin);
      if (!in_pieces_) {
        add(name, c2, {"t1", "t2"}, "two-time correlation of one dynamic bin", "image");
        continue;
      }
      add(fmt::format(result::kC2Overview, bin), c2, {"t1", "t2"}, "means over squares of c2", "image");
      add(name, {}, {"t1", "t2"}, "two-time correlation of one dynamic bin; 0 before the diagonal", "none");
      own.back().rows = std::make_shared<C2Rows>(kept_, n, bin, by_static());
    }
    std::move(out.datasets.begin(), out.datasets.end(), std::back_inserter(own));
    out.datasets = std::move(own);
    return out;
  }

  const TwoTimeOptions options_;
  std::vector<Index> bins_, cuts_;
  std::shared_ptr<KeptScan> kept_ = std::make_shared<KeptScan>();
  bool in_pieces_ = false;  // c2 would not fit the memory
  Index done_ = 0;  // bins of this rank, in order
  std::vector<core::AnyArray> matrices_;  // f32 (t1, t2), one per bin, or its overview; those of other ranks stay empty
  std::vector<TwoTimeCurves> curves_;
};

}  // namespace

std::unique_ptr<technique::Technique> make_two_time(const TwoTimeOptions& options,
                                                    const technique::Resources& resources) {
  return std::make_unique<TwoTimeAnalysis>(options, resources);
}

}  // namespace farfield::techniques::xpcs
