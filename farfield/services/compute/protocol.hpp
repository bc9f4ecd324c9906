#pragma once
// What service, endpoint and workers say to each other. The endpoint connects outward to the service, the workers to
// their endpoint; both lines speak this over a WebSocket: text messages are JSON {"kind": ..., ...} and hold lists, so
// that thousands of tasks a second go in few messages; binary messages are previews.
//
// No silence means anything. A peer that connects says first what it knows (Hello), then Begun for what runs; whoever
// gave it something compares. An end is repeated until it was acknowledged as stored, and until then its task is among
// those that the peer knows; an attempt that is not the current one is acknowledged and ignored. What is assigned
// again, under a higher attempt, replaces an older one. Who connected speaks at least every kSpeakEvery_s seconds, if
// only by saying his capacity again: a line without a word for long is closed, which ends no task.

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "farfield/services/compute/function.hpp"
#include "farfield/services/compute/task.hpp"

namespace farfield::services::compute {

constexpr int kProtocol = 1;
constexpr double kSpeakEvery_s = 10;
constexpr std::size_t kQuickBytes = std::size_t{64} << 10;  ///< of a message that is read in passing
constexpr std::size_t kInlineOutput = std::size_t{256} << 10;  ///< a larger output goes by PUT, bytes
/// Elements of a list; those who have more send several messages.
constexpr std::size_t kMostItems = 100'000;

/// Which call of which task.
struct TaskKey {
  std::string task;
  int attempt = 1;
  auto operator<=>(const TaskKey&) const = default;
};

/// Downwards: run this.
struct Assignment {
  TaskKey key;
  FunctionRecord function;
  TaskRequest request;
  bool resume = false;  ///< a checkpoint of an earlier attempt may be there
};

enum class Ending {
  done,
  failed,        ///< the task's own fault: not repeated
  cancelled,
  interrupted,   ///< stopped from outside; a checkpoint may be there: to be resumed
  lost,          ///< its worker or block ended under it, or could not begin: to be repeated
};
std::string_view name_of(Ending);

/// Upwards: it ended.
struct TaskEnd {
  TaskKey key;
  Ending ending = Ending::lost;
  std::string output = "null";
  std::string problem{};
  TaskTimes times{};
  std::string block{}, node{}, worker{};
};

/// Upwards: a worker began it.
struct TaskBegin {
  TaskKey key;
  TaskTimes times{};
  std::string block{}, node{}, worker{};
};

struct TaskProgress {
  TaskKey key;
  double progress = 0;
  std::string message{};
};
struct TaskLog {
  TaskKey key;
  std::string line;
};

/// What an endpoint has, told whenever it changes.
struct Capacity {
  int workers = 0, idle = 0, starting = 0;  ///< `starting`: of blocks that were asked for
  int most = 0;                             ///< workers of max_blocks
  int gpu_slots = 0;                        ///< of a node
  int nodes_per_block = 1;
  double longest_s = 0;                     ///< walltime left in the block that has most, or of a new block
  bool confines = false;  ///< whether it can confine commands and user code; else it refuses them
};

// Messages upwards: from endpoint to service, from worker to endpoint.
struct Hello {
  int protocol = kProtocol;
  std::string program{};              ///< version
  std::vector<TaskKey> known{};  ///< that it has: queued, running, or ended and not yet acknowledged
  std::vector<FunctionRecord> verbs{};  ///< that its program has
  Capacity capacity{};
  std::string block{}, node{}, worker{};  ///< of a worker
};
struct Begun {
  std::vector<TaskBegin> tasks;
};
struct Ended {
  std::vector<TaskEnd> tasks;
};
struct Progressed {
  std::vector<TaskProgress> tasks;
};
struct Logged {
  std::vector<TaskLog> lines;
};
struct CapacityNow {
  Capacity capacity;
};

// Messages downwards.
struct Assign {
  std::vector<Assignment> tasks;
};
struct Cancel {
  std::vector<std::string> tasks;
};
struct Stored {
  std::vector<TaskKey> ends;
};          ///< these ends need not be repeated
struct Watch {
  std::string task;
  bool on = false;
};   ///< somebody looks at its previews
struct Leave {
  std::string reason;
};                  ///< worker: checkpoint what runs and end

using Message =
    std::variant<Hello, Begun, Ended, Progressed, Logged, CapacityNow, Assign, Cancel, Stored, Watch, Leave>;

/// Texts for people are cut and made UTF-8. Throws `invalid_argument` for an output that is no JSON or larger than
/// kInlineOutput.
std::string encode(const Message&);
/// Throws `corrupt_data`: no JSON, an unknown kind, a member of the wrong type or beyond its limits. Nothing that comes
/// from a peer is trusted.
Message decode(std::string_view text);

/// A picture of a running task; opaque bytes to everybody between worker and viewer.
struct Preview {
  std::string task;
  std::string name;  ///< 1 to 64 of letters, digits, '-', '_', '.', the first a letter or digit
  std::string kind;  ///< "png", or "zstd" for values of `dtype`
  long long step = 0;
  std::string dtype{};  ///< "u8", "u16"
  std::vector<long long> shape{};
  double low = 0, high = 0;  ///< what 0 and the largest value of `dtype` stand for
  std::string bytes{};
};
/// Binary message: u32 little-endian length of a JSON header, the header, the bytes; at most 16 MiB. Throws
/// `invalid_argument` for a larger one.
std::string encode_preview(const Preview&);
/// Throws `corrupt_data`.
Preview decode_preview(std::string_view message);

}  // namespace farfield::services::compute
