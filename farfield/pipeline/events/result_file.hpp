#pragma once
// The result of a reduced run, as HDF5, in the order of time:
//   /time      (event) u64: seconds << 32 | nanoseconds
//   /streams   (event) u64: bit s is set where stream s has the event
//   /values/NAME         (event) i64 (-99999: missing) or f64 (NaN: missing), or, for arrays and texts, all elements
//   one
//                        event after the other, with
//   /values/NAME_len     (event) i64: how many of them belong to each event
//   /sums/NAME[SEGMENT]  f64, the array summed over events; attribute "events"
//   /account             the attributes joined, processed, rejected, bad, damaged, reads, fetched_bytes;
//                        /account/reasons: a JSON object

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/pipeline/events/batch.hpp"

namespace farfield::pipeline::events {

/// What became of the events of a run: joined = processed + sum(rejected) + sum(bad).
struct EventTotals {
  Index joined = 0, processed = 0, damaged = 0;
  Index reads = 0, fetched_bytes = 0;  ///< of the data: calls, and bytes with the gaps that were read over
  Reasons rejected, bad;
  Reasons index_faults;  ///< what was wrong with the indices; such events were never joined
};
Index total(const Reasons& reasons);
/// One JSON object.
std::string to_json(const EventTotals& totals);

class ResultFile {
public:
  /// `values`: names of the columns. The file appears at commit().
  ResultFile(const std::filesystem::path& path, std::vector<std::string> values);

  /// Rows in the order of time. Throws `conflict` for a column that changes its kind or type, `io`.
  void append(const Rows& rows);
  void commit(const Sums& sums, const EventTotals& totals);

private:
  struct Stored {
    io::hdf5::Dataset dataset;
    Index rows = 0;
  };
  struct Value {
    std::string name;
    Column::Kind kind = Column::Kind::none;
    core::DType type = core::DType::f64;
    Stored data, lengths;
  };
  Stored create(const std::string& path, core::DType type);
  static void extend(Stored& stored, const void* data, Index count);
  void begin_value(Value& value, const Column& column);
  void append_missing(Value& value, Index count);

  io::AtomicFile file_;
  std::optional<io::hdf5::File> hdf5_;
  std::vector<Value> values_;
  Stored times_, streams_;
};

}  // namespace farfield::pipeline::events
