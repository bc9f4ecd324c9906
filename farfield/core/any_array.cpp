#include "farfield/core/any_array.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace farfield::core {

std::string_view name(DType type) {
  switch (type) {
    case DType::u8: return "uint8";
    case DType::u16: return "uint16";
    case DType::u32: return "uint32";
    case DType::u64: return "uint64";
    case DType::i8: return "int8";
    case DType::i16: return "int16";
    case DType::i32: return "int32";
    case DType::i64: return "int64";
    case DType::f32: return "float32";
    case DType::f64: return "float64";
    case DType::c64: return "complex64";
    case DType::c128: return "complex128";
  }
  return "unknown";
}

Index item_size(DType type) {
  return visit_dtype(type, [](auto v) { return static_cast<Index>(sizeof(v)); });
}

AnyArray::AnyArray(DType type, std::vector<Index> shape) : type_(type), shape_(std::move(shape)) {
  const std::size_t n = array_bytes(shape_, static_cast<std::size_t>(item_size(type)));
  data_ = std::shared_ptr<void>(HostMemory::allocate(n > 0 ? n : 1), [](void* p) { HostMemory::release(p); });
  std::memset(data_.get(), 0, n);
}

Index AnyArray::size() const {
  if (empty()) return 0;
  Index n = 1;
  for (Index e : shape_) n *= e;
  return n;
}

AnyArray AnyArray::clone() const {
  if (empty()) return {};
  AnyArray copy(type_, shape_);
  std::memcpy(copy.data(), data(), static_cast<std::size_t>(bytes()));
  return copy;
}

void AnyArray::check_rank(int rank) const {
  if (empty() || this->rank() != rank)
    throw Error(ErrorCode::internal,
                "array of rank " + std::to_string(this->rank()) + " used as rank " + std::to_string(rank));
}

void AnyArray::check(DType type, int rank) const {
  check_rank(rank);
  if (type_ != type)
    throw Error(ErrorCode::internal, "array of " + std::string(name(type_)) + " used as " + std::string(name(type)));
}

namespace {
template <class T> struct IsComplex : std::false_type {};
template <class T> struct IsComplex<std::complex<T>> : std::true_type {};

template <class To, class From>
To to_integer(From v) {
  using Limits = std::numeric_limits<To>;
  if constexpr (std::is_floating_point_v<From>) {
    if (std::isnan(v)) return 0;
    // Powers of two, so exact in any floating type; max() itself may not be.
    const From top = std::ldexp(From{1}, Limits::digits);
    if (v >= top) return Limits::max();
    if (v <= (Limits::is_signed ? -top : From{0})) return Limits::min();
    return static_cast<To>(v);
  } else {
    if (std::cmp_greater(v, Limits::max())) return Limits::max();
    if (std::cmp_less(v, Limits::min())) return Limits::min();
    return static_cast<To>(v);
  }
}

template <class To, class From>
To convert(From v) {
  if constexpr (IsComplex<From>::value && !IsComplex<To>::value) return convert<To>(v.real());
  else if constexpr (IsComplex<From>::value)
    return To(static_cast<typename To::value_type>(v.real()), static_cast<typename To::value_type>(v.imag()));
  else if constexpr (IsComplex<To>::value) return To(static_cast<typename To::value_type>(v));
  else if constexpr (std::is_integral_v<To>) return to_integer<To>(v);
  else return static_cast<To>(v);
}
}  // namespace

void AnyArray::convert_into(DType type, void* out) const {
  visit_dtype(type_, [&](auto from) {
    using From = decltype(from);
    const auto* in = static_cast<const From*>(data());
    visit_dtype(type, [&](auto to) {
      using To = decltype(to);
      auto* dest = static_cast<To*>(out);
      for (Index i = 0, n = size(); i < n; ++i) dest[i] = convert<To>(in[i]);
    });
  });
}

}  // namespace farfield::core
