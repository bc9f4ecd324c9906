#pragma once
// Everything a user can choose, as one plain struct; schema() documents and bounds it.

#include <string>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography {

enum class AlgorithmKind { lsqml, rpie, epie, cgml, dm, raar };
enum class Propagation { far_field, angular_spectrum, fresnel };
enum class BatchChoice { automatic, sequential, random, compact };
enum class Acceleration { none, momentum, nesterov, adam };
enum class StepChoice { batch, pattern };
enum class ProbeStart { automatic, file, mean_pattern, aperture, zone_plate };
enum class ObjectStart { automatic, file, flat, random, stxm };
enum class ModeStart { hermite, shifted, random };
enum class PositionModel { free, affine, rigid };
enum class DcChoice { file, centre, corner };
enum class PlanningEffort { estimate, measure, patient };

/// When a feature is active: iterations start, start + stride, ... < stop (stop 0: to the end).
struct Plan {
  std::int64_t start = 0, stop = 0, stride = 1;
  bool active(std::int64_t iteration) const {
    return iteration >= start && (stop == 0 || iteration < stop) && (iteration - start) % stride == 0;
  }
};

struct Options {
  // what to do, and for how long
  AlgorithmKind algorithm = AlgorithmKind::lsqml;
  std::int64_t iterations = 100;
  double time_limit_s = 0;
  std::int64_t convergence_window = 0;
  double convergence_tolerance = 1e-3;
  std::int64_t refine_after_scan = 0;

  // the step of one batch
  std::int64_t batch_size = 0;
  BatchChoice batches = BatchChoice::automatic;
  double alpha = 0.05;
  double object_step = 1, probe_step = 1;
  StepChoice step_choice = StepChoice::batch;
  double damping = 0.1;
  Likelihood likelihood = Likelihood::amplitude;
  Acceleration acceleration = Acceleration::none;
  double momentum = 0.9;
  double raar_beta = 0.8;
  double dm_beta = 1, dm_tolerance = 0.05;

  // probe
  std::int64_t probe_modes = 1;
  ModeStart mode_start = ModeStart::hermite;
  double mode_power = 0.1;
  bool orthogonalise = true;
  std::int64_t opr_modes = 0;
  ProbeStart probe_start = ProbeStart::automatic;
  double probe_diameter_px = 0;
  double probe_defocus_m = 0;
  double zone_plate_diameter_m = 0, zone_plate_outer_zone_m = 0, zone_plate_stop_m = 0;
  bool rescale_probe = true;
  double probe_support = 0;
  bool centre_probe = false;
  double probe_photons = 0;

  // object
  ObjectStart object_start = ObjectStart::automatic;
  double object_amplitude_max = 0;
  double object_amplitude_min = 0;
  bool object_positive = false;
  double object_smoothness = 0;
  double object_tv = 0;

  // what else is refined
  bool refine_positions = false;
  PositionModel position_model = PositionModel::affine;
  double position_step_limit_px = 0.5;
  double position_outlier_sigma = 4;
  double position_regularisation = 0.1;
  bool fit_intensity = false;
  bool fit_background = false;

  // plans: (start, stop, stride) of each feature
  Plan object_plan{}, probe_plan{}, mode_plan{}, opr_plan{5, 0, 1}, position_plan{5, 0, 1}, intensity_plan{3, 0, 1},
      background_plan{5, 0, 1}, object_constraint_plan{}, probe_constraint_plan{};

  // detector image
  DcChoice dc = DcChoice::file;
  std::int64_t crop_px = 0;
  std::int64_t bin = 1;
  std::int64_t pad_px = 0;
  bool flip_y = false, flip_x = false, transpose = false;
  double saturation = 0;

  // geometry
  Propagation propagation = Propagation::far_field;
  double energy_eV = 0;
  double distance_m = 0;
  double detector_pixel_m = 0;
  double position_scale_y = 1, position_scale_x = 1;
  bool swap_positions = false;

  PlanningEffort fft_planning = PlanningEffort::measure;
};

const core::BoundSchema<Options>& schema();

/// Checks what no single option can: combinations. Throws `invalid_argument`.
void validate(const Options&);

std::string_view name(AlgorithmKind);

}  // namespace farfield::techniques::ptychography
