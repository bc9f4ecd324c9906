#include "farfield/io/hdf5/product_parts.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"

namespace farfield::io::hdf5 {

using core::Error;
using core::ErrorCode;
using core::Index;

void check_name(const std::string& name, const char* what) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} name \"{}\" must not be empty or hold a slash", what, name));
}

void write_dataset(File& file, const std::string& path, const model::Dataset& dataset) {
  if (dataset.data.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("dataset \"{}\" has no array", dataset.name));
  Storage storage;
  // gzip, which every HDF5 program reads; small arrays are not worth a chunk index.
  constexpr Index kWorthCompressing = 65536;
  if (dataset.data.bytes() >= kWorthCompressing && dataset.data.rank() >= 2) {
    storage.chunk = dataset.data.shape();
    for (std::size_t r = 0; r + 2 < storage.chunk.size(); ++r) storage.chunk[r] = 1;
    const Index row = storage.chunk.back() * core::item_size(dataset.data.dtype());
    auto& rows = storage.chunk[storage.chunk.size() - 2];
    rows = std::max<Index>(1, std::min(rows, (Index{1} << 20) / std::max<Index>(row, 1)));
    if (row > (Index{1} << 30)) storage.chunk.clear();  // a chunk has to stay below 4 GiB
    if (!storage.chunk.empty()) storage.filters = {{kShuffle, {}}, {kDeflate, {1}}};
  }
  file.write(path, dataset.data, storage);
  if (!dataset.unit.empty()) file.set_attribute(path, "units", dataset.unit);
  if (!dataset.axes.empty()) file.set_attribute(path, "axes", dataset.axes);
  if (!dataset.help.empty()) file.set_attribute(path, "description", dataset.help);
}

model::Dataset read_dataset(const File& file, const std::string& path, const std::string& name) {
  model::Dataset d;
  d.name = name;
  d.data = file.dataset(path).read();
  d.unit = file.text_attribute(path, "units").value_or("");
  d.axes = file.text_list_attribute(path, "axes");
  d.help = file.text_attribute(path, "description").value_or("");
  return d;
}

}  // namespace farfield::io::hdf5
