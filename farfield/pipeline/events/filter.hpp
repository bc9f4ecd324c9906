#pragma once
// Which events are wanted, decided from small data alone: slow values, and values of small detectors whose data stand
// in place of their index. What is not wanted is never fetched.

#include <string>
#include <string_view>
#include <vector>

#include "farfield/pipeline/events/run_state.hpp"

namespace farfield::pipeline::events {

/// NAME OP NUMBER, joined by "and"; NAME as parse_value_name() takes it, OP one of < <= > >= == !=.
class Filter {
public:
  Filter() = default;  ///< keeps all
  /// Throws `invalid_argument`. An empty text keeps all.
  static Filter parse(std::string_view text);
  bool empty() const { return terms_.empty(); }

  enum class Verdict { keep, reject, no_value };
  /// `datagrams`: per stream, the event's datagram in the index (or the data themselves); empty where it is missing.
  /// A value of the event counts before a slow one of the same name. `no_value`: there is none to compare.
  Verdict judge(RunState& run, std::span<const std::span<const std::byte>> datagrams) const;

private:
  enum class Op { less, less_equal, greater, greater_equal, equal, not_equal };
  struct Term {
    io::xtc2::ValueName name;
    Op op;
    double bound;
  };
  std::vector<Term> terms_;
};

}  // namespace farfield::pipeline::events
