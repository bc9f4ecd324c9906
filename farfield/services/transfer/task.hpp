#pragma once
// What is asked for when files are to be transferred, and how far it is: the nouns of tasks.hpp, and their JSON.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/services/transfer/job.hpp"

namespace farfield::services::transfer {

struct TaskRequest {
  std::string source, destination;  ///< names of places, which the service's resolver knows
  std::vector<Item> items;
  JobOptions options;               ///< without follow->test, which only a program can give
  std::string label;                ///< for people
  std::string owner;                ///< who asked: "user:garcia"
  double deadline_s = 86400;        ///< from the submission; then a task that is not done has failed
  std::string grant{};              ///< of the issuer, from which the tokens for the places are made; never told
};

enum class TaskState { queued, active, succeeded, failed, cancelled };
std::string_view name_of(TaskState state);
inline bool is_final(TaskState state) { return state != TaskState::queued && state != TaskState::active; }

struct TaskStatus {
  std::string id;
  TaskRequest request;
  TaskState state = TaskState::queued;
  Progress progress;     ///< since the service was last started; the counts of files are those of all attempts
  std::string problem;   ///< why it failed, or what an active one waits for; empty: nothing
  double submitted_s = 0, changed_s = 0;  ///< since 1970-01-01 UTC
  int attempt = 0;       ///< how often it was begun
};

/// JSON object <-> request. Unknown members, wrong types and values out of range are `invalid_argument` with the name.
/// Example: {"source":"beamline","destination":"cluster","items":[{"source":"input/scan100","destination":"scan100",
/// "recursive":true}],"sync":"mtime","include":["*.h5"],"checksum":"sha256","concurrency":8,"follow":{"quiet_s":5}}
TaskRequest request_from_json(std::string_view json);
std::string to_json(const TaskRequest& request);
/// With id, state, progress, problem and times, and the request as above.
std::string to_json(const TaskStatus& status);
/// The same with no more of the request than label, owner and places: for lists and events.
std::string summary_json(const TaskStatus& status);

}  // namespace farfield::services::transfer
