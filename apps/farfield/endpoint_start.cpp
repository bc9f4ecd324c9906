#include "apps/farfield/endpoint_start.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/agent_identity.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/task_runner.hpp"
#include "apps/farfield/version.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/compute/worker/launcher.hpp"

namespace farfield::apps {
namespace {

namespace compute = services::compute;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

constexpr const char* kScope = "compute.endpoint";

compute::Roots roots_of(const EndpointStartOptions& o) {
  compute::Roots roots;
  if (!o.root.empty()) roots.prefix = fs::absolute(o.root).lexically_normal().string();
  for (const std::string& item : core::between_commas(o.experiments)) {
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == item.size())
      throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" in option experiment must be ID=FOLDER", item));
    const fs::path folder = fs::absolute(item.substr(equals + 1));
    if (!fs::is_directory(folder))
      throw Error(ErrorCode::not_found, fmt::format("there is no folder {} (option experiment)", folder.string()));
    roots.of[item.substr(0, equals)] = folder.lexically_normal().string();
  }
  if (!roots.prefix.empty() && !fs::is_directory(roots.prefix))
    throw Error(ErrorCode::not_found, fmt::format("there is no folder {} (option root)", roots.prefix));
  return roots;
}

/// "#SBATCH --mem=4G; #SBATCH --exclusive": lines of a job script.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(';', begin), text.size());
    const std::size_t first = text.find_first_not_of(' ', begin);
    if (first < end) lines.push_back(text.substr(first, end - first));
    begin = end + 1;
  }
  return lines;
}

compute::EndpointOptions endpoint_options(const EndpointStartOptions& o) {
  compute::EndpointOptions e;
  e.name = o.name.empty() ? compute::node_name() : o.name;
  e.folder = fs::absolute(o.folder).string();
  e.program = fmt::format("farfield {}", version());
  e.verbs = verb_functions();
  const std::string program = fs::read_symlink("/proc/self/exe").string();
  e.command = {program, "worker"};
  e.scaling = {o.init_blocks,     o.min_blocks, o.max_blocks, o.max_urgent_blocks,
               o.nodes_per_block, o.workers,    o.walltime_s, o.idle_s};
  e.normal.cores = o.cores;
  e.normal.gpus = o.gpus;
  e.normal.environment = {{"FARFIELD_WORKER_THREADS", std::to_string(o.threads)}, {"FARFIELD_MPIRUN", o.mpirun}};
  e.urgent = e.normal;
  e.normal.partition = o.partition;
  e.normal.account = o.account;
  e.normal.qos = o.qos;
  e.normal.reservation = o.reservation;
  e.normal.extra = lines_of(o.extra);
  const auto own = [](const std::string& urgent, const std::string& normal) {
    return urgent.empty() ? normal : urgent;
  };
  e.urgent.partition = own(o.urgent_partition, o.partition);
  e.urgent.account = own(o.urgent_account, o.account);
  e.urgent.qos = own(o.urgent_qos, o.qos);
  e.urgent.reservation = own(o.urgent_reservation, o.reservation);
  e.urgent.extra = lines_of(own(o.urgent_extra, o.extra));
  e.poll_s = o.poll_s;
  e.notice_s = std::min(o.notice_s, o.walltime_s / 4);
  e.address = o.address;
  e.port = static_cast<std::uint16_t>(o.port);
  e.roots = roots_of(o);
  e.devices = core::between_commas(o.devices);
  e.slots_per_device = o.slots_per_gpu;
  e.readable = {fs::path(program).parent_path().string()};
  for (const std::string& path : core::between_commas(o.readable)) e.readable.push_back(fs::absolute(path).string());
  e.confine = o.confine;
  return e;
}

}  // namespace

const core::BoundSchema<EndpointStartOptions>& endpoint_schema() {
  static const auto schema = [] {
    using O = EndpointStartOptions;
    core::BoundSchema<O> s;
    s.add("service", &O::service, "URL of the service; none: the one that was logged in to last", {.group = "Service"});
    s.add("authority", &O::authority,
          "certificate (PEM) of the service or of its authority; none: the system's authorities", {.group = "Service"});
    s.add("identity", &O::identity, "service identity with the scope compute.endpoint; none: who has logged in",
          {.group = "Service"});
    s.add("secret-file", &O::secret_file, "file with its secret, readable by its owner only", {.group = "Service"});
    s.add("name", &O::name, "of the endpoint; none: the host's", {.group = "Service"});
    s.add("root", &O::root, "ROOT/EXPERIMENT is the folder of each experiment", {.group = "Data"});
    s.add("experiment", &O::experiments, "experiments whose folders lie elsewhere, between commas: ID=FOLDER,ID=FOLDER",
          {.group = "Data"});
    s.add("folder", &O::folder, "memory of the endpoint, and folders of blocks and tasks; all nodes must see it",
          {.group = "Data"});
    s.add("readable", &O::readable, "what tasks may read besides the system and their experiment, between commas",
          {.group = "Data"});
    s.add("confine", &O::confine,
          "tasks see their experiment only, by the kernel; without, commands and user code are refused",
          {.group = "Data"});
    s.add("provider", &O::provider, "where blocks come from: processes of this machine, or jobs of Slurm",
          {.choices = {"local", "slurm"}, .group = "Blocks"});
    s.add("init-blocks", &O::init_blocks, "blocks that start with the endpoint", {.min = 0, .group = "Blocks"});
    s.add("min-blocks", &O::min_blocks, "blocks that are kept when idle", {.min = 0, .group = "Blocks"});
    s.add("max-blocks", &O::max_blocks, "never more, whatever waits", {.min = 1, .group = "Blocks"});
    s.add("max-urgent-blocks", &O::max_urgent_blocks, "besides, for urgent tasks that find no idle worker",
          {.min = 0, .group = "Blocks"});
    s.add("nodes-per-block", &O::nodes_per_block, "nodes of one block", {.min = 1, .group = "Blocks"});
    s.add("workers", &O::workers, "on each node", {.min = 1, .group = "Blocks"});
    s.add("worker-threads", &O::threads, "threads of a verb that does not say how many; 0: all",
          {.min = 0, .group = "Blocks"});
    s.add("walltime", &O::walltime_s, "of a block", {.min = 1, .unit = "s", .group = "Blocks"});
    s.add("idle", &O::idle_s, "a block that had nothing to do for so long is given back",
          {.min = 0, .unit = "s", .group = "Blocks"});
    s.add("notice", &O::notice_s, "tasks are asked for a checkpoint so long before the walltime is over",
          {.min = 0, .unit = "s", .group = "Blocks"});
    s.add("poll", &O::poll_s, "how often the scheduler is asked", {.min = 0.05, .unit = "s", .group = "Blocks"});
    s.add("cores", &O::cores, "cores of each node to ask for; 0: as the scheduler gives",
          {.min = 0, .group = "Blocks"});
    s.add("gpus", &O::gpus, "GPUs of each node to ask for", {.min = 0, .group = "Blocks"});
    s.add("devices", &O::devices, "GPUs of each node where no scheduler assigns them: 0,1 or UUIDs",
          {.group = "Blocks"});
    s.add("slots-per-gpu", &O::slots_per_gpu, "tasks that share a GPU", {.min = 1, .max = 1024, .group = "Blocks"});
    s.add("mpirun", &O::mpirun, "program and options that start tasks of several ranks", {.group = "Blocks"});
    s.add("partition", &O::partition, "of Slurm, for blocks", {.group = "Slurm"});
    s.add("account", &O::account, "of Slurm, for blocks", {.group = "Slurm"});
    s.add("qos", &O::qos, "of Slurm, for blocks", {.group = "Slurm"});
    s.add("reservation", &O::reservation, "of Slurm, for blocks", {.group = "Slurm"});
    s.add("extra", &O::extra, "further lines of the job script, between semicolons: #SBATCH ...; #SBATCH ...",
          {.group = "Slurm"});
    s.add("urgent-partition", &O::urgent_partition, "for urgent blocks; none: as for the others", {.group = "Slurm"});
    s.add("urgent-account", &O::urgent_account, "for urgent blocks; none: as for the others", {.group = "Slurm"});
    s.add("urgent-qos", &O::urgent_qos, "for urgent blocks; none: as for the others", {.group = "Slurm"});
    s.add("urgent-reservation", &O::urgent_reservation, "for urgent blocks; none: as for the others",
          {.group = "Slurm"});
    s.add("urgent-extra", &O::urgent_extra, "for urgent blocks; none: as for the others", {.group = "Slurm"});
    s.add("address", &O::address, "where workers reach the endpoint, inside the cluster; by TLS unless it is 127.0.0.1",
          {.group = "Network"});
    s.add("port", &O::port, "to listen at for workers; 0: any, and the same again",
          {.min = 0, .max = 65535, .group = "Network"});
    s.add("log-level", &O::log_level, "least level that is logged",
          {.choices = {"debug", "info", "warning", "error"}, .group = "Output"});
    return s;
  }();
  return schema;
}

struct EndpointHost::State {
  State(const EndpointStartOptions& o, std::function<std::string()> given) : token(std::move(given)) {
    compute::EndpointOptions e = endpoint_options(o);
    name = e.name;
    if (o.identity.empty() && !token) {
      credentials.emplace(credentials_folder());
      remote = credentials->remote(o.service.empty() ? "" : core::value_or_throw(net::parse_url(o.service)).origin());
      token = [this] { return credentials->access_token(remote); };
    } else {
      if (o.service.empty())
        throw Error(ErrorCode::invalid_argument, "an endpoint needs the URL of its service (option service)");
      remote = {core::value_or_throw(net::parse_url(o.service)).origin(), o.authority};
      if (!token) {
        identity.emplace(remote, o.identity, o.secret_file, kScope);
        token = [this] { return identity->token(); };
      }
    }
    if (!o.authority.empty()) remote.authority = fs::absolute(o.authority);
    e.service = remote.origin;
    e.trust = {remote.authority};
    e.token = [this] {
      const std::string good = token();
      if (!registered) sign_up(good);
      return good;
    };
    endpoint.emplace(std::move(e),
                     o.provider == BlockKind::slurm ? compute::make_slurm_blocks() : compute::make_local_blocks());
  }

  /// Before the first line: the service knows endpoints by who registered them.
  void sign_up(const std::string& good) {
    net::Client client(remote.origin, {.trust = {remote.authority}});
    const auto response =
        client.send({.method = "POST",
                     .target = "/api/v1/endpoints",
                     .headers = {{"Authorization", "Bearer " + good}, {"Content-Type", "application/json"}},
                     .body = nlohmann::json{{"name", name}}.dump()});
    if (!response.ok()) throw net::status_error(response, "endpoint " + name);
    registered = true;
  }

  std::function<std::string()> token;
  std::string name;
  Remote remote;
  std::optional<Credentials> credentials;
  std::optional<ServiceIdentity> identity;
  std::atomic<bool> registered = false;
  std::optional<compute::Endpoint> endpoint;
};

EndpointHost::EndpointHost(const EndpointStartOptions& options, std::function<std::string()> token)
    : state_(std::make_unique<State>(options, std::move(token))) {}
EndpointHost::~EndpointHost() = default;
const std::string& EndpointHost::name() const { return state_->name; }
compute::Endpoint& EndpointHost::endpoint() { return *state_->endpoint; }

int run_worker(const std::string& folder, const std::stop_token& stop) {
  const core::SteadyClock clock;
  Console console({}, clock);
  core::set_log_sink(make_log_sink(console, core::LogLevel::info));
  const int code = compute::run_in_block(folder, [] { return make_task_runner(task_runner_options()); }, stop);
  core::set_log_sink(nullptr);
  return code;
}

Command endpoint_start_command() {
  return {{"endpoint", "start"},
          "the compute side: runs tasks of the service in blocks of this machine or of a Slurm cluster",
          {},
          {endpoint_schema()},
          [](const Arguments& arguments, const Session& session) {
            const auto options = endpoint_schema().make(arguments.given);
            Console console({.terminal = ::isatty(2) == 1}, session.clock);
            core::set_log_sink(make_log_sink(console, options.log_level));
            {
              const EndpointHost host(options);
              console.note(fmt::format("endpoint {} runs; its blocks go on when it ends", host.name()));
              std::mutex mutex;
              std::condition_variable_any stopped;
              std::unique_lock lock(mutex);
              stopped.wait(lock, session.stop, [] { return false; });
            }
            core::set_log_sink(nullptr);
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
