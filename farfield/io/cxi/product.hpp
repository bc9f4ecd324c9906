#pragma once
// Our own results as CXI; see README.md in this folder.

#include <filesystem>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io::cxi {

void write_product(const std::filesystem::path& path, const model::Product& product);
/// The part that only we read (types, units, axes, numbers, provenance), below `group`.
void write_parts(hdf5::File& file, const std::string& group, const model::Product& product);
model::Product read_parts(const hdf5::File& file, const std::string& group);

bool is_product(const hdf5::File& file);
model::Product read_product(const hdf5::File& file);

}  // namespace farfield::io::cxi
