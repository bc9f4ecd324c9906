#include "farfield/services/flow/engine.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <thread>

#include "farfield/services/flow/simple_actions.hpp"
#include "farfield/services/flow/testing.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

/// Actions that end when a test says so.
class Held final : public ActionProvider {
public:
  void start(const ActionRequest& request, const Notify& notify) override {
    const std::lock_guard lock(mutex_);
    started_[request.key] = {request, notify};
    ++starts_;
    changed_.notify_all();
  }
  void cancel(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    cancelled_.insert(key);
    changed_.notify_all();
  }
  void release(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    released_.insert(key);
    changed_.notify_all();
  }
  /// The n-th action that started, once it has.
  std::vector<ActionRequest> expect(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return started_.size() >= count; }));
    std::vector<ActionRequest> out;
    for (const auto& [key, one] : started_) out.push_back(one.first);
    return out;
  }
  bool expect_cancelled(const std::string& key) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return cancelled_.contains(key); });
  }
  bool expect_released(const std::string& key) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return released_.contains(key); });
  }
  void end(const std::string& key, ActionUpdate::State state = ActionUpdate::State::succeeded) {
    Notify notify;
    {
      const std::lock_guard lock(mutex_);
      notify = started_.at(key).second;
    }
    ActionUpdate update;
    update.key = key;
    update.state = state;
    notify(update);
  }
  int starts() {
    const std::lock_guard lock(mutex_);
    return starts_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::pair<ActionRequest, Notify>> started_;
  std::set<std::string> cancelled_, released_;
  int starts_ = 0;
};

std::string chain(int actions, const char* url = "farfield:held") {
  std::string states;
  for (int i = 0; i < actions; ++i)
    states += fmt::format(
        R"({}"S{}": {{"Type": "Action", "ActionUrl": "{}", "Parameters": {{"n.=": "n + {}"}}, "ResultPath": "$.r{}", {}}})",
        i == 0 ? "" : ", ", i, url, i, i, i + 1 == actions ? R"("End": true)" : fmt::format(R"("Next": "S{}")", i + 1));
  return R"({"StartAt": "S0", "States": {)" + states + "}}";
}

class Engines : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    db_ = database_.open();
    open();
  }
  void open(Engine::Recover recover = Engine::Recover::all) {
    Providers providers = simple_providers();
    providers.add("test", {"farfield:held"}, held_);
    engine_ = std::make_unique<Engine>(*db_, std::move(providers), recover);
  }
  std::string deploy(const std::string& definition, const std::string& schema = "") {
    FlowRecord flow;
    flow.title = "test";
    flow.owner = "garcia";
    flow.definition = definition;
    flow.input_schema = schema;
    return engine_->deploy(flow).id;
  }
  std::string start(const std::string& flow, const std::string& input = R"({"n": 1})",
                    const std::string& request_id = "") {
    RunRequest request{.flow_id = flow,
                       .input = input,
                       .owner = "garcia",
                       .label = "a run",
                       .tags = {"scan100", "test"},
                       .monitors = {"group:beamline"},
                       .request_id = request_id};
    return engine_->start(request);
  }
  static ErrorCode code_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorCode::internal;
  }
  std::vector<std::string> kinds(const std::string& run) {
    std::vector<std::string> out;
    for (const StoredEvent& event : Records(*db_).events(run)) out.push_back(event.kind);
    return out;
  }

  std::unique_ptr<store::Database> db_;
  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  std::unique_ptr<Engine> engine_;
};
INSTANTIATE_TEST_SUITE_P(Each, Engines, store::testing::kinds(), store::testing::kind_name);

/// Its thread is busy, and then it ends: whoever had asked for something is told so, instead of waiting for ever.
TEST_P(Engines, WhoWaitsForAnEngineThatEndsIsTold) {
  const std::string run =
      start(deploy(R"({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 600, "End": true}}})"));
  std::promise<void> busy, go_on;
  std::atomic<bool> once{false};
  auto listening = engine_->listen([&](const RunNews&) {
    if (once.exchange(true)) return;
    busy.set_value();
    go_on.get_future().wait();
  });
  (void)start(deploy(chain(1)));
  busy.get_future().wait();
  auto asked = std::async(std::launch::async, [&] { return code_of([&] { engine_->adopt(run); }); });
  EXPECT_EQ(asked.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  listening.reset();
  std::thread ending([&] { engine_.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  go_on.set_value();
  ending.join();
  ASSERT_EQ(asked.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(asked.get(), ErrorCode::unavailable);
}

TEST_P(Engines, ARunFromStartToEnd) {
  const auto run = start(deploy(chain(2)));
  const auto first = held_->expect(1)[0];
  EXPECT_EQ(first.key, run + ".1");
  EXPECT_EQ(first.user, "garcia");
  EXPECT_EQ(first.body, R"({"n":1})");
  RunRecord record = engine_->wait(run, 0);
  EXPECT_EQ(record.status, RunStatus::active);
  EXPECT_EQ(record.states, std::vector<std::string>{"S0"});
  EXPECT_EQ(record.tags, (std::vector<std::string>{"scan100", "test"}));
  held_->end(run + ".1");
  held_->expect(2);
  EXPECT_TRUE(held_->expect_released(run + ".1"));
  held_->end(run + ".2");
  record = engine_->wait(run, 20);
  EXPECT_EQ(record.status, RunStatus::succeeded);
  EXPECT_EQ(kinds(run), (std::vector<std::string>{"RunStarted", "StateEntered", "ActionScheduled", "ActionEnded",
                                                  "StateExited", "StateEntered", "ActionScheduled", "ActionEnded",
                                                  "StateExited", "RunSucceeded"}));
  EXPECT_EQ(record.events, 10);
}

TEST_P(Engines, SimpleActions) {
  const auto run = start(deploy(R"json({"StartAt": "A", "States": {
    "A": {"Type": "Action", "ActionUrl": "https://actions.globus.org/expression_eval", "Parameters": {"expression": "x + 5", "arguments": {"x.$": "$.n"}}, "ResultPath": "$.a", "Next": "B"},
    "B": {"Type": "Action", "ActionUrl": "farfield:wait", "Parameters": {"seconds": 0.01}, "ResultPath": "$.b", "Next": "C"},
    "C": {"Type": "Action", "ActionUrl": "https://actions.globus.org/hello_world/", "Parameters": {"echo_string": "hi", "sleep_time": 0.01}, "ResultPath": "$.c", "Next": "D"},
    "D": {"Type": "Wait", "Seconds": 0.01, "Next": "E"},
    "E": {"Type": "Action", "ActionUrl": "farfield:wait", "Parameters": {"seconds": -1}, "Catch": [{"ErrorEquals": ["ActionUnableToRun"], "Next": "F", "ResultPath": "$.e"}], "ResultPath": "$.x", "End": true},
    "F": {"Type": "Action", "ActionUrl": "farfield:expression", "Parameters": {"expression": "1 / 0"}, "Catch": [{"ErrorEquals": ["ActionFailedException"], "Next": "G", "ResultPath": "$.f"}], "End": true},
    "G": {"Type": "Choice", "Choices": [{"And": [{"Variable": "$.a.details.result", "NumericEquals": 6}, {"Variable": "$.c.details.hello", "StringEquals": "hi"},
       {"Variable": "$.e.Cause", "StringMatches": "*seconds -1*"}, {"Variable": "$.f.Cause", "StringMatches": "*division*"}], "Next": "H"}]},
    "H": {"Type": "Pass", "End": true}}})json"));
  const RunRecord record = engine_->wait(run, 20);
  EXPECT_EQ(record.status, RunStatus::succeeded) << record.error << " " << record.cause;
}

TEST_P(Engines, AFailureEndsTheRunWhateverItsWords) {
  const auto run = start(
      deploy(R"({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E", "Cause": "before\u0000behind"}}})"));
  const auto record = engine_->wait(run, 20);
  EXPECT_EQ(record.status, RunStatus::failed);
  EXPECT_EQ(record.cause,
            "before\xEF\xBF\xBD"
            "behind");
}

TEST_P(Engines, RefusesWhatIsWrong) {
  EXPECT_EQ(code_of([&] { deploy(chain(1, "farfield:unknown")); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { deploy(chain(1), "{"); }), ErrorCode::invalid_argument);
  const auto flow = deploy(chain(1), R"({"required": ["n"], "properties": {"n": {"type": "integer"}}})");
  EXPECT_EQ(code_of([&] { start(flow, R"({"n": "x"})"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { start(flow, "{"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { start("none"); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { engine_->cancel("none", "garcia"); }), ErrorCode::not_found);
  EXPECT_TRUE(Records(*db_).runs({}).empty());
}

TEST_P(Engines, OneRunPerRequest) {
  const auto flow = deploy(chain(1));
  const auto run = start(flow, R"({"n": 1})", "scan100");
  EXPECT_EQ(start(flow, R"({"n": 1})", "scan100"), run);
  EXPECT_NE(start(flow, R"({"n": 1})", "scan101"), run);
  EXPECT_NE(start(flow), start(flow));
  EXPECT_EQ(Records(*db_).run_of_request("garcia", "scan100"), run);
  EXPECT_EQ(Records(*db_).runs({}).size(), 4U);
}

TEST_P(Engines, CancelAndResume) {
  const auto run = start(deploy(chain(1)));
  held_->expect(1);
  engine_->cancel(run, "boss");
  EXPECT_EQ(engine_->wait(run, 0).status, RunStatus::cancelled);
  EXPECT_TRUE(held_->expect_cancelled(run + ".1"));
  EXPECT_EQ(code_of([&] { engine_->cancel(run, "boss"); }), ErrorCode::conflict);
  engine_->resume(run, "boss");
  held_->expect(2);
  held_->end(run + ".2");
  EXPECT_EQ(engine_->wait(run, 20).status, RunStatus::succeeded);
  EXPECT_EQ(code_of([&] { engine_->resume(run, "boss"); }), ErrorCode::conflict);
}

TEST_P(Engines, ANewVersionLeavesRunsAlone) {
  const auto flow = deploy(chain(2));
  const auto old_run = start(flow);
  held_->expect(1);
  FlowRecord next = Records(*db_).flow(flow);
  EXPECT_EQ(next.version, 1);
  next.definition = chain(1);
  EXPECT_EQ(engine_->deploy(next).version, 2);
  const auto new_run = start(flow);
  held_->expect(2);
  held_->end(new_run + ".1");
  EXPECT_EQ(engine_->wait(new_run, 20).status, RunStatus::succeeded);
  engine_.reset();
  open();  // and also after a restart
  held_->end(old_run + ".1");
  held_->expect(3);
  held_->end(old_run + ".2");
  EXPECT_EQ(engine_->wait(old_run, 20).status, RunStatus::succeeded);
}

TEST_P(Engines, GoesOnAfterARestart) {
  const auto flow = deploy(chain(2));
  std::vector<std::string> runs;
  for (int i = 0; i < 20; ++i) runs.push_back(start(flow));
  held_->expect(20);
  for (int i = 0; i < 10; ++i) held_->end(runs[static_cast<std::size_t>(i)] + ".1");
  held_->expect(30);
  engine_.reset();
  held_->end(runs[15] + ".1");  // nobody listens
  const int before = held_->starts();
  open();
  EXPECT_EQ(held_->starts(), before + 20);  // each action that was under way, again under its key
  EXPECT_EQ(held_->expect(30).size(), 30U);
  for (int i = 10; i < 20; ++i) held_->end(runs[static_cast<std::size_t>(i)] + ".1");
  held_->expect(40);
  for (const auto& run : runs) held_->end(run + ".2");
  for (const auto& run : runs) EXPECT_EQ(engine_->wait(run, 20).status, RunStatus::succeeded);
}

TEST_P(Engines, OfTwoEnginesOneGoesOn) {
  const auto run = start(deploy(chain(2)));
  held_->expect(1);
  const auto second_held = std::make_shared<Held>();
  Providers providers;
  providers.add("test", {"farfield:held"}, second_held);
  Engine second(*db_, std::move(providers));
  second_held->expect(1);
  held_->end(run + ".1");
  held_->expect(2);
  second_held->end(run + ".1");  // too late: it finds the run changed, and leaves it
  held_->end(run + ".2");
  EXPECT_EQ(engine_->wait(run, 20).status, RunStatus::succeeded);
  EXPECT_EQ(kinds(run).size(), 10U);
}

TEST_P(Engines, ListenersHearWhatIsStored) {
  std::mutex mutex;
  std::vector<std::string> heard;
  const auto listening = engine_->listen([&](const RunNews& news) {
    const std::lock_guard lock(mutex);
    for (const StoredEvent& event : news.events) heard.push_back(fmt::format("{} {}", event.number, event.kind));
  });
  const auto run = start(deploy(chain(1)));
  held_->expect(1);
  held_->end(run + ".1");
  engine_->wait(run, 20);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(heard, (std::vector<std::string>{"1 RunStarted", "2 StateEntered", "3 ActionScheduled", "4 ActionEnded",
                                             "5 StateExited", "6 RunSucceeded"}));
}

TEST_P(Engines, ManyRunsAtOnce) {
  const auto flow = deploy(chain(2, "farfield:echo"));
  std::vector<std::string> runs(150);
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < 6; ++thread)
    threads.emplace_back([&, thread] {
      for (std::size_t i = thread; i < runs.size(); i += 6) runs[i] = start(flow);
    });
  threads.clear();
  for (const auto& run : runs) {
    const RunRecord record = engine_->wait(run, 60);
    EXPECT_EQ(record.status, RunStatus::succeeded);
    EXPECT_EQ(record.events, 10);
  }
  Records::Page page;
  page.tag = "scan100";
  page.status = RunStatus::succeeded;
  page.limit = 1000;
  EXPECT_EQ(Records(*db_).runs(page).size(), 150U);
  page.tag = "scan";
  EXPECT_TRUE(Records(*db_).runs(page).empty());
}

TEST(Access, RolesOfRunsAndFlows) {
  RunRecord run;
  run.owner = "garcia";
  run.managers = {"group:staff"};
  run.monitors = {"visitor"};
  EXPECT_TRUE(may_manage(run, {"garcia"}));
  EXPECT_TRUE(may_manage(run, {"x", "group:staff"}));
  EXPECT_FALSE(may_manage(run, {"visitor"}));
  EXPECT_TRUE(may_see(run, {"visitor"}));
  EXPECT_FALSE(may_see(run, {"other", "staff"}));
  FlowRecord flow;
  flow.owner = "garcia";
  flow.starters = {"group:users"};
  EXPECT_TRUE(may_start(flow, {"group:users"}));
  EXPECT_TRUE(may_see(flow, {"group:users"}));
  EXPECT_FALSE(may_administer(flow, {"group:users"}));
  EXPECT_FALSE(may_see(flow, {"other"}));
  flow.viewers = {"public"};
  EXPECT_TRUE(may_see(flow, {"other"}));
  EXPECT_FALSE(may_start(flow, {"other"}));
}

/// Does its work in a file: a line for each action that took place. Asked again with a key it has done, it only says
/// so; the file is what a transfer or a batch system would remember.
class Ledger final : public ActionProvider {
public:
  explicit Ledger(std::string path)
      : path_(std::move(path)), file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) done_.insert(line);
  }
  ~Ledger() override { ::close(file_); }
  void start(const ActionRequest& request, const Notify& notify) override {
    {
      const std::lock_guard lock(mutex_);
      if (done_.insert(request.key).second) {
        const std::string line = request.key + "\n";
        if (::write(file_, line.data(), line.size()) != std::ssize(line)) throw Error(ErrorCode::io, "ledger");
      }
    }
    ActionUpdate update;
    update.key = request.key;
    update.state = ActionUpdate::State::succeeded;
    notify(update);
  }
  void cancel(const std::string& /*key*/) override {}

private:
  std::string path_;
  int file_;
  std::mutex mutex_;
  std::set<std::string> done_;
};

// kill -9 at any moment, again and again: every run ends, and each of its actions took place once.
TEST_P(Engines, KillsLoseNothingAndRepeatNothing) {
  constexpr int kRuns = 40, kActions = 5;
  const auto flow =
      deploy(chain(kActions, "farfield:echo"));  // checked here, run by the children under another provider
  engine_.reset();
  db_.reset();
  const store::testing::TemporaryFolder folder;
  const std::string ledger = folder.path() / "ledger";
  const auto child = [&](bool to_the_end) {
    const auto db = database_.open();
    Providers providers;
    providers.add("test", {"farfield:echo"}, std::make_shared<Ledger>(ledger));
    Engine engine(*db, std::move(providers));
    RunRequest request{.flow_id = flow, .input = R"({"n": 1})", .owner = "garcia"};
    for (int i = 0; i < kRuns; ++i) {
      request.request_id = std::to_string(i);
      engine.start(request);
    }
    for (const std::string& run : Records(*db).active_runs()) engine.wait(run, to_the_end ? 60 : 1);
  };
  int kills = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      child(false);
      _exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10 + 7 * round));
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    kills += WIFSIGNALED(status) ? 1 : 0;
  }
  child(true);
  EXPECT_GT(kills, 0);

  const auto db = database_.open();
  Records records(*db);
  const auto runs = records.runs({});
  EXPECT_EQ(runs.size(), static_cast<std::size_t>(kRuns));
  std::multiset<std::string> took_place;
  std::ifstream in(ledger);
  for (std::string line; std::getline(in, line);) took_place.insert(line);
  EXPECT_EQ(took_place.size(), static_cast<std::size_t>(kRuns * kActions));
  for (const RunRecord& run : runs) {
    EXPECT_EQ(run.status, RunStatus::succeeded);
    EXPECT_EQ(run.events, 2 + 4 * kActions);
    for (int i = 1; i <= kActions; ++i) EXPECT_EQ(took_place.count(fmt::format("{}.{}", run.id, i)), 1U);
  }
}

}  // namespace
}  // namespace farfield::services::flow
