#pragma once

#include <string>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io::hdf5 {

/// Names of objects in a file: one level, no "/" and not "." or "..". Throws `invalid_argument`.
void check_name(const std::string& name, const char* what);

/// A model::Dataset with its attributes (units, axes, description); images are compressed.
void write_dataset(File& file, const std::string& path, const model::Dataset& dataset);
/// The reverse; `name` is not stored and becomes the dataset's.
model::Dataset read_dataset(const File& file, const std::string& path, const std::string& name);

}  // namespace farfield::io::hdf5
