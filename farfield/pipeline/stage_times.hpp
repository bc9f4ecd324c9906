#pragma once
// Where the time of every frame went: one record per frame and stage, one file per worker (never one per event).
// The data of the "weather plot": a row per worker, stalls and bad frames visible.
//
// The file is an io container with the blocks
//   "stage_times"      JSON {"version": 1, "rank", "worker", "origin_unix_s", "stages": [name, ...]}
//   "stage_times/0" .. records of 32 bytes, little endian: i64 frame, f64 begin, f64 end (s since the origin),
//                      u16 stage (place in "stages"), u16 status, u32 0.

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/io/container.hpp"
#include "farfield/model/frame.hpp"

namespace farfield::pipeline {

enum class StageStatus : std::uint16_t { ok, dropped, damaged };

struct StageTime {
  model::FrameId frame = 0;
  double begin_s = 0, end_s = 0;  ///< since the file's origin
  std::uint16_t stage = 0;        ///< place in the list of stages
  StageStatus status = StageStatus::ok;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(StageTime) == 32);

/// What the records of one file belong to.
struct StageTimesHead {
  int rank = 0;               ///< of the worker; one file per rank
  std::string worker;         ///< host or another name for people
  double origin_unix_s = 0;   ///< when time 0 was, so that files of several machines share an axis
  std::vector<std::string> stages;
};

/// Writes the file of one worker in bounded memory; it appears at commit(). Thread-safe.
class StageTimesWriter {
public:
  /// `clock` gives begin and end of record(); its reading now becomes time 0. Throws `invalid_argument` for no stage
  /// or more than 65535, `io`.
  StageTimesWriter(const std::filesystem::path& path, int rank, std::string worker, std::vector<std::string> stages,
                   const core::Clock& clock);

  /// `begin_s` and `end_s` as the clock reads. Throws `internal` for a stage that is not in the list, `io`.
  void record(model::FrameId frame, std::size_t stage, double begin_s, double end_s,
              StageStatus status = StageStatus::ok);
  void commit();

private:
  void flush();

  std::mutex mutex_;
  io::ContainerWriter file_;
  std::size_t stages_, blocks_ = 0;
  double origin_s_;
  std::vector<StageTime> buffer_;
};

struct StageTimes {
  StageTimesHead head;
  std::vector<StageTime> times;  ///< in the order they were recorded
};

/// Throws `not_found`, `io`, `corrupt_data` (also for a stage that is not in the list, or a time that is not finite).
StageTimes read_stage_times(const std::filesystem::path& path);

}  // namespace farfield::pipeline
