// The proof: see README.md.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>

#include "farfield/core/testing.hpp"
#include "tests/integration/chaos/federation.hpp"

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

struct Size {
  int scans, kills;
  std::chrono::seconds limit;
};

/// FARFIELD_LONG: what the long form takes. FARFIELD_CHAOS_SEED: the accidents of a run that went wrong, again.
Size size() { return std::getenv("FARFIELD_LONG") != nullptr ? Size{168, 100, 3600s} : Size{16, 10, 240s}; }
std::uint64_t seed() {
  const char* given = std::getenv("FARFIELD_CHAOS_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

const json kFlow = json::parse(R"({"StartAt": "In", "States": {
  "In": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer",
    "Parameters": {"source_endpoint_id.$": "$.beamline", "destination_endpoint_id.$": "$.cluster",
      "transfer_items": [{"source_path.=": "'input/' + scan", "destination_path.=": "'input/' + scan", "recursive": true}]},
    "ResultPath": "$.in", "WaitTime": 3600, "Next": "Back"},
  "Back": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer",
    "Parameters": {"source_endpoint_id.$": "$.cluster", "destination_endpoint_id.$": "$.beamline",
      "transfer_items": [{"source_path.=": "'input/' + scan", "destination_path.=": "'recon/' + scan", "recursive": true}]},
    "ResultPath": "$.back", "WaitTime": 3600, "End": true}}})");
const std::vector<std::string> kStates{"In", "Back"};

class Chaos : public ::testing::Test {
protected:
  /// Scans as a beamline writes them, and what has to come back.
  void make_scans(int count) {
    for (int i = 1; i <= count; ++i) {
      const std::string name = fmt::format("scan{}", i);
      scans_.push_back(name);
      const fs::path staged = folder_ / "staged" / name;
      fs::create_directories(staged);
      std::mt19937_64 noise(static_cast<std::uint64_t>(i));
      for (int file = 0; file < 4; ++file) {
        std::ofstream out(staged / fmt::format("frames{}", file), std::ios::binary);
        for (int k = 0; k < 40'000; ++k) {
          const auto word = noise();
          out.write(reinterpret_cast<const char*>(&word), sizeof word);
        }
      }
    }
  }

  /// Something goes wrong somewhere; whether it was a kill.
  bool accident(Facility& facility) {
    const std::vector<std::string> victims{"service", "agent-beamline", "agent-cluster"};
    const auto pause = std::chrono::milliseconds(pick(0, 800));
    switch (pick(0, 4)) {
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
      default: {
        const auto& victim = victims[static_cast<std::size_t>(pick(0, std::ssize(victims) - 1))];
        if (!facility.supervisor().kill(victim, pause)) return false;
        killed_.push_back(victim);
        return true;
      }
    }
  }
  std::ptrdiff_t pick(std::ptrdiff_t from, std::ptrdiff_t to) {
    return std::uniform_int_distribution<std::ptrdiff_t>(from, to)(random_);
  }

  /// Sets it up, lets scans come while things go wrong, waits for the runs and draws up the account.
  void survive(const Size& size, const FacilityOptions& options);

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

  const core::testing::TemporaryFolder folder_;
  const std::uint64_t seed_ = seed();
  std::mt19937_64 random_{seed_};
  std::vector<std::string> scans_, killed_;
};

void Chaos::survive(const Size& size, const FacilityOptions& options) {
  const auto [count, kills, limit] = size;
  fmt::print("seed {} (FARFIELD_CHAOS_SEED)\n", seed_);
  make_scans(count);
  Facility facility(folder_ / "facility", options);
  facility.start_agents();
  const auto flow = facility.call("POST", "/api/v1/flows", {{"title", "chaos"}, {"definition", kFlow}}).at("id");

  // Scans come while things go wrong.
  const fs::path input = facility.root("beamline") / "input";
  fs::create_directories(input);
  std::size_t arrived = 0;
  const auto arrive = [&] {
    const auto& scan = scans_[arrived++];
    fs::rename(folder_ / "staged" / scan, input / scan);
    const std::string place = std::string("/") + Facility::kExperiment;
    facility.call("POST", fmt::format("/api/v1/flows/{}/runs", flow.get<std::string>()),
                  {{"label", scan},
                   {"request_id", scan},
                   {"input", {{"scan", scan}, {"beamline", "beamline" + place}, {"cluster", "cluster" + place}}}});
  };
  const auto last = std::chrono::steady_clock::now() + limit;
  const auto in_time = [&] { return std::chrono::steady_clock::now() < last; };
  int killed = 0;
  while (in_time() && (killed < kills || arrived < scans_.size())) {
    if (arrived < scans_.size()) arrive();
    killed += accident(facility) ? 1 : 0;
    facility.supervisor().tend_for(std::chrono::milliseconds(pick(100, 1500)));
  }
  EXPECT_GE(killed, kills);
  const auto left = [&] {
    const auto active = facility.call("GET", "/api/v1/runs?status=ACTIVE&limit=1000").at("runs");
    return active.size();
  };
  facility.becomes([&] { return left() == 0; },
                   std::chrono::duration_cast<std::chrono::seconds>(last - std::chrono::steady_clock::now()));

  Account account;
  check_runs(scans_, read_runs(facility), kStates, account);
  check_files(input, facility.root("beamline") / "recon", account);
  for (const auto& fault : account.faults) ADD_FAILURE() << fault;
  for (const auto& fall : facility.supervisor().falls()) ADD_FAILURE() << "ended by itself: " << fall;
  fmt::print("runs {} kills {} lost {} doubled {}\n", account.runs, killed, account.lost, account.doubled);
  if (HasFailure()) {
    const fs::path kept = fs::temp_directory_path() / fmt::format("farfield_chaos_{}", seed_);
    fs::rename(folder_.path(), kept);
    fmt::print("all that was there: {}\n", kept.string());
  }
}

TEST_F(Chaos, EveryScanComesBack) { survive(size(), {.program = FARFIELD_PROGRAM, .seed = seed_}); }

TEST_F(Chaos, BetweenTwoSites) {
  const Sites sites;
  if (!sites.why_not().empty()) FARFIELD_SKIP(sites.why_not());
  survive({4, 4, 240s}, {.program = FARFIELD_PROGRAM, .seed = seed_, .sites = &sites});
}

}  // namespace
}  // namespace farfield::chaos
