#pragma once
// The bodies in which flows of Globus ask for transfers and computations, and the details in which they expect the
// answer. Between them stand the providers of these kinds.

#include <optional>
#include <string>
#include <vector>

#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow {

/// {"source_endpoint_id", "destination_endpoint_id", "transfer_items": [{"source_path", "destination_path",
/// "recursive"}], "label", "sync_level", "verify_checksum", "preserve_timestamp"}; also under the newer names
/// source_endpoint, destination_endpoint and DATA. Ours alone is "follow": the source is still being written, and the
/// transfer ends when it is complete: {"marker", "quiet_s"} as in watch/complete.hpp, or true for five quiet seconds.
struct TransferBody {
  struct Item {
    std::string source_path, destination_path;
    bool recursive = false;
  };
  std::string source_endpoint, destination_endpoint, label;
  std::vector<Item> items;
  std::optional<int> sync_level;  ///< 0 exists, 1 size, 2 mtime, 3 checksum; none: always copy
  bool verify_checksum = true, preserve_timestamp = false;
  struct Follow {
    std::string marker;
    double quiet_s = 5;
  };
  std::optional<Follow> follow;
};
/// Throws core::Error `invalid_argument` with the path of what is wrong, `unsupported` for members not named above.
TransferBody parse_transfer_body(const std::string& body);

/// The three forms of a computation.
enum class ComputeForm {
  tasks,      ///< {"tasks": [{"endpoint", "func", "payload"}]} (2021)
  function,   ///< {"endpoint", "function", "kwargs"}
  endpoint,   ///< {"endpoint_id", "tasks": [{"function_id", "args", "kwargs"}], "user_endpoint_config",
              ///< "resource_specification"} (v3)
};

struct ComputeBody {
  struct Task {
    std::string endpoint, function;
    std::string args = "[]", kwargs = "{}";  ///< JSON; `payload` is the one argument of a task of 2021
  };
  struct Resources {
    std::int64_t num_nodes = 1, ranks_per_node = 1, num_ranks = 1;
  };
  ComputeForm form = ComputeForm::tasks;
  std::vector<Task> tasks;  ///< at least one
  std::string endpoint_config = "{}";  ///< JSON
  std::optional<Resources> resources;
};
/// Throws as parse_transfer_body() does.
ComputeBody parse_compute_body(const std::string& body);

/// What a task gave: JSON.
struct TaskOutput {
  std::string task_id;
  std::string output = "null";
};
/// The details of a computation that succeeded, where its flow looks for them: `details.result[i]`, for the third form
/// `details.results[i].output`.
std::string compute_details(ComputeForm form, const std::vector<TaskOutput>& outputs);

}  // namespace farfield::services::flow
