#pragma once
// Slow values of a stream: what a SlowUpdate (epics), a BeginStep (scan) or a BeginRun (runinfo) set holds until it is
// set again.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/io/xtc2/datagram.hpp"

namespace farfield::io::xtc2 {

/// What a value is called: DETECTOR.ALGORITHM.FIELD, or DETECTOR[SEGMENT].ALGORITHM.FIELD. Detectors and algorithms
/// have no '.', fields may ("epics.raw.HX2:DVD:GCC:01:PMON", "jungfrau.config.user.port").
struct ValueName {
  std::string detector, algorithm, field;
  std::optional<std::uint32_t> segment{};

  bool matches(const Names& names) const {
    return names.detector == detector && names.algorithm == algorithm && (!segment || *segment == names.segment);
  }
  std::string text() const;
};
/// Throws `invalid_argument`.
ValueName parse_value_name(std::string_view text);

/// A slow value, kept.
struct SlowValue {
  Field field;
  std::vector<std::byte> bytes;
  std::array<std::uint32_t, kMaxRank> shape{};

  Value value() const { return {&field, bytes, shape}; }
};

/// The slow values of one stream.
class Environment {
public:
  /// Takes the values of a transition. A Configure empties it first.
  void update(Transition transition, const Contents& contents);
  /// The value that holds now; nullptr where none was set. Valid until the next update.
  const SlowValue* find(const ValueName& name) const;

private:
  struct Place {
    std::shared_ptr<const Names> names;
    std::vector<SlowValue> values;
  };
  std::map<std::uint32_t, Place> places_;  // by names id
};

}  // namespace farfield::io::xtc2
