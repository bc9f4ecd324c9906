#include "farfield/core/array.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "farfield/core/error.hpp"

namespace farfield::core {

void* HostMemory::allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* p = std::aligned_alloc(kAlignment, rounded);
  if (p == nullptr)
    throw Error(ErrorCode::resource_exhausted,
                fmt::format("no memory for {:.3g} GB more", static_cast<double>(bytes) / 1e9));
  return p;
}

std::size_t array_bytes(std::span<const Index> extents, std::size_t item_bytes) {
  // Half of the address space, so that neither bytes nor their rounding up to the alignment overflow.
  constexpr std::size_t kMost = std::numeric_limits<Index>::max() / 2;
  const auto refuse = [&](ErrorCode code, const char* why) {
    throw Error(code, fmt::format("array of {} elements {}", fmt::join(extents, " x "), why));
  };
  std::size_t bytes = item_bytes;
  bool empty = false;
  for (const Index extent : extents) {
    if (extent < 0) refuse(ErrorCode::invalid_argument, "must not have a negative extent");
    if (extent == 0) empty = true;  // and yet strides are products of the other extents
    else if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes) || bytes > kMost)
      refuse(ErrorCode::resource_exhausted, "is larger than any memory");
  }
  return empty ? 0 : bytes;
}

}  // namespace farfield::core
