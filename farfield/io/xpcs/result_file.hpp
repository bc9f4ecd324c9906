#pragma once
// Results of XPCS in the layout of APS 8-ID (NeXus) and the one before it (/exchange); see README.md in this folder.

#include <filesystem>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io::xpcs {

/// Writes a product of technique "xpcs" as one file that readers of both layouts open: the arrays stand below /xpcs,
/// and /exchange has links to them. Datasets are known by the names in README.md; those with other names, numbers and
/// provenance stand below /farfield, so that read_result() gives the product back. Whole or not at all.
/// Throws `invalid_argument` for datasets of other ranks than the layout has, `io`, `resource_exhausted`.
void write_result(const std::filesystem::path& path, const model::Product& product);
/// The same into a file that is open and may hold "correlation_map" already.
void write_result(hdf5::File& file, const model::Product& product);

/// Whether a file holds a result in either layout.
bool is_result(const hdf5::File& file);
/// The product of a result of this or another program (xpcs-eigen, boost_corr): delays in frames of the input,
/// c2 symmetric. Throws `corrupt_data` where arrays contradict each other in shape.
model::Product read_result(const hdf5::File& file);

}  // namespace farfield::io::xpcs
