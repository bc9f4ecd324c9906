#pragma once
// Non-owning views of strided memory, shaped after std::mdspan. No arithmetic lives here.
// Index order is slow -> fast everywhere: image(y, x), stack(frame, y, x).

#include <array>
#include <cstdint>
#include <type_traits>

namespace farfield::core {

/// Signed 64-bit index for every extent, stride and position in an array.
using Index = std::int64_t;

/// Pointer, extents and strides (in elements). Shallow const: a `const View<float, 2>` may still
/// write its pixels, a `View<const float, 2>` may not.
template <class T, int Rank>
class View {
  static_assert(Rank >= 1);

public:
  using value_type = std::remove_const_t<T>;
  using Extents = std::array<Index, Rank>;

  constexpr View() = default;

  /// A contiguous (row-major) view of `extents` elements starting at `data`.
  constexpr View(T* data, const Extents& extents) : data_(data), extents_(extents) {
    Index stride = 1;
    for (int r = Rank - 1; r >= 0; --r) {
      strides_[r] = stride;
      stride *= extents_[r];
    }
  }

  constexpr View(T* data, const Extents& extents, const Extents& strides)
      : data_(data), extents_(extents), strides_(strides) {}

  /// A view of mutable elements is a view of const ones.
  template <class U>
    requires(std::is_same_v<const U, T>)
  constexpr View(const View<U, Rank>& other)
      : data_(other.data()), extents_(other.extents()), strides_(other.strides()) {}

  template <class... I>
    requires(sizeof...(I) == Rank)
  constexpr T& operator()(I... index) const {
    const Extents at{static_cast<Index>(index)...};
    Index offset = 0;
    for (int r = 0; r < Rank; ++r) offset += at[r] * strides_[r];
    return data_[offset];
  }

  /// The sub-view at index `i` of the slowest dimension.
  constexpr View<T, Rank - 1> operator[](Index i) const
    requires(Rank > 1)
  {
    std::array<Index, Rank - 1> extents{}, strides{};
    for (int r = 1; r < Rank; ++r) {
      extents[r - 1] = extents_[r];
      strides[r - 1] = strides_[r];
    }
    return {data_ + i * strides_[0], extents, strides};
  }
  constexpr T& operator[](Index i) const
    requires(Rank == 1)
  {
    return data_[i * strides_[0]];
  }

  /// A window of `extents` elements whose first corner is at `origin`. Not bounds-checked.
  constexpr View window(const Extents& origin, const Extents& extents) const {
    Index offset = 0;
    for (int r = 0; r < Rank; ++r) offset += origin[r] * strides_[r];
    return {data_ + offset, extents, strides_};
  }

  constexpr T* data() const { return data_; }
  constexpr Index extent(int r) const { return extents_[r]; }
  constexpr Index stride(int r) const { return strides_[r]; }
  constexpr const Extents& extents() const { return extents_; }
  constexpr const Extents& strides() const { return strides_; }
  constexpr Index size() const {
    Index n = 1;
    for (Index e : extents_) n *= e;
    return n;
  }
  constexpr bool empty() const { return size() == 0; }
  /// True when the elements lie in memory in row-major order without gaps.
  constexpr bool contiguous() const {
    Index stride = 1;
    for (int r = Rank - 1; r >= 0; --r) {
      if (extents_[r] != 1 && strides_[r] != stride) return false;
      stride *= extents_[r];
    }
    return true;
  }

  /// Iteration over a contiguous view (row-major); undefined for a strided one.
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size(); }

private:
  T* data_ = nullptr;
  Extents extents_{};
  Extents strides_{};
};

}  // namespace farfield::core
