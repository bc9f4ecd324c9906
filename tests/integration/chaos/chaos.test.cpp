// The proof: see README.md.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <random>

#include "farfield/core/testing.hpp"
#include "farfield/services/compute/blocks/testing_slurm.hpp"
#include "farfield/store/testing.hpp"
#include "tests/integration/chaos/federation.hpp"

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;
namespace compute_testing = services::compute::testing;
using namespace std::chrono_literals;
using nlohmann::json;

struct Size {
  int scans, kills;
  std::chrono::seconds limit;
};

/// FARFIELD_LONG: what the long form takes. FARFIELD_CHAOS_SEED: the accidents of a run that went wrong, again.
bool long_form() { return std::getenv("FARFIELD_LONG") != nullptr; }
Size size() { return long_form() ? Size{168, 100, 3600s} : Size{16, 10, 240s}; }
std::uint64_t seed() {
  const char* given = std::getenv("FARFIELD_CHAOS_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

/// In, reconstruction and a command on the endpoint, back. Tasks are tried as often as it takes: more of their workers
/// are killed here than in a year elsewhere.
const char* const kFlow = R"({"StartAt": "In", "States": {
  "In": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer", "WaitTime": 7200,
    "Parameters": {"source_endpoint_id.$": "$.beamline", "destination_endpoint_id.$": "$.cluster",
      "transfer_items": [{"source_path.$": "$.scan.path", "destination_path.$": "$.scan.path", "recursive": true}]},
    "ResultPath": "$.in", "Next": "Reconstruct"},
  "Reconstruct": {"Type": "Action", "ActionUrl": "https://compute.actions.globus.org/v3", "WaitTime": 7200,
    "Parameters": {"endpoint_id.$": "$.endpoint", "user_endpoint_config": {"attempts": 100},
      "tasks": [{"function_id": "farfield.ptychography.reconstruct", "args": [], "kwargs.$": "$.reconstruct"}]},
    "ResultPath": "$.reconstructed", "Next": "Record"},
  "Record": {"Type": "Action", "ActionUrl": "https://compute.actions.globus.org/v3", "WaitTime": 7200,
    "Parameters": {"endpoint_id.$": "$.endpoint", "user_endpoint_config": {"attempts": 100},
      "tasks": [{"function_id": "record", "args": [], "kwargs": {"scan.$": "$.scan.name", "ledger": "ledger"}}]},
    "ResultPath": "$.recorded", "Next": "Back"},
  "Back": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer", "WaitTime": 7200,
    "Parameters": {"source_endpoint_id.$": "$.cluster", "destination_endpoint_id.$": "$.beamline",
      "transfer_items": [
        {"source_path.=": "scan.result + '/object_phase.png'", "destination_path.=": "scan.result + '/object_phase.png'"},
        {"source_path.=": "scan.result + '/object_amplitude.png'", "destination_path.=": "scan.result + '/object_amplitude.png'"},
        {"source_path.=": "scan.result + '/probe.png'", "destination_path.=": "scan.result + '/probe.png'"}]},
    "ResultPath": "$.back", "End": true}}})";
const std::vector<std::string> kStates{"In", "Reconstruct", "Record", "Back"},
    kPictures{"object_phase.png", "object_amplitude.png", "probe.png"};

/// A side effect that can be counted: see read_ledger().
const char* const kRecord = R"(exec 9>>"$2.$1"
if ! flock -n 9; then echo "twice $1" >>"$2"; exit 1; fi
echo "begin $1" >>"$2"
sleep 0.4 9>&-
echo "end $1" >>"$2")";

const json kReconstruction{{"iterations", 200}, {"threads", 1}, {"seed", 1}};

class Chaos : public ::testing::Test {
protected:
  /// Simulated scans, and the pictures of an undisturbed reconstruction of each.
  void make_scans(Facility& facility, int count) {
    const auto run = [&](const std::vector<std::string>& arguments) {
      const auto answer = facility.farfield(arguments);
      if (answer.exit_code != 0) throw std::runtime_error(answer.err);
    };
    for (int i = 1; i <= count; ++i) {
      const std::string name = fmt::format("scan{}", i);
      scans_.push_back(name);
      const fs::path staged = folder_ / "staged" / name, made = folder_ / "made" / name,
                     pictures = folder_ / "expected" / std::to_string(i);
      fs::create_directories(staged);
      fs::create_directories(pictures);
      run({"ptychography", "simulate", "--out", staged / "scan.cxi", "--patterns", "60", "--shape", "64", "--seed",
           std::to_string(i), "--quiet"});
      std::vector<std::string> reconstruct{"ptychography", "reconstruct", staged / "scan.cxi",
                                           "--out",        made,          "--quiet"};
      for (const auto& [option, value] : kReconstruction.items()) {
        reconstruct.push_back("--" + option);
        reconstruct.push_back(value.dump());
      }
      run(reconstruct);
      for (const auto& picture : kPictures) fs::copy_file(made / picture, pictures / picture);
      std::ofstream(staged / "complete") << "";
    }
  }

  /// Something goes wrong somewhere; whether it was a kill.
  bool accident(Facility& facility) {
    const std::vector<std::string> victims{"service", "agent-beamline", "agent-cluster", "endpoint", "watch"};
    const auto pause = std::chrono::milliseconds(pick(0, 800));
    switch (pick(0, 6)) {
      case 0: {
        const auto networks = facility.networks();
        auto* network = networks[static_cast<std::size_t>(pick(0, std::ssize(networks) - 1))];
        if (pick(0, 1) == 0) {
          network->cut();
          return false;
        }
        network->stall(true);
        facility.supervisor().tend_for(std::chrono::milliseconds(pick(50, 1500)));
        network->stall(false);
        return false;
      }
      case 1:
      case 2: return kill_worker(facility);
      case 3:
        if (database_) return kill_database(facility);
        [[fallthrough]];
      default: {
        const auto& victim = victims[static_cast<std::size_t>(pick(0, std::ssize(victims) - 1))];
        if (!facility.supervisor().kill(victim, pause)) return false;
        killed_.push_back(victim);
        return true;
      }
    }
  }
  /// As if its machine had lost power; it comes back a moment later.
  bool kill_database(Facility& facility) {
    database_->stop("immediate");
    facility.supervisor().tend_for(std::chrono::milliseconds(pick(0, 3000)));
    if (!database_->start()) throw std::runtime_error("the database does not start again");
    killed_.emplace_back("database");
    return true;
  }
  /// A worker, or what starts and keeps a node's workers.
  bool kill_worker(Facility& facility) {
    std::vector<Process> workers;
    for (const auto& process : facility.supervisor().offspring())
      if (process.command.starts_with(std::string(FARFIELD_PROGRAM) + " worker")) workers.push_back(process);
    if (workers.empty()) return false;
    const auto& victim = workers[static_cast<std::size_t>(pick(0, std::ssize(workers) - 1))];
    if (::kill(victim.pid, SIGKILL) != 0) return false;
    killed_.emplace_back("worker");
    return true;
  }
  std::ptrdiff_t pick(std::ptrdiff_t from, std::ptrdiff_t to) {
    return std::uniform_int_distribution<std::ptrdiff_t>(from, to)(random_);
  }

  /// Sets it up, lets scans come while things go wrong, waits for the runs and draws up the account.
  void survive(const Size& size, const FacilityOptions& options);
  void start_endpoint(Facility& facility) const;

  std::vector<LoggedRun> read_runs(Facility& facility) {
    std::vector<LoggedRun> out;
    const auto listed = facility.call("GET", "/api/v1/runs?limit=1000");
    for (const auto& run : listed.at("runs")) {
      LoggedRun one{run.at("id"), run.at("label"), run.at("status"), {}};
      const auto log = facility.call("GET", fmt::format("/api/v1/runs/{}/log?limit=1000", one.id));
      for (const auto& event : log.at("events")) {
        json line = event;
        line["message_type"] = "event";
        one.events.push_back(parse_event(line.dump()));
      }
      out.push_back(std::move(one));
    }
    return out;
  }

  /// How often the service says that the command of each scan was tried.
  std::map<std::string, int> read_attempts(Facility& facility, const std::vector<LoggedRun>& runs) {
    std::map<std::string, std::string> scan_of;
    for (const auto& run : runs) scan_of["run " + run.id] = run.scan;
    std::map<std::string, int> out;
    const auto tasks =
        facility.call("GET", fmt::format("/api/v1/tasks?experiment={}&limit=1000", Facility::kExperiment));
    for (const auto& task : tasks.at("tasks")) {
      const auto& request = task.at("request");
      if (request.at("function").get<std::string>().starts_with("record"))
        out[scan_of[request.at("label")]] += task.at("attempt").get<int>();
    }
    return out;
  }

  const core::testing::TemporaryFolder folder_;
  const std::uint64_t seed_ = seed();
  std::mt19937_64 random_{seed_};
  std::vector<std::string> scans_, killed_;
  std::unique_ptr<store::testing::PostgresServer> database_;  ///< null: SQLite
  bool slurm_ = false;
};

void Chaos::start_endpoint(Facility& facility) const {
  std::vector<std::string> options{"--init-blocks", "1", "--max-blocks", "2", "--workers", "2", "--poll", "0.5"};
  std::map<std::string, std::string> environment;
  if (slurm_) {
    // Started here, so that the workers of its jobs are the supervisor's offspring, too.
    std::string why;
    const auto* cluster = compute_testing::SlurmCluster::get(why);
    if (cluster == nullptr) throw std::runtime_error("no Slurm: " + why);
    environment = cluster->environment();
    options.insert(options.end(), {"--provider", "slurm", "--partition", "realtime"});
  }
  facility.start_endpoint(options, environment);
}

void Chaos::survive(const Size& size, const FacilityOptions& options) {
  const auto [count, kills, limit] = size;
  fmt::print("seed {} (FARFIELD_CHAOS_SEED)\n", seed_);
  Facility facility(folder_ / "facility", options);
  make_scans(facility, count);
  facility.start_agents();
  start_endpoint(facility);
  facility.call("POST", "/api/v1/functions",
                {{"name", "record"},
                 {"kind", "command"},
                 {"experiment", Facility::kExperiment},
                 {"command", {"/bin/sh", "-c", kRecord, "record", "{scan}", "{out:ledger}"}}});
  const std::string here = std::string("/") + Facility::kExperiment;
  json reconstruct = kReconstruction;
  reconstruct["inputs"] = {"{path}/scan.cxi"};
  reconstruct["out"] = "{result}";
  std::ofstream(folder_ / "flow.json") << kFlow;
  facility.start_watch(folder_ / "flow.json", {{"beamline", "beamline" + here},
                                               {"cluster", "cluster" + here},
                                               {"endpoint", "cluster" + here},
                                               {"reconstruct", reconstruct}});
  const fs::path input = facility.root("beamline") / "input";
  if (!facility.becomes([&] { return fs::exists(input); }, 60s)) throw std::runtime_error("the watcher does not begin");

  // Scans come while things go wrong.
  std::size_t arrived = 0;
  const auto arrive = [&] {
    const auto& scan = scans_[arrived++];
    fs::rename(folder_ / "staged" / scan, input / scan);
  };
  const auto last = std::chrono::steady_clock::now() + limit;
  const auto in_time = [&] { return std::chrono::steady_clock::now() < last; };
  int killed = 0;
  // Chance seldom makes the others start while the service is away.
  for (const auto* name : {"service", "agent-beamline", "agent-cluster", "endpoint", "watch"})
    killed += facility.supervisor().kill(name, std::string(name) == "service" ? 1500ms : 0ms) ? 1 : 0;
  while (in_time() && (killed < kills || arrived < scans_.size())) {
    if (arrived < scans_.size()) arrive();
    killed += accident(facility) ? 1 : 0;
    facility.supervisor().tend_for(std::chrono::milliseconds(pick(100, 1500)));
  }
  EXPECT_GE(killed, kills);
  const auto ended = [&] {
    const auto runs = facility.call("GET", "/api/v1/runs?limit=1000").at("runs");
    return std::ssize(runs) == count &&
           std::ranges::none_of(runs, [](const json& run) { return run.at("status") == "ACTIVE"; });
  };
  facility.becomes(ended, std::chrono::duration_cast<std::chrono::seconds>(last - std::chrono::steady_clock::now()));

  Account account;
  const auto runs = read_runs(facility);
  check_runs(scans_, runs, kStates, account);
  check_ledger(scans_, read_ledger(facility.root("cluster") / "ledger"), read_attempts(facility, runs), account);
  check_files(folder_ / "expected", facility.root("beamline") / "recon", account);
  for (const auto& fault : account.faults) ADD_FAILURE() << fault;
  for (const auto& fall : facility.supervisor().falls()) ADD_FAILURE() << "ended by itself: " << fall;
  fmt::print("runs {} kills {} lost {} doubled {}\n", account.runs, killed, account.lost, account.doubled);
  if (HasFailure()) {
    const fs::path kept = fs::temp_directory_path() / fmt::format("farfield_chaos_{}", seed_);
    fs::rename(folder_.path(), kept);
    fmt::print("all that was there: {}\n", kept.string());
  }
}

// The long form: PostgreSQL, which is killed, too, and Slurm.
TEST_F(Chaos, EveryScanComesBack) {
  FacilityOptions options{.program = FARFIELD_PROGRAM, .seed = seed_};
  if (long_form()) {
    database_ = std::make_unique<store::testing::PostgresServer>();
    if (!database_->running()) FARFIELD_SKIP(database_->why_not());
    options.database = database_->address();
    slurm_ = true;
  }
  survive(size(), options);
}

TEST_F(Chaos, BetweenTwoSites) {
  const Sites sites;
  if (!sites.why_not().empty()) FARFIELD_SKIP(sites.why_not());
  survive({4, 4, 240s}, {.program = FARFIELD_PROGRAM, .seed = seed_, .sites = &sites});
}

}  // namespace
}  // namespace farfield::chaos
