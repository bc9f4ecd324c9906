#pragma once
// Turns bytes into an HDF5 file: valid for the library, anything for us. Damage of the container itself would
// test the library, which is not ours; what stands in it (paths, types, shapes, units, chunks, texts) does.
//
// The input is a list of records: one byte picks what is made, one the path out of `paths`, then type, rank,
// extents, a number of data bytes and the data.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/hdf5/filters.hpp"

namespace farfield::io::fuzz {

class Bytes {
public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  std::uint8_t byte() { return empty() ? 0 : data_[at_++]; }
  std::span<const std::byte> take(std::size_t n) {
    n = std::min(n, size_ - std::min(at_, size_));
    const std::span<const std::byte> out(reinterpret_cast<const std::byte*>(data_) + at_, n);
    at_ += n;
    return out;
  }

private:
  const std::uint8_t* data_;
  std::size_t size_, at_ = 0;
};

inline void make_file(const std::filesystem::path& path, Bytes in, std::span<const std::string_view> paths) {
  static constexpr const char* units[] = {"m",      "mm",         "um",          "nm",       "eV",
                                          "keV",    "J",          "pixel",       "angstrom", "NXentry",
                                          "NXdata", "NXdetector", "translation", "data",     ""};
  auto file = hdf5::File::create(path, path);
  for (int records = 0; !in.empty() && records < 24; ++records) {
    const std::uint8_t what = in.byte();
    const std::string at(paths[in.byte() % paths.size()]);
    try {
      if (what % 8 == 0) {
        const auto text = in.take(in.byte());
        file.write_text(at, {reinterpret_cast<const char*>(text.data()), text.size()});
      } else if (what % 8 == 1) {
        static constexpr const char* names[] = {"units", "NX_class", "transformation_type", "signal", "default"};
        file.set_attribute(at, names[in.byte() % 5], std::string(units[in.byte() % std::size(units)]));
      } else if (what % 8 == 2) {
        file.set_vector_attribute(at, "vector",
                                  {double(in.byte()) - 128, double(in.byte()) - 128, double(in.byte()) - 128});
      } else if (what % 8 == 3) {
        file.link(std::string(paths[in.byte() % paths.size()]), at);
      } else if (what % 8 == 4) {
        file.make_group(at);
      } else {
        const auto type = static_cast<core::DType>(in.byte() % 12);
        std::vector<core::Index> shape(in.byte() % 5);
        core::Index size = 1;
        for (auto& e : shape) size *= e = in.byte() % 9;
        if (what % 8 == 5 && shape.size() >= 2 && size > 0) {
          // A chunk of whatever bytes under a filter.
          hdf5::Storage storage{
              shape,
              {},
              {in.byte() % 2 != 0 ? hdf5::bitshuffle_lz4(core::item_size(type)) : hdf5::Filter{hdf5::kDeflate, {1}}}};
          auto d = file.create_dataset(at, type, shape, storage);
          const auto bytes = in.take(in.byte());
          if (!bytes.empty()) d.write_chunk(std::vector<core::Index>(shape.size(), 0), bytes);
        } else {
          core::AnyArray array(type, shape);
          const auto bytes = in.take(std::min<std::size_t>(in.byte(), static_cast<std::size_t>(array.bytes())));
          std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(array.data()));
          file.write(at, array);
        }
      }
    } catch (const core::Error&) {  // a path that exists already, and the like
    }
  }
}

}  // namespace farfield::io::fuzz
