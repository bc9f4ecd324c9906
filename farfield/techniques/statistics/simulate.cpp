#include "farfield/techniques/statistics/simulate.hpp"

#include <algorithm>
#include <string>

#include "farfield/math/random.hpp"

namespace farfield::techniques::statistics {
namespace {

using core::Index;

constexpr Index kFramesPerBatch = 16;
constexpr std::uint16_t kDeadReads = 65535;

class PoissonFrames final : public technique::Simulation {
public:
  PoissonFrames(const SimulateOptions& options, std::uint64_t seed) : options_(options), seed_(seed) {
    const Index n = options.shape;
    if (options.dead_pixels > n * n)
      throw core::Error(core::ErrorCode::invalid_argument,
                        "option dead-pixels = " + std::to_string(options.dead_pixels) + " must be at most the " +
                            std::to_string(n * n) + " pixels of a frame");
    acquisition_.title = "Poisson counts of known mean";
    acquisition_.source = "simulation";
    acquisition_.detector.ny = acquisition_.detector.nx = n;
    acquisition_.detector.dtype = core::DType::u16;
    acquisition_.detector.pixel_mask = core::Array<std::uint32_t, 2>({n, n});
    acquisition_.scan.expected_frames = options.frames;

    // The dead pixels are drawn from a stream that no frame uses.
    math::Random random(seed, UINT64_MAX);
    auto& mask = acquisition_.detector.pixel_mask;
    for (Index left = options.dead_pixels; left > 0;) {
      auto& pixel = mask.data()[random.below(static_cast<std::uint64_t>(n * n))];
      if (pixel != 0) continue;
      pixel = model::pixel_mask::kDead;
      --left;
    }
  }

  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (next_ >= options_.frames || stop.stop_requested()) return false;
    const Index count = std::min(kFramesPerBatch, options_.frames - next_), n = options_.shape;
    core::Array<std::uint16_t, 3> stack({count, n, n});
    model::FrameBatch batch;
    for (Index i = 0; i < count; ++i) {
      fill(next_ + i, stack[i]);
      batch.frames.push_back({next_ + i, core::AnyImage::of<std::uint16_t>(stack[i])});
    }
    take(batch);
    next_ += count;
    return true;
  }

  model::Product truth() const override {
    const Index n = options_.shape;
    core::Array<double, 2> mean({n, n});
    for (Index y = 0; y < n; ++y)
      for (Index x = 0; x < n; ++x) mean(y, x) = mean_at(x);
    model::Product product;
    product.technique = "statistics";
    product.verb = "simulate";
    product.datasets.push_back({"mean", core::AnyArray(mean), "counts", {"y", "x"}, "mean of the Poisson counts"});
    product.datasets.push_back(
        {"variance", core::AnyArray(mean), "counts^2", {"y", "x"}, "their variance, equal to the mean"});
    return product;
  }

private:
  double mean_at(Index x) const {
    return options_.mean_counts * (0.5 + (static_cast<double>(x) + 0.5) / static_cast<double>(options_.shape));
  }
  void fill(Index frame, core::View<std::uint16_t, 2> out) const {
    math::Random random(seed_, static_cast<std::uint64_t>(frame));
    for (Index y = 0; y < out.extent(0); ++y)
      for (Index x = 0; x < out.extent(1); ++x) {
        const auto counts = static_cast<std::uint16_t>(std::min<std::int64_t>(random.poisson(mean_at(x)), kDeadReads));
        out(y, x) = acquisition_.detector.pixel_mask(y, x) == 0 ? counts : kDeadReads;
      }
  }

  SimulateOptions options_;
  std::uint64_t seed_;
  model::Acquisition acquisition_;
  Index next_ = 0;
};

}  // namespace

std::unique_ptr<technique::Simulation> make_simulation(const SimulateOptions& options, std::uint64_t seed) {
  return std::make_unique<PoissonFrames>(options, seed);
}

}  // namespace farfield::techniques::statistics
