#include "farfield/techniques/ptychography/options.hpp"

#include <fmt/format.h>

namespace farfield::techniques::ptychography {
namespace {

using core::Error;
using core::ErrorCode;
using core::OptionRules;

core::BoundSchema<Options> build() {
  core::BoundSchema<Options> s;
  const double inf = std::numeric_limits<double>::infinity();
  const auto in = [](std::string group, double min, double max, std::string unit = "") {
    return OptionRules{.min = min, .max = max, .unit = std::move(unit), .group = std::move(group)};
  };
  const auto one_of = [](std::string group, std::vector<std::string> choices) {
    return OptionRules{.choices = std::move(choices), .group = std::move(group)};
  };
  const auto yes_no = [](std::string group) { return OptionRules{.group = std::move(group)}; };

  const std::string run = "Algorithm";
  s.add("algorithm", &Options::algorithm,
        "lsqml: least-squares maximum likelihood; rpie, epie: (regularised) ptychographic iterative engine; "
        "cgml: conjugate gradients; dm: difference map; raar: relaxed averaged alternating reflections",
        one_of(run, {"lsqml", "rpie", "epie", "cgml", "dm", "raar"}));
  s.add("iterations", &Options::iterations, "passes over all patterns", in(run, 1, 1e7));
  s.add("time-limit", &Options::time_limit_s, "stop after this time; 0: no limit", in(run, 0, inf, "s"));
  s.add("convergence-window", &Options::convergence_window,
        "stop when the mean cost of this many iterations falls by less than the tolerance from one window to the next; "
        "0: never",
        in(run, 0, 1e6));
  s.add("convergence-tolerance", &Options::convergence_tolerance, "relative fall of the cost for convergence-window",
        in(run, 0, 1));
  s.add("refine-after-scan", &Options::refine_after_scan,
        "passes after the last frame of a scan that was reconstructed while it came, in place of iterations; 0: as "
        "many as "
        "iterations",
        in(run, 0, 1e7));
  s.add("likelihood", &Options::likelihood,
        "amplitude: Gaussian noise of the square root of counts; poisson: counting noise",
        one_of(run, {"amplitude", "poisson"}));

  const std::string step = "Steps";
  s.add("batch-size", &Options::batch_size,
        "patterns per update; 0: chosen by the algorithm (lsqml: growing from 4, rpie: 16, epie: one a thread)",
        in(step, 0, 1e9));
  s.add("batches", &Options::batches,
        "how patterns are grouped: sequential as measured, random, compact clusters of neighbours",
        one_of(step, {"automatic", "sequential", "random", "compact"}));
  s.add("alpha", &Options::alpha, "rPIE regularisation of the update's denominator (1: ePIE)", in(step, 1e-6, 1));
  s.add("object-step", &Options::object_step, "factor on each object update", in(step, 0, 10));
  s.add("probe-step", &Options::probe_step, "factor on each probe update", in(step, 0, 10));
  s.add("optimal-steps", &Options::step_choice,
        "lsqml: the object's least-squares step is one for a batch, or one for each pattern, weighted by its light",
        one_of(step, {"batch", "pattern"}));
  s.add("damping", &Options::damping,
        "lsqml, cgml: weakly illuminated pixels are held back below this fraction of the strongest illumination",
        in(step, 1e-6, 1));
  s.add("acceleration", &Options::acceleration, "of object and probe updates (epie, rpie, lsqml)",
        one_of(step, {"none", "momentum", "nesterov", "adam"}));
  s.add("momentum", &Options::momentum, "decay of the accumulated direction", in(step, 0, 0.999));
  s.add("raar-beta", &Options::raar_beta, "relaxation of RAAR", in(step, 0.1, 1));
  s.add("dm-beta", &Options::dm_beta, "strength of the difference map: 1 is its plain form", in(step, 0.1, 1));
  s.add("dm-tolerance", &Options::dm_tolerance,
        "dm: misfit of a pattern, relative to the norm of its amplitudes, that is taken for noise and left alone",
        in(step, 0, 1));

  const std::string probe = "Probe";
  s.add("probe-modes", &Options::probe_modes, "incoherent probe modes", in(probe, 1, 64));
  s.add("mode-start", &Options::mode_start, "shape of the higher modes at the start",
        one_of(probe, {"hermite", "shifted", "random"}));
  s.add("mode-power", &Options::mode_power, "power of all higher modes together at the start, as a fraction",
        in(probe, 0, 0.9));
  s.add("orthogonalise", &Options::orthogonalise, "keep the modes orthogonal, strongest first", yes_no(probe));
  s.add("opr-modes", &Options::opr_modes, "eigen-probes that let the probe vary from pattern to pattern",
        in(probe, 0, 32));
  s.add("probe-start", &Options::probe_start, "automatic: from the file, else from the mean pattern",
        one_of(probe, {"automatic", "file", "mean-pattern", "aperture", "zone-plate"}));
  s.add("probe-diameter", &Options::probe_diameter_px, "of the aperture start; 0: a third of the window",
        in(probe, 0, 1e5, "px"));
  s.add("probe-defocus", &Options::probe_defocus_m, "propagates the starting probe by this distance",
        in(probe, -10, 10, "m"));
  s.add("zone-plate-diameter", &Options::zone_plate_diameter_m, "for probe-start zone-plate", in(probe, 0, 1, "m"));
  s.add("zone-plate-outer-zone", &Options::zone_plate_outer_zone_m, "width of the outermost zone",
        in(probe, 0, 1e-3, "m"));
  s.add("zone-plate-stop", &Options::zone_plate_stop_m, "diameter of the central stop", in(probe, 0, 1, "m"));
  s.add("rescale-probe", &Options::rescale_probe, "scale the starting probe to the measured counts", yes_no(probe));
  s.add("probe-support", &Options::probe_support,
        "radius outside which the probe is faded out, as a fraction of half the window; 0: none", in(probe, 0, 1.5));
  s.add("centre-probe", &Options::centre_probe, "keep the probe's centre of mass in the middle of the window",
        yes_no(probe));
  s.add("probe-photons", &Options::probe_photons, "hold the probe's total counts at this number; 0: free",
        in(probe, 0, inf, "counts"));

  const std::string object = "Object";
  s.add("object-start", &Options::object_start,
        "automatic: from the file, else flat; stxm: amplitude from each pattern's counts",
        one_of(object, {"automatic", "file", "flat", "random", "stxm"}));
  s.add("object-amplitude-max", &Options::object_amplitude_max, "clip the object's amplitude; 0: free",
        in(object, 0, 1e6));
  s.add("object-amplitude-min", &Options::object_amplitude_min, "raise the object's amplitude to this",
        in(object, 0, 1e6));
  s.add("object-positive", &Options::object_positive, "real, positive object", yes_no(object));
  s.add("object-smoothness", &Options::object_smoothness,
        "fraction of each pixel that is replaced by its neighbours' mean, per iteration", in(object, 0, 1));
  s.add("object-tv", &Options::object_tv, "weight of total-variation denoising per iteration", in(object, 0, 10));

  const std::string refine = "Refinement";
  s.add("refine-positions", &Options::refine_positions, "correct the scan positions", yes_no(refine));
  s.add("position-model", &Options::position_model,
        "what corrections are drawn towards: free, an affine map of the scan, or a rigid shift",
        one_of(refine, {"free", "affine", "rigid"}));
  s.add("position-step-limit", &Options::position_step_limit_px, "largest correction in one iteration",
        in(refine, 1e-4, 100, "px"));
  s.add("position-outlier-sigma", &Options::position_outlier_sigma,
        "corrections further than this from the model are pulled back onto it", in(refine, 1, 1e6));
  s.add("position-regularisation", &Options::position_regularisation, "pull towards the position model, per iteration",
        in(refine, 0, 1));
  s.add("fit-intensity", &Options::fit_intensity, "a factor for each pattern (unsteady beam)", yes_no(refine));
  s.add("fit-background", &Options::fit_background, "an incoherent background common to all patterns", yes_no(refine));

  const auto plan = [&](const std::string& feature, Plan Options::* member) {
    s.add_at<std::int64_t>(
        feature + "-start", [member](Options& o) -> std::int64_t& { return (o.*member).start; },
        "first iteration (from 0) with this feature", in("Plans", 0, 1e9));
    s.add_at<std::int64_t>(
        feature + "-stop", [member](Options& o) -> std::int64_t& { return (o.*member).stop; },
        "iteration before which it ends; 0: never", in("Plans", 0, 1e9));
    s.add_at<std::int64_t>(
        feature + "-stride", [member](Options& o) -> std::int64_t& { return (o.*member).stride; },
        "every so many iterations", in("Plans", 1, 1e9));
  };
  plan("object-update", &Options::object_plan);
  plan("probe-update", &Options::probe_plan);
  plan("mode-update", &Options::mode_plan);
  plan("opr-update", &Options::opr_plan);
  plan("position-update", &Options::position_plan);
  plan("intensity-update", &Options::intensity_plan);
  plan("background-update", &Options::background_plan);
  plan("object-constraint", &Options::object_constraint_plan);
  plan("probe-constraint", &Options::probe_constraint_plan);

  const std::string detector = "Detector image";
  s.add("dc", &Options::dc, "where zero spatial frequency lies in the frames",
        one_of(detector, {"file", "centre", "corner"}));
  s.add("crop", &Options::crop_px, "use only the central N x N pixels; 0: all", in(detector, 0, 1 << 16, "px"));
  s.add("bin", &Options::bin, "sum N x N pixels into one", in(detector, 1, 64));
  s.add("pad", &Options::pad_px, "embed in N x N pixels, the new ones unmeasured; 0: no",
        in(detector, 0, 1 << 16, "px"));
  s.add("flip-y", &Options::flip_y, "mirror frames top to bottom", yes_no(detector));
  s.add("flip-x", &Options::flip_x, "mirror frames left to right", yes_no(detector));
  s.add("transpose", &Options::transpose, "exchange rows and columns of frames (before flips)", yes_no(detector));
  s.add("saturation", &Options::saturation, "counts at or above this are not used; 0: as the file says",
        in(detector, 0, inf, "counts"));

  const std::string geometry = "Geometry";
  s.add("propagation", &Options::propagation, "from sample to detector",
        one_of(geometry, {"far-field", "angular-spectrum", "fresnel"}));
  s.add("energy", &Options::energy_eV, "photon energy, over the file's; 0: as the file says",
        in(geometry, 0, 1e7, "eV"));
  s.add("distance", &Options::distance_m, "sample to detector, over the file's; 0: as the file says",
        in(geometry, 0, 1e4, "m"));
  s.add("detector-pixel", &Options::detector_pixel_m, "over the file's; 0: as the file says", in(geometry, 0, 1, "m"));
  s.add("position-scale-y", &Options::position_scale_y, "factor on recorded y (-1 mirrors)", in(geometry, -1e6, 1e6));
  s.add("position-scale-x", &Options::position_scale_x, "factor on recorded x (-1 mirrors)", in(geometry, -1e6, 1e6));
  s.add("swap-positions", &Options::swap_positions, "exchange recorded y and x (before scaling)", yes_no(geometry));

  s.add("fft-planning", &Options::fft_planning,
        "how long FFTW searches for a fast plan, once per shape and machine, where it does the transform",
        one_of("Algorithm", {"estimate", "measure", "patient"}));
  return s;
}

}  // namespace

const core::BoundSchema<Options>& schema() {
  static const auto built = build();
  return built;
}

std::string_view name(AlgorithmKind kind) {
  constexpr std::string_view names[] = {"lsqml", "rpie", "epie", "cgml", "dm", "raar"};
  return names[static_cast<int>(kind)];
}

void validate(const Options& o) {
  const auto refuse = [](const std::string& message) { throw Error(ErrorCode::invalid_argument, message); };
  const bool projection = o.algorithm == AlgorithmKind::dm || o.algorithm == AlgorithmKind::raar;
  const bool stochastic =
      o.algorithm == AlgorithmKind::lsqml || o.algorithm == AlgorithmKind::rpie || o.algorithm == AlgorithmKind::epie;
  if (!stochastic && o.batch_size > 0)
    refuse(fmt::format("option batch-size = {} must be 0 with algorithm {}, which uses all patterns at once",
                       o.batch_size, name(o.algorithm)));
  if (o.step_choice == StepChoice::pattern && o.algorithm != AlgorithmKind::lsqml)
    refuse(fmt::format("option optimal-steps = pattern needs algorithm lsqml, not {}", name(o.algorithm)));
  if (!stochastic && o.acceleration != Acceleration::none)
    refuse(fmt::format("option acceleration must be none with algorithm {}; it is for lsqml, rpie and epie",
                       name(o.algorithm)));
  if (projection && o.likelihood != Likelihood::amplitude)
    refuse(fmt::format("option likelihood must be amplitude with algorithm {}: a projection replaces amplitudes",
                       name(o.algorithm)));
  if (o.opr_modes > 0 && o.algorithm != AlgorithmKind::lsqml)
    refuse(fmt::format("option opr-modes = {} needs algorithm lsqml", o.opr_modes));
  if (o.object_amplitude_max > 0 && o.object_amplitude_min > o.object_amplitude_max)
    refuse(fmt::format("option object-amplitude-min = {} must be <= object-amplitude-max = {}", o.object_amplitude_min,
                       o.object_amplitude_max));
  if (o.probe_start == ProbeStart::zone_plate && !(o.zone_plate_diameter_m > 0 && o.zone_plate_outer_zone_m > 0))
    refuse("option probe-start = zone-plate needs zone-plate-diameter and zone-plate-outer-zone");
  if (o.centre_probe && o.propagation != Propagation::far_field)
    refuse("option centre-probe needs propagation = far-field: in the near field the patterns tell where the probe is");
  if (o.position_scale_y == 0 || o.position_scale_x == 0)
    refuse("options position-scale-y and position-scale-x must not be 0");
  if (o.crop_px > 0 && o.crop_px % o.bin != 0)
    refuse(fmt::format("option crop = {} must be a multiple of bin = {}", o.crop_px, o.bin));
}

}  // namespace farfield::techniques::ptychography
