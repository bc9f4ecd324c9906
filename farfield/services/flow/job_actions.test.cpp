#include "farfield/services/flow/job_actions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;
using State = ActionUpdate::State;

/// Jobs in memory: body {"jobs": n}. Outlives the provider, as a database would.
struct Bench {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> ids;  ///< key -> id
  std::map<std::string, JobEnd> ends;
  std::vector<std::string> cancelled;
  Jobs::Heard heard;
  int submissions = 0, failures = 0;      ///< `failures`: submissions that find no database
  bool refuse = false, end_at_once = false;
  std::string refused{};  ///< key of a job that cannot be submitted, once two others were; empty: none
  std::function<void()> on_cancel{};  ///< on the thread that cancels
  std::string slow;  ///< key of a job that is stored, but whose submission does not come back

  void end(const std::string& id, bool good) {
    Jobs::Heard tell;
    JobEnd end{.good = good, .details = to_text({{"id", id}}), .problem = good ? "" : "broken"};
    {
      const std::lock_guard lock(mutex);
      ends[id] = end;
      tell = heard;
    }
    if (tell) tell(id, end);
  }
};

class FakeJobs final : public Jobs {
public:
  explicit FakeJobs(Bench& bench) : bench_(bench) {}
  std::vector<Job> prepare(const ActionRequest& request) override {
    if (bench_.refuse) throw Error(ErrorCode::unauthenticated, "no token");
    std::vector<Job> out;
    for (int i = 0; i < Json::parse(request.body).at("jobs").get<int>(); ++i)
      out.push_back({request.key + "/" + std::to_string(i), [this, key = request.key + "/" + std::to_string(i)] {
                       std::unique_lock lock(bench_.mutex);
                       if (bench_.failures > 0) {
                         --bench_.failures;
                         throw Error(ErrorCode::unavailable, "the database is away");
                       }
                       if (key == bench_.refused) {
                         bench_.changed.wait(lock, [this] { return bench_.submissions >= 2; });
                         throw std::runtime_error("something that nobody thought of");
                       }
                       ++bench_.submissions;
                       bench_.changed.notify_all();
                       const auto [at, is_new] = bench_.ids.emplace(key, "id of " + key);
                       if (is_new && bench_.end_at_once) bench_.ends[at->second] = {.good = true};
                       bench_.changed.notify_all();
                       bench_.changed.wait_for(lock, std::chrono::seconds(20), [&] { return bench_.slow != key; });
                       return at->second;
                     }});
    return out;
  }
  std::optional<JobEnd> look(const std::string& id) override {
    const std::lock_guard lock(bench_.mutex);
    const auto found = bench_.ends.find(id);
    return found == bench_.ends.end() ? std::nullopt : std::optional(found->second);
  }
  void cancel(const std::string& id) override {
    {
      const std::lock_guard lock(bench_.mutex);
      bench_.cancelled.push_back(id);
      bench_.changed.notify_all();
    }
    if (bench_.on_cancel) bench_.on_cancel();
  }
  std::vector<Open> open() override {
    const std::lock_guard lock(bench_.mutex);
    std::vector<Open> out;
    for (const auto& [key, id] : bench_.ids)
      if (!bench_.ends.contains(id)) out.push_back({key.substr(0, key.rfind('/')), id});
    return out;
  }
  std::string details(const ActionRequest&, const std::vector<std::string>& ids,
                      const std::vector<std::optional<JobEnd>>&) override {
    return to_text({{"ids", ids}});
  }
  std::shared_ptr<void> listen(Heard heard) override {
    const std::lock_guard lock(bench_.mutex);
    bench_.heard = std::move(heard);
    return {&bench_, [](void* bench) {
              const std::lock_guard hold(static_cast<Bench*>(bench)->mutex);
              static_cast<Bench*>(bench)->heard = nullptr;
            }};
  }

private:
  Bench& bench_;
};

class JobActionsTest : public ::testing::Test {
protected:
  void open() { actions = job_actions(std::make_unique<FakeJobs>(bench), 4); }
  void start(const std::string& key, int jobs = 1) {
    actions->start({.key = key, .body = to_text({{"jobs", jobs}})}, [this](const ActionUpdate& update) {
      const std::lock_guard lock(bench.mutex);
      updates.push_back(update);
      bench.changed.notify_all();
    });
  }
  template <class Condition>
  void expect(const Condition& condition) {
    std::unique_lock lock(bench.mutex);
    EXPECT_TRUE(bench.changed.wait_for(lock, std::chrono::seconds(20), condition));
  }
  ActionUpdate ended() {
    expect([&] { return !updates.empty() && updates.back().state != State::active; });
    const std::lock_guard lock(bench.mutex);
    return updates.empty() ? ActionUpdate{} : updates.back();
  }

  Bench bench;
  std::vector<ActionUpdate> updates;
  std::shared_ptr<ActionProvider> actions;
};

TEST_F(JobActionsTest, EndsAreToldAlsoThoseBeforeAnybodyListened) {
  open();
  start("a");
  expect([&] { return bench.ids.size() == 1; });
  bench.heard("id of a/0", std::nullopt);  // a sign of life
  bench.end("id of a/0", true);
  const auto update = ended();
  EXPECT_EQ(update.state, State::succeeded);
  EXPECT_EQ(update.action_id, "id of a/0");
  EXPECT_EQ(update.details, R"({"ids":["id of a/0"]})");
  bench.end_at_once = true;
  start("b");
  expect([&] { return updates.back().key == "b" && updates.back().state == State::succeeded; });
}

TEST_F(JobActionsTest, AskedAgainAfterACrashItIsTheSameJob) {
  open();
  start("a");
  expect([&] { return bench.submissions == 1; });
  actions.reset();
  bench.end("id of a/0", true);  // while nobody was there
  open();
  start("a");
  EXPECT_EQ(ended().state, State::succeeded);
  EXPECT_EQ(bench.ids.size(), 1U);
  EXPECT_EQ(bench.submissions, 2);
  start("a");  // and once more: the end is told again
  expect([&] { return updates.size() == 2; });
}

TEST_F(JobActionsTest, WaitsForADatabaseAndRefusesWithoutAToken) {
  bench.failures = 1;
  bench.end_at_once = true;
  open();
  start("a");
  EXPECT_EQ(ended().state, State::succeeded);
  bench.refuse = true;
  start("b");
  expect([&] { return updates.size() == 2; });
  EXPECT_EQ(updates.back().state, State::refused);
  EXPECT_EQ(updates.back().error, "NoTokenException");
}

TEST_F(JobActionsTest, OneOfManyFailsAndTheOthersAreCancelled) {
  open();
  start("a", 3);
  expect([&] { return bench.ids.size() == 3; });
  bench.end("id of a/1", false);
  const auto update = ended();
  EXPECT_EQ(update.state, State::failed);
  EXPECT_EQ(update.cause, "broken");
  expect([&] { return bench.cancelled.size() == 2; });
  EXPECT_THAT(bench.cancelled, ::testing::UnorderedElementsAre("id of a/0", "id of a/2"));
}

// Also those that are on their way while the first fails.
TEST_F(JobActionsTest, WhatIsSubmittedWhileAnotherFailsIsCancelled) {
  bench.slow = "a/0";
  open();
  start("a", 2);
  expect([&] { return bench.ids.size() == 2; });
  bench.end("id of a/1", false);
  EXPECT_EQ(ended().state, State::failed);
  {
    const std::lock_guard lock(bench.mutex);
    EXPECT_TRUE(bench.cancelled.empty());
    bench.slow.clear();
    bench.changed.notify_all();
  }
  expect([&] { return bench.cancelled == std::vector<std::string>{"id of a/0"}; });
}

TEST_F(JobActionsTest, OneOfManyIsRefusedForWhateverReasonAndTheOthersAreCancelled) {
  bench.refused = "a/1";
  open();
  start("a", 3);
  EXPECT_EQ(ended().state, State::refused);
  expect([&] { return bench.cancelled.size() == 2; });
  EXPECT_THAT(bench.cancelled, ::testing::UnorderedElementsAre("id of a/0", "id of a/2"));
}

TEST_F(JobActionsTest, WhatAnEarlierProcessLeftIsGivenUpWhereItIsOver) {
  open();
  start("a", 2);
  start("b");
  expect([&] { return bench.ids.size() == 3; });
  bench.end("id of a/0", true);
  actions.reset();
  open();
  actions->give_up([](const std::string& key) { return key == "a"; });
  expect([&] { return !bench.cancelled.empty(); });
  EXPECT_THAT(bench.cancelled, ::testing::ElementsAre("id of a/1"));
}

/// The news holds the provider for as long as it is told; the last hold may then be on a thread of its own.
TEST_F(JobActionsTest, MayBeLetGoWhileItsOwnThreadTellsNews) {
  open();
  start("b");
  expect([&] { return bench.ids.size() == 1; });
  std::atomic<bool> told{false};
  std::thread letting_go;
  actions->start({.key = "a", .body = to_text({{"jobs", 1}})}, [&](const ActionUpdate&) {
    if (told) return;
    letting_go = std::thread([&] { actions.reset(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    told = true;
  });
  bench.on_cancel = [&] {
    for (int i = 0; i < 1000 && !told; ++i) {  // it is not known before its submission has come back
      Jobs::Heard heard;
      {
        const std::lock_guard lock(bench.mutex);
        heard = bench.heard;
      }
      if (heard) heard("id of a/0", std::nullopt);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  actions->cancel("b");
  for (int i = 0; i < 1000 && !told; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(told);
  letting_go.join();
  EXPECT_FALSE(actions);
}

TEST_F(JobActionsTest, CancelledBeforeOrAfterItsSubmission) {
  open();
  start("a");
  expect([&] { return bench.ids.size() == 1; });
  actions->cancel("a");
  expect([&] { return !bench.cancelled.empty(); });
  bench.end("id of a/0", true);
  bench.failures = 1;  // so that the submission comes later than this:
  start("b");
  actions->cancel("b");
  actions->cancel("nothing");
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  const std::lock_guard lock(bench.mutex);
  EXPECT_FALSE(bench.ids.contains("b/0"));
  EXPECT_TRUE(updates.empty());
}
}  // namespace
}  // namespace farfield::services::flow
