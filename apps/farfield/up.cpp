#include "apps/farfield/up.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/agent.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/endpoint_start.hpp"
#include "apps/farfield/service.hpp"
#include "apps/farfield/service_parts.hpp"
#include "farfield/services/auth/access.hpp"

namespace farfield::apps {
namespace {
namespace auth = services::auth;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

constexpr const char* kOwner = "user:admin";
constexpr const char* kClient = "farfield-cli";
constexpr double kReady_s = 30, kGrace_s = 5;

/// Each of these ports follows the service's.
constexpr int kBeamline = 1, kCluster = 2;

}  // namespace

const core::BoundSchema<UpOptions>& up_schema() {
  static const auto schema = [] {
    using O = UpOptions;
    core::BoundSchema<O> s;
    s.add("folder", &O::folder, "where all of it is: beamline/input, beamline/recon, cluster, state, flow.json",
          {.group = "Place"});
    s.add("experiment", &O::experiment, "that owns the data", {.group = "Place"});
    s.add("port", &O::port, "of the service; the agents have the next two", {.min = 1, .max = 65533, .group = "Place"});
    s.add("flow", &O::flow,
          "what each scan starts: a file, or the id of a flow; none: FOLDER/flow.json, a reconstruction",
          {.group = "Runs"});
    s.add("input", &O::input, "of each run, as for farfield watch; none: that of the reconstruction",
          {.group = "Runs"});
    s.add("iterations", &O::iterations, "of the reconstruction", {.min = 1, .group = "Runs"});
    s.add("quiet", &O::quiet_s, "a scan is complete when it has not changed for so long and nothing is open",
          {.min = 0, .unit = "s", .group = "Runs"});
    s.add("marker", &O::marker, "... or when it holds a file of this name", {.group = "Runs"});
    s.add("start", &O::start,
          "a run: when its scan is complete, or at its first file; then the flow's transfer follows the scan",
          {.choices = {"complete", "first-file"}, .group = "Runs"});
    s.add("workers", &O::workers, "tasks at once", {.min = 1, .max = 1024, .group = "Computing"});
    s.add("threads", &O::threads, "of each worker; 0: all cores", {.min = 0, .max = 4096, .group = "Computing"});
    s.add("login", &O::log_in, "log the commands of this user in at this service", {.group = "Output"});
    s.add("log-level", &O::log_level, "least level that is logged",
          {.choices = {"debug", "info", "warning", "error"}, .group = "Output"});
    return s;
  }();
  return schema;
}

struct Up::State {
  State(const UpOptions& o, const core::Clock& c) : options(o), clock(c), folder(fs::absolute(o.folder)) {
    auth::check_experiment(o.experiment);
    for (const char* part : {"beamline/input", "beamline/recon"}) fs::create_directories(folder / part);
    fs::create_directories(folder / "cluster" / o.experiment);
  }
  /// Also of what has started when the rest cannot: a block would go on without its endpoint.
  ~State() {
    watch.reset();
    // Workers keep a checkpoint of what runs, and leave with it.
    if (endpoint) (void)endpoint->endpoint().end_blocks(kGrace_s);
    endpoint.reset();
    // Transfers under way end before the agents that they speak to.
    if (service) service->stop(kGrace_s);
    for (const auto& agent : agents) agent->stop(kGrace_s);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  UpOptions options;
  const core::Clock& clock;
  fs::path folder;
  std::unique_ptr<Service> service;
  std::mutex granting;
  std::string grant;
  std::int64_t granted_s = 0;
  std::string flow;  ///< its id
  std::vector<std::unique_ptr<Agent>> agents;
  std::unique_ptr<EndpointHost> endpoint;
  std::unique_ptr<ScanWatch> watch;

  auth::Issuer& issuer() const { return service->access().issuer(); }
  /// The grant is renewed long before it ends, so that this may run for months.
  std::string token() {
    const std::int64_t life_s = issuer().options().refresh_life_s, now_s = issuer().directory().now_s();
    std::string by;
    {
      const std::lock_guard lock(granting);
      if (grant.empty() || now_s - granted_s > life_s / 2) {
        grant = issuer().delegate(kOwner, kClient, "farfield", life_s);
        granted_s = now_s;
      }
      by = grant;
    }
    return issuer().mint(by);
  }
  std::string certificate() const { return service->made_certificate().string(); }
  ServiceClient client() {
    return {{service->issuer(), certificate()}, [this] { return token(); }};
  }

  void start_service() {
    ServeOptions o;
    o.folder = folder / "state" / "service";
    o.port = options.port;
    o.requests_per_s = 0;  // nobody but this machine reaches it
    o.log_level = options.log_level;
    service = std::make_unique<Service>(o);
    try {
      issuer().directory().create_experiment(options.experiment, kOwner);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::conflict) throw;  // it is there since the last time
    }
  }

  void start_agent(const std::string& name, int port, const std::string& root, const std::string& exports) {
    auto& directory = issuer().directory();
    const std::string identity = "up-" + name;
    const std::string secret = directory.client(identity) ? directory.renew_secret(identity)
                                                          : directory.add_service(identity, {"transfer.agent"});
    const fs::path secret_file = folder / "state" / (name + ".secret");
    write_private(secret_file, secret + "\n");
    AgentOptions o;
    o.service = service->issuer();
    o.authority = certificate();
    o.identity = identity;
    o.secret_file = secret_file;
    o.name = name;
    o.root = root;
    o.exports = exports;
    o.folder = folder / "state" / name;
    o.port = port;
    o.log_level = options.log_level;
    agents.push_back(std::make_unique<Agent>(o));
  }

  void start_endpoint() {
    EndpointStartOptions o;
    o.service = service->issuer();
    o.authority = certificate();
    o.name = "here";
    o.folder = folder / "state" / "endpoint";
    o.root = folder / "cluster";
    o.init_blocks = o.min_blocks = 1;  // warm from the start
    o.workers = options.workers;
    o.threads = options.threads;
    o.log_level = options.log_level;
    endpoint = std::make_unique<EndpointHost>(o, [this] { return token(); });
  }

  /// FOLDER/flow.json is the user's own from the first start on.
  void deploy() {
    const fs::path file = folder / "flow.json";
    if (options.flow.empty() && !fs::exists(file)) write_private(file, kExampleFlow);
    flow = deployed_flow(client(), options.flow.empty() ? file.string() : options.flow);
  }
  std::string input() const {
    if (!options.input.empty()) return options.input;
    const std::string& e = options.experiment;
    const nlohmann::json inner{{"beamline", "beamline/" + e},     {"cluster", "cluster/" + e},
                               {"endpoint", "here/" + e},         {"scan", "{path}"},
                               {"staged", "input/{id}"},          {"files", {"input/{id}/{file}"}},
                               {"recon", "recon/{id}"},           {"result", "{result}"},
                               {"iterations", options.iterations}};
    return nlohmann::json{{"input", inner}}.dump();
  }

  void start_watch(std::function<void(const ScanWatch::News&)> tell) {
    ScanWatchOptions o;
    o.flow = flow;
    o.input = input();
    o.quiet_s = options.quiet_s;
    o.marker = options.marker;
    o.start = options.start;
    o.state = folder / "state" / "watch.db";
    watch = std::make_unique<ScanWatch>((folder / "beamline").string(), o, client(), clock, std::move(tell));
  }

  void keep_login() const {
    const auto device = issuer().begin_device(kClient, "farfield admin");
    issuer().decide_device(device.user_code, kOwner, true);
    const auto tokens = issuer().device_tokens(kClient, device.device_code);
    Credentials(credentials_folder())
        .keep({service->issuer(), certificate()}, tokens.access, tokens.refresh, tokens.expires_in_s);
  }
};

Up::Up(const UpOptions& options, const core::Clock& clock, std::function<void(const ScanWatch::News&)> tell)
    : state_(std::make_unique<State>(options, clock)) {
  State& s = *state_;
  s.start_service();
  s.deploy();  // what is wrong with the flow is said before anything works
  s.start_agent("beamline", options.port + kBeamline, "", options.experiment + "=" + (s.folder / "beamline").string());
  s.start_agent("cluster", options.port + kCluster, s.folder / "cluster", "");
  for (const auto& agent : s.agents)
    if (!agent->wait_ready(kReady_s)) throw Error(ErrorCode::timeout, "an agent could not register at the service");
  s.start_endpoint();
  s.start_watch(std::move(tell));
  if (options.log_in) s.keep_login();
}

Up::~Up() = default;

std::string Up::origin() const { return state_->service->issuer(); }
std::string Up::certificate() const { return state_->certificate(); }
std::string Up::prefix() const { return state_->folder / "beamline"; }
std::string Up::password_file() const { return state_->folder / "state" / "service" / "admin-password"; }
std::string Up::token() const { return state_->token(); }

Command up_command() {
  return {{"up"},
          "all of it on one machine: a folder to drop scans into, and pictures that come back",
          {},
          {up_schema()},
          [](const Arguments& arguments, const Session& session) {
            const auto options = up_schema().make(arguments.given);
            Console console({.terminal = ::isatty(2) == 1}, session.clock);
            core::set_log_sink(make_log_sink(console, options.log_level));
            {
              const Up up(options, session.clock, [&](const ScanWatch::News& news) {
                if (news.status.empty()) console.note(fmt::format("{}: run {}", news.scan, news.run));
                else if (news.status == "SUCCEEDED") console.note(fmt::format("{}: done", news.scan));
                else console.note(fmt::format("{}: {} {}", news.scan, news.status, news.problem));
              });
              console.note(fmt::format("drop scans into   {}/input/scan100, scan101, ...", up.prefix()));
              console.note(fmt::format("pictures come to  {}/recon/100, ...", up.prefix()));
              console.note(fmt::format("service           {} (trust {})", up.origin(), up.certificate()));
              console.note(fmt::format("look at runs      farfield flow list --service {}", up.origin()));
              console.note(fmt::format("user              admin, with the password in {}", up.password_file()));
              console.note("a token for the next ten minutes, on stdout:");
              fmt::print("{}\n", up.token());
              std::fflush(stdout);
              std::mutex mutex;
              std::condition_variable_any stopped;
              std::unique_lock lock(mutex);
              stopped.wait(lock, session.stop, [] { return false; });
              console.note("stopping; runs go on when it starts again");
            }
            core::set_log_sink(nullptr);
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
