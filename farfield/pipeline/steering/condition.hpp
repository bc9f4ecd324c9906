#pragma once
// Conditions on quality records, as people write them:
//
//   resolution < 12 nm or resolution not improving by 2 % in 5
//   drift > 2 um and frames.received >= 100
//   (tau_error < 0.05 or frames.missing > 0) and not last
//
//   condition  = term { "or" term }         term = factor { "and" factor }
//   factor     = [ "not" ] ( "(" condition ")" | "last" | NAME compare | NAME trend )
//   compare    = ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) NUMBER [ UNIT ]
//   trend      = "not" ( "improving" | "falling" | "rising" ) [ "by" NUMBER "%" ] [ "in" N ]
//
// A NAME is a value of the record, without its unit where it ends in one: resolution_half_bit is
// resolution_half_bit_nm; `resolution` is short for resolution_half_bit. Units: m mm um nm pm A, s ms us ns, px, %. A
// name with a unit in the record is compared in that unit, whatever the one that is written.
//
// A value that is not there, or not a number, makes its comparison false. A trend looks at the last N records (5) that
// had the value: it holds when the best of them is no better than P % (1) beyond the best before them; improving means
// falling.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/pipeline/steering/quality.hpp"

namespace farfield::pipeline {

/// The records of one scan so far, the newest last.
using QualityHistory = std::span<const QualityRecord>;

class Condition {
public:
  /// Throws `invalid_argument`: what is wrong, at which character, and what may stand there. At most 4096 characters,
  /// nested at most 32 deep.
  explicit Condition(std::string_view text);

  const std::string& text() const { return text_; }
  /// Whether it holds; `why` (if not null) gets the terms that made it so, with their values:
  /// "resolution_half_bit_nm = 11.2 < 12 nm".
  bool holds(QualityHistory history, std::string* why = nullptr) const;
  /// Records that a trend looks back at; 0 without one. No more need be kept, but their best: see Steering.
  std::int64_t longest_trend() const;

  struct Node;

private:
  std::string text_;
  std::shared_ptr<const Node> root_;
};

}  // namespace farfield::pipeline
