#include "farfield/io/product_file.hpp"

#include <fmt/format.h>

#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/io/cxi/product.hpp"
#include "farfield/io/foreign_product.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/npz/npy.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/io/xpcs/result_file.hpp"

namespace farfield::io {

void write_product(const std::filesystem::path& path, const model::Product& product) {
  const auto suffix = path.extension();
  const bool eight_id = suffix == ".h5" || suffix == ".hdf" || suffix == ".hdf5";
  if (eight_id && product.technique == "xpcs")
    return product.verb == "qmap" ? xpcs::write_qmap(path, product) : xpcs::write_result(path, product);
  cxi::write_product(path, product);
}

std::string result_name(const model::Product& product) {
  return product.technique == "xpcs" ? "result.h5" : "result.cxi";
}

model::Product read_product(const std::filesystem::path& path) {
  std::string head(4, '\0');
  std::ifstream(path, std::ios::binary).read(head.data(), 4);
  if (head == "PK\x03\x04" || head.starts_with("BZh")) return read_npz_product(npz::Npz::open(path));
  const auto file = hdf5::File::open(path);
  if (cxi::is_product(file)) return cxi::read_product(file);
  if (xpcs::is_result(file)) return xpcs::read_result(file);
  if (xpcs::holds_qmap(file)) {
    model::Product map;
    map.technique = "xpcs";
    map.verb = "qmap";
    xpcs::read_qmap_group(file, map);
    return map;
  }
  return read_hdf5_product(file);
}

}  // namespace farfield::io
