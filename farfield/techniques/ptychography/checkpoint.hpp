#pragma once
// Plain values and the state as named blocks of bytes (little endian, as they lie in memory). What is read is
// checked: a checkpoint comes from outside.

#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "farfield/core/error.hpp"
#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

static_assert(std::endian::native == std::endian::little);

template <class T>
void put_values(technique::Sink& sink, std::string_view name, std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  sink.put(name, std::as_bytes(values));
}
template <class T>
void put_values(technique::Sink& sink, std::string_view name, const std::vector<T>& values) {
  put_values(sink, name, std::span<const T>(values));
}
template <class T, int Rank>
void put_values(technique::Sink& sink, std::string_view name, const core::Array<T, Rank>& values) {
  put_values(sink, name, std::span<const T>(values.begin(), values.end()));
}

/// All values of a block. Throws `corrupt_data` when it is missing or not a whole number of T.
template <class T>
std::vector<T> get_values(technique::Source& source, std::string_view name) {
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
std::vector<T> get_values(technique::Source& source, std::string_view name, Index count) {
  auto values = get_values<T>(source, name);
  if (static_cast<Index>(values.size()) != count)
    throw core::Error(core::ErrorCode::corrupt_data,
                      fmt::format("checkpoint block {} has {} values instead of {}", name, values.size(), count));
  return values;
}
/// Fills an array of known extents.
template <class T, int Rank>
void get_values(technique::Source& source, std::string_view name, core::Array<T, Rank>& into) {
  const auto values = get_values<T>(source, name, into.size());
  std::copy(values.begin(), values.end(), into.begin());
}

/// Blocks "state/...".
void save_state(const State&, technique::Sink&);
/// A state of `slots` patterns and tiles of `shape`. Throws `corrupt_data` where sizes contradict each other.
/// Placements are computed anew.
State restore_state(technique::Source&, Shape shape, Index slots);

/// Names with a prefix, so that an algorithm's blocks have a space of their own.
class PrefixedSink final : public technique::Sink {
public:
  PrefixedSink(technique::Sink& sink, std::string prefix) : sink_(sink), prefix_(std::move(prefix)) {}
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    sink_.put(prefix_ + std::string(name), bytes);
  }

private:
  technique::Sink& sink_;
  std::string prefix_;
};
class PrefixedSource final : public technique::Source {
public:
  PrefixedSource(technique::Source& source, std::string prefix) : source_(source), prefix_(std::move(prefix)) {}
  std::vector<std::byte> get(std::string_view name) override { return source_.get(prefix_ + std::string(name)); }
  bool has(std::string_view name) const override { return source_.has(prefix_ + std::string(name)); }

private:
  technique::Source& source_;
  std::string prefix_;
};

}  // namespace farfield::techniques::ptychography
