#pragma once
// What the roles write to each other, as bytes: plain values and lists of them, in order.

#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::pipeline::events {

class MessageWriter {
public:
  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&value, sizeof value);
  }
  template <class T>
  void put_list(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<std::uint64_t>(values.size()));
    append(values.data(), values.size_bytes());
  }
  void put_text(const std::string& text) { put_list(std::span<const char>(text)); }
  std::vector<std::byte> take() { return std::move(bytes_); }

private:
  void append(const void* from, std::size_t count) {
    if (count == 0) return;
    const std::size_t at = bytes_.size();
    bytes_.resize(at + count);
    std::memcpy(bytes_.data() + at, from, count);
  }
  std::vector<std::byte> bytes_;
};

/// Throws `internal` where a message is shorter than what is taken from it.
class MessageReader {
public:
  explicit MessageReader(std::span<const std::byte> bytes) : left_(bytes) {}
  template <class T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  template <class T>
  std::vector<T> get_list() {
    const auto bytes = list_bytes<T>();
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  /// The bytes of a list, where they stand in the message.
  template <class T = std::byte>
  std::span<const std::byte> list_bytes() {
    const auto count = get<std::uint64_t>();
    if (count > left_.size() / sizeof(T)) too_short();
    return take(static_cast<std::size_t>(count) * sizeof(T));
  }
  std::string get_text() {
    const auto bytes = list_bytes<char>();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

private:
  [[noreturn]] static void too_short() {
    throw core::Error(core::ErrorCode::internal, "a message between ranks ends too early");
  }
  std::span<const std::byte> take(std::size_t count) {
    if (count > left_.size()) too_short();
    const auto out = left_.first(count);
    left_ = left_.subspan(count);
    return out;
  }
  std::span<const std::byte> left_;
};

}  // namespace farfield::pipeline::events
