#include "farfield/techniques/ptychography/simulate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/simulate_optics.hpp"
#include "farfield/techniques/ptychography/simulate_options.hpp"
#include "farfield/techniques/ptychography/simulate_probe.hpp"
#include "farfield/techniques/ptychography/simulate_scan.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::AnyArray;
using core::Array;
using core::cfloat;
using core::DType;
using core::Index;
using math::Random;

/// Random streams of one seed. Frame j draws from kFrames + j.
enum Stream : std::uint64_t { kObject, kScan, kProbe, kDetector, kIntensity, kWeights, kFrames = 1000 };

std::uint64_t seed_of(std::uint64_t seed, Stream stream) { return Random(seed, stream).next(); }

DType dtype_of(PixelType type) {
  switch (type) {
    case PixelType::u16: return DType::u16;
    case PixelType::u32: return DType::u32;
    case PixelType::f32: return DType::f32;
  }
  return DType::u16;
}

/// The largest count that is told from a larger one.
std::optional<double> ceiling(const SimulateOptions& o) {
  const double largest = o.dtype == PixelType::u16   ? std::numeric_limits<std::uint16_t>::max()
                         : o.dtype == PixelType::u32 ? std::numeric_limits<std::uint32_t>::max()
                                                     : std::numeric_limits<double>::infinity();
  const double cut = o.saturation > 0 ? std::min(o.saturation, largest) : largest;
  return std::isfinite(cut) ? std::optional<double>(cut) : std::nullopt;
}

/// Scattering by air and optics: a halo around the direct beam over a flat part. Mean = `mean`.
Array<float, 2> halo(Index ny, Index nx, double mean) {
  Array<float, 2> image({ny, nx});
  const Index cy = ny / 2, cx = nx / 2;
  double sum = 0;
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) {
      const double r = std::hypot(static_cast<double>(y - cy) / static_cast<double>(ny),
                                  static_cast<double>(x - cx) / static_cast<double>(nx));
      const double value = 0.5 + 1 / (1 + 25 * r * r);
      image(y, x) = static_cast<float>(value);
      sum += value;
    }
  const auto scale = static_cast<float>(mean * static_cast<double>(image.size()) / sum);
  for (float& v : image) v *= scale;
  return image;
}

Array<std::uint32_t, 2> make_mask(const SimulateOptions& o, std::uint64_t seed) {
  Array<std::uint32_t, 2> mask({o.shape, o.shape});
  Random random(seed);
  for (auto& m : mask)
    if (random.uniform() < o.dead_pixels) m |= model::pixel_mask::kDead;
  const Index centre = o.shape / 2;
  for (Index y = 0; y < o.shape; ++y)
    for (Index x = 0; x < o.shape; ++x)
      if (o.beam_stop_px > 0 &&
          std::hypot(static_cast<double>(y - centre), static_cast<double>(x - centre)) <= o.beam_stop_px)
        mask(y, x) |= model::pixel_mask::kUser;
  return mask;
}

AnyArray to_array(const std::vector<Position>& positions) {
  Array<double, 2> out({static_cast<Index>(positions.size()), 2});
  for (Index j = 0; j < out.extent(0); ++j) {
    out(j, 0) = positions[static_cast<std::size_t>(j)].y;
    out(j, 1) = positions[static_cast<std::size_t>(j)].x;
  }
  return AnyArray(out);
}

AnyArray to_array(const std::vector<double>& values) {
  return AnyArray(core::View<const double, 1>(values.data(), {static_cast<Index>(values.size())}));
}

class PtychographySimulation final : public technique::Simulation {
public:
  PtychographySimulation(const SimulateOptions& options, const technique::Resources& resources)
      : o_(options), pool_(*resources.pool), seed_(resources.seed), dtype_(dtype_of(o_.dtype)), ceiling_(ceiling(o_)) {
    const double wavelength_m = model::kHcEvM / o_.energy_eV;
    pixel_size_m_ = o_.near_field
                        ? o_.detector_pixel_m
                        : wavelength_m * o_.distance_m / (static_cast<double>(o_.shape) * o_.detector_pixel_m);
    scan_ = plan_scan(o_, seed_of(seed_, kScan));
    object_ = make_phantom(o_.phantom, scan_.object_ny, scan_.object_nx, o_.material(), seed_of(seed_, kObject));
    probe_ = simulated_probe(o_, wavelength_m, pixel_size_m_, seed_of(seed_, kProbe));
    optics_ = std::make_unique<SimulatedOptics>(
        object_.view(), probe_.view(),
        o_.near_field ? std::optional(FreeSpace{wavelength_m, o_.distance_m, pixel_size_m_, pixel_size_m_})
                      : std::nullopt);

    Random intensity(seed_, kIntensity), weight(seed_, kWeights);
    for (Index j = 0; j < o_.patterns; ++j) {
      intensity_.push_back(std::max(0.05, 1 + o_.intensity_fluctuation * intensity.normal()));
      weights_.push_back(o_.opr * weight.normal());
    }
    if (o_.opr > 0) {
      eigen_probe_ = simulated_eigen_probe(probe_);
      optics_->set_eigen_probe(eigen_probe_.view());
    }
    if (o_.background > 0) background_ = halo(o_.shape, o_.shape, o_.background);
    describe(wavelength_m);
  }

  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (streamed_ >= o_.patterns || stop.stop_requested()) return false;
    const Index count = std::min(piece(), o_.patterns - streamed_), pixels = o_.shape * o_.shape;
    if (frames_.empty()) {
      frames_ = AnyArray(dtype_, {piece(), o_.shape, o_.shape});
      for (int t = 0; t < pool_.size(); ++t) work_.push_back(optics_->workspace());
      floor_sums_.resize(static_cast<std::size_t>(piece()));
    }
    pool_.for_each(count, [&](Index i, int thread) {
      const Index id = streamed_ + i, at = i * pixels;
      auto& work = work_[static_cast<std::size_t>(thread)];
      double& floor = floor_sums_[static_cast<std::size_t>(i)];
      switch (o_.dtype) {
        case PixelType::u16: floor = measure(id, static_cast<std::uint16_t*>(frames_.data()) + at, work); break;
        case PixelType::u32: floor = measure(id, static_cast<std::uint32_t*>(frames_.data()) + at, work); break;
        case PixelType::f32: floor = measure(id, static_cast<float*>(frames_.data()) + at, work); break;
      }
    });

    model::FrameBatch batch;
    for (Index i = 0; i < count; ++i) {
      const Index id = streamed_ + i;
      floor_sum_ += floor_sums_[static_cast<std::size_t>(i)];
      const auto* pixel = static_cast<const std::byte*>(frames_.data()) + i * pixels * core::item_size(dtype_);
      batch.frames.push_back({id, {dtype_, pixel, o_.shape, o_.shape, o_.shape}});
      const Position at = scan_.recorded[static_cast<std::size_t>(id)];
      if (o_.pixel_units) batch.values.push_back({id, {{"y_px", at.y}, {"x_px", at.x}}});
      else batch.values.push_back({id, {{"y_m", at.y * pixel_size_m_}, {"x_m", at.x * pixel_size_m_}}});
    }
    streamed_ += count;
    take(batch);
    return true;
  }

  model::Product truth() const override {
    model::Product p;
    p.technique = "ptychography";
    p.verb = "simulate";
    p.datasets.push_back({"object", AnyArray(object_), "", {"y", "x"}, "true transmission of the sample"});
    p.datasets.push_back({"probe", AnyArray(probe_), "sqrt(photons)", {"mode", "y", "x"}, "true illumination"});
    p.datasets.push_back(
        {"positions", to_array(scan_.truth), "px", {"frame", "yx"}, "true corner of each window on the object"});
    p.datasets.push_back(
        {"recorded_positions", to_array(scan_.recorded), "px", {"frame", "yx"}, "positions as the scan records them"});
    p.datasets.push_back({"intensity", to_array(intensity_), "", {"frame"}, "photons relative to the mean"});
    if (!background_.empty())
      p.datasets.push_back({"background", AnyArray(background_), "counts", {"y", "x"}, "incoherent background"});
    if (!eigen_probe_.empty()) {
      p.datasets.push_back(
          {"eigen_probe", AnyArray(eigen_probe_), "sqrt(photons)", {"y", "x"}, "variation of the first mode"});
      p.datasets.push_back(
          {"eigen_weights", to_array(weights_), "", {"frame"}, "weight of the eigen-probe in each pattern"});
    }
    p.metrics["frames"] = static_cast<double>(streamed_);
    if (streamed_ > 0 && valid_pixels_ > 0)
      p.metrics["noise_floor"] = floor_sum_ / (static_cast<double>(streamed_) * static_cast<double>(valid_pixels_));
    p.provenance["options"] = core::options_to_json(simulate_schema().values(o_));
    p.provenance["seed"] = std::to_string(seed_);
    if (!o_.pixel_units) {
      p.pixel_size_y_m = p.pixel_size_x_m = pixel_size_m_;
      p.energy_eV = o_.energy_eV;
    }
    return p;
  }

private:
  /// Frames made at a time: some per thread, at most about 16 MiB.
  Index piece() const {
    const Index bytes = o_.shape * o_.shape * core::item_size(dtype_);
    return std::clamp<Index>((Index{16} << 20) / bytes, 1, Index{16} * pool_.size());
  }

  void describe(double wavelength_m) {
    acquisition_.title = "simulated ptychography scan";
    acquisition_.source = "simulation";
    acquisition_.metadata["sample"] = core::to_text(simulate_schema().values(o_).at("phantom"));
    acquisition_.metadata["propagation"] = o_.near_field ? "near field" : "far field";
    auto& d = acquisition_.detector;
    d.ny = d.nx = o_.shape;
    d.dtype = dtype_;
    d.saturation_counts = ceiling_;
    if (!o_.pixel_units) {
      acquisition_.beam.energy_eV = model::kHcEvM / wavelength_m;
      d.distance_m = o_.distance_m;
      d.pixel_size_y_m = d.pixel_size_x_m = o_.detector_pixel_m;
    }
    auto mask = make_mask(o_, seed_of(seed_, kDetector));
    valid_pixels_ = std::count(mask.begin(), mask.end(), 0U);
    mask_ = mask.clone();
    if (valid_pixels_ < mask.size()) d.pixel_mask = std::move(mask);
    acquisition_.scan = {o_.pixel_units ? model::PositionUnit::pixels : model::PositionUnit::metres, o_.patterns};
    if (o_.start_probe == StartProbe::exact) acquisition_.inputs["probe"] = AnyArray(probe_);
    if (o_.start_probe == StartProbe::perturbed) acquisition_.inputs["probe"] = AnyArray(perturbed_probe(probe_));
  }

  /// One pattern as the detector stores it; returns the sum over valid pixels of (sqrt(I_true) - sqrt(I_noisy))^2.
  template <class T>
  double measure(Index id, T* out, SimulatedOptics::Workspace& work) const {
    const auto j = static_cast<std::size_t>(id);
    optics_->pattern(scan_.truth[j].y, scan_.truth[j].x, weights_[j], work);
    Random random(seed_, kFrames + static_cast<std::uint64_t>(id));
    const auto flux = static_cast<float>(intensity_[j]);
    const double cut = ceiling_.value_or(std::numeric_limits<double>::infinity());
    double floor = 0;
    for (Index i = 0; i < work.intensity.size(); ++i) {
      if (mask_.data()[i] != 0) {  // a dead pixel and one behind the beam stop see nothing
        out[i] = 0;
        continue;
      }
      const float mean = flux * work.intensity.data()[i] + (background_.empty() ? 0.0F : background_.data()[i]);
      double counts = static_cast<double>(mean);
      if (o_.noise == CountingNoise::poisson) counts = static_cast<double>(random.poisson(counts));
      else if (std::is_integral_v<T>) counts = std::floor(counts + 0.5);
      out[i] = static_cast<T>(std::min(counts, cut));
      const float difference = std::sqrt(mean) - std::sqrt(static_cast<float>(out[i]));
      floor += static_cast<double>(difference * difference);
    }
    return floor;
  }

  SimulateOptions o_;
  core::ThreadPool& pool_;
  std::uint64_t seed_;
  DType dtype_;
  std::optional<double> ceiling_;
  double pixel_size_m_ = 0;
  SimulatedScan scan_;
  Array<cfloat, 2> object_;
  Array<cfloat, 3> probe_;
  Array<cfloat, 2> eigen_probe_;
  std::vector<double> intensity_, weights_;
  Array<float, 2> background_;
  Array<std::uint32_t, 2> mask_;
  Index valid_pixels_ = 0;
  std::unique_ptr<SimulatedOptics> optics_;
  model::Acquisition acquisition_;

  Index streamed_ = 0;
  double floor_sum_ = 0;
  AnyArray frames_;
  std::vector<SimulatedOptics::Workspace> work_;
  std::vector<double> floor_sums_;
};

}  // namespace

std::unique_ptr<technique::Simulation> make_simulation(const core::OptionValues& options,
                                                       const technique::Resources& resources) {
  return std::make_unique<PtychographySimulation>(make_simulate_options(options), resources);
}

technique::Verb simulate_verb() {
  return {.name = "simulate",
          .summary = "patterns of a known object, with its truth beside them",
          .options = simulate_schema(),
          .inputs = {},
          .outputs = {"object", "probe", "positions", "recorded_positions", "intensity"},
          .simulate = make_simulation};
}

}  // namespace farfield::techniques::ptychography
