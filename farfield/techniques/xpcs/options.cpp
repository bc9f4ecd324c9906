#include "farfield/techniques/xpcs/options.hpp"

namespace farfield::techniques::xpcs {
namespace {

/// The options of IntakeOptions, as members `intake` of S.
template <class S>
void add_intake(core::BoundSchema<S>& s) {
  const auto text = [&](const char* name, std::string IntakeOptions::* member, const char* help) {
    s.template add_at<std::string>(name, [member](S& o) -> std::string& { return o.intake.*member; }, help,
                                   {.group = "Frames"});
  };
  const auto count = [&](const char* name, Index IntakeOptions::* member, const char* help, double min) {
    s.template add_at<Index>(name, [member](S& o) -> Index& { return o.intake.*member; }, help,
                             {.min = min, .max = 1e9, .unit = "frames", .group = "Frames"});
  };
  text("frames", &IntakeOptions::frames, "frames to use, as in 0-999,2000-2999; empty: all. Gaps stay gaps in time");
  text("bad-frames", &IntakeOptions::bad_frames,
       "frames to leave out, as in 17,100-110; delays that would need them are measured on the others");
  count("stride", &IntakeOptions::stride, "use one frame of so many", 1);
  count("average", &IntakeOptions::average, "so many consecutive used frames make one time step", 1);
  count("wait", &IntakeOptions::wait, "keep so many frames waiting for one that comes late, then go on without it", 1);
  count("window", &IntakeOptions::window, "frames of a window of saxs_1d_partial; 0: a tenth of the scan", 0);
  s.template add_at<Normalise>("normalise", [](S& o) -> Normalise& { return o.intake.normalise; },
                               "divide each frame by its sum over the good pixels or by its monitor",
                               {.choices = {"none", "frame-sum", "monitor"}, .group = "Intensity"});
  s.template add_at<double>("lld", [](S& o) -> double& { return o.intake.lld; },
                            "lower level: counts (less the dark, where there is one) must be above it",
                            {.min = 0, .max = 1e9, .unit = "counts", .group = "Intensity"});
  s.template add_at<double>("sigma", [](S& o) -> double& { return o.intake.sigma; },
                            "... and above it by so many standard deviations of the dark",
                            {.min = 0, .max = 1e3, .group = "Intensity"});
  s.template add_at<double>("frame-time", [](S& o) -> double& { return o.intake.frame_time_s; },
                            "time from frame to frame; 0: as the scan says",
                            {.min = 0, .max = 1e6, .unit = "s", .group = "Frames"});
}

}  // namespace

const core::BoundSchema<CorrelateOptions>& correlate_schema() {
  static const auto schema = [] {
    core::BoundSchema<CorrelateOptions> s;
    const auto add = [&](const char* name, auto member, const char* help, core::OptionRules rules) {
      rules.group = rules.group.empty() ? "Delays" : rules.group;
      s.add(name, member, help, std::move(rules));
    };
    add("delays-per-level", &CorrelateOptions::delays_per_level,
        "multi-tau: delays of each level; the first has twice as many", {.min = 1, .max = 1024});
    add("linear", &CorrelateOptions::linear, "measure the delays 1, 2 ... up to this one instead; 0: multi-tau",
        {.min = 0, .max = 65535, .unit = "time steps"});
    add("max-delay", &CorrelateOptions::max_delay, "longest delay; 0: as long as the scan",
        {.min = 0, .max = 1e9, .unit = "time steps"});
    add("part", &CorrelateOptions::part, "measure g2 also within each stretch of so many frames (ageing); 0: not",
        {.min = 0, .max = 1e9, .unit = "frames"});
    add("keep-pixels", &CorrelateOptions::keep_pixels,
        "keep what every pixel measured, so that `rebin` can apply another q-map without the frames", {});
    add("tau-error", &CorrelateOptions::tau_error,
        "stop once the relaxation time of every bin is known to this relative error; 0: use every frame",
        {.min = 0, .max = 1, .group = "Steering"});
    add("damage", &CorrelateOptions::damage,
        "warn when g2 of a part differs from the first part by so many standard errors (beam damage); 0: never",
        {.min = 0, .max = 1e3, .group = "Steering"});
    add_intake(s);
    return s;
  }();
  return schema;
}

const core::BoundSchema<TwoTimeOptions>& twotime_schema() {
  static const auto schema = [] {
    core::BoundSchema<TwoTimeOptions> s;
    s.add("bins", &TwoTimeOptions::bins, "numbers of the dynamic bins, as in 1,5,9; empty: all", {.group = "Bins"});
    s.add("smoothing", &TwoTimeOptions::smoothing, "divide each pixel by the mean of this bin at the same time",
          {.choices = {"dynamic", "static"}, .group = "Bins"});
    s.add("part", &TwoTimeOptions::part, "time steps of each window of c2_g2_partial (ageing)",
          {.min = 1, .max = 1e9, .unit = "time steps", .group = "Bins"});
    s.add("cuts", &TwoTimeOptions::cuts,
          "cut c2 at these times, as in 100,500: along one axis, and across the diagonal",
          {.min = 0, .max = 1e9, .unit = "time steps", .group = "Bins"});
    add_intake(s);
    return s;
  }();
  return schema;
}

const core::BoundSchema<SaxsOptions>& saxs_schema() {
  static const auto schema = [] {
    core::BoundSchema<SaxsOptions> s;
    add_intake(s);
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::xpcs
