#pragma once
// What can be simulated: the options of `farfield ptychography simulate` and the named sets.

#include <string>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/core/view.hpp"
#include "farfield/techniques/ptychography/phantoms.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {

/// Named sets: the scans of Yu et al. 2022 (doi:10.1038/s41598-022-09430-3) in number and shape of patterns.
enum class SimulatedSet { none, catalyst, coins_8k, coins_16k, siemens_star_32k };
enum class ScanPath {
  jittered_raster,  ///< snake raster, each point displaced: no raster-grid artefact
  raster,           ///< snake raster
  spiral,           ///< Fermat spiral (Huang et al. 2014, doi:10.1364/OE.22.012634)
};
enum class ProbeShape { zone_plate, gaussian, disc, diffuser };
enum class StartProbe { perturbed, exact, none };
enum class CountingNoise { poisson, none };
enum class PixelType { u16, u32, f32 };

struct SimulateOptions {
  SimulatedSet set = SimulatedSet::none;

  Phantom phantom = Phantom::siemens_star;
  double phase_depth_rad = Material{}.phase_depth_rad;
  double absorption = Material{}.absorption;
  core::Index object_size_px = 0;  ///< 0: what the scan needs

  core::Index patterns = 1800;
  core::Index shape = 128;
  double photons = 8.15e5;         ///< in the illumination, per pattern
  double energy_eV = 8800;
  double distance_m = 1.92;
  double detector_pixel_m = 75e-6;
  bool pixel_units = false;        ///< leave the geometry out, positions in pixels
  bool near_field = false;

  ScanPath scan = ScanPath::jittered_raster;
  double step_px = 12.1;
  double jitter_px = 2;            ///< half width of the uniform displacement of the jittered raster
  double drift_px = 0;
  double position_error_px = 0;

  ProbeShape probe = ProbeShape::zone_plate;
  double outer_zone_width_m = ZonePlate{}.outer_zone_width_m;
  double zone_plate_diameter_m = ZonePlate{}.diameter_m;
  double central_stop_m = ZonePlate{}.central_stop_m;
  double defocus_m = 4e-4;
  double probe_size_px = 40;
  double diffuser_phase_rad = 1;
  core::Index modes = 1;
  std::vector<double> mode_powers{};
  double opr = 0;
  double intensity_fluctuation = 0;
  StartProbe start_probe = StartProbe::perturbed;

  double background = 0;
  double beam_stop_px = 0;
  double dead_pixels = 0;
  CountingNoise noise = CountingNoise::poisson;
  PixelType dtype = PixelType::u16;
  double saturation = 0;

  Material material() const { return {phase_depth_rad, absorption}; }
};

/// Schema of the verb. A set gives other defaults; options given beside it win.
const core::BoundSchema<SimulateOptions>& simulate_schema();

/// The options of a set.
SimulateOptions set_options(SimulatedSet set);

/// Given values on top of those of the set they name. Only what the user gave may be in `given`: a value
/// that merely repeats a default would override the set. Throws `invalid_argument` for values that
/// contradict each other.
SimulateOptions make_simulate_options(const core::OptionValues& given);

}  // namespace farfield::techniques::ptychography
