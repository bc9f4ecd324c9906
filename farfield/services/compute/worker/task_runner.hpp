#pragma once
// What a worker calls to run a task: implemented where techniques are known (apps), so that services never meet them.

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

/// A task in a worker.
struct Work {
  TaskKey key;
  FunctionRecord function;
  std::string arguments;               ///< JSON object
  std::string root;                    ///< folder of its experiment, absolute
  std::string folder;                  ///< path of its own folder, which is there once somebody asked for it
  std::string code;                    ///< of user code: where the archive was unpacked
  std::vector<std::string> devices;    ///< CUDA_VISIBLE_DEVICES
  std::vector<std::string> nodes;      ///< of its block, for MPI
  int ranks = 1;
  bool resume = false;

  /// The same, made now where it is not there: empty, or with what earlier attempts kept. Checkpoints go here. Most
  /// short tasks need none, and a folder made and removed costs more than they do. Throws `io`.
  const std::string& own_folder() const;
};

/// Thread-safe.
class Reporter {
public:
  virtual ~Reporter() = default;
  virtual void progress(double fraction, const std::string& message) = 0;
  virtual void log(const std::string& line) = 0;
  virtual void preview(Preview preview) = 0;
  /// Whether anybody looks: pictures need not be made for nobody.
  virtual bool watched() const = 0;
};

struct WorkEnd {
  Ending ending = Ending::done;  ///< done, failed, cancelled, interrupted
  std::string output = "null";   ///< JSON
  std::string problem{};
};

class TaskRunner {
public:
  virtual ~TaskRunner() = default;
  /// The verbs that this program has.
  virtual std::vector<FunctionRecord> verbs() const = 0;
  /// `cancel`: end and throw away; `leave`: end soon, keep a checkpoint in Work::own_folder() (`interrupted`). An
  /// exception is `failed` with its text.
  virtual WorkEnd run(const Work& work, Reporter& reporter, const std::stop_token& cancel,
                      const std::stop_token& leave) = 0;
};

}  // namespace farfield::services::compute
