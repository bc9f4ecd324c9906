#pragma once
// Arrays and images whose element type is known only at run time. The type is visited once per
// array or frame, never per pixel.

#include <complex>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/error.hpp"

namespace farfield::core {

using cfloat = std::complex<float>;
using cdouble = std::complex<double>;

enum class DType { u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, c64, c128 };

std::string_view name(DType type);
Index item_size(DType type);

// clang-format off
template <class T> struct DTypeOf;
template <> struct DTypeOf<std::uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<std::uint16_t> { static constexpr DType value = DType::u16; };
template <> struct DTypeOf<std::uint32_t> { static constexpr DType value = DType::u32; };
template <> struct DTypeOf<std::uint64_t> { static constexpr DType value = DType::u64; };
template <> struct DTypeOf<std::int8_t> { static constexpr DType value = DType::i8; };
template <> struct DTypeOf<std::int16_t> { static constexpr DType value = DType::i16; };
template <> struct DTypeOf<std::int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<std::int64_t> { static constexpr DType value = DType::i64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<cfloat> { static constexpr DType value = DType::c64; };
template <> struct DTypeOf<cdouble> { static constexpr DType value = DType::c128; };
// clang-format on
template <class T> inline constexpr DType dtype_of = DTypeOf<std::remove_const_t<T>>::value;

/// Calls `f` with a value-initialised object of the C++ type behind `type`.
template <class F>
decltype(auto) visit_dtype(DType type, F&& f) {
  switch (type) {
    case DType::u8: return f(std::uint8_t{});
    case DType::u16: return f(std::uint16_t{});
    case DType::u32: return f(std::uint32_t{});
    case DType::u64: return f(std::uint64_t{});
    case DType::i8: return f(std::int8_t{});
    case DType::i16: return f(std::int16_t{});
    case DType::i32: return f(std::int32_t{});
    case DType::i64: return f(std::int64_t{});
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::c64: return f(cfloat{});
    case DType::c128: return f(cdouble{});
  }
  throw Error(ErrorCode::internal, "unknown element type");
}

/// A row-major array of any type and rank (rank 0: a scalar). Copies share the elements.
/// A default-constructed one is empty(): it has no elements, and no view or conversion of it is allowed.
class AnyArray {
public:
  AnyArray() = default;
  AnyArray(DType type, std::vector<Index> shape);  ///< zeroed; throws as Array does
  template <class T, int Rank>
  explicit AnyArray(View<T, Rank> source) : AnyArray(dtype_of<T>, {source.extents().begin(), source.extents().end()}) {
    copy_in(source, static_cast<std::remove_const_t<T>*>(data()));
  }
  template <class T, int Rank>
  explicit AnyArray(const Array<T, Rank>& source) : AnyArray(source.view()) {}

  DType dtype() const { return type_; }
  const std::vector<Index>& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  Index size() const;
  Index bytes() const { return size() * item_size(type_); }
  bool empty() const { return data_ == nullptr; }
  void* data() { return data_.get(); }
  const void* data() const { return data_.get(); }

  /// The elements as they are stored. Throws `internal` when type or rank differ.
  template <class T, int Rank>
  View<T, Rank> view() const {
    check(dtype_of<T>, Rank);
    typename View<T, Rank>::Extents extents{};
    for (int r = 0; r < Rank; ++r) extents[r] = shape_[static_cast<std::size_t>(r)];
    return {static_cast<T*>(data_.get()), extents};
  }
  /// A copy converted to T: complex -> real takes the real part; to an integer, fractions are cut off, what T
  /// cannot hold becomes its nearest value, NaN becomes 0. Throws `internal` when the rank differs.
  template <class T, int Rank>
  Array<T, Rank> to() const {
    check_rank(Rank);
    typename View<T, Rank>::Extents extents{};
    for (int r = 0; r < Rank; ++r) extents[r] = shape_[static_cast<std::size_t>(r)];
    Array<T, Rank> out(extents);
    convert_into(dtype_of<T>, out.data());
    return out;
  }
  AnyArray clone() const;

private:
  template <class T, int Rank>
  static void copy_in(View<T, Rank> source, std::remove_const_t<T>* out) {
    if constexpr (Rank == 1) {
      for (Index i = 0; i < source.extent(0); ++i) out[i] = source[i];
    } else {
      const Index step = source.extent(0) > 0 ? source.size() / source.extent(0) : 0;
      for (Index i = 0; i < source.extent(0); ++i) copy_in(source[i], out + i * step);
    }
  }
  void check(DType type, int rank) const;
  void check_rank(int rank) const;
  void convert_into(DType type, void* out) const;

  DType type_ = DType::f32;
  std::vector<Index> shape_;
  std::shared_ptr<void> data_;
};

/// One detector image of any pixel type: image(y, x), rows `row_stride` elements apart. Not owning.
struct AnyImage {
  DType dtype = DType::u16;
  const void* data = nullptr;
  Index ny = 0, nx = 0;
  Index row_stride = 0;

  template <class T>
  View<const T, 2> view() const {
    if (dtype != dtype_of<T>) throw Error(ErrorCode::internal, "image viewed as the wrong pixel type");
    return {static_cast<const T*>(data), {ny, nx}, {row_stride, 1}};
  }
  /// Throws `internal` where the pixels of a row are not neighbours in memory.
  template <class T>
  static AnyImage of(View<const T, 2> image) {
    if (image.stride(1) != 1 && image.extent(1) > 1)
      throw Error(ErrorCode::internal, "pixels of an image row must be contiguous");
    return {dtype_of<T>, image.data(), image.extent(0), image.extent(1), image.stride(0)};
  }
};

}  // namespace farfield::core
