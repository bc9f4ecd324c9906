#include "farfield/io/arrays.hpp"

#include <fmt/format.h>

#include <cstring>

#include "farfield/core/error.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// The same elements in order, under another shape of the same size.
template <class T>
core::AnyArray reshaped(const core::AnyArray& array, std::vector<Index> shape) {
  core::AnyArray out(core::dtype_of<T>, std::move(shape));
  if (array.dtype() == out.dtype()) {
    if (out.size() > 0) std::memcpy(out.data(), array.data(), static_cast<std::size_t>(out.bytes()));
    return out;
  }
  core::AnyArray flat(array.dtype(), {array.size()});
  if (flat.size() > 0) std::memcpy(flat.data(), array.data(), static_cast<std::size_t>(array.bytes()));
  const auto converted = flat.to<T, 1>();
  if (out.size() > 0) std::memcpy(out.data(), converted.data(), static_cast<std::size_t>(out.bytes()));
  return out;
}
}  // namespace

template <class T>
core::AnyArray with_rank(const core::AnyArray& array, int rank, const std::string& what, const std::string& axes,
                         const std::string& where) {
  std::vector<Index> shape = array.shape();
  while (static_cast<int>(shape.size()) > rank && shape.front() == 1) shape.erase(shape.begin());
  while (static_cast<int>(shape.size()) < rank && shape.size() >= 2) shape.insert(shape.begin(), 1);
  if (static_cast<int>(shape.size()) != rank || array.size() == 0)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} has shape ({}), which is not ({})", what, fmt::join(array.shape(), ", "), axes))
        .at(where);
  return reshaped<T>(array, std::move(shape));
}

template core::AnyArray with_rank<core::cfloat>(const core::AnyArray&, int, const std::string&, const std::string&,
                                                const std::string&);
template core::AnyArray with_rank<float>(const core::AnyArray&, int, const std::string&, const std::string&,
                                         const std::string&);
template core::AnyArray with_rank<double>(const core::AnyArray&, int, const std::string&, const std::string&,
                                          const std::string&);

std::vector<double> numbers_of(const core::AnyArray& array, const std::string& where) {
  if (array.dtype() == core::DType::c64 || array.dtype() == core::DType::c128)
    throw Error(ErrorCode::corrupt_data, "real numbers are needed, not complex ones").at(where);
  const auto flat = reshaped<double>(array, {array.size()});
  const auto view = flat.view<double, 1>();
  return {view.begin(), view.end()};
}

core::Array<std::uint32_t, 2> mask_of(const core::AnyArray& array, const std::string& where) {
  const auto numbers = numbers_of(array, where);
  const auto& s = array.shape();
  if (s.size() < 2)
    throw Error(ErrorCode::corrupt_data, fmt::format("a mask of shape ({}) is not (y, x)", fmt::join(s, ", ")))
        .at(where);
  const Index ny = s[s.size() - 2], nx = s[s.size() - 1];
  core::Array<std::uint32_t, 2> mask({ny, nx});
  // One mask per frame: a pixel that is bad in any frame is left out of all.
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double v = numbers[i];
    const bool bits = v >= 0 && v < 4294967296.0 && v == static_cast<double>(static_cast<std::uint32_t>(v));
    mask.data()[static_cast<Index>(i) % (ny * nx)] |= bits ? static_cast<std::uint32_t>(v) : 1U << 31;
  }
  return mask;
}

}  // namespace farfield::io
