#pragma once
// What a user can choose, as plain structs, each with the schema that binds it to names, ranges and help.

#include <string>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/core/view.hpp"

namespace farfield::techniques::xpcs {

using core::Index;

enum class Normalise { none, frame_sum, monitor };

/// Which frames are used, and how counts become intensities. All verbs that take frames have them.
struct IntakeOptions {
  std::string frames;      ///< FrameList; empty: all
  std::string bad_frames;  ///< FrameList
  Index stride = 1;        ///< one frame of `stride` is used
  Index average = 1;       ///< consecutive used frames that make one time step
  Normalise normalise = Normalise::none;
  double lld = 0;          ///< counts at or below are noise
  double sigma = 0;        ///< ... lld + sigma * standard deviation of the dark
  Index wait = 1024;       ///< frames kept waiting for one that comes late
  Index window = 0;        ///< frames of a window of saxs_1d_partial; 0: a tenth of the scan
  double frame_time_s = 0; ///< 0: as the scan says
};

struct CorrelateOptions {
  IntakeOptions intake;
  Index delays_per_level = 4;
  Index linear = 0;          ///< > 0: the delays 1 ... linear, no levels
  Index max_delay = 0;       ///< in time steps; 0: as long as the scan
  Index part = 0;            ///< frames of each part of g2_partial; 0: none
  bool keep_pixels = false;  ///< G2, IP, IF of every pixel into the product
  double tau_error = 0;      ///< stop once every tau(q) is known to this relative error; 0: never
  double damage = 0;         ///< warn when g2 of a part is so many errors off the first part; 0: never
};

enum class Smoothing { dynamic_bins, static_bins };

struct TwoTimeOptions {
  IntakeOptions intake;
  std::vector<double> bins;  ///< numbers of the dynamic bins; empty: all
  Smoothing smoothing = Smoothing::dynamic_bins;
  Index part = 100;          ///< time steps of each window of c2_g2_partial
  std::vector<double> cuts;  ///< time steps at which c2 is cut
};

struct SaxsOptions {
  IntakeOptions intake;
};

const core::BoundSchema<CorrelateOptions>& correlate_schema();
const core::BoundSchema<TwoTimeOptions>& twotime_schema();
const core::BoundSchema<SaxsOptions>& saxs_schema();

}  // namespace farfield::techniques::xpcs
