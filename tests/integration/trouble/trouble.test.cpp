// Disks that fill up, databases that go away, folders that cannot be written, clocks that jump: a watched folder, the
// flow engine and transfers on one database, as the service holds them. What goes wrong is said; when it is over all
// goes on, and afterwards nothing is missing and nothing was done twice.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/services/flow/engine.hpp"
#include "farfield/services/flow/simple_actions.hpp"
#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/tasks.hpp"
#include "farfield/services/watch/watcher.hpp"
#include "farfield/store/testing.hpp"
#include "tests/integration/chaos/account.hpp"

namespace farfield::trouble {
namespace {
namespace fs = std::filesystem;
namespace flow = services::flow;
namespace transfer = services::transfer;
namespace watch = services::watch;
using core::Error;
using core::ErrorCode;
using namespace std::chrono_literals;

constexpr const char* kFlow = R"({"StartAt": "In", "States": {
  "In":   {"Type": "Action", "ActionUrl": "test:transfer", "Parameters": {"from": "beamline", "to": "cluster", "scan.$": "$.scan"},
           "ResultPath": "$.in", "WaitTime": 600, "Next": "Back"},
  "Back": {"Type": "Action", "ActionUrl": "test:transfer", "Parameters": {"from": "cluster", "to": "recon", "scan.$": "$.scan"},
           "ResultPath": "$.back", "WaitTime": 600, "End": true}}})";
const std::vector<std::string> kStates{"In", "Back"};
constexpr const char* kFiller = "filler";  ///< runs that only fill the database

/// One transfer task for an action, under the action's key: asked again after a restart it is the same task.
class Transfers final : public flow::ActionProvider {
public:
  explicit Transfers(transfer::Tasks& tasks) : tasks_(tasks) {}
  void start(const flow::ActionRequest& request, const Notify& notify) override {
    const auto body = flow::Json::parse(request.body);
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, body, key = request.key, notify](const std::stop_token& stop) {
      transfer::TaskRequest asked;
      asked.source = body.at("from");
      asked.destination = body.at("to");
      asked.items = {{body.at("scan"), body.at("scan"), true}};
      flow::ActionUpdate update;
      update.key = key;
      for (std::string id; !stop.stop_requested();) try {
          if (id.empty()) id = tasks_.submit(asked, key);
          const auto status = tasks_.wait(id, 0.05);
          if (!is_final(status.state)) continue;
          update.state = status.state == transfer::TaskState::succeeded ? flow::ActionUpdate::State::succeeded
                                                                        : flow::ActionUpdate::State::failed;
          update.details = flow::Json({{"problem", status.problem}}).dump();
          return notify(update);
        } catch (const Error&) {  // the database: later
          std::this_thread::sleep_for(20ms);
        }
    });
  }
  void cancel(const std::string&) override { ++cancelled; }
  std::atomic<int> cancelled = 0;

private:
  transfer::Tasks& tasks_;
  std::mutex mutex_;
  std::vector<std::jthread> threads_;
};

/// A small file system of its own.
class SmallDisk {
public:
  explicit SmallDisk(const fs::path& at, const char* size) : at_(at) {
    fs::create_directories(at_);
    mounted = ::mount("tmpfs", at_.c_str(), "tmpfs", 0, (std::string("mode=0777,size=") + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted) ::umount2(at_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  void fill() const {
    std::ofstream ballast(at_ / "ballast", std::ios::binary);
    const std::string page(4096, 'x');
    while (ballast.write(page.data(), std::ssize(page)).flush()) {}
  }
  void make_room() const { fs::remove(at_ / "ballast"); }
  bool mounted = false;

private:
  fs::path at_;
};

class Trouble : public ::testing::Test {
protected:
  void SetUp() override {
    for (const auto* place : {"input", "cluster", "recon"}) fs::create_directories(folder_ / place);
  }
  void TearDown() override { close(); }

  void open(const std::string& address) {
    db_ = store::Database::open(address, {.patience_s = 0.3});
    const auto resolve = [this](const std::string& place,
                                const transfer::TaskRequest&) -> std::shared_ptr<transfer::Provider> {
      return transfer::local_provider(folder_ / (place == "beamline" ? "input" : place), {false});
    };
    tasks_ = std::make_unique<transfer::Tasks>(*db_, resolve, clock_,
                                               transfer::TasksOptions{.patience_s = 0.05, .wall_s = wall()});
    transfers_ = std::make_shared<Transfers>(*tasks_);
    flow::Providers providers = flow::simple_providers();
    providers.add("transfer", {"test:transfer"}, transfers_);
    engine_ = std::make_unique<flow::Engine>(*db_, std::move(providers));
    if (flow_.empty()) {
      flow::FlowRecord record;
      record.owner = "garcia";
      record.definition = kFlow;
      flow_ = engine_->deploy(record).id;
    }
    watch::WatcherOptions options;
    options.folder = folder_ / "input";
    options.rule = {"complete", 0.2, {}};
    options.rescan_s = 0.2;
    options.patience_s = 0.05;
    options.wall_s = wall();
    watcher_ = std::make_unique<watch::Watcher>(
        *db_, options,
        [this](const watch::Scan& scan) {
          flow::RunRequest request;
          request.flow_id = flow_;
          request.input = flow::Json({{"scan", scan.name}}).dump();
          request.owner = "garcia";
          request.label = scan.name;
          request.request_id = scan.key;
          engine_->start(request);
        },
        clock_);
  }
  void close() {
    watcher_.reset();
    engine_.reset();
    transfers_.reset();
    tasks_.reset();
    db_.reset();
  }
  std::function<double()> wall() {
    return [this] {
      return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count() + jump_s_;
    };
  }

  void scan(int number, bool complete = true) {
    const std::string name = fmt::format("scan{}", number);
    scans_.push_back(name);
    fs::create_directories(folder_ / "input" / name);
    for (int i = 0; i < 3; ++i)
      std::ofstream(folder_ / "input" / name / fmt::format("frames{}", i)) << std::string(2000, char('a' + i));
    if (complete) std::ofstream(folder_ / "input" / name / "complete") << "";
  }
  /// Waits until it is so, at most a minute.
  static bool becomes(const std::function<bool()>& so) {
    for (int i = 0; i < 6000; ++i) {
      if (so()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
  std::vector<flow::RunRecord> runs() const {
    flow::Records::Page page;
    page.limit = 100'000;
    auto all = flow::Records(*db_).runs(page);
    std::erase_if(all, [](const auto& run) { return run.label == kFiller; });
    return all;
  }
  int ended() const {
    int n = 0;
    for (const auto& run : runs()) n += run.status != flow::RunStatus::active ? 1 : 0;
    return n;
  }
  bool all_end() {
    return becomes([&] {
      try {
        return ended() == std::ssize(scans_);
      } catch (const Error&) {
        return false;
      }
    });
  }
  void expect_all_well() {
    ASSERT_TRUE(all_end()) << ended() << " of " << scans_.size() << " runs ended";
    std::vector<chaos::LoggedRun> logged;
    for (const auto& run : runs()) {
      chaos::LoggedRun one{run.id, run.label, std::string(name_of(run.status)), {}};
      for (const auto& event : flow::Records(*db_).events(run.id)) {
        const auto body = flow::Json::parse(event.body);
        one.events.push_back(
            {event.number, event.kind, body.value("key", ""), body.value("status", ""), body.value("state", "")});
      }
      logged.push_back(std::move(one));
    }
    chaos::Account account;
    chaos::check_runs(scans_, logged, kStates, account);
    chaos::check_files(folder_ / "input", folder_ / "recon", account);
    for (const auto& fault : account.faults) ADD_FAILURE() << fault;
    EXPECT_EQ(account.runs, std::ssize(scans_));
    EXPECT_EQ(transfers_->cancelled, 0);
  }

  const core::testing::TemporaryFolder folder_;
  const core::SteadyClock clock_;
  std::atomic<double> jump_s_ = 0;
  std::string flow_;
  std::vector<std::string> scans_;
  std::unique_ptr<store::Database> db_;
  std::unique_ptr<transfer::Tasks> tasks_;
  std::shared_ptr<Transfers> transfers_;
  std::unique_ptr<flow::Engine> engine_;
  std::unique_ptr<watch::Watcher> watcher_;
};

TEST_F(Trouble, AFullDiskUnderTheDatabase) {
  const SmallDisk disk(folder_ / "disk", "16m");
  if (!disk.mounted) FARFIELD_SKIP("no tmpfs can be mounted here");
  const std::string address = "sqlite:" + (folder_ / "disk/service.db").string();
  open(address);
  flow::FlowRecord nothing;
  nothing.owner = "garcia";
  nothing.definition =
      R"({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "Next": "B"}, "B": {"Type": "Pass", "End": true}}})";
  nothing = engine_->deploy(nothing);
  for (int i = 1; i <= 4; ++i) scan(i);
  ASSERT_TRUE(becomes([&] { return ended() > 0; }));
  scan(5);
  scan(6);
  for (int i = 0; i < 10; ++i) engine_->start({.flow_id = nothing.id, .label = kFiller});
  disk.fill();
  scan(7);
  // What still fits into its files the database takes; then it says what is wrong.
  ASSERT_TRUE(becomes([&] {
    try {
      for (int i = 0; i < 50; ++i) engine_->start({.flow_id = nothing.id, .label = kFiller});
      return false;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::resource_exhausted) << e.what();
      return true;
    }
  }));
  std::this_thread::sleep_for(1500ms);  // beyond every patience, and until those runs want to go on
  disk.make_room();
  ASSERT_TRUE(becomes([&] { return ended() == std::ssize(scans_) && engine_->live() == 0; }));
  flow::Records::Page active;
  active.status = flow::RunStatus::active;
  EXPECT_TRUE(flow::Records(*db_).runs(active).empty()) << "the engine left a run";
  // And what it says is what the next process finds.
  close();
  open(address);
  expect_all_well();
}

TEST_F(Trouble, ADatabaseThatGoesAway) {
  store::testing::PostgresServer server;
  if (!server.running()) FARFIELD_SKIP(server.why_not());
  const char* long_form = std::getenv("FARFIELD_LONG");
  const auto away = long_form != nullptr ? 60s : 2s;  // the patience of this database is 0.3 s
  open(server.address());
  for (int i = 1; i <= 20; ++i) scan(i);
  ASSERT_TRUE(becomes([&] { return ended() > 0; }));
  server.stop("immediate");
  for (int i = 21; i <= 30; ++i) scan(i);
  try {
    engine_->start({.flow_id = flow_, .input = R"({"scan": "scan1"})"});
    ADD_FAILURE() << "was started without a database";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable) << e.what();
  }
  std::this_thread::sleep_for(away);
  ASSERT_TRUE(server.start());
  expect_all_well();
}

TEST_F(Trouble, FoldersThatCannotBeWritten) {
  const SmallDisk disk(folder_ / "recon", "64k");
  if (!disk.mounted) FARFIELD_SKIP("no tmpfs can be mounted here");
  open("sqlite:" + (folder_ / "service.db").string());
  scan(1);
  ASSERT_TRUE(all_end());
  // Full: the transfer waits, and says for what.
  disk.fill();
  scan(2);
  const auto waits_for = [&](const std::string& words) {
    return becomes([&] {
      const auto tasks = tasks_->list("", 10);
      return std::ranges::any_of(tasks, [&](const auto& task) {
        return !is_final(task.state) && task.problem.find(words) != std::string::npos;
      });
    });
  };
  EXPECT_TRUE(waits_for("No space left"));
  disk.make_room();
  ASSERT_TRUE(all_end());
  expect_all_well();
  // Read-only, which nobody mends by waiting: the run fails, says why, and goes on when it is told to.
  const auto remount = [&](unsigned long flags) {
    return ::mount("tmpfs", (folder_ / "recon").c_str(), "tmpfs", MS_REMOUNT | flags, "size=64k") == 0;
  };
  ASSERT_TRUE(becomes([&] { return remount(MS_RDONLY); }));
  scan(3);
  ASSERT_TRUE(all_end());
  const auto failed = [&] {
    flow::Records::Page page;
    page.status = flow::RunStatus::failed;
    return flow::Records(*db_).runs(page);
  }();
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(failed[0].states, std::vector<std::string>{"Back"});
  EXPECT_NE(failed[0].cause.find("Read-only file system"), std::string::npos) << failed[0].cause;
  ASSERT_TRUE(remount(0));
  engine_->resume(failed[0].id, "garcia");
  EXPECT_EQ(engine_->wait(failed[0].id, 60).status, flow::RunStatus::succeeded);
  chaos::Account account;
  chaos::check_files(folder_ / "input", folder_ / "recon", account);
  for (const auto& fault : account.faults) ADD_FAILURE() << fault;
}

TEST_F(Trouble, ClocksThatJump) {
  open("sqlite:" + (folder_ / "service.db").string());
  scan(1);
  ASSERT_TRUE(all_end());
  jump_s_ = -86400;  // files now come from tomorrow
  scan(2, false);
  ASSERT_TRUE(all_end());
  jump_s_ = +30 * 86400;
  scan(3, false);
  ASSERT_TRUE(all_end());
  // The service is started again while the clock is wrong, and once more when it is right.
  close();
  scan(4);
  open("sqlite:" + (folder_ / "service.db").string());
  ASSERT_TRUE(all_end());
  jump_s_ = 0;
  close();
  scan(5, false);
  open("sqlite:" + (folder_ / "service.db").string());
  expect_all_well();
}

}  // namespace
}  // namespace farfield::trouble
