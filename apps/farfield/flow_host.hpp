#pragma once
// Where flows live, for the commands about them: a service, or a database of one's own with an engine in this process.

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "apps/farfield/command.hpp"
#include "farfield/services/flow/engine.hpp"
#include "farfield/services/flow/report.hpp"

namespace farfield::apps {

struct HostOptions {
  std::string service, database;
};
const core::BoundSchema<HostOptions>& host_schema();

class FlowHost {
public:
  virtual ~FlowHost() = default;
  /// Checks, then stores; a new flow where `flow.id` is empty.
  virtual services::flow::FlowRecord deploy(services::flow::FlowRecord flow) = 0;
  virtual services::flow::FlowRecord flow(const std::string& id) = 0;
  virtual std::vector<services::flow::FlowRecord> flows(const services::flow::Records::Page& page) = 0;
  /// The run's id.
  virtual std::string start(const services::flow::RunRequest& request) = 0;
  virtual services::flow::RunRecord run(const std::string& id) = 0;
  virtual std::vector<services::flow::RunRecord> runs(const services::flow::Records::Page& page) = 0;
  /// Every event, without what is private.
  virtual std::vector<services::flow::StoredEvent> log(const std::string& run_id) = 0;
  virtual services::flow::RunTimes times(const services::flow::RunRecord& run) = 0;
  virtual void cancel(const std::string& run_id) = 0;
  /// Goes on with a run that failed or was cancelled, or that nobody works on.
  virtual void resume(const std::string& run_id) = 0;
  /// Each event after number `after` as it comes, until the run has ended or `stop`; the run then.
  using OnEvent = std::function<void(const services::flow::StoredEvent&)>;
  virtual services::flow::RunRecord follow(const std::string& run_id, std::int64_t after, const OnEvent& on_event,
                                           const std::stop_token& stop) = 0;
  /// Whether runs end with this process: then they have to be followed.
  virtual bool in_this_process() const = 0;
};

/// By --service, else --database, else a SQLite file of this user's own.
std::unique_ptr<FlowHost> open_flow_host(const Arguments& arguments);
/// The two of them.
std::unique_ptr<FlowHost> service_flow_host(const std::string& url);
std::unique_ptr<FlowHost> database_flow_host(const std::string& address);

}  // namespace farfield::apps
