// Tasks, the database under them, and what survives a kill.

#include "farfield/services/transfer/tasks.hpp"

#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/testing.hpp"
#include "farfield/services/transfer/testing_provider.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

class TransferTasks : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    store::testing::EachDatabase::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    fs::create_directories(folder_ / "from");
    fs::create_directories(folder_ / "to");
    from_ = std::make_shared<testing::HookedProvider>(local_provider(folder_ / "from"));
    to_ = std::make_shared<testing::HookedProvider>(local_provider(folder_ / "to", {false}));
    request_.source = "beamline";
    request_.destination = "cluster";
    request_.items = {{"scan", "scan", true}};
    request_.owner = "garcia";
    options_.patience_s = 0.05;
    database = database_.open();
  }
  void TearDown() override {
    tasks_.reset();
    database.reset();
  }
  void start() {
    tasks_.reset();
    tasks_ = std::make_unique<Tasks>(
        *database,
        [this](const std::string& place, const TaskRequest&) -> std::shared_ptr<Provider> {
          if (place == "beamline") return from_;
          if (place == "cluster") return to_;
          throw core::Error(ErrorCode::not_found, "there is no place " + place);
        },
        clock_, options_,
        [this](const TaskEvent& event) {
          const std::lock_guard lock(mutex_);
          events_[event.status.id].push_back(event);
        });
  }
  void write_tree(int files) {
    for (int i = 0; i < files; ++i)
      testing::write_plain(folder_ / "from/scan" / ("f" + std::to_string(i)),
                           testing::random_text(1000, static_cast<std::uint64_t>(i)));
  }
  std::vector<std::string> kinds(const std::string& id) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& event : events_[id])
      if (event.kind != TaskEvent::Kind::progress) names.emplace_back(name_of(event.kind));
    return names;
  }

  testing::TemporaryFolder folder_;
  core::SteadyClock clock_;
  std::unique_ptr<store::Database> database;
  std::shared_ptr<testing::HookedProvider> from_, to_;
  TaskRequest request_;
  TasksOptions options_;
  std::mutex mutex_;
  std::map<std::string, std::vector<TaskEvent>> events_;
  std::unique_ptr<Tasks> tasks_;
};

TEST_P(TransferTasks, RunToTheirEnd) {
  write_tree(300);
  start();
  request_.options.copy.sha256 = true;
  const std::string id = tasks_->submit(request_);
  const auto status = tasks_->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::succeeded) << status.problem;
  EXPECT_EQ(status.progress.files_copied, 300);
  EXPECT_EQ(status.progress.bytes_read, 300 * 1000);
  EXPECT_FALSE(status.progress.listing);
  EXPECT_EQ(status.attempt, 1);
  EXPECT_GT(status.submitted_s, 1.7e9);
  EXPECT_EQ(kinds(id), (std::vector<std::string>{"submitted", "started", "ended"}));
  const auto units = tasks_->units(id, false, "", 1000);
  ASSERT_EQ(units.size(), 300U);
  EXPECT_EQ(units[0].destination, "scan/f0");
  EXPECT_EQ(units[0].sha256, to_->digests("scan/f0", true).sha256);
  EXPECT_EQ(units[0].crc32c, to_->digests("scan/f0", false).crc32c);
  EXPECT_EQ(tasks_->units(id, false, units[9].destination, 5).front().destination, units[10].destination);
  start();  // what has ended is remembered, and not begun again
  EXPECT_EQ(tasks_->status(id).progress.files_copied, 300);
  EXPECT_EQ(tasks_->wait(id, 0).attempt, 1);
}

TEST_P(TransferTasks, AKeySubmitsOnce) {
  write_tree(1);
  start();
  const std::string id = tasks_->submit(request_, "run-7/transfer");
  EXPECT_EQ(tasks_->submit(request_, "run-7/transfer"), id);
  tasks_->wait(id, 30);
  EXPECT_EQ(tasks_->submit(request_, "run-7/transfer"), id);
  EXPECT_NE(tasks_->submit(request_, "run-8/transfer"), id);
  EXPECT_NE(tasks_->submit(request_), tasks_->submit(request_));
  request_.label = "another";
  EXPECT_EQ(caught([&] { tasks_->submit(request_, "run-7/transfer"); }).code, ErrorCode::conflict);
  EXPECT_EQ(tasks_->list("", 100).size(), 4U);
}

TEST_P(TransferTasks, ListTheLatestFirst) {
  start();
  const std::string a = tasks_->submit(request_), b = tasks_->submit(request_);
  request_.owner = "smith";
  const std::string c = tasks_->submit(request_);
  const auto ids = [&](const std::string& owner, Index most) {
    std::vector<std::string> found;
    for (const auto& status : tasks_->list(owner, most)) found.push_back(status.id);
    return found;
  };
  EXPECT_EQ(ids("", 10), (std::vector<std::string>{c, b, a}));
  EXPECT_EQ(ids("", 2), (std::vector<std::string>{c, b}));
  EXPECT_EQ(ids("garcia", 10), (std::vector<std::string>{b, a}));
  EXPECT_EQ(ids("nobody", 10), std::vector<std::string>{});
}

TEST_P(TransferTasks, FailWithTheReason) {
  write_tree(5);
  to_->hooks.before_receive = [](const std::string& path) {
    if (path == "scan/f3") throw core::Error(ErrorCode::io, "a bad sector");
  };
  start();
  const std::string id = tasks_->submit(request_);
  const auto status = tasks_->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::failed);
  EXPECT_EQ(status.problem, "1 of 5 files failed; the first is scan/f3: a bad sector");
  const auto failed = tasks_->units(id, true, "", 10);
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(failed[0].problem, "a bad sector");
  request_.destination = "nowhere";
  const auto unknown = tasks_->wait(tasks_->submit(request_), 30);
  EXPECT_EQ(unknown.state, TaskState::failed);
  EXPECT_EQ(unknown.problem, "there is no place nowhere");
}

TEST_P(TransferTasks, WaitForRoomAndForPeers) {
  write_tree(20);
  std::atomic<int> failures{0};
  to_->hooks.before_commit = [&] {
    if (failures++ < 3) throw core::Error(ErrorCode::resource_exhausted, "No space left on device");
  };
  start();
  const std::string id = tasks_->submit(request_);
  const auto status = tasks_->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::succeeded) << status.problem;
  EXPECT_GT(status.attempt, 1);
  EXPECT_EQ(status.progress.files_copied, 20);
  EXPECT_EQ(status.problem, "");
  const auto events = kinds(id);
  EXPECT_EQ(events[2], "waiting");
  EXPECT_EQ(events.back(), "ended");
}

TEST_P(TransferTasks, WaitNoLongerThanTheDeadline) {
  write_tree(1);
  to_->hooks.before_receive = [](const std::string&) { throw core::Error(ErrorCode::unavailable, "nobody there"); };
  request_.deadline_s = 0.3;
  request_.options.attempts = 1;
  start();
  const auto status = tasks_->wait(tasks_->submit(request_), 30);
  EXPECT_EQ(status.state, TaskState::failed);
  EXPECT_EQ(status.problem, "nobody there");
  EXPECT_GT(status.attempt, 1);
}

TEST_P(TransferTasks, ATaskThatWaitsHoldsNoOtherUp) {
  write_tree(1);
  options_.active = 1;
  options_.patience_s = 1000;
  std::atomic<bool> away{true};
  to_->hooks.before_receive = [&](const std::string&) {
    if (away.exchange(false)) throw core::Error(ErrorCode::resource_exhausted, "full");
  };
  start();
  const std::string first = tasks_->submit(request_);
  EXPECT_EQ(tasks_->wait(tasks_->submit(request_), 30).state, TaskState::succeeded);
  EXPECT_EQ(tasks_->status(first).state, TaskState::active);
  EXPECT_EQ(tasks_->status(first).problem, "full");
  tasks_->cancel(first);
  EXPECT_EQ(tasks_->status(first).state, TaskState::cancelled);
  EXPECT_EQ(kinds(first).back(), "ended");
}

TEST_P(TransferTasks, AreCancelled) {
  write_tree(500);
  std::atomic<bool> begun{false};
  to_->hooks.before_commit = [&] {
    begun = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  start();
  const std::string id = tasks_->submit(request_);
  while (!begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  tasks_->cancel(id);
  const auto status = tasks_->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::cancelled);
  EXPECT_EQ(status.problem, "");
  tasks_->cancel(id);
  EXPECT_EQ(kinds(id), (std::vector<std::string>{"submitted", "started", "ended"}));
  start();
  EXPECT_EQ(tasks_->wait(id, 30).state, TaskState::cancelled);
  EXPECT_EQ(caught([&] { tasks_->cancel("gone"); }).code, ErrorCode::not_found);
}

TEST_P(TransferTasks, GoOnAfterAStopOfTheService) {
  write_tree(400);
  std::atomic<int> commits{0};
  to_->hooks.before_commit = [&] {
    ++commits;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  };
  start();
  const std::string id = tasks_->submit(request_);
  while (commits < 60) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  tasks_.reset();
  EXPECT_LT(commits, 400);
  start();
  const auto status = tasks_->wait(id, 60);
  EXPECT_EQ(status.state, TaskState::succeeded);
  EXPECT_EQ(status.attempt, 2);
  EXPECT_EQ(status.progress.files_copied, 400);
  EXPECT_EQ(commits, 400);  // a graceful stop forgets nothing, and nothing is done twice
  EXPECT_EQ(tasks_->units(id, false, "", 1000).size(), 400U);
}

TEST_P(TransferTasks, ABackgroundChangeOfTheSourceIsCopiedAgain) {
  write_tree(50);
  std::atomic<int> commits{0};
  to_->hooks.before_commit = [&] {
    if (++commits > 25) throw core::Error(ErrorCode::resource_exhausted, "full");
  };
  options_.patience_s = 1000;
  start();
  const std::string id = tasks_->submit(request_);
  while (tasks_->status(id).problem.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  tasks_.reset();
  const auto done = to_->list("scan").entries;
  ASSERT_FALSE(done.empty());
  testing::write_plain(folder_ / "from/scan" / done.front().name, "changed since");
  to_->hooks = {};
  start();
  EXPECT_EQ(tasks_->wait(id, 30).state, TaskState::succeeded);
  EXPECT_EQ(testing::read_plain(folder_ / "to/scan" / done.front().name), "changed since");
}

TEST_P(TransferTasks, RefuseWhatCouldNeverRun) {
  start();
  request_.items[0].source = "../x";
  EXPECT_EQ(caught([&] { tasks_->submit(request_); }).code, ErrorCode::invalid_argument);
  request_.items.clear();
  EXPECT_EQ(caught([&] { tasks_->submit(request_); }).code, ErrorCode::invalid_argument);
  request_.items = {{"a", "b", true}};
  request_.options.follow = watch::CompleteRule{"", 0, [](const std::string&) { return true; }};
  EXPECT_EQ(caught([&] { tasks_->submit(request_); }).code, ErrorCode::invalid_argument);
  request_.options.follow.reset();
  request_.source.clear();
  EXPECT_EQ(caught([&] { tasks_->submit(request_); }).code, ErrorCode::invalid_argument);
  EXPECT_TRUE(tasks_->list("", 10).empty());
  EXPECT_EQ(caught([&] { (void)tasks_->status("gone"); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { (void)tasks_->units("gone", false, "", 1); }).code, ErrorCode::not_found);
}

INSTANTIATE_TEST_SUITE_P(Each, TransferTasks, store::testing::kinds(), store::testing::kind_name);

// The service is killed again and again in the middle of a task. What was stored as done is not done again.
TEST(TransferTasksAlone, SurviveKills) {
  constexpr int kFiles = 400;
  const testing::TemporaryFolder folder;
  for (int i = 0; i < kFiles; ++i)
    testing::write_plain(folder / "from/scan" / ("f" + std::to_string(i)),
                         testing::random_text(3000, static_cast<std::uint64_t>(i)));
  fs::create_directories(folder / "to");
  const std::string address = "sqlite:" + (folder / "tasks.db").string();
  const auto serve = [&](bool submit) {
    const auto database = store::Database::open(address);
    const core::SteadyClock clock;
    const std::shared_ptr<Provider> from = local_provider(folder / "from"), to = local_provider(folder / "to", {false});
    Tasks tasks(
        *database, [&](const std::string& place, const TaskRequest&) { return place == "from" ? from : to; }, clock);
    TaskRequest request{"from", "to", {{"scan", "scan", true}}, {}, "", "", 1000};
    request.options.bandwidth_Bps = 1e6;  // a second in all, but for the first quarter of a megabyte
    std::string id;
    if (submit) id = tasks.submit(request, "the one");
    else id = tasks.list("", 1).front().id;
    return tasks.wait(id, 60);
  };
  int kills = 0;
  std::map<std::string, ino_t> stored;  // inodes of the files that the database knew as done
  for (int attempt = 0;; ++attempt) {
    ASSERT_LT(attempt, 200);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        ::_exit(serve(true).state == TaskState::succeeded ? 0 : 1);
      } catch (const std::exception&) {
        ::_exit(2);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + 37 * attempt % 300));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      break;
    }
    ++kills;
    const auto database = store::Database::open(address);
    try {
      for (const auto row : database->query("SELECT destination FROM transfer_unit WHERE outcome = 'copied'")) {
        struct stat now{};
        ASSERT_EQ(::stat((folder / "to" / row.text(0)).c_str(), &now), 0);
        const auto [place, is_new] = stored.emplace(row.text(0), now.st_ino);
        ASSERT_EQ(place->second, now.st_ino) << row.text(0) << " was copied again";
      }
    } catch (const core::Error&) {
      ASSERT_TRUE(stored.empty());  // killed before there were tables
    }
  }
  EXPECT_GT(kills, 2);
  EXPECT_FALSE(stored.empty());
  const auto status = serve(false);
  EXPECT_EQ(status.state, TaskState::succeeded);
  EXPECT_EQ(status.progress.files_copied, kFiles);
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "scan/f" + std::to_string(i);
    ASSERT_EQ(testing::read_plain(folder / "to" / name), testing::read_plain(folder / "from" / name));
    struct stat now{};
    ASSERT_EQ(::stat((folder / "to" / name).c_str(), &now), 0);
    if (const auto before = stored.find(name); before != stored.end()) {
      EXPECT_EQ(before->second, now.st_ino);
    }
  }
}

TEST(TaskJson, KeepsARequest) {
  TaskRequest request{"a", "b", {{"x", "y", true}, {"p", "q", false}}, {}, "label", "owner", 3600};
  request.options.sync = Sync::checksum;
  request.options.filter = {{"*.h5"}, {"tmp*", "raw/**"}};
  request.options.concurrency = 3;
  request.options.bandwidth_Bps = 1.5e9;
  request.options.attempts = 7;
  request.options.copy.streams = 4;
  request.options.copy.chunk_bytes = 1 << 20;
  request.options.copy.sha256 = true;
  request.options.follow = watch::CompleteRule{"*.done", 2.5, {}};
  const auto back = request_from_json(to_json(request));
  EXPECT_EQ(to_json(back), to_json(request));
  EXPECT_EQ(back.items[1].source, "p");
  EXPECT_EQ(back.options.sync, Sync::checksum);
  EXPECT_EQ(back.options.filter.exclude, request.options.filter.exclude);
  EXPECT_TRUE(back.options.copy.sha256);
  EXPECT_EQ(back.options.follow->quiet_s, 2.5);
  EXPECT_DOUBLE_EQ(back.deadline_s, 3600);
}

TEST(TaskJson, RefusesWhatItDoesNotKnow) {
  const std::string head = R"({"source":"a","destination":"b","items":[{"source":"x","destination":"y"}])";
  EXPECT_EQ(request_from_json(head + "}").options.concurrency, JobOptions{}.concurrency);
  for (const auto* text : {"", "[]", "{}", "nonsense", R"({"source":"a","destination":"b","items":[]})",
                           R"({"source":"a","destination":"b","items":[{"source":"x"}]})",
                           R"({"source":"a","destination":"b","items":[{"source":"x","destination":"y","deep":true}]})",
                           R"({"source":1,"destination":"b","items":[{"source":"x","destination":"y"}]})"})
    EXPECT_EQ(caught([&] { request_from_json(text); }).code, ErrorCode::invalid_argument) << text;
  for (const auto* member :
       {R"("surprise":1)", R"("sync":"sometimes")", R"("sync":3)", R"("concurrency":0)", R"("concurrency":2.5)",
        R"("concurrency":18446744073709551615)", R"("bandwidth_Bps":-1)", R"("bandwidth_Bps":"fast")",
        R"("attempts":0)", R"("streams":65)", R"("chunk_bytes":1)", R"("checksum":"md5")", R"("include":"*.h5")",
        R"("include":[1])", R"("follow":5)", R"("follow":{"noisy_s":5})", R"("deadline_s":-1)"}) {
    const auto e = caught([&] { request_from_json(head + "," + member + "}"); });
    EXPECT_EQ(e.code, ErrorCode::invalid_argument) << member;
    const std::string name = std::string(member).substr(1, std::string(member).find('"', 1) - 1);
    if (name != "follow") {
      EXPECT_NE(e.text.find(name), std::string::npos) << e.text;
    }
  }
}

}  // namespace
}  // namespace farfield::services::transfer
