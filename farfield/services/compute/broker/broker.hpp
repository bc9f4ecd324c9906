#pragma once
// The service's side of computing: tasks are stored before they are acknowledged, go to the endpoint they name when it
// is there and has room, and end once, whatever happens on the way.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/protocol.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::compute {

/// One endpoint's line, as the broker sees it. `send` and `close` from any thread; `send` is false when it is closed.
class Line {
public:
  virtual ~Line() = default;
  virtual bool send(std::string text) = 0;
  virtual void close(const std::string& reason) = 0;
};

struct EndpointStatus {
  std::string name, owner;
  bool connected = false;
  double since_s = 0;  ///< connected, or gone, since then
  Capacity capacity;
  std::string program;
  long long queued = 0, placed = 0;  ///< tasks
};

struct BrokerOptions {
  std::string folder{};              ///< of archives and large outputs
  double keep_s = 0;               ///< tasks that ended, and archives that no task used, for so long go; 0: never
  double silence_s = 30;           ///< a line that says nothing for so long is closed; its tasks stay with it
  std::function<double()> wall_s{};  ///< seconds since 1970; empty: the system's
};

/// Thread-safe.
class Broker {
public:
  using Listener = std::function<void(const TaskEvent&)>;
  using Submitted = std::function<void(core::Result<std::string>)>;

  /// `database` outlives this. Goes on with the tasks that have not ended.
  Broker(store::Database& database, BrokerOptions options);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// A new version of a function; the record as stored. Throws `invalid_argument`, `forbidden` (somebody else's name).
  FunctionRecord register_function(FunctionRecord function);
  /// "name" or "name@version". Throws `not_found`.
  FunctionRecord function(const std::string& name) const;
  std::vector<FunctionRecord> functions() const;

  /// Stored when it returns; the task's id. The same `key` again gives the id of the first (`conflict` where it asked
  /// for something else). Throws `not_found` (function, endpoint), `invalid_argument` (arguments against the schema).
  std::string submit(const TaskRequest& request, const std::string& key = "");
  /// The same without waiting for the disk; `submitted` is called on the database's thread.
  void submit(const TaskRequest& request, const std::string& key, Submitted submitted);
  TaskStatus status(const std::string& id) const;
  /// The latest first; of one owner and one experiment, or all where they are empty; of experiments that are `visible`.
  using Visible = std::function<bool(const std::string& experiment)>;
  std::vector<TaskStatus> list(const std::string& owner, long long at_most, const std::string& experiment = "",
                               const Visible& visible = {}) const;
  /// Keys and ids of the tasks that have not ended and were submitted under keys that begin so.
  std::vector<std::pair<std::string, std::string>> open_under(const std::string& beginning) const;
  /// Output of a task that is done, however large. Throws `not_found`, `conflict` (it is not done), `io`.
  std::string output(const std::string& id) const;
  /// The last lines that it wrote, at most 64 KiB.
  std::string log(const std::string& id) const;
  /// Stored when it returns, also where the endpoint is away; a task that has ended stays as it is. Throws `not_found`.
  void cancel(const std::string& id);
  /// The task once it has ended, or as it is after `seconds`.
  TaskStatus wait(const std::string& id, double seconds) const;

  /// Hears all events, from any thread; short, and does not call back. Dropped with the returned object.
  [[nodiscard]] std::shared_ptr<void> listen(Listener listener);

  /// Who may connect under this name is the caller's to check. A second line under a name replaces the first.
  /// Throws `invalid_argument` for the name and `forbidden` where it is somebody else's.
  void register_endpoint(const std::string& name, const std::string& owner);
  std::vector<EndpointStatus> endpoints() const;
  void connected(const std::string& endpoint, std::shared_ptr<Line> line);
  void received(const std::string& endpoint, const Line* line, const std::string& message, bool binary);
  void disconnected(const std::string& endpoint, const Line* line);

  /// The latest preview of a name, if one came since the task began.
  std::optional<Preview> preview(const std::string& task, const std::string& name) const;
  /// Every preview and event of one task, pushed: encoded preview, or JSON text. Dropped with the returned object.
  using Viewer = std::function<void(const std::string& channel, std::string message, bool binary)>;
  [[nodiscard]] std::shared_ptr<void> watch(const std::string& task, Viewer viewer);

  /// Removes what BrokerOptions::keep_s says, with outputs; call now and then. Throws what the database throws.
  void clean();

  /// Where archives and large outputs are (files.hpp).
  const std::string& folder() const;

private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace farfield::services::compute
