#pragma once
// Scan positions as files hold them: one pair per frame, or the two axes of a raster.

#include <string>
#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::io {

/// Where `frames` > y.size() = rows and x.size() = columns with rows * columns = frames, the axes of a raster
/// are repeated to one pair per frame (y slow, x fast). Otherwise nothing changes; counts are checked later.
void expand_raster(std::vector<double>& y, std::vector<double>& x, core::Index frames);

/// A text table of numbers: columns separated by commas, semicolons or blanks, "#" begins a comment; lines
/// that do not begin with a number are headings. Throws `corrupt_data` for rows of different lengths,
/// `not_found`, `io`.
std::vector<std::vector<double>> read_table(const std::string& path);

}  // namespace farfield::io
