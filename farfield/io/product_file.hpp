#pragma once
// Results on disk, as CXI files that other programs can read, and results of other programs.

#include <filesystem>
#include <string>

#include "farfield/model/product.hpp"

namespace farfield::io {

/// Writes a product as CXI 1.6 (layout: README.md): the object is entry_1/image_1, the probe is the
/// illumination of source_1, positions are sample translations, and every dataset stands in
/// entry_1/farfield with its type, shape, unit and axes. Numbers and provenance are kept.
/// Products of technique "xpcs" in a file .h5, .hdf or .hdf5 get the layout of APS 8-ID instead (xpcs/README.md),
/// q-maps that of a q-map file.
/// Atomic: the file appears complete or not at all. Throws `io`, `resource_exhausted`, `invalid_argument`.
void write_product(const std::filesystem::path& path, const model::Product& product);

/// The name of a product's file in a folder of results: result.cxi, or result.h5 for techniques with a layout of their
/// own.
std::string result_name(const model::Product& product);

/// Reads a product back exactly, or the result of another program: CXI (image_N), ptypy (.ptyr), npz with
/// `object` and/or `probe` (tike: `psi`, `probe`, `scan`), XPCS in both layouts of APS 8-ID. Foreign results get
/// datasets "object" (y, x), "probe" (mode, y, x), "positions" (frame, 2) as far as they hold them. Throws `not_found`,
/// `unsupported` for a file that holds no result, `corrupt_data`, `io`.
model::Product read_product(const std::filesystem::path& path);

}  // namespace farfield::io
