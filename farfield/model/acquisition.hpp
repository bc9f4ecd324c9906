#pragma once
// What is known of a scan before its frames: beam, detector, geometry, mask, starting values.
// Terms follow NeXus. What a file does not record stays empty; nothing is guessed.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::model {

/// Photon energy (eV) to wavelength (m) and back: lambda = h c / E (CODATA 2018, exact).
inline constexpr double kHcEvM = 1.239841984332002606e-6;
inline constexpr double kJoulePerEv = 1.602176634e-19;

struct Beam {
  std::optional<double> energy_eV;
  std::optional<double> wavelength_m() const {
    return energy_eV ? std::optional<double>(kHcEvM / *energy_eV) : std::nullopt;
  }
};

/// Where the zero spatial frequency of a diffraction pattern lies.
enum class DcLocation { centre, corner };

/// NeXus pixel_mask: 0 = good. Low bits as in NXdetector.
namespace pixel_mask {
inline constexpr std::uint32_t kGap = 1U << 0;
inline constexpr std::uint32_t kDead = 1U << 1;
inline constexpr std::uint32_t kUnder = 1U << 2;
inline constexpr std::uint32_t kOver = 1U << 3;
inline constexpr std::uint32_t kNoisy = 1U << 4;
inline constexpr std::uint32_t kUser = 1U << 31;
}  // namespace pixel_mask

struct Detector {
  core::Index ny = 0, nx = 0;                  ///< image(y, x)
  core::DType dtype = core::DType::u16;        ///< of the frames as stored
  DcLocation dc = DcLocation::centre;
  std::optional<double> distance_m;            ///< sample to detector
  std::optional<double> pixel_size_y_m, pixel_size_x_m;
  std::optional<double> saturation_counts;     ///< counts at or above are not to be trusted
  core::Array<std::uint32_t, 2> pixel_mask;    ///< (y, x), empty: all good

  Detector clone() const;
};

/// Unit of the positions of this scan. Never guessed from their size.
enum class PositionUnit { unknown, metres, pixels };

struct Scan {
  PositionUnit unit = PositionUnit::unknown;
  core::Index expected_frames = -1;            ///< -1: not known (a live source)
};

struct Acquisition {
  std::string title;
  std::string source;                          ///< file or stream it came from, for messages and provenance
  std::string checksum;                        ///< of the input, "sha256:...", empty: not known
  Beam beam;
  Detector detector;
  Scan scan;
  /// Starting values and other arrays by role: "probe" c64 (mode, y, x), "object" c64 (y, x),
  /// "background" f32 (y, x), "dark", "flat" ... Empty where the scan has none.
  std::map<std::string, core::AnyArray> inputs;
  /// Free metadata for provenance: sample, beamline, experiment, start_time ...
  std::map<std::string, std::string> metadata;

  /// A deep enough copy (arrays in `inputs` are shared, the mask is cloned).
  Acquisition clone() const;
};

/// Throws `corrupt_data` where a number contradicts physics or is far outside any instrument, as after a slip of
/// units: energy (0.1 eV to 1 GeV), distance (to 10 km), pixel size (to 0.1 m), frame side (1 to 1048576 pixels),
/// saturation value not > 0, mask of another shape. `context` names the file or stream.
void validate(const Acquisition& acquisition, const std::string& context);

}  // namespace farfield::model
