#pragma once

#include <string>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io::hdf5 {

/// Names of objects in a file: one level, no "/" and not "." or "..". Throws `invalid_argument`.
void check_name(const std::string& name, const char* what);

/// A model::Dataset with its attributes (units, axes, description); images are compressed.
/// A chunk of real numbers through byte shuffle and gzip by Farfield's own codec: several times as fast as the
/// library's filters, which read it all the same. `storage` is how the dataset must have been created.
std::vector<std::byte> pack_chunk(std::span<const std::byte> chunk, core::Index item_bytes);
Storage packed_storage(std::vector<core::Index> chunk);

void write_dataset(File& file, const std::string& path, const model::Dataset& dataset);
/// The reverse; `name` is not stored and becomes the dataset's.
model::Dataset read_dataset(const File& file, const std::string& path, const std::string& name);

}  // namespace farfield::io::hdf5
