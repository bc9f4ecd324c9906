#include "apps/farfield/flow_host.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "apps/farfield/flow_options.hpp"
#include "farfield/services/flow/simple_actions.hpp"
#include "farfield/services/flow/visible.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
namespace flow = services::flow;
using core::Error;
using core::ErrorCode;

constexpr std::int64_t kAllEvents = 1'000'000;

std::string own_database() {
  const char *state = std::getenv("XDG_STATE_HOME"), *home = std::getenv("HOME");
  if ((state == nullptr || *state == '\0') && (home == nullptr || *home == '\0'))
    throw Error(ErrorCode::invalid_argument, "neither XDG_STATE_HOME nor HOME is set: say --database");
  const fs::path folder =
      (state != nullptr && *state != '\0' ? fs::path(state) : fs::path(home) / ".local/state") / "farfield";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorCode::io, fmt::format("cannot make the folder: {}", error.message())).at(folder.string());
  return "sqlite:" + (folder / "farfield.db").string();
}

/// A database of one's own. The engine is there once it is needed, and works on the runs that it was told of.
class DatabaseHost final : public FlowHost {
public:
  explicit DatabaseHost(const std::string& address)
      : database_(store::Database::open(address, {.patience_s = 10})), records_(*database_) {
    flow::migrate(*database_);
  }

  flow::FlowRecord deploy(flow::FlowRecord record) override {
    record.owner = user_name();
    if (!record.identity.empty())
      throw Error(ErrorCode::invalid_argument, "identities belong to a service: say --service").at("--identity");
    return engine().deploy(std::move(record));
  }
  flow::FlowRecord flow(const std::string& id) override { return records_.flow(id); }
  std::vector<flow::FlowRecord> flows(const flow::Records::Page& page) override { return records_.flows(page); }
  std::string start(const flow::RunRequest& request) override {
    flow::RunRequest own = request;
    own.owner = user_name();
    if (!own.identities.empty())
      throw Error(ErrorCode::invalid_argument, "identities belong to a service: say --service").at("--role");
    return engine().start(own);
  }
  flow::RunRecord run(const std::string& id) override { return records_.run(id); }
  std::vector<flow::RunRecord> runs(const flow::Records::Page& page) override { return records_.runs(page); }
  std::vector<flow::StoredEvent> log(const std::string& run_id) override {
    return visible_events(records_.events(run_id, 0, kAllEvents), *machine_of(records_.run(run_id)));
  }
  flow::RunTimes times(const flow::RunRecord& run) override { return run_times(run, records_.events(run.id)); }
  void cancel(const std::string& run_id) override {
    engine().adopt(run_id);
    engine().cancel(run_id, user_name());
  }
  void resume(const std::string& run_id) override {
    if (records_.run(run_id).status == flow::RunStatus::active) engine().adopt(run_id);
    else engine().resume(run_id, user_name());
  }
  flow::RunRecord follow(const std::string& run_id, std::int64_t after, const OnEvent& on_event,
                         const std::stop_token& stop) override {
    std::mutex mutex;
    std::condition_variable_any news;
    bool heard = false;
    std::shared_ptr<void> listening;
    if (engine_)
      listening = engine_->listen([&](const flow::RunNews&) {
        const std::lock_guard lock(mutex);
        heard = true;
        news.notify_all();
      });
    const auto machine = machine_of(records_.run(run_id));
    while (true) {
      const flow::RunRecord run = records_.run(run_id);
      for (const auto& event : visible_events(records_.events(run_id, after), *machine)) {
        on_event(event);
        after = event.number;
      }
      if (run.status != flow::RunStatus::active || stop.stop_requested()) return run;
      // Another process may work on it: its news are found by looking.
      std::unique_lock lock(mutex);
      news.wait_for(lock, stop, std::chrono::milliseconds(200), [&] { return heard; });
      heard = false;
    }
  }
  bool in_this_process() const override { return true; }

private:
  flow::Engine& engine() {
    if (!engine_)
      engine_ = std::make_unique<flow::Engine>(*database_, flow::simple_providers(), flow::Engine::Recover::none);
    return *engine_;
  }
  std::shared_ptr<const flow::Machine> machine_of(const flow::RunRecord& run) const {
    return flow::parse_definition(records_.flow(run.flow_id, run.flow_version).definition);
  }

  std::unique_ptr<store::Database> database_;
  flow::Records records_;
  std::unique_ptr<flow::Engine> engine_;
};
}  // namespace

const core::BoundSchema<HostOptions>& host_schema() {
  static const auto schema = [] {
    core::BoundSchema<HostOptions> s;
    s.add("service", &HostOptions::service, "URL of the service where flows run (after farfield login)");
    s.add("database", &HostOptions::database,
          "without a service: sqlite:PATH or postgresql://USER@HOST/NAME (default: farfield/farfield.db below "
          "$XDG_STATE_HOME or ~/.local/state)");
    return s;
  }();
  return schema;
}

std::unique_ptr<FlowHost> database_flow_host(const std::string& address) {
  return std::make_unique<DatabaseHost>(address.empty() ? own_database() : address);
}

std::unique_ptr<FlowHost> open_flow_host(const Arguments& arguments) {
  const auto options = host_schema().make(part(arguments.given, host_schema()));
  if (!options.service.empty() && !options.database.empty())
    throw Error(ErrorCode::invalid_argument, "--service and --database exclude each other");
  return options.service.empty() ? database_flow_host(options.database) : service_flow_host(options.service);
}

}  // namespace farfield::apps
