#include "farfield/services/compute/broker/broker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>

#include "farfield/services/compute/broker/files.hpp"
#include "farfield/services/compute/broker/testing.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
using testing::HandEndpoint;
using ::testing::HasSubstr;

constexpr const char* kVerb = "farfield.test.nothing";

class BrokerTest : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFailure()) return;
    database = database_.open();
    restart();
    broker->register_endpoint("cluster", "user:garcia");
  }
  void restart() {
    broker.reset();
    broker = std::make_unique<Broker>(
        *database, BrokerOptions{.folder = folder.path().string(), .wall_s = [this] { return now_s.load(); }});
  }
  TaskRequest request(const std::string& arguments = "{}") const {
    TaskRequest r;
    r.function = kVerb;
    r.endpoint = "cluster";
    r.experiment = "2026-1-Garcia-1";
    r.arguments = arguments;
    r.owner = "user:garcia";
    return r;
  }
  /// Waits until the task is in the state; ten seconds are for ever.
  TaskStatus until(const std::string& id, TaskState state) {
    TaskStatus s;
    listening_until([&] { return (s = broker->status(id)).state == state; });
    EXPECT_EQ(s.state, state) << name_of(s.state) << ", not " << name_of(state) << ": " << s.problem;
    return s;
  }
  static void listening_until(const std::function<bool()>& good) {
    for (int i = 0; i < 2000 && !good(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  static ErrorCode refused(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "not refused";
    return ErrorCode::internal;
  }

  std::atomic<double> now_s = 1.8e9;
  store::testing::TemporaryFolder folder;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<Broker> broker;
};

FunctionRecord command(const std::string& name) {
  FunctionRecord f;
  f.name = name;
  f.kind = FunctionKind::command;
  f.owner = "user:garcia";
  f.command = {"convert", "--in={in:scan}", "{out:picture}", "{sigma}", "{{literal}"};
  f.input_schema = R"({"type":"object","required":["scan"],"properties":{"sigma":{"type":"number"}}})";
  return f;
}

TEST_P(BrokerTest, ATaskGoesToItsEndpointAndBack) {
  std::mutex mutex;
  std::vector<TaskEvent::Kind> kinds;
  const auto listening = broker->listen([&](const TaskEvent& e) {
    const std::lock_guard lock(mutex);
    kinds.push_back(e.kind);
  });
  const std::string id = broker->submit(request(R"({"n":1})"));
  EXPECT_EQ(broker->status(id).state, TaskState::queued);
  EXPECT_THAT(broker->status(id).message, HasSubstr("not connected"));
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const Assign assign = endpoint.line().next<Assign>();
  ASSERT_EQ(assign.tasks.size(), 1U);
  EXPECT_EQ(assign.tasks[0].key, (TaskKey{id, 1}));
  EXPECT_EQ(assign.tasks[0].request.arguments, R"({"n":1})");
  EXPECT_EQ(assign.tasks[0].function.name, kVerb);
  EXPECT_FALSE(assign.tasks[0].resume);
  until(id, TaskState::placed);
  endpoint.begin({id, 1});
  EXPECT_EQ(until(id, TaskState::running).node, "node");
  endpoint.say(Progressed{{{{id, 1}, 0.5, "half"}}});
  endpoint.say(Logged{{{{id, 1}, "first"}, {{id, 1}, "second"}}});
  endpoint.end({id, 1}, Ending::done, R"({"cost":0.25})");
  EXPECT_EQ(endpoint.line().next<Stored>().ends, (std::vector<TaskKey>{{id, 1}}));
  const TaskStatus s = broker->wait(id, 10);
  EXPECT_EQ(s.state, TaskState::done);
  EXPECT_EQ(s.output, R"({"cost":0.25})");
  EXPECT_EQ(s.progress, 1);
  EXPECT_EQ(s.times.submitted_s, 1.8e9);
  EXPECT_EQ(s.times.placed_s, 1.8e9);
  EXPECT_EQ(s.times.started_s, 1);
  EXPECT_EQ(s.times.ended_s, 2);
  EXPECT_EQ(broker->output(id), R"({"cost":0.25})");
  EXPECT_EQ(broker->log(id), "first\nsecond\n");
  endpoint.leave();
  restart();  // and after it all is as it was
  EXPECT_EQ(broker->status(id).state, TaskState::done);
  EXPECT_EQ(broker->output(id), R"({"cost":0.25})");
  EXPECT_EQ(broker->log(id), "first\nsecond\n");
  EXPECT_EQ(broker->list("user:garcia", 10).size(), 1U);
  EXPECT_TRUE(broker->list("user:lee", 10).empty());
  using K = TaskEvent::Kind;
  EXPECT_EQ(kinds, (std::vector<K>{K::submitted, K::placed, K::running, K::progress, K::log, K::log, K::ended}));
}

TEST_P(BrokerTest, RefusesWhatCannotRun) {
  broker->register_function(command("convert"));
  auto r = request();
  r.endpoint = "elsewhere";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::not_found);
  r = request();
  r.function = "unknown";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::not_found);
  r.function = "convert@7";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::not_found);
  r.function = "convert@0";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::invalid_argument);
  r.function = "convert";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::invalid_argument);  // "scan" is required
  r.arguments = R"({"scan":"input/scan100"})";
  EXPECT_NO_THROW(broker->submit(r));
  r.attempts = 0;
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::invalid_argument);
  r = request();
  r.owner.clear();
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { broker->status("nobody"); }), ErrorCode::not_found);
  EXPECT_EQ(refused([&] { broker->cancel("nobody"); }), ErrorCode::not_found);
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  endpoint.assigned();
  r = request();
  r.function = "farfield.test.other";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::not_found);
}

TEST_P(BrokerTest, TheSameKeyGivesTheSameTask) {
  const std::string id = broker->submit(request(R"({"n":1})"), "key");
  EXPECT_EQ(broker->submit(request(R"({ "n" : 1 })"), "key"), id);
  EXPECT_EQ(refused([&] { broker->submit(request(R"({"n":2})"), "key"); }), ErrorCode::conflict);
  auto other = request(R"({"n":2})");
  other.owner = "user:lee";  // keys are each owner's own
  EXPECT_NE(broker->submit(other, "key"), id);
  restart();
  EXPECT_EQ(broker->submit(request(R"({"n":1})"), "key"), id);
}

TEST_P(BrokerTest, FunctionsHaveVersions) {
  const auto first = broker->register_function(command("convert"));
  EXPECT_EQ(first.version, 1);
  EXPECT_EQ(broker->register_function(command("convert")).version, 1);  // nothing new
  auto changed = command("convert");
  changed.command.emplace_back("--fast");
  EXPECT_EQ(broker->register_function(changed).version, 2);
  auto stolen = changed;
  stolen.owner = "user:lee";
  EXPECT_EQ(refused([&] { broker->register_function(stolen); }), ErrorCode::forbidden);
  for (const char* argument : {"{", "{}", "{a b}", "{in:}", "{../x}"}) {
    auto wrong = command("wrong");
    wrong.command.emplace_back(argument);
    EXPECT_EQ(refused([&] { broker->register_function(wrong); }), ErrorCode::invalid_argument) << argument;
  }
  auto wrong = command("farfield.mine");
  EXPECT_EQ(refused([&] { broker->register_function(wrong); }), ErrorCode::invalid_argument);
  wrong = command("wrong");
  wrong.input_schema = R"({"$ref":"http://elsewhere"})";
  EXPECT_EQ(refused([&] { broker->register_function(wrong); }), ErrorCode::invalid_argument);
  auto code = command("code");
  code.kind = FunctionKind::code;
  code.archive = std::string(64, 'a');
  EXPECT_EQ(refused([&] { broker->register_function(code); }), ErrorCode::not_found);  // no such archive
  restart();
  EXPECT_EQ(broker->function("convert").version, 2);
  EXPECT_EQ(broker->function("convert@1").command.size(), 5U);
  EXPECT_EQ(broker->functions().size(), 1U);
  // A task keeps the version that was the latest when it was submitted.
  const std::string id = broker->submit([&] {
    auto r = request(R"({"scan":"a"})");
    r.function = "convert";
    return r;
  }());
  changed.command.emplace_back("--faster");
  broker->register_function(changed);
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  EXPECT_EQ(endpoint.line().next<Assign>().tasks.at(0).function.version, 2);
  EXPECT_EQ(broker->status(id).request.function, "convert@2");
}

TEST_P(BrokerTest, PlacesByClassThenAgeAndNeverMoreThanThereIsRoomFor) {
  std::vector<std::string> low, normal;
  auto r = request();
  for (int i = 0; i < 20; ++i) {
    r.priority = Priority::low;
    low.push_back(broker->submit(r));
    r.priority = Priority::normal;
    normal.push_back(broker->submit(r));
  }
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join(4);
  // Tasks of a second each: four workers, and one task in store.
  auto there = endpoint.assigned();
  ASSERT_EQ(there.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(there[i].task, normal[i]);
  // An urgent one does not wait for those; a normal one does.
  broker->submit(request());
  r.priority = Priority::urgent;
  const std::string urgent = broker->submit(r);
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{urgent, 1}}));
  EXPECT_EQ(broker->endpoints().at(0).placed, 6);
  endpoint.end({urgent, 1}, Ending::done);
  for (std::size_t i = 0; i < 5; ++i) {
    endpoint.end(there[i], Ending::done);
    EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{normal[5 + i], 1}}));
  }
}

TEST_P(BrokerTest, ShortTasksAreKeptInStore) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join(1);
  for (int i = 0; i < 100; ++i) broker->submit(request());
  int ended = 0;
  std::size_t most = 0;
  while (ended < 100) {
    const auto keys = endpoint.assigned();
    ASSERT_FALSE(keys.empty());
    most = std::max(most, keys.size());
    for (const TaskKey& key : keys) {
      endpoint.say(Ended{{{key, Ending::done, "null", "", {.started_s = 1, .ended_s = 1}}}});
      ++ended;
    }
  }
  EXPECT_EQ(broker->endpoints().at(0).queued, 0);
}

TEST_P(BrokerTest, WhatDoesNotFitWaitsAndHoldsNobodyUp) {
  auto r = request();
  r.resources.walltime_s = 7200;
  const std::string longer = broker->submit(r);
  r = request();
  r.resources.nodes = 3;
  const std::string wider = broker->submit(r);
  const std::string fits = broker->submit(request());
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{fits, 1}}));
  EXPECT_THAT(broker->status(longer).message, HasSubstr("needs 7200 s, endpoint cluster has at most 3600 s"));
  EXPECT_THAT(broker->status(wider).message, HasSubstr("needs 3 nodes"));
  auto capacity = HandEndpoint::capacity(4);
  capacity.longest_s = 8000;
  endpoint.say(CapacityNow{capacity});
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{longer, 1}}));
}

TEST_P(BrokerTest, CommandsNeedAnEndpointThatConfinesThem) {
  broker->register_function(command("convert"));
  auto r = request(R"({"scan":"a"})");
  r.function = "convert";
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  auto capacity = HandEndpoint::capacity(4);
  capacity.confines = false;
  endpoint.say(CapacityNow{capacity});
  const TaskStatus s = broker->wait(broker->submit(r), 10);
  EXPECT_EQ(s.state, TaskState::failed);
  EXPECT_THAT(s.problem, HasSubstr("cannot confine"));
}

TEST_P(BrokerTest, ATaskThatFailsIsNotRepeated) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  const auto key = endpoint.assigned().at(0);
  endpoint.end(key, Ending::failed, "null", "no such file");
  const TaskStatus s = broker->wait(id, 10);
  EXPECT_EQ(s.state, TaskState::failed);
  EXPECT_EQ(s.problem, "no such file");
  EXPECT_EQ(refused([&] { broker->output(id); }), ErrorCode::conflict);
}

TEST_P(BrokerTest, ALostTaskIsRepeatedUntilItsAttemptsAreOver) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());  // three attempts
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const Assign assign = endpoint.line().next<Assign>();
    ASSERT_EQ(assign.tasks.size(), 1U);
    EXPECT_EQ(assign.tasks[0].key, (TaskKey{id, attempt}));
    EXPECT_EQ(assign.tasks[0].resume, attempt > 1);
    endpoint.begin({id, attempt});
    endpoint.end({id, attempt}, Ending::lost, "null", "the node went away");
  }
  const TaskStatus s = broker->wait(id, 10);
  EXPECT_EQ(s.state, TaskState::failed);
  EXPECT_EQ(s.problem, "the node went away (attempt 3 of 3)");
}

TEST_P(BrokerTest, AnInterruptedTaskIsResumedHoweverOften) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  for (int attempt = 1; attempt <= 6; ++attempt) {
    EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{id, attempt}}));
    endpoint.begin({id, attempt});
    endpoint.end({id, attempt}, attempt < 6 ? Ending::interrupted : Ending::done);
  }
  const TaskStatus s = broker->wait(id, 10);
  EXPECT_EQ(s.state, TaskState::done);
  EXPECT_EQ(s.resumed, 5);
}

TEST_P(BrokerTest, AnEndOfAnOldAttemptIsAcknowledgedAndIgnored) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  endpoint.assigned();
  endpoint.end({id, 1}, Ending::lost);
  EXPECT_EQ(endpoint.line().next<Stored>().ends, (std::vector<TaskKey>{{id, 1}}));
  endpoint.end({id, 1}, Ending::done, "1");
  EXPECT_EQ(endpoint.line().next<Stored>().ends, (std::vector<TaskKey>{{id, 1}}));
  endpoint.end({id, 2}, Ending::done, "2");
  EXPECT_EQ(broker->wait(id, 10).output, "2");
  endpoint.end({"unknown", 1}, Ending::done);
  endpoint.end({id, 2}, Ending::failed);
  EXPECT_EQ(broker->wait(id, 10).state, TaskState::done);
}

TEST_P(BrokerTest, AReconnectionComparesWhatBothKnow) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join(10);
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(broker->submit(request()));
  for (const auto& id : ids) until(id, TaskState::placed);
  endpoint.begin({ids[1], 1});
  until(ids[1], TaskState::running);
  endpoint.leave();
  // Silence ends nothing.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(broker->status(ids[0]).state, TaskState::placed);
  endpoint.join(10, {{ids[0], 1}, {"somebody-elses", 4}});
  EXPECT_EQ(endpoint.line().next<Cancel>().tasks, (std::vector<std::string>{"somebody-elses"}));
  auto again = endpoint.assigned();
  while (again.size() < 2) {
    const auto more = endpoint.assigned();
    ASSERT_FALSE(more.empty());
    again.insert(again.end(), more.begin(), more.end());
  }
  EXPECT_EQ(std::set<TaskKey>(again.begin(), again.end()), (std::set<TaskKey>{{ids[1], 2}, {ids[2], 2}}));
  EXPECT_EQ(broker->status(ids[0]).attempt, 1);
  EXPECT_THAT(broker->status(ids[1]).problem, HasSubstr("knows nothing of it any more"));
  EXPECT_EQ(broker->status(ids[2]).problem, "");  // it may never have arrived: nothing was lost
}

TEST_P(BrokerTest, ARestartedServiceGoesOn) {
  const std::string there = broker->submit(request()), gone = broker->submit(request());
  {
    HandEndpoint endpoint(*broker, "cluster");
    endpoint.join();
    until(there, TaskState::placed);
    until(gone, TaskState::placed);
  }
  restart();
  EXPECT_EQ(broker->status(there).state, TaskState::queued);
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join(4, {{there, 1}});
  // Never the same attempt twice: the other one may be running somewhere.
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{gone, 2}}));
  EXPECT_EQ(until(there, TaskState::placed).attempt, 1);
  endpoint.end({there, 1}, Ending::done, "7");
  EXPECT_EQ(broker->wait(there, 10).output, "7");
}

TEST_P(BrokerTest, CancelsInEveryState) {
  const std::string queued = broker->submit(request());
  broker->cancel(queued);
  EXPECT_EQ(broker->status(queued).state, TaskState::cancelled);
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join(1);
  const std::string placed = broker->submit(request());
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{placed, 1}}));
  broker->cancel(placed);
  EXPECT_EQ(broker->status(placed).state, TaskState::cancelled);
  EXPECT_EQ(endpoint.line().next<Cancel>().tasks, (std::vector<std::string>{placed}));
  EXPECT_EQ(broker->endpoints().at(0).placed, 1);  // it has its room until the endpoint says that it ended
  endpoint.end({placed, 1}, Ending::cancelled);
  EXPECT_EQ(endpoint.line().next<Stored>().ends, (std::vector<TaskKey>{{placed, 1}}));
  EXPECT_EQ(broker->endpoints().at(0).placed, 0);
  const std::string running = broker->submit(request());
  endpoint.assigned();
  endpoint.begin({running, 1});
  until(running, TaskState::running);
  endpoint.leave();
  broker->cancel(running);  // while the endpoint is away
  EXPECT_EQ(broker->status(running).state, TaskState::cancelled);
  endpoint.join(1, {{running, 1}});
  EXPECT_EQ(endpoint.line().next<Cancel>().tasks, (std::vector<std::string>{running}));
  endpoint.end({running, 1}, Ending::done, "1");  // it was faster: too late
  endpoint.line().next<Stored>();
  broker->cancel(running);
  EXPECT_EQ(broker->status(running).state, TaskState::cancelled);
}

TEST_P(BrokerTest, DeadlinesEndWhatIsNotDone) {
  auto r = request();
  r.deadline_s = 60;
  const std::string queued = broker->submit(r);
  HandEndpoint endpoint(*broker, "cluster");
  now_s = now_s + 61;
  EXPECT_EQ(broker->wait(queued, 10).state, TaskState::failed);
  EXPECT_THAT(broker->status(queued).problem, HasSubstr("its deadline, 60 s after the submission"));
  endpoint.join();
  r.deadline_s = 20;
  const std::string placed = broker->submit(r);
  endpoint.assigned();
  now_s = now_s + 21;
  EXPECT_EQ(broker->wait(placed, 10).state, TaskState::failed);
  EXPECT_EQ(endpoint.line().next<Cancel>().tasks, (std::vector<std::string>{placed}));
}

TEST_P(BrokerTest, ADeadlineThatPassesDuringACancellationEndsNothingTwice) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  std::mutex mutex;
  std::vector<TaskState> ends;
  const auto listening = broker->listen([&](const TaskEvent& e) {
    if (e.kind != TaskEvent::Kind::ended) return;
    const std::lock_guard lock(mutex);
    ends.push_back(e.status.state);
  });
  auto r = request();
  r.deadline_s = 100;
  r.attempts = 5;
  const std::string id = broker->submit(r);
  (void)endpoint.line().next<Assign>();
  // The disk is slow: the next attempt is still being stored when the cancellation and the deadline come.
  std::promise<void> at_work, go_on;
  database->submit(
      [&](store::Transaction&) {
        at_work.set_value();
        go_on.get_future().wait();
      },
      [](const core::Result<void>&) {});
  at_work.get_future().wait();
  endpoint.say(Ended{{{{id, 1}, Ending::lost, "null", "killed"}}});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  auto cancelling = std::async(std::launch::async, [&] { broker->cancel(id); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  now_s = now_s + 200;
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // more than a tick of the desk
  go_on.set_value();
  cancelling.get();
  const std::string next = broker->submit(request());
  broker->cancel(next);  // stored, and told, after all that
  EXPECT_EQ(broker->status(id).state, TaskState::cancelled);
  listening_until([&] {
    const std::lock_guard lock(mutex);
    return ends.size() >= 2;
  });
  const std::lock_guard lock(mutex);
  EXPECT_EQ(ends, (std::vector{TaskState::cancelled, TaskState::cancelled}));
}

TEST_P(BrokerTest, AGreetingDuringACancellationThatFailsIsLookedAtAfterIt) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  auto r = request();
  r.attempts = 5;
  const std::string placed = broker->submit(r), running = broker->submit(r);
  for (const auto& id : {placed, running}) until(id, TaskState::placed);
  endpoint.begin({running, 1});
  until(running, TaskState::running);
  // The disk is slow, and refuses in the end; the endpoint, which has lost its tasks, comes back before that.
  std::promise<void> at_work, go_on;
  database->submit(
      [&](store::Transaction& t) {
        t.execute("ALTER TABLE compute_task RENAME TO compute_task_away");
        at_work.set_value();
        go_on.get_future().wait();
      },
      [](const core::Result<void>&) {});
  at_work.get_future().wait();
  std::vector<std::future<bool>> cancelling;
  for (const auto& id : {placed, running})
    cancelling.push_back(std::async(std::launch::async, [&broker = *broker, id] {
      try {
        broker.cancel(id);
      } catch (const Error&) {
        return false;
      }
      return true;
    }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  endpoint.leave();
  endpoint.join();
  listening_until([&] { return broker->endpoints().at(0).placed == 0; });
  go_on.set_value();
  for (auto& one : cancelling) EXPECT_FALSE(one.get()) << "stored without its table";
  database->write([](store::Transaction& t) { t.execute("ALTER TABLE compute_task_away RENAME TO compute_task"); });
  listening_until([&] {
    now_s = now_s + 0.05;  // what was refused meanwhile is tried again after a second
    return broker->status(placed).attempt == 2 && broker->status(running).attempt == 2;
  });
  for (const auto& id : {placed, running}) EXPECT_EQ(until(id, TaskState::placed).attempt, 2);
  EXPECT_EQ(broker->status(placed).problem, "");
  EXPECT_THAT(broker->status(running).problem, HasSubstr("knows nothing of it any more"));
}

TEST_P(BrokerTest, LargeOutputsComeAsFiles) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  endpoint.assigned();
  const std::string reference = reference_to_output(id, 9);
  endpoint.end({id, 1}, Ending::done, reference);  // before the file is there
  EXPECT_EQ(endpoint.assigned(), (std::vector<TaskKey>{{id, 2}}));
  EXPECT_THAT(broker->status(id).problem, HasSubstr("9 bytes did not arrive"));
  IncomingFile file(folder.path().string(), 100);
  file.write(std::as_bytes(std::span(std::string_view("[1,2,3,4]"))));
  file.commit(output_path(folder.path().string(), {id, 2}));
  endpoint.end({id, 2}, Ending::done, reference);
  EXPECT_EQ(broker->wait(id, 10).output, reference);
  EXPECT_EQ(broker->output(id), "[1,2,3,4]");
}

TEST_P(BrokerTest, WhatEndedLongAgoGoes) {
  broker.reset();
  constexpr double day_s = 86400;
  const std::string at = folder.path().string();
  broker = std::make_unique<Broker>(
      *database, BrokerOptions{.folder = at, .keep_s = 30 * day_s, .wall_s = [this] { return now_s.load(); }});
  const auto aged = [&](const std::string& path) {
    std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(24 * 60));
  };
  const auto write = [&](const std::string& path) {
    std::ofstream(path) << "[1]";
    aged(path);
    return path;
  };
  const std::string used(64, 'a'), unused(64, 'b');
  for (const auto& sha256 : {used, unused}) write(archive_path(at, sha256));
  for (const auto& [name, sha256] : {std::pair{"code.used", used}, {"code.unused", unused}}) {
    FunctionRecord f;
    f.name = name;
    f.kind = FunctionKind::code;
    f.owner = "user:garcia";
    f.command = {"run"};
    f.archive = sha256;
    broker->register_function(f);
  }
  auto r = request();
  const std::string old = broker->submit(r, "key");
  broker->cancel(old);
  const std::string output = write(output_path(at, {old, 1})), stranger = write(output_path(at, {"stranger", 1}));
  now_s = now_s + 20 * day_s;
  r.deadline_s = 1000 * day_s;
  const std::string recent = broker->submit(request());
  broker->cancel(recent);
  const std::string kept = write(output_path(at, {recent, 1}));
  r.function = "code.used";
  const std::string waits = broker->submit(r);
  aged(archive_path(at, used));
  now_s = now_s + 15 * day_s;
  broker->clean();
  EXPECT_EQ(refused([&] { broker->status(old); }), ErrorCode::not_found);
  EXPECT_FALSE(std::filesystem::exists(output) || std::filesystem::exists(stranger));
  EXPECT_EQ(broker->status(recent).state, TaskState::cancelled);
  EXPECT_TRUE(std::filesystem::exists(kept));
  EXPECT_EQ(broker->status(waits).state, TaskState::queued);
  EXPECT_TRUE(has_archive(at, used)) << "a task waits that needs it";
  EXPECT_FALSE(has_archive(at, unused));
  r.function = "code.unused";
  EXPECT_EQ(refused([&] { broker->submit(r); }), ErrorCode::not_found);
  EXPECT_NE(broker->submit(request(), "key"), old) << "its key is free again";
  broker->cancel(waits);
  broker->clean();
  EXPECT_FALSE(has_archive(at, used));
}

TEST_P(BrokerTest, PreviewsGoToThoseWhoLookTheLatestWins) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  endpoint.assigned();
  endpoint.begin({id, 1});
  const auto preview = [&](long long step, const std::string& bytes) {
    endpoint.say_text(encode_preview({id, "object", "png", step, "", {}, 0, 0, bytes}), true);
  };
  preview(1, "old");
  preview(2, "new");
  endpoint.say(Progressed{{{{id, 1}, 0.5, "after the previews"}}});
  while (broker->status(id).progress < 0.5) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(broker->preview(id, "object")->bytes, "new");
  EXPECT_FALSE(broker->preview(id, "probe"));
  EXPECT_FALSE(broker->preview("other", "object"));

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> seen;
  const auto look = [&] {
    return broker->watch(id, [&](const std::string& channel, const std::string& message, bool binary) {
      const std::lock_guard lock(mutex);
      seen.push_back(binary ? channel + " " + decode_preview(message).bytes : "event");
      changed.notify_all();
    });
  };
  const auto wait_for = [&](std::size_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), [&] { return seen.size() >= count; });
  };
  auto first = look();
  EXPECT_TRUE(endpoint.line().next<Watch>().on);
  EXPECT_TRUE(wait_for(2));
  preview(3, "newest");
  EXPECT_TRUE(wait_for(3));
  EXPECT_EQ(seen, (std::vector<std::string>{"event", "object new", "object newest"}));
  auto second = look();  // nobody has to be told
  EXPECT_TRUE(wait_for(5));
  first.reset();
  second.reset();
  EXPECT_FALSE(endpoint.line().next<Watch>().on);
  preview(4, "unseen");
  endpoint.end({id, 1}, Ending::done);
  broker->wait(id, 10);
  EXPECT_EQ(seen.size(), 5U);
  EXPECT_FALSE(broker->preview(id, "object"));  // never stored
}

TEST_P(BrokerTest, AnEndpointThatMisbehavesLosesItsLineAndNoTask) {
  HandEndpoint endpoint(*broker, "cluster");
  endpoint.join();
  const std::string id = broker->submit(request());
  endpoint.assigned();
  const auto closes = [&](const std::string& reason, const std::function<void()>& act) {
    act();
    EXPECT_TRUE(endpoint.line().wait_closed()) << reason;
    EXPECT_THAT(endpoint.line().reason(), HasSubstr(reason));
    EXPECT_FALSE(endpoint.line().send(""));
    EXPECT_EQ(broker->status(id).state, TaskState::placed);
    endpoint.join(4, {{id, 1}});
  };
  closes("not JSON", [&] { endpoint.say_text("{"); });
  closes("header of a preview", [&] { endpoint.say_text("\xFF\xFF\xFF\xFF", true); });
  closes("does not say that", [&] { endpoint.say(Leave{"now"}); });
  closes("hello once", [&] { endpoint.say(Hello{}); });
  closes("said nothing for 30 s", [&] {
    endpoint.say(CapacityNow{HandEndpoint::capacity(9)});
    while (broker->endpoints().at(0).capacity.most != 9) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    now_s = now_s + 31;
  });
  closes("hello first", [&] {
    endpoint.open();
    endpoint.begin({id, 1});
  });
  closes("speaks protocol 2", [&] {
    endpoint.open();
    Hello hello;
    hello.protocol = 2;
    endpoint.say(hello);
  });
  // A second line takes the place of the first.
  HandEndpoint twin(*broker, "cluster");
  twin.join(4, {{id, 1}});
  EXPECT_TRUE(endpoint.line().wait_closed());
  endpoint.end({id, 1}, Ending::done);  // on the old line: not heard
  twin.end({id, 1}, Ending::failed);
  EXPECT_EQ(broker->wait(id, 10).state, TaskState::failed);
  HandEndpoint stranger(*broker, "stranger");
  stranger.open();
  EXPECT_TRUE(stranger.line().wait_closed());
}

INSTANTIATE_TEST_SUITE_P(Each, BrokerTest, store::testing::kinds(), store::testing::kind_name);

}  // namespace
}  // namespace farfield::services::compute
