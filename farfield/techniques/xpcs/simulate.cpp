#include "farfield/techniques/xpcs/simulate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "farfield/math/random.hpp"
#include "farfield/techniques/xpcs/qmap_make.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

constexpr Index kFramesPerBatch = 16;
constexpr std::uint16_t kHotReads = 60000;
// Streams of the seed.
constexpr std::uint64_t kFields = 1, kCounts = 2, kDefects = 3;

/// exp(i angle) without the NaN-correct product of std::complex.
struct Wave {
  double re = 1, im = 0;
  void turn(const Wave& by) {
    const double r = re * by.re - im * by.im;
    im = re * by.im + im * by.re;
    re = r;
  }
};
Wave wave(double angle) { return {std::cos(angle), std::sin(angle)}; }

/// |E|^2 of every pixel, frame after frame.
struct Field {
  virtual ~Field() = default;
  virtual void intensity(core::View<double, 1> out) = 0;  // of the next frame
};

/// E(t + dt) = a E(t) + sqrt(1 - a^2) noise, a = exp(-rate dt): the correlation of E decays exponentially.
class Diffusing final : public Field {
public:
  Diffusing(const std::vector<double>& tau_frames, double age_frames, std::uint64_t seed)
      : tau_(tau_frames), age_(age_frames), random_(seed, kFields), re_(tau_.size()), im_(tau_.size()) {
    for (std::size_t i = 0; i < tau_.size(); ++i) {
      re_[i] = random_.normal() * std::numbers::sqrt2 / 2;
      im_[i] = random_.normal() * std::numbers::sqrt2 / 2;
    }
  }
  void intensity(core::View<double, 1> out) override {
    if (frame_ > 0) {
      // The integral of 1 / (1 + t / age) from the frame before to this one.
      const double before = frame_ - 1, steps = age_ > 0 ? age_ * std::log((age_ + frame_) / (age_ + before)) : 1;
      for (std::size_t i = 0; i < tau_.size(); ++i) {
        const double a = std::exp(-steps / tau_[i]), b = std::sqrt((1 - a * a) / 2);
        re_[i] = a * re_[i] + b * random_.normal();
        im_[i] = a * im_[i] + b * random_.normal();
      }
    }
    for (std::size_t i = 0; i < tau_.size(); ++i) out[static_cast<Index>(i)] = re_[i] * re_[i] + im_[i] * im_[i];
    ++frame_;
  }

private:
  const std::vector<double>& tau_;
  double age_, frame_ = 0;  // age 0: does not age
  math::Random random_;
  std::vector<double> re_, im_;
};

/// E = sum of waves exp(i (w_k t + p_k)) / sqrt(kWaves) with normal w_k of width sqrt(2) / tau: scatterers that move
/// straight on. |g1| = exp(-(t / tau)^2), and g2 - 1 = (1 - 1 / kWaves) |g1|^2.
class Moving final : public Field {
public:
  Moving(const std::vector<double>& tau_frames, std::uint64_t seed) {
    math::Random random(seed, kFields);
    for (const double tau : tau_frames)
      for (Index k = 0; k < kWaves; ++k) {
        state_.push_back(wave(random.uniform(0, 2 * std::numbers::pi)));
        step_.push_back(wave(std::numbers::sqrt2 / tau * random.normal()));
      }
  }
  void intensity(core::View<double, 1> out) override {
    for (Index i = 0; i < out.size(); ++i) {
      double re = 0, im = 0;
      for (Index k = 0; k < kWaves; ++k) {
        auto& w = state_[static_cast<std::size_t>(i * kWaves + k)];
        re += w.re;
        im += w.im;
        w.turn(step_[static_cast<std::size_t>(i * kWaves + k)]);
      }
      out[i] = (re * re + im * im) / static_cast<double>(kWaves);
    }
  }

private:
  std::vector<Wave> state_, step_;
};

class Speckle final : public technique::Simulation {
public:
  Speckle(const SimulateOptions& o, std::uint64_t seed) : o_(o), counts_(seed, kCounts) {
    if (o.shape.size() != 2 || o.shape[0] < 1 || o.shape[1] < 1 || o.shape[0] != std::floor(o.shape[0]) ||
        o.shape[1] != std::floor(o.shape[1]))
      throw Error(ErrorCode::invalid_argument, "option shape must be rows,columns: two whole numbers >= 1");
    ny_ = static_cast<Index>(o.shape[0]);
    nx_ = static_cast<Index>(o.shape[1]);
    if (!o.beam_center_px.empty() && o.beam_center_px.size() != 2)
      throw Error(ErrorCode::invalid_argument, "option beam-center must be row,column");
    // What the field brings of itself to g2 - 1.
    const double own = o.dynamics == Dynamics::ballistic ? 1 - 1 / static_cast<double>(kWaves) : 1;
    if (o.contrast > own)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("contrast {} of ballistic dynamics must be at most {}", o.contrast, own));
    coherent_ = std::sqrt(o.contrast / own);
    place_pixels();
    draw_defects(seed);
    for (const double t : tau_s_) tau_frames_.push_back(t / o.frame_time_s);
    if (o.dynamics == Dynamics::ballistic) field_ = std::make_unique<Moving>(tau_frames_, seed);
    else
      field_ =
          std::make_unique<Diffusing>(tau_frames_, o.dynamics == Dynamics::ageing ? o.age_s / o.frame_time_s : 0, seed);
    describe();
  }

  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (next_ >= o_.frames || stop.stop_requested()) return false;
    const Index count = std::min(kFramesPerBatch, o_.frames - next_);
    core::Array<std::uint16_t, 3> stack({count, ny_, nx_});
    core::Array<double, 1> intensity({ny_ * nx_});
    model::FrameBatch batch;
    for (Index i = 0; i < count; ++i, ++next_) {
      field_->intensity(intensity.view());
      auto* image = stack[i].data();
      for (Index p = 0; p < intensity.size(); ++p) {
        const double mean = o_.mean_counts * (coherent_ * intensity[p] + 1 - coherent_);
        image[p] = static_cast<std::uint16_t>(std::min<std::int64_t>(counts_.poisson(mean), 65535));
      }
      for (const auto p : dead_) image[p] = 0;
      for (const auto p : hot_) image[p] = kHotReads;
      batch.frames.push_back({next_, core::AnyImage::of<std::uint16_t>(stack[i])});
      batch.values.emplace_back(next_, model::Values{{"time_s", static_cast<double>(next_) * o_.frame_time_s}});
    }
    take(batch);
    return true;
  }

  model::Product truth() const override {
    model::Product p;
    p.technique = "xpcs";
    p.verb = "simulate";
    const auto image = [&](const std::vector<double>& v) {
      return core::AnyArray(core::View<const double, 2>(v.data(), {ny_, nx_}));
    };
    p.datasets.push_back({"q", image(q_), "1/A", {"y", "x"}, "momentum transfer of each pixel"});
    p.datasets.push_back({"tau", image(tau_s_), "s", {"y", "x"}, "relaxation time of each pixel, at the start", "log"});
    p.metrics = {{"contrast", o_.contrast},
                 {result::kFrameTime, o_.frame_time_s},
                 {"law_prefactor", o_.tau_s * std::pow(o_.reference_q_per_A, -o_.exponent)},
                 {"law_exponent", o_.exponent},
                 {"mean_counts", o_.mean_counts}};
    return p;
  }

private:
  void place_pixels() {
    const double cy = o_.beam_center_px.empty() ? static_cast<double>(ny_ - 1) / 2 : o_.beam_center_px[0];
    const double cx = o_.beam_center_px.empty() ? static_cast<double>(nx_ - 1) / 2 : o_.beam_center_px[1];
    const double least = q_at(o_.pixel_size_m / 2, o_.distance_m, o_.energy_eV);
    for (Index y = 0; y < ny_; ++y)
      for (Index x = 0; x < nx_; ++x) {
        const double r = std::hypot(static_cast<double>(y) - cy, static_cast<double>(x) - cx) * o_.pixel_size_m;
        q_.push_back(q_at(r, o_.distance_m, o_.energy_eV));
        // In the beam itself q is 0 and no power of it a time: the pixel is as one half a pixel away.
        tau_s_.push_back(o_.tau_s * std::pow(std::max(q_.back(), least) / o_.reference_q_per_A, o_.exponent));
      }
  }

  void draw_defects(std::uint64_t seed) {
    const Index pixels = ny_ * nx_;
    if (o_.dead_pixels + o_.hot_pixels > pixels)
      throw Error(ErrorCode::invalid_argument, fmt::format("{} dead and {} hot pixels are more than the {} there are",
                                                           o_.dead_pixels, o_.hot_pixels, pixels));
    auto& mask = acquisition_.detector.pixel_mask;
    mask = core::Array<std::uint32_t, 2>({ny_, nx_});
    math::Random random(seed, kDefects);
    const auto draw = [&](Index count, std::uint32_t bit, std::vector<Index>& out) {
      while (static_cast<Index>(out.size()) < count) {
        const auto p = static_cast<Index>(random.below(static_cast<std::uint64_t>(pixels)));
        if (mask.data()[p] != 0) continue;
        mask.data()[p] = bit;
        out.push_back(p);
      }
    };
    draw(o_.dead_pixels, model::pixel_mask::kDead, dead_);
    draw(o_.hot_pixels, model::pixel_mask::kNoisy, hot_);
  }

  void describe() {
    acquisition_.title = "speckle with known dynamics";
    acquisition_.source = "simulation";
    acquisition_.beam.energy_eV = o_.energy_eV;
    auto& d = acquisition_.detector;
    d.ny = ny_;
    d.nx = nx_;
    d.dtype = core::DType::u16;
    d.distance_m = o_.distance_m;
    d.pixel_size_y_m = d.pixel_size_x_m = o_.pixel_size_m;
    acquisition_.scan.expected_frames = o_.frames;
    acquisition_.metadata[result::kFrameTime] = fmt::format("{}", o_.frame_time_s);
  }

  SimulateOptions o_;
  Index ny_ = 0, nx_ = 0, next_ = 0;
  double coherent_ = 1;
  std::vector<double> q_, tau_s_, tau_frames_;
  std::vector<Index> dead_, hot_;
  std::unique_ptr<Field> field_;
  math::Random counts_;
  model::Acquisition acquisition_;
};

}  // namespace

std::unique_ptr<technique::Simulation> make_simulation(const SimulateOptions& options, std::uint64_t seed) {
  return std::make_unique<Speckle>(options, seed);
}

const core::BoundSchema<SimulateOptions>& simulate_schema() {
  static const auto schema = [] {
    using O = SimulateOptions;
    core::BoundSchema<O> s;
    const auto positive = [&](const char* name, double O::* member, const char* help, const char* unit,
                              const char* group) {
      s.add(name, member, help, {.min = 1e-15, .max = 1e15, .unit = unit, .group = group});
    };
    s.add("frames", &O::frames, "number of frames", {.min = 1, .max = 1e8, .group = "Simulation"});
    s.add("shape", &O::shape, "rows,columns", {.min = 1, .max = 16384, .unit = "px", .group = "Simulation"});
    s.add("mean-counts", &O::mean_counts, "counts per pixel and frame",
          {.min = 0, .max = 1e4, .unit = "counts", .group = "Simulation"});
    s.add("dead-pixels", &O::dead_pixels, "pixels that count nothing; masked",
          {.min = 0, .max = 1e8, .unit = "px", .group = "Simulation"});
    s.add("hot-pixels", &O::hot_pixels, "pixels that count 60000 in every frame; masked",
          {.min = 0, .max = 1e8, .unit = "px", .group = "Simulation"});
    s.add("contrast", &O::contrast, "g2 - 1 at delay 0", {.min = 0, .max = 1, .group = "Dynamics"});
    s.add("dynamics", &O::dynamics, "diffusion, straight motion, or diffusion that slows down",
          {.choices = {"diffusive", "ballistic", "ageing"}, .group = "Dynamics"});
    positive("tau", &O::tau_s, "relaxation time at the reference q: g2 - 1 = contrast exp(-2 t / tau)", "s",
             "Dynamics");
    positive("reference-q", &O::reference_q_per_A, "q of that relaxation time", "1/A", "Dynamics");
    s.add("exponent", &O::exponent, "of tau(q): -2 for diffusion, -1 for straight motion",
          {.min = -10, .max = 10, .group = "Dynamics"});
    positive("age", &O::age_s, "ageing: the relaxation time grows as 1 + t / age", "s", "Dynamics");
    positive("frame-time", &O::frame_time_s, "from frame to frame", "s", "Simulation");
    positive("distance", &O::distance_m, "from sample to detector", "m", "Geometry");
    positive("pixel-size", &O::pixel_size_m, "edge of a pixel", "m", "Geometry");
    positive("energy", &O::energy_eV, "of the photons", "eV", "Geometry");
    s.add("beam-center", &O::beam_center_px, "row,column; empty: the middle", {.unit = "px", .group = "Geometry"});
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::xpcs
