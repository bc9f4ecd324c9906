#pragma once
// Corrections of the detector as options, the same for files and streams.

#include <memory>
#include <string>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/pipeline/corrections.hpp"

namespace farfield::apps {

struct CorrectionChoice {
  std::vector<double> crop;
  std::int64_t bin = 1;
  bool countrate = true;
  std::string gain;
};
const core::BoundSchema<CorrectionChoice>& correction_schema();

/// For provenance and checkpoints: empty where everything is as always.
std::string text_of(const CorrectionChoice& choice);

/// Sets crop, bin and count rate. Throws `invalid_argument` for a crop that is not four whole numbers.
void choose(const CorrectionChoice& choice, pipeline::CorrectionOptions& corrections);

/// The constants of a detector that switches its gain, from a .npz with "pedestal" and "factor" (3, y, x), as inputs
/// "gain_pedestal" and "gain_factor". Nothing for an empty path. Throws `not_found`, `corrupt_data`.
void add_gain(model::Acquisition& acquisition, const std::string& path);
/// The scan with them.
std::unique_ptr<model::FrameSource> with_gain(std::unique_ptr<model::FrameSource> scan, const std::string& path);

}  // namespace farfield::apps
