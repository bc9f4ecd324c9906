#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "farfield/io/hdf5/library.hpp"

namespace farfield::io::hdf5 {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::vector<hsize_t> sizes(const std::vector<Index>& v) { return {v.begin(), v.end()}; }

// Bytes of `count` elements, refused before anything is allocated.
Index checked_bytes(const std::vector<Index>& count, Index item, Index limit, const std::string& where) {
  Index bytes = item;
  for (const Index n : count) {
    if (n < 0 || __builtin_mul_overflow(bytes, n, &bytes))
      throw Error(ErrorCode::corrupt_data, fmt::format("shape {} is not possible", fmt::join(count, " x "))).at(where);
  }
  if (bytes > limit)
    throw Error(ErrorCode::resource_exhausted,
                fmt::format("{} elements of {} bytes are more than the {} bytes allowed here", fmt::join(count, " x "),
                            item, limit))
        .at(where);
  return bytes;
}
}  // namespace

std::string Dataset::where() const { return place(path_, file_); }

Index Dataset::size() const {
  Index n = 1;
  for (const Index e : shape_)
    if (__builtin_mul_overflow(n, e, &n))
      throw Error(ErrorCode::corrupt_data, fmt::format("shape {} is not possible", fmt::join(shape_, " x ")))
          .at(where());
  return n;
}

DType Dataset::dtype() const {
  if (!dtype_)
    throw Error(ErrorCode::unsupported, "elements must be integers, floats, booleans or complex pairs (r, i)")
        .at(where());
  return *dtype_;
}

core::AnyArray Dataset::read(Index limit_bytes) const {
  const DType type = dtype();
  checked_bytes(shape_, core::item_size(type), limit_bytes, where());
  core::AnyArray array(type, shape_);
  if (array.size() == 0) return array;
  const Lock lock;
  const Handle memory = memory_type(type);
  if (H5Dread(handle_.get(), memory.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, array.data()) < 0)
    throw library_error(ErrorCode::corrupt_data, "data cannot be read").at(where());
  return array;
}

namespace {
// Spaces in the file and in memory for a box of a dataset.
struct Box {
  Box(std::int64_t dataset, const std::vector<Index>& shape, const std::vector<Index>& start,
      const std::vector<Index>& count, const std::string& where)
      : file(H5Dget_space(dataset)) {
    if (start.size() != shape.size() || count.size() != shape.size())
      throw Error(ErrorCode::internal, "box of another rank").at(where);
    for (std::size_t r = 0; r < shape.size(); ++r)
      if (start[r] < 0 || count[r] < 0 || start[r] > shape[r] - count[r])
        throw Error(ErrorCode::internal, "box outside of the dataset").at(where);
    const auto first = sizes(start), n = sizes(count);
    if (H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, first.data(), nullptr, n.data(), nullptr) < 0)
      throw library_error(ErrorCode::internal, "box cannot be selected").at(where);
    memory = Handle(H5Screate_simple(static_cast<int>(n.size()), n.data(), nullptr));
  }
  Handle file, memory;
};
}  // namespace

void Dataset::read_box(const std::vector<Index>& start, const std::vector<Index>& count, void* out) const {
  const Lock lock;
  const Box box(handle_.get(), shape_, start, count, where());
  const Handle type = memory_type(dtype());
  if (H5Dread(handle_.get(), type.get(), box.memory.get(), box.file.get(), H5P_DEFAULT, out) < 0)
    throw library_error(ErrorCode::corrupt_data, "data cannot be read").at(where());
}

void Dataset::write_box(const std::vector<Index>& start, const std::vector<Index>& count, const void* in) {
  const Lock lock;
  const Box box(handle_.get(), shape_, start, count, where());
  const Handle type = memory_type(dtype());
  if (H5Dwrite(handle_.get(), type.get(), box.memory.get(), box.file.get(), H5P_DEFAULT, in) < 0)
    throw library_error(ErrorCode::io, "cannot write").at(where());
}

std::optional<Dataset::RawChunk> Dataset::read_chunk(const std::vector<Index>& offset) const {
  const Lock lock;
  const auto first = sizes(offset);
  unsigned skipped = 0;
  haddr_t address = HADDR_UNDEF;
  hsize_t bytes = 0;
  if (H5Dget_chunk_info_by_coord(handle_.get(), first.data(), &skipped, &address, &bytes) < 0)
    throw library_error(ErrorCode::corrupt_data, fmt::format("chunk at {} cannot be found", fmt::join(offset, ",")))
        .at(where());
  if (address == HADDR_UNDEF || bytes == 0) return std::nullopt;
  // A compressed chunk is never much longer than its elements; a damaged index says otherwise.
  const Index decoded = checked_bytes(chunk_, core::item_size(dtype()), Index{1} << 32, where());
  if (bytes > static_cast<hsize_t>(2 * decoded + 65536))
    throw Error(ErrorCode::corrupt_data,
                fmt::format("chunk at {} has {} bytes for {} bytes of data", fmt::join(offset, ","), bytes, decoded))
        .at(where());
  RawChunk chunk;
  chunk.bytes.resize(bytes);
  std::uint32_t mask = 0;
  if (H5Dread_chunk(handle_.get(), H5P_DEFAULT, first.data(), &mask, chunk.bytes.data()) < 0)
    throw library_error(ErrorCode::corrupt_data, fmt::format("chunk at {} cannot be read", fmt::join(offset, ",")))
        .at(where());
  chunk.skipped = mask;
  return chunk;
}

void Dataset::write_chunk(const std::vector<Index>& offset, std::span<const std::byte> bytes) {
  const Lock lock;
  const auto first = sizes(offset);
  if (H5Dwrite_chunk(handle_.get(), H5P_DEFAULT, 0, first.data(), bytes.size(), bytes.data()) < 0)
    throw library_error(ErrorCode::io, "cannot write").at(where());
}

void Dataset::resize(const std::vector<Index>& shape) {
  const Lock lock;
  const auto n = sizes(shape);
  if (H5Dset_extent(handle_.get(), n.data()) < 0) throw library_error(ErrorCode::io, "cannot grow").at(where());
  shape_ = shape;
}

double Dataset::number() const {
  if (text_) {
    const std::string words = text();
    char* end = nullptr;
    const double value = std::strtod(words.c_str(), &end);
    if (end == words.c_str())
      throw Error(ErrorCode::corrupt_data, fmt::format("\"{}\" is not a number", words)).at(where());
    return value;
  }
  if (size() < 1) throw Error(ErrorCode::corrupt_data, "there is no value").at(where());
  if (dtype() == DType::c64 || dtype() == DType::c128)
    throw Error(ErrorCode::corrupt_data, "a real number is needed, not a complex one").at(where());
  core::AnyArray one(dtype(), std::vector<Index>(shape_.size(), 1));
  if (rank() == 0) one = read();
  else read_box(std::vector<Index>(shape_.size(), 0), one.shape(), one.data());
  return core::visit_dtype(one.dtype(), [&](auto zero) -> double {
    if constexpr (std::is_arithmetic_v<decltype(zero)>)
      return static_cast<double>(*static_cast<const decltype(zero)*>(one.data()));
    return 0;
  });
}

std::string Dataset::text() const {
  if (!text_) return fmt::format("{}", number());
  const Lock lock;
  const Handle type(H5Dget_type(handle_.get())), space(H5Dget_space(handle_.get()));
  return read_string(type.get(), space.get(), where(), [&](hid_t memory, void* out) {
    return H5Dread(handle_.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
  });
}

std::vector<std::string> Dataset::texts() const {
  const Lock lock;
  const Handle type(H5Dget_type(handle_.get())), space(H5Dget_space(handle_.get()));
  return read_strings(type.get(), space.get(), where(), [&](hid_t memory, void* out) {
    return H5Dread(handle_.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
  });
}

}  // namespace farfield::io::hdf5
