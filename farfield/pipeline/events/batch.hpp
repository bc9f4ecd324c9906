#pragma once
// What a worker is given and what it gives back.

#include <map>
#include <span>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/pipeline/events/index_reader.hpp"
#include "farfield/pipeline/events/messages.hpp"

namespace farfield::pipeline::events {

/// Where the datagram of one event and stream stands: in the chunk of its stream, or, where the data stand in place of
/// their index, in Batch::carried.
struct Piece {
  std::uint64_t offset = 0, size = 0;  ///< size 0: missing; kNoEntry: the index says nothing that can be
};
inline constexpr std::uint64_t kNoEntry = ~std::uint64_t{0};

/// Why events are not in the result, and how often.
using Reasons = std::map<std::string, Index>;

/// The place of a batch in the run. Every block has at least one.
struct BatchNumber {
  std::uint64_t block = 0;
  std::uint32_t part = 0, parts = 1;
  auto operator<=>(const BatchNumber&) const = default;
};

struct Batch {
  BatchNumber number;
  std::vector<TransitionRecord> transitions;  ///< since the batch that this worker had before
  Index joined = 0;                           ///< events that this batch accounts for
  Reasons rejected;                           ///< of them, by the filter
  std::vector<EventTime> times;               ///< of those that are left
  std::vector<Piece> pieces;                  ///< (event, stream)
  std::vector<std::byte> carried;
};

/// One value of every event of a batch.
struct Column {
  enum class Kind : std::uint8_t {
    none,     ///< no Configure names it
    integer,  ///< a scalar; -99999 where it is missing
    real,     ///< a scalar; NaN where it is missing
    ragged,   ///< an array or a text, flattened; of length 0 where it is missing
  };
  Kind kind = Kind::none;
  core::DType type = core::DType::f64;  ///< of the elements, ragged only
  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  std::vector<std::int64_t> lengths;    ///< elements
  std::vector<std::byte> elements;
};
inline constexpr std::int64_t kMissingInteger = -99999;

/// What became of a batch: joined = times + sum(rejected) + sum(bad).
struct Rows {
  BatchNumber number;
  Index joined = 0;
  Reasons rejected, bad;
  Index damaged = 0;                  ///< of `times`: with damage bits that do not forbid their use
  Index reads = 0, fetched_bytes = 0; ///< of the data, for this batch
  std::vector<EventTime> times;
  std::vector<std::uint64_t> streams; ///< bit s: stream s has a datagram
  std::vector<Column> columns;        ///< one per wanted value
};

/// The sum of an array over events. It carries twice the bits of a double (the sum, and what rounding took from it), so
/// that the order of adding, which is that of the ranks, does not show in the double that is stored.
struct ArraySum {
  std::vector<std::uint32_t> shape;
  std::vector<double> sum, rest;
  Index events = 0;

  void add(std::size_t element, double value) {
    // TwoSum: the rounding error of an addition, exactly (Ogita, Rump and Oishi 2005, doi:10.1137/030601818).
    double& s = sum[element];
    const double t = s + value, back = t - s;
    rest[element] += (s - (t - back)) + (value - back);
    s = t;
  }
};
/// By "NAME[SEGMENT]".
using Sums = std::map<std::string, ArraySum>;

void put(MessageWriter& to, const TransitionRecord& record);
TransitionRecord get_transition(MessageReader& from);
void put(MessageWriter& to, const Reasons& reasons);
Reasons get_reasons(MessageReader& from);
void put(MessageWriter& to, const Batch& batch);
Batch get_batch(MessageReader& from);
void put(MessageWriter& to, const Rows& rows);
Rows get_rows(MessageReader& from);
void put(MessageWriter& to, const Sums& sums);
Sums get_sums(MessageReader& from);

/// Adds the second to the first. Returns false where the shapes differ.
bool add(ArraySum& to, const ArraySum& from);

}  // namespace farfield::pipeline::events
