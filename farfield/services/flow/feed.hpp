#pragma once
// Runs as server-sent events: what happened, then what happens, pushed by the engine; nothing is polled.

#include <memory>
#include <string>
#include <vector>

#include "farfield/net/event_stream.hpp"
#include "farfield/services/flow/engine.hpp"

namespace farfield::services::flow {

/// Thread-safe. Streams end when their viewer goes, and after ten minutes, the life of a token: viewers come back with
/// a fresh one and their Last-Event-ID.
class RunFeed {
public:
  /// `engine` outlives this.
  explicit RunFeed(Engine& engine);
  ~RunFeed();
  RunFeed(const RunFeed&) = delete;
  RunFeed& operator=(const RunFeed&) = delete;

  /// The events of a run after number `after`, without what is private: "event", its number as id, its JSON as data.
  /// When the run has ended, "run" with the run's JSON is the last. `grant`: of the viewer's token.
  std::shared_ptr<net::EventStream> follow(const std::string& run_id, std::int64_t after, const std::string& grant);
  /// "run" with the JSON of each run that somebody with these names may see, at each change from now on; empty: of all.
  std::shared_ptr<net::EventStream> follow_all(std::vector<std::string> names, const std::string& grant);

  /// Ends the streams of a grant that was revoked.
  void drop(const std::string& grant);

private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace farfield::services::flow
