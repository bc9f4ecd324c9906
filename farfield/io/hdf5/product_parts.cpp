#include "farfield/io/hdf5/product_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "farfield/codec/deflate.hpp"
#include "farfield/core/error.hpp"

namespace farfield::io::hdf5 {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr int kFast = 1;
constexpr Index kChunkBytes = Index{1} << 20;

/// Whether bytes are mostly noise: the entropy of their frequencies leaves at most 15 % to gain.
bool is_noise(std::span<const std::byte> bytes) {
  constexpr std::size_t kLeast = 4096;
  constexpr double kNoiseBits = 6.8;
  if (bytes.size() < kLeast) return false;
  std::array<std::uint32_t, 256> count{};
  for (const std::byte b : bytes) ++count[std::to_integer<std::size_t>(b)];
  const auto n = static_cast<double>(bytes.size());
  double bits = 0;
  for (const auto c : count)
    if (c > 0) bits -= c / n * std::log2(c / n);
  return bits > kNoiseBits;
}
}  // namespace

void check_name(const std::string& name, const char* what) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} name \"{}\" must not be empty or hold a slash", what, name));
}

std::vector<std::byte> pack_chunk(std::span<const std::byte> chunk, Index item_bytes) {
  std::vector<std::byte> shuffled(chunk.size());
  codec::byte_shuffle(chunk, item_bytes, shuffled);
  // The lowest bytes of measured numbers are noise, which takes longest to compress and hardly shrinks.
  const std::size_t plane = chunk.size() / static_cast<std::size_t>(item_bytes);
  std::size_t noise = 0;
  while (noise + plane < shuffled.size() && is_noise(std::span(shuffled).subspan(noise, plane))) noise += plane;
  return codec::deflate_tail(shuffled, noise, kFast);
}

Storage packed_storage(std::vector<Index> chunk) {
  return {std::move(chunk), {}, {{kShuffle, {}}, {kDeflate, {static_cast<unsigned>(kFast)}}}};
}

namespace {

/// Chunks of whole rows (the last two dimensions; 1 in all others): each is one stretch of the array.
void write_rows(File& file, const std::string& path, const core::AnyArray& array, const Storage& storage) {
  auto dataset = file.create_dataset(path, array.dtype(), array.shape(), storage);
  const auto& shape = array.shape();
  const std::size_t rank = shape.size();
  const Index item = core::item_size(array.dtype()), row = shape[rank - 1] * item, height = shape[rank - 2];
  const Index rows = storage.chunk[rank - 2];
  const auto* bytes = static_cast<const std::byte*>(array.data());
  std::vector<std::byte> padded;
  std::vector<Index> offset(rank, 0);
  for (Index first = 0; first < array.bytes(); first += height * row) {
    for (Index y = 0; y < height; y += rows) {
      std::span<const std::byte> chunk(bytes + first + y * row,
                                       static_cast<std::size_t>(std::min(rows, height - y) * row));
      if (y + rows > height) {  // chunks at the edge are stored whole
        padded.assign(static_cast<std::size_t>(rows * row), std::byte{0});
        std::copy(chunk.begin(), chunk.end(), padded.begin());
        chunk = padded;
      }
      offset[rank - 2] = y;
      dataset.write_chunk(offset, pack_chunk(chunk, item));
    }
    for (std::size_t r = rank - 2; r-- > 0;) {
      if (++offset[r] < shape[r]) break;
      offset[r] = 0;
    }
  }
}

/// The same of an array that is made while it is written.
void write_rows(File& file, const std::string& path, const model::RowSource& source) {
  const auto& shape = source.shape();
  if (shape.size() != 2)
    throw Error(ErrorCode::unsupported, fmt::format("an array of rank {} cannot be written by rows", shape.size()))
        .at(path);
  const Index item = core::item_size(source.dtype()), row = shape[1] * item;
  const Index rows = std::clamp<Index>(kChunkBytes / std::max<Index>(row, 1), 1, std::max<Index>(shape[0], 1));
  auto dataset = file.create_dataset(path, source.dtype(), shape, packed_storage({rows, shape[1]}));
  std::vector<std::byte> chunk(static_cast<std::size_t>(rows * row));
  for (Index first = 0; first < shape[0]; first += rows) {
    std::fill(chunk.begin(), chunk.end(), std::byte{0});  // chunks at the edge are stored whole
    source.read(first, std::min(rows, shape[0] - first), chunk.data());
    dataset.write_chunk({first, 0}, pack_chunk(chunk, item));
  }
}

void describe(File& file, const std::string& path, const model::Dataset& dataset) {
  if (!dataset.unit.empty()) file.set_attribute(path, "units", dataset.unit);
  if (!dataset.axes.empty()) file.set_attribute(path, "axes", dataset.axes);
  if (!dataset.help.empty()) file.set_attribute(path, "description", dataset.help);
}

}  // namespace

void write_dataset(File& file, const std::string& path, const model::Dataset& dataset) {
  if (dataset.rows != nullptr) {
    write_rows(file, path, *dataset.rows);
    describe(file, path, dataset);
    return;
  }
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
    rows = std::max<Index>(1, std::min(rows, kChunkBytes / std::max<Index>(row, 1)));
    if (row > (Index{1} << 30)) storage.chunk.clear();  // a chunk has to stay below 4 GiB
    if (!storage.chunk.empty()) storage = packed_storage(std::move(storage.chunk));
  }
  const bool real = dataset.data.dtype() != core::DType::c64 && dataset.data.dtype() != core::DType::c128;
  if (real && !storage.chunk.empty()) write_rows(file, path, dataset.data, storage);
  else file.write(path, dataset.data, storage);
  describe(file, path, dataset);
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
