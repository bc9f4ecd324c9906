#pragma once
// Units that files state beside their numbers, to SI and eV.

#include <optional>
#include <string>

namespace farfield::io {

/// Factor to metres of a length unit ("m", "mm", "um", "µm", "micron", "nm", "pm", "angstrom", "A" ...);
/// nothing for a unit that is not a length.
std::optional<double> metres_per(const std::string& unit);
/// Factor to eV of an energy unit ("eV", "keV", "MeV", "J").
std::optional<double> electronvolts_per(const std::string& unit);
bool is_pixel_unit(const std::string& unit);

}  // namespace farfield::io
