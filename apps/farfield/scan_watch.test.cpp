// The beamline side against a service: each scan is one run, whatever ends in between.

#include "apps/farfield/scan_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/service.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/services/auth/access.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

TEST(RunInput, FillsInTheScan) {
  services::watch::Scan scan;
  scan.id = 100;
  scan.name = "flyscan100";
  const core::testing::TemporaryFolder folder;
  scan.path = folder / scan.name;
  fs::create_directories(scan.path / "raw");
  std::ofstream(scan.path / "raw/frames.h5") << "many frames";
  std::ofstream(scan.path / "notes") << "few";
  const auto input = json::parse(run_input(
      R"({"input": {"local": "{path}", "back": ["x/{result}/{id}"], "n": 1, "file": "{file}"}, "{id}": "{unknown}"})",
      scan, "data"));
  EXPECT_EQ(input["input"]["local"], "data/input/flyscan100");
  EXPECT_EQ(input["input"]["back"][0], "x/data/recon/100/100");
  EXPECT_EQ(input["input"]["n"], 1);
  EXPECT_EQ(input["input"]["file"], "raw/frames.h5");
  EXPECT_EQ(input["{id}"], "{unknown}");
  EXPECT_EQ(input["scan"]["id"], 100);
  EXPECT_EQ(input["scan"]["follow"], false);
  const auto begun = json::parse(run_input("{}", scan, "", services::watch::CompleteRule{"*.done", 3, {}}));
  EXPECT_EQ(begun["scan"]["follow"], (json{{"marker", "*.done"}, {"quiet_s", 3}}));
  EXPECT_EQ(json::parse(run_input(R"({"scan": "mine"})", scan, ""))["scan"], "mine");
  EXPECT_THROW(run_input("[]", scan, ""), core::Error);
}

TEST(RequestId, IsOfOneScanOnOneMachineForOneFlow) {
  services::watch::Scan scan;
  scan.key = "watch:/data/" + std::string(4000, 'x') + ":7";
  const auto id = request_id(scan, "beamline1", "flow1");
  EXPECT_EQ(id, request_id(scan, "beamline1", "flow1"));
  EXPECT_LE(id.size(), 200U);  // as long as a service takes
  EXPECT_NE(id, request_id(scan, "beamline2", "flow1"));
  EXPECT_NE(id, request_id(scan, "beamline1", "flow2"));
  scan.key.back() = '8';
  EXPECT_NE(id, request_id(scan, "beamline1", "flow1"));
}

TEST(HasFrames, CountsThemOverTheFilesOfAScan) {
  const core::testing::TemporaryFolder folder;
  const fs::path scan = folder / "scan1";
  fs::create_directories(scan);
  EXPECT_FALSE(has_frames(scan, 1, "/entry/data/data"));
  for (const auto& [name, frames] : {std::pair("a.h5", 3), {"b.h5", 4}}) {
    auto file = io::hdf5::File::create(scan / name, scan / name);
    file.make_group("/entry");
    file.make_group("/entry/data");
    file.create_dataset("/entry/data/data", core::DType::u16, {frames, 2, 2});
    file.close();
  }
  std::ofstream(scan / "c.h5") << "not yet";
  EXPECT_TRUE(has_frames(scan, 7, "/entry/data/data"));
  EXPECT_FALSE(has_frames(scan, 8, "/entry/data/data"));
  EXPECT_FALSE(has_frames(scan, 1, "/entry/elsewhere"));
  EXPECT_TRUE(has_frames(scan / "a.h5", 3, "/entry/data/data"));
}

class Watching : public ::testing::Test {
protected:
  Watching() {
    service_options.folder = folder / "state";
    service_options.port = 0;
    service_options.issuer = "https://farfield.test";
    service_options.requests_per_s = 0;
    service = std::make_unique<Service>(service_options);
    std::ofstream(folder / "flow.json")
        << R"({"StartAt": "A", "States": {"A": {"Type": "Pass", "ResultPath": "$.done", "Result": true, "End": true}}})";
    options.flow = folder / "flow.json";
    options.state = folder / "watch.db";
    options.marker = "done";
    options.quiet_s = 0;
  }
  ServiceClient client() {
    auto& issuer = service->access().issuer();
    const auto device = issuer.begin_device("farfield-cli", "farfield");
    issuer.decide_device(device.user_code, "user:admin", true);
    const std::string token = issuer.device_tokens("farfield-cli", device.device_code).access;
    return {{service->origin(), service->made_certificate()}, [token] { return token; }};
  }
  std::unique_ptr<ScanWatch> open() {
    return std::make_unique<ScanWatch>((folder / "data").string(), options, client(), clock,
                                       [this](const ScanWatch::News& one) {
                                         const std::lock_guard lock(mutex);
                                         (one.status.empty() ? started : ended).push_back(one);
                                         changed.notify_all();
                                       });
  }
  void scan(const std::string& name) {
    fs::create_directories(folder / "data" / "input" / name);
    std::ofstream(folder / "data" / "input" / name / "frames") << name;
    std::ofstream(folder / "data" / "input" / name / "done") << "";
  }
  bool wait_started(std::size_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), [&] { return started.size() >= count; });
  }

  core::testing::TemporaryFolder folder;
  core::SteadyClock clock;
  ServeOptions service_options;
  std::unique_ptr<Service> service;
  ScanWatchOptions options;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<ScanWatch::News> started, ended;
};

TEST_F(Watching, EachScanIsOneRunAlsoOfTheNextProcess) {
  std::string flow;
  {
    const auto watching = open();
    flow = watching->flow();
    for (const char* name : {"scan100", "flyscan101", "scan_0102", "other"}) scan(name);
    EXPECT_TRUE(wait_started(3));
  }
  scan("scan103");
  {
    const auto watching = open();
    EXPECT_EQ(watching->flow(), flow);  // not deployed again
    EXPECT_TRUE(wait_started(4));
  }
  const auto runs = json::parse(client().call("GET", "/api/v1/runs?limit=100"))["runs"];
  EXPECT_EQ(runs.size(), 4U);
  std::set<std::string> labels;
  for (const auto& run : runs) labels.insert(run["label"]);
  EXPECT_EQ(labels, (std::set<std::string>{"scan100", "flyscan101", "scan_0102", "scan103"}));
  EXPECT_TRUE(fs::is_directory(folder / "data" / "recon"));
}

TEST_F(Watching, ARunMayStartAtTheFirstFile) {
  options.start = services::watch::HandOn::first_file;
  const auto watching = open();
  fs::create_directories(folder / "data/input/scan5");
  std::ofstream(folder / "data/input/scan5/frames") << "the first";
  ASSERT_TRUE(wait_started(1));
  EXPECT_FALSE(fs::exists(folder / "data/input/scan5/done"));
  std::ofstream(folder / "data/input/scan5/done") << "";
  scan("scan6");
  ASSERT_TRUE(wait_started(2));
  const auto runs = json::parse(client().call("GET", "/api/v1/runs?limit=100"))["runs"];
  EXPECT_EQ(runs.size(), 2U);  // its completion starts no second one
}

TEST_F(Watching, ScansThatComeWhileTheServiceIsAwayStartWhenItIsBack) {
  const auto watching = open();
  const auto port = std::stoi(service->origin().substr(service->origin().rfind(':') + 1));
  service->stop(0);
  service.reset();
  scan("scan7");
  service_options.port = port;
  service = std::make_unique<Service>(service_options);
  EXPECT_TRUE(wait_started(1));
}

TEST_F(Watching, RefusesWhatCannotWork) {
  options.flow = "no-such-flow";
  EXPECT_THROW(open(), core::Error);
  options.flow = folder / "flow.json";
  options.input = R"(["no object"])";
  EXPECT_THROW(open(), core::Error);
  options.input = "{}";
  options.start = services::watch::HandOn::first_file;
  options.frames = 10;  // nobody would count them at the other end
  EXPECT_THROW(open(), core::Error);
  options.frames = 0;
  options.pattern = "(";
  EXPECT_THROW(open(), core::Error);
}
}  // namespace
}  // namespace farfield::apps
