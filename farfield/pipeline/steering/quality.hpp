#pragma once
// The quality of a running scan, as a stream that a beamline can act on: at each look at the state one record, one JSON
// object a line. It belongs to no technique: the values are the metrics of its snapshot and the counts of the account.

#include <map>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/pipeline/frame_account.hpp"

namespace farfield::pipeline {

struct QualityRecord {
  std::string scan;  ///< which; the same in all of its records
  std::string technique, verb;
  std::int64_t number = 0;  ///< of the record in the scan, from 1
  double time_s = 0;  ///< when, seconds since 1970
  bool last = false;  ///< the scan is over; these are the metrics of its result
  /// By name: "cost", "resolution_half_bit_nm" ... as the technique names its metrics, and "frames.received",
  /// "frames.dropped", "frames.missing", "frames.to_come", "frames.duplicates", "frames.pending", "frames.expected" (where known).
  std::map<std::string, double> values;
};

/// The counts of the account as values.
void add_frames(QualityRecord& record, const FrameTotals& totals);

/// One line, without its end: message_type "quality", scan, technique, verb, number, time_s, last, values. Numbers that
/// are not finite are null.
std::string to_json(const QualityRecord& record);

/// From outside: at most 1 MiB, 10,000 values. `corrupt_data` says what is wrong; values that are null are left out.
core::Result<QualityRecord> parse_quality(std::string_view line);

}  // namespace farfield::pipeline
