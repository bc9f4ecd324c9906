#include "farfield/techniques/ptychography/simulate_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace farfield::techniques::ptychography {

using core::Error;
using core::ErrorCode;

const core::BoundSchema<SimulateOptions>& simulate_schema() {
  using S = SimulateOptions;
  static const core::BoundSchema<S> schema = [] {
    core::BoundSchema<S> s;
    s.add("set", &S::set, "a named set: gives the other options their defaults",
          {.choices = {"none", "catalyst", "coins-8k", "coins-16k", "siemens-star-32k"}, .group = "Sample"});
    s.add("phantom", &S::phantom, "test object",
          {.choices = {"siemens-star", "coins", "catalyst", "random", "flat"}, .group = "Sample"});
    s.add("phase-depth", &S::phase_depth_rad, "phase advance at full thickness",
          {.min = -100, .max = 100, .unit = "rad", .group = "Sample"});
    s.add("absorption", &S::absorption, "part of the amplitude taken away at full thickness",
          {.min = 0, .max = 0.999, .group = "Sample"});
    s.add("object-size", &S::object_size_px, "side of the object; 0: what the scan needs",
          {.min = 0, .max = 32768, .unit = "px", .group = "Sample"});

    s.add("patterns", &S::patterns, "number of diffraction patterns", {.min = 1, .max = 1e7, .group = "Measurement"});
    s.add("shape", &S::shape, "side of the square patterns",
          {.min = 8, .max = 4096, .unit = "px", .group = "Measurement"});
    s.add("photons", &S::photons, "photons in the illumination per pattern",
          {.min = 1e-3, .max = 1e15, .group = "Measurement"});
    s.add("energy", &S::energy_eV, "photon energy", {.min = 10, .max = 1e6, .unit = "eV", .group = "Measurement"});
    s.add("distance", &S::distance_m, "sample to detector",
          {.min = 1e-6, .max = 1e3, .unit = "m", .group = "Measurement"});
    s.add("detector-pixel", &S::detector_pixel_m, "pixel size of the detector",
          {.min = 1e-9, .max = 1e-2, .unit = "m", .group = "Measurement"});
    s.add("pixel-units", &S::pixel_units, "record positions in pixels and no geometry", {.group = "Measurement"});
    s.add("near-field", &S::near_field,
          "propagate by the angular spectrum over the distance; object pixel = detector pixel",
          {.group = "Measurement"});

    s.add("scan", &S::scan, "path of the scan", {.choices = {"jittered-raster", "raster", "spiral"}, .group = "Scan"});
    s.add("step", &S::step_px, "distance of scan points (spiral: side of the area per point)",
          {.min = 0.1, .max = 4096, .unit = "px", .group = "Scan"});
    s.add("jitter", &S::jitter_px, "largest displacement of a point of the jittered raster along y and x",
          {.min = 0, .max = 1024, .unit = "px", .group = "Scan"});
    s.add("drift", &S::drift_px, "drift of the sample from first to last pattern, not recorded",
          {.min = 0, .max = 1024, .unit = "px", .group = "Scan"});
    s.add("position-error", &S::position_error_px, "RMS error of the recorded positions along y and x",
          {.min = 0, .max = 1024, .unit = "px", .group = "Scan"});

    s.add("probe", &S::probe, "illumination",
          {.choices = {"zone-plate", "gaussian", "disc", "diffuser"}, .group = "Probe"});
    s.add("outer-zone-width", &S::outer_zone_width_m, "of the zone plate",
          {.min = 1e-9, .max = 1e-3, .unit = "m", .group = "Probe"});
    s.add("zone-plate-diameter", &S::zone_plate_diameter_m, "of the zone plate",
          {.min = 1e-6, .max = 1e-1, .unit = "m", .group = "Probe"});
    s.add("central-stop", &S::central_stop_m, "diameter of the stop before the zone plate",
          {.min = 0, .max = 1e-1, .unit = "m", .group = "Probe"});
    s.add("defocus", &S::defocus_m, "sample behind the focus", {.min = -1, .max = 1, .unit = "m", .group = "Probe"});
    s.add("probe-size", &S::probe_size_px, "diameter of disc and diffuser, full width at half maximum of the Gaussian",
          {.min = 2, .max = 4096, .unit = "px", .group = "Probe"});
    s.add("diffuser-phase", &S::diffuser_phase_rad, "RMS phase of the diffuser",
          {.min = 0, .max = 100, .unit = "rad", .group = "Probe"});
    s.add("modes", &S::modes, "mutually incoherent modes of the illumination", {.min = 1, .max = 10, .group = "Probe"});
    s.add("mode-powers", &S::mode_powers, "relative powers of the modes; empty: each 0.3 of the one before",
          {.min = 1e-6, .max = 1e6, .group = "Probe"});
    s.add("opr", &S::opr,
          "RMS share by which the amplitude of the probe varies from pattern to pattern (one eigen-probe)",
          {.min = 0, .max = 1, .group = "Probe"});
    s.add("intensity-fluctuation", &S::intensity_fluctuation, "RMS relative fluctuation of the photons per pattern",
          {.min = 0, .max = 0.5, .group = "Probe"});
    s.add("start-probe", &S::start_probe, "starting probe stored with the scan",
          {.choices = {"perturbed", "exact", "none"}, .group = "Probe"});

    s.add("background", &S::background, "mean incoherent background per pixel",
          {.min = 0, .max = 1e12, .unit = "counts", .group = "Detector"});
    s.add("beam-stop", &S::beam_stop_px, "radius of the beam stop; its pixels are masked",
          {.min = 0, .max = 2048, .unit = "px", .group = "Detector"});
    s.add("dead-pixels", &S::dead_pixels, "share of dead pixels: they read 0 and are masked",
          {.min = 0, .max = 0.9, .group = "Detector"});
    s.add("noise", &S::noise, "counting statistics", {.choices = {"poisson", "none"}, .group = "Detector"});
    s.add("dtype", &S::dtype, "pixel type of the patterns", {.choices = {"u16", "u32", "f32"}, .group = "Detector"});
    s.add("saturation", &S::saturation, "counts are cut here; 0: at the largest value of the pixel type",
          {.min = 0, .max = 4294967295.0, .unit = "counts", .group = "Detector"});
    return s;
  }();
  return schema;
}

SimulateOptions set_options(SimulatedSet set) {
  SimulateOptions o;
  o.set = set;
  switch (set) {
    case SimulatedSet::none: break;
    case SimulatedSet::catalyst:
      break;  // the defaults: the scan of the catalyst view over a Siemens star (--phantom catalyst for grains)
    case SimulatedSet::coins_8k:
    case SimulatedSet::coins_16k:
      o.phantom = Phantom::coins;
      o.patterns = set == SimulatedSet::coins_8k ? 8000 : 16000;
      break;
    case SimulatedSet::siemens_star_32k:
      o.patterns = 32000;
      o.shape = 256;
      o.step_px = 20;
      o.jitter_px = 3;
      o.photons = 2e6;
      o.outer_zone_width_m = 40e-9;
      break;
  }
  return o;
}

SimulateOptions make_simulate_options(const core::OptionValues& given) {
  const auto& schema = simulate_schema();
  auto values = schema.values(set_options(schema.make(given).set));
  for (const auto& [name, value] : schema.check(given)) values[name] = value;
  SimulateOptions o = schema.make(values);

  if (o.mode_powers.empty()) {
    double power = 1;
    for (core::Index m = 0; m < o.modes; ++m, power *= 0.3) o.mode_powers.push_back(power);
  }
  if (static_cast<core::Index>(o.mode_powers.size()) != o.modes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} mode powers were given for {} modes", o.mode_powers.size(), o.modes));
  const double sum = std::accumulate(o.mode_powers.begin(), o.mode_powers.end(), 0.0);
  for (double& power : o.mode_powers) power /= sum;
  std::sort(o.mode_powers.rbegin(), o.mode_powers.rend());
  return o;
}

}  // namespace farfield::techniques::ptychography
