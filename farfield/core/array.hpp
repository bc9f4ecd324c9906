#pragma once
// Owning, 64-byte aligned, row-major arrays.

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <type_traits>
#include <utility>

#include "farfield/core/view.hpp"

namespace farfield::core {

/// Host memory on a cache-line boundary. Device memory becomes a second tag with the same two calls.
struct HostMemory {
  static constexpr std::size_t kAlignment = 64;
  /// Throws `resource_exhausted` where the system has no such memory to give; null for no bytes.
  static void* allocate(std::size_t bytes);
  static void release(void* p) noexcept { std::free(p); }
};

/// Bytes of an array of these extents with elements of `item_bytes`. Throws `invalid_argument` for a negative
/// extent and `resource_exhausted` for a product that no address space holds: extents may come from a file.
std::size_t array_bytes(std::span<const Index> extents, std::size_t item_bytes);

/// Row-major owner of trivially copyable elements, zeroed at construction. Moves; `clone()` copies.
template <class T, int Rank, class Memory = HostMemory>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

public:
  using Extents = std::array<Index, Rank>;

  Array() = default;
  explicit Array(const Extents& extents) : extents_(extents) {
    data_ = static_cast<T*>(Memory::allocate(array_bytes(extents, sizeof(T))));
    fill(T{});
  }
  Array(const Extents& extents, const T& value) : Array(extents) { fill(value); }
  Array(Array&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), extents_(std::exchange(other.extents_, {})) {}
  /// Releases what it held at once and leaves `other` empty.
  Array& operator=(Array&& other) noexcept {
    Array taken(std::move(other));
    std::swap(data_, taken.data_);
    std::swap(extents_, taken.extents_);
    return *this;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { Memory::release(data_); }

  Array clone() const {
    Array copy(extents_);
    std::copy(begin(), end(), copy.begin());
    return copy;
  }

  View<T, Rank> view() { return {data_, extents_}; }
  View<const T, Rank> view() const { return {data_, extents_}; }
  operator View<T, Rank>() { return view(); }
  operator View<const T, Rank>() const { return view(); }

  template <class... I>
  T& operator()(I... index) {
    return view()(index...);
  }
  template <class... I>
  const T& operator()(I... index) const {
    return view()(index...);
  }
  decltype(auto) operator[](Index i) { return view()[i]; }
  decltype(auto) operator[](Index i) const { return view()[i]; }

  void fill(const T& value) { std::fill(begin(), end(), value); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size(); }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size(); }
  Index extent(int r) const { return extents_[r]; }
  const Extents& extents() const { return extents_; }
  Index size() const {
    Index n = 1;
    for (Index e : extents_) n *= e;
    return n;
  }
  bool empty() const { return size() == 0; }

private:
  T* data_ = nullptr;
  Extents extents_{};
};

}  // namespace farfield::core
