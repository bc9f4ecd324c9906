#pragma once
// Float TIFF images, as ImageJ, Fiji and numpy readers take them.

#include <filesystem>

#include "farfield/core/array.hpp"

namespace farfield::io {

/// One page of 32-bit floats, image(y, x), uncompressed, row 0 on top. Atomic.
/// Throws `invalid_argument` for an empty image, `io`/`resource_exhausted`.
void write_tiff(const std::filesystem::path& path, core::View<const float, 2> image);

/// The first page of a grey TIFF (8, 16, 32-bit integer or 32, 64-bit float) as floats.
/// Throws `not_found`, `corrupt_data`, `unsupported` (colour, other sample types).
core::Array<float, 2> read_tiff(const std::filesystem::path& path);

}  // namespace farfield::io
