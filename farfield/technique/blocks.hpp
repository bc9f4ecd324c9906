#pragma once
// Plain values as named blocks of a checkpoint (little endian, as they lie in memory). What is read is checked: a
// checkpoint comes from outside.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/error.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::technique {

static_assert(std::endian::native == std::endian::little);

template <class T>
void put_values(Sink& sink, std::string_view name, std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  sink.put(name, std::as_bytes(values));
}
template <class T>
void put_values(Sink& sink, std::string_view name, const std::vector<T>& values) {
  put_values(sink, name, std::span<const T>(values));
}
template <class T, int Rank>
void put_values(Sink& sink, std::string_view name, const core::Array<T, Rank>& values) {
  put_values(sink, name, std::span<const T>(values.begin(), values.end()));
}

/// All values of a block. Throws `corrupt_data` when it is missing or not a whole number of T.
template <class T>
std::vector<T> get_values(Source& source, std::string_view name) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto bytes = source.get(name);
  if (bytes.size() % sizeof(T) != 0)
    throw core::Error(
        core::ErrorCode::corrupt_data,
        fmt::format("checkpoint block {} has {} bytes, not a multiple of {}", name, bytes.size(), sizeof(T)));
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}
/// The same for a block that must hold `count` values.
template <class T>
std::vector<T> get_values(Source& source, std::string_view name, core::Index count) {
  auto values = get_values<T>(source, name);
  if (static_cast<core::Index>(values.size()) != count)
    throw core::Error(core::ErrorCode::corrupt_data,
                      fmt::format("checkpoint block {} has {} values instead of {}", name, values.size(), count));
  return values;
}
/// Fills an array of known extents.
template <class T, int Rank>
void get_values(Source& source, std::string_view name, core::Array<T, Rank>& into) {
  const auto values = get_values<T>(source, name, into.size());
  std::copy(values.begin(), values.end(), into.begin());
}

/// Names with a prefix, so that an algorithm's blocks have a space of their own.
class PrefixedSink final : public Sink {
public:
  PrefixedSink(Sink& sink, std::string prefix) : sink_(sink), prefix_(std::move(prefix)) {}
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    sink_.put(prefix_ + std::string(name), bytes);
  }

private:
  Sink& sink_;
  std::string prefix_;
};
class PrefixedSource final : public Source {
public:
  PrefixedSource(Source& source, std::string prefix) : source_(source), prefix_(std::move(prefix)) {}
  std::vector<std::byte> get(std::string_view name) override { return source_.get(prefix_ + std::string(name)); }
  bool has(std::string_view name) const override { return source_.has(prefix_ + std::string(name)); }

private:
  Source& source_;
  std::string prefix_;
};

}  // namespace farfield::technique
