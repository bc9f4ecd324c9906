#pragma once
// Datagrams made in memory: for indices, simulations and tests.

#include <span>
#include <string_view>
#include <vector>

#include "farfield/io/xtc2/names.hpp"

namespace farfield::io::xtc2 {

/// A value to be written.
struct NewValue {
  std::vector<std::byte> bytes;
  std::vector<std::uint32_t> shape;  ///< empty: a scalar

  template <class T>
  static NewValue scalar(T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    return {{bytes.begin(), bytes.end()}, {}};
  }
  template <class T>
  static NewValue array(std::span<const T> values, std::vector<std::uint32_t> shape) {
    const auto bytes = std::as_bytes(values);
    return {{bytes.begin(), bytes.end()}, std::move(shape)};
  }
  /// With a NUL behind it, filled up to whole words, as the facility's writers do.
  static NewValue text(std::string_view text);
};

class DatagramBuilder {
public:
  /// `env` with the transition in bits 24 to 27.
  DatagramBuilder(EventTime time, std::uint32_t env);
  DatagramBuilder(EventTime time, Transition transition)
      : DatagramBuilder(time, static_cast<std::uint32_t>(transition) << 24) {}
  /// Begins with the bytes of a whole datagram.
  explicit DatagramBuilder(std::span<const std::byte> datagram);

  /// Throws `invalid_argument` for a text over 255 bytes.
  void add(const Names& names);
  /// One value for each field, in order. Throws `invalid_argument` where number, shape or size do not fit the fields.
  void add(const Names& names, std::span<const NewValue> values);
  /// The datagram, whose sizes are filled in. Throws `resource_exhausted` beyond 4 GiB.
  std::vector<std::byte> finish();

private:
  std::size_t open(std::uint32_t src, ContainerType type);
  void close(std::size_t at);
  template <class T>
  void put(const T& value);
  void put_text(std::string_view text);

  std::vector<std::byte> bytes_;
};

}  // namespace farfield::io::xtc2
