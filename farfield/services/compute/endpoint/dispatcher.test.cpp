#include "farfield/services/compute/endpoint/dispatcher.hpp"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <random>

namespace farfield::services::compute {
namespace {

const WorkerId kFirst{"b1", "n1", 0}, kSecond{"b1", "n1", 1};

Assignment task(const std::string& id, const std::string& function = "f", Priority priority = Priority::normal) {
  Assignment a;
  a.key = {id, 1};
  a.function.name = function;
  a.function.kind = FunctionKind::verb;
  a.request.priority = priority;
  return a;
}

DispatcherLimits two_workers() {
  DispatcherLimits l;
  l.workers = 2;
  return l;
}

class DispatcherTest : public ::testing::Test {
protected:
  DispatcherTest() { d.block_opened("b1", false); }
  void greet(const WorkerId& id, int incarnation = 1, std::vector<TaskKey> known = {}) {
    d.greeted({id, incarnation, std::move(known), now_s + 1000, 0, true}, now_s);
  }
  /// Places, stores, and gives what goes out to whom: "task>block.place".
  std::vector<std::string> placed() {
    d.stored(d.place(now_s), now_s);
    return sent();
  }
  std::vector<std::string> sent() {
    const auto orders = d.take_orders();
    std::vector<std::string> all;
    for (const auto& [worker, tasks] : orders.assign)
      for (const Assignment& a : tasks) all.push_back(fmt::format("{}>{}.{}", a.key.task, worker.block, worker.place));
    for (const TaskEnd& e : orders.ended) ends.push_back(e);
    forgotten.insert(forgotten.end(), orders.forget.begin(), orders.forget.end());
    return all;
  }
  void end(const WorkerId& worker, const std::string& id, double seconds = 1, Ending ending = Ending::done) {
    TaskEnd e;
    e.key = {id, 1};
    e.ending = ending;
    e.times.assigned_s = e.times.started_s = now_s;
    e.times.ended_s = now_s + seconds;
    d.ended(worker, e, now_s);
  }
  using List = std::vector<std::string>;

  double now_s = 1e9;
  Dispatcher d{two_workers()};
  std::vector<TaskEnd> ends;
  std::vector<TaskKey> forgotten;
};

TEST_F(DispatcherTest, OneTaskForEachWorkerInTheOrderOfUrgency) {
  greet(kFirst);
  greet(kSecond);
  for (const char* id : {"a", "b", "c"}) d.offered(task(id), true);
  d.offered(task("u", "f", Priority::urgent), true);
  EXPECT_EQ(placed(), (List{"u>b1.0", "a>b1.1"}));
  EXPECT_EQ(placed(), List{});
  end(kSecond, "a");
  EXPECT_EQ(placed(), List{"b>b1.1"});
}

TEST_F(DispatcherTest, ShortTasksGoAheadLongOnesDoNot) {
  greet(kFirst);
  for (int i = 0; i < 100; ++i) d.offered(task(fmt::format("t{:02}", i), "short"), true);
  EXPECT_EQ(placed().size(), 1U) << "nobody knows how long it takes";
  end(kFirst, "t00", 0.001);
  const std::size_t ahead = placed().size();
  EXPECT_GT(ahead, 10U);
  EXPECT_LT(ahead, 30U) << "20 ms of work";
  d.offered(task("x", "long"), true);
  EXPECT_EQ(placed(), List{});
}

TEST_F(DispatcherTest, NothingGoesOutBeforeItIsStored) {
  greet(kFirst);
  d.offered(task("a"), true);
  const auto handovers = d.place(now_s);
  ASSERT_EQ(handovers.size(), 1U);
  EXPECT_EQ(sent(), List{});
  d.not_stored(handovers, now_s);  // a full disk
  EXPECT_EQ(placed(), List{"a>b1.0"});
}

TEST_F(DispatcherTest, WhatAWorkerDoesNotKnowIsSentAgainOrElsewhere) {
  greet(kFirst);
  d.offered(task("a"), true);
  EXPECT_EQ(placed(), List{"a>b1.0"});
  d.disconnected(kFirst);
  greet(kFirst);  // the message was lost with the line
  EXPECT_EQ(sent(), List{"a>b1.0"});
  greet(kFirst, 1, {{"a", 1}});
  EXPECT_EQ(sent(), List{});
  // Its successor knows what it began, and this it did not.
  d.disconnected(kFirst);
  greet(kFirst, 2);
  EXPECT_EQ(sent(), List{});
  EXPECT_EQ(placed(), List{"a>b1.0"});
}

TEST_F(DispatcherTest, AWorkerThatWasReplacedBetweenPlacingAndStoringGetsNothing) {
  greet(kFirst);
  d.offered(task("a"), true);
  const auto handovers = d.place(now_s);
  greet(kFirst, 2);
  d.stored(handovers, now_s);
  EXPECT_EQ(sent(), List{});
  EXPECT_EQ(placed(), List{"a>b1.0"}) << "to the new one";
}

TEST_F(DispatcherTest, TheEndOfABlockIsReadFromItsJournals) {
  greet(kFirst);
  greet(kSecond);
  for (const char* id : {"a", "b"}) d.offered(task(id), true);
  EXPECT_EQ(placed().size(), 2U);
  JournalContent first, second;
  TaskEnd done;
  done.key = {"a", 1};
  done.ending = Ending::done;
  done.output = "7";
  first.ended[done.key] = done;
  d.block_ended("b1", "preempted", {{kFirst, first}, {kSecond, second}});
  sent();
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].output, "7");
  // b was never begun: it waits for another block, and no attempt is lost.
  EXPECT_EQ(d.queue().tasks, 1U);
  d.block_opened("b2", false);
  greet({"b2", "n1", 0});
  EXPECT_EQ(placed(), List{"b>b2.0"});
  d.began({"b2", "n1", 0}, {{"b", 1}});
  d.block_ended("b2", "killed", {{{"b2", "n1", 0}, {}}});
  sent();
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[1].ending, Ending::lost);
}

TEST_F(DispatcherTest, ATaskThatWasGivenBackUnbegunIsNotAnEnd) {
  greet(kFirst);
  d.offered(task("a"), true);
  placed();
  d.takes_no_more(kFirst);
  TaskEnd back;
  back.key = {"a", 1};
  back.ending = Ending::interrupted;
  d.ended(kFirst, back, now_s);
  EXPECT_EQ(placed(), List{});
  EXPECT_TRUE(ends.empty());
  greet(kSecond);
  EXPECT_EQ(placed(), List{"a>b1.1"});
}

TEST_F(DispatcherTest, EndsAreKeptUntilTheyAreAcknowledged) {
  greet(kFirst);
  d.offered(task("a"), true);
  placed();
  end(kFirst, "a");
  sent();
  EXPECT_EQ(ends.size(), 1U);
  EXPECT_TRUE(forgotten.empty());
  d.repeat();
  sent();
  EXPECT_EQ(ends.size(), 2U);
  d.acknowledged({{"a", 1}});
  const auto orders = d.take_orders();
  EXPECT_EQ(orders.forget, (std::vector<TaskKey>{{"a", 1}}));
  EXPECT_EQ(orders.acknowledge.at(kFirst), (std::vector<TaskKey>{{"a", 1}}));
  EXPECT_TRUE(d.known().empty());
}

TEST_F(DispatcherTest, CancelledBeforeDuringAndAfterStoring) {
  greet(kFirst);
  d.offered(task("a"), true);
  d.offered(task("b"), true);
  const auto handovers = d.place(now_s);
  d.cancelled("a");
  d.cancelled("b");
  d.stored(handovers, now_s);
  EXPECT_EQ(sent(), List{});
  EXPECT_EQ(ends.size(), 2U);
  d.offered(task("c"), true);
  EXPECT_EQ(placed(), List{"c>b1.0"});
  d.cancelled("c");
  EXPECT_EQ(d.take_orders().cancel.at(kFirst), std::vector<std::string>{"c"});
}

TEST_F(DispatcherTest, ATaskOfManyRanksHasABlockForItself) {
  greet(kFirst);
  greet(kSecond);
  d.offered(task("small"), true);
  EXPECT_EQ(placed(), List{"small>b1.0"});
  Assignment wide = task("wide");
  wide.request.resources.ranks = 4;
  d.offered(wide, true);
  d.offered(task("late"), true);
  EXPECT_EQ(placed(), List{}) << "the block is kept for it";
  end(kFirst, "small");
  EXPECT_EQ(placed(), List{"wide>b1.0"});
  EXPECT_EQ(placed(), List{});
  end(kFirst, "wide");
  EXPECT_EQ(placed().size(), 1U);
}

TEST_F(DispatcherTest, ProgramsOverSeveralNodesAreRefused) {
  DispatcherLimits limits;
  limits.walltime_s = 1000;
  limits.nodes = 4;
  limits.workers = 4;
  limits.confines = true;
  Dispatcher wide(limits);
  Assignment a = task("program");
  a.request.resources.ranks = a.request.resources.nodes = 2;
  a.function.kind = FunctionKind::command;
  wide.offered(a, true);
  const auto ended = wide.take_orders().ended;
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].ending, Ending::failed);
  EXPECT_NE(ended[0].problem.find("confined"), std::string::npos) << ended[0].problem;
  a = task("verb");
  a.request.resources.ranks = a.request.resources.nodes = 2;
  wide.offered(a, true);
  EXPECT_TRUE(wide.take_orders().ended.empty());
}

TEST_F(DispatcherTest, ABlockIsFreeAgainWhenTheTaskItWasKeptForIsCancelled) {
  greet(kFirst);
  greet(kSecond);
  d.offered(task("small"), true);
  placed();
  Assignment wide = task("wide");
  wide.request.resources.ranks = 2;
  d.offered(wide, true);
  EXPECT_EQ(placed(), List{});
  d.cancelled("wide");
  d.offered(task("late"), true);
  EXPECT_EQ(placed(), List{"late>b1.1"});
}

TEST_F(DispatcherTest, OnlyWhereTheWalltimeSuffices) {
  d.greeted({kFirst, 1, {}, now_s + 100, 0, true}, now_s);
  Assignment a = task("a");
  a.request.resources.walltime_s = 200;
  d.offered(a, true);
  EXPECT_EQ(placed(), List{});
  EXPECT_EQ(d.queue().longest_s, 200);
  d.greeted({kSecond, 1, {}, now_s + 300, 0, true}, now_s);
  EXPECT_EQ(placed(), List{"a>b1.1"});
}

TEST_F(DispatcherTest, UserCodeIsWaitedFor) {
  greet(kFirst);
  DispatcherLimits limits = two_workers();
  limits.confines = true;
  d = Dispatcher(limits);
  d.block_opened("b1", false);
  greet(kFirst);
  Assignment a = task("a"), b = task("b");
  a.function.kind = b.function.kind = FunctionKind::code;
  a.function.archive = "1";
  b.function.archive = "2";
  d.offered(a, false);
  d.offered(b, false);
  EXPECT_EQ(placed(), List{});
  d.code_arrived("1");
  d.code_missing("2", "no such archive", false);
  EXPECT_EQ(placed(), List{"a>b1.0"});
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].ending, Ending::failed);
}

/// Whatever happens, in any order: each task ends for the service exactly once it is acknowledged, none is forgotten
/// without, and no worker of a later incarnation runs what an earlier one may have begun.
TEST(Dispatcher, LosesAndDoublesNothingInAnyOrderOfEvents) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    Dispatcher d(two_workers());
    struct Place {
      int incarnation = 1;
      bool connected = false;
      std::set<TaskKey> has;
      JournalContent journal;
    };
    std::map<WorkerId, Place> places;
    int blocks = 0;
    const auto open = [&] {
      const std::string block = fmt::format("b{}", blocks++);
      d.block_opened(block, false);
      for (int p = 0; p < 2; ++p) places[{block, "n", p}];
    };
    open();
    std::map<TaskKey, int> runs;      // that came to their end in a worker
    std::map<TaskKey, int> ended;     // at the service
    std::set<TaskKey> open_tasks;
    std::vector<std::vector<Handover>> storing;
    double now_s = 1e9;
    const auto deliver = [&] {
      const auto orders = d.take_orders();
      for (const auto& [id, tasks] : orders.assign) {
        const auto place = places.find(id);
        ASSERT_NE(place, places.end());
        ASSERT_TRUE(place->second.connected);
        if (chance(5) == 0) {  // the line breaks with the message in it
          place->second.connected = false;
          d.disconnected(id);
          continue;
        }
        for (const Assignment& a : tasks)
          if (!place->second.journal.ended.contains(a.key)) place->second.has.insert(a.key);
      }
      for (const TaskEnd& e : orders.ended) {
        const bool first = ended[e.key]++ == 0;
        if (first && e.ending == Ending::done) {
          EXPECT_EQ(runs[e.key], 1) << "seed " << seed;
        }
      }
    };
    int next = 0;
    for (int step = 0; step < 400; ++step) {
      now_s += 0.01;
      switch (chance(9)) {
        case 0:
          if (next < 40) {
            d.offered(task(fmt::format("t{}", next)), true);
            open_tasks.insert({fmt::format("t{}", next++), 1});
          }
          break;
        case 1:
          if (auto h = d.place(now_s); !h.empty()) storing.push_back(std::move(h));
          break;
        case 2:
          if (!storing.empty()) {
            if (chance(6) == 0) d.not_stored(storing.front(), now_s);
            else d.stored(storing.front(), now_s);
            storing.erase(storing.begin());
          }
          break;
        case 3:  // somebody connects, perhaps again
          for (auto& [id, p] : places)
            if (chance(3) == 0) {
              p.connected = true;
              std::vector<TaskKey> known(p.has.begin(), p.has.end());
              for (const auto& [key, end] : p.journal.ended) known.push_back(key);
              d.greeted({id, p.incarnation, known, now_s + 1000, 0, true}, now_s);
              for (const auto& [key, end] : p.journal.ended) d.ended(id, end, now_s);
            }
          break;
        case 4:
        case 5:  // somebody finishes
          for (auto& [id, p] : places)
            if (!p.has.empty() && chance(2) == 0) {
              TaskEnd e;
              e.key = *p.has.begin();
              e.ending = Ending::done;
              e.times.started_s = now_s;
              p.has.erase(e.key);
              p.journal.ended[e.key] = e;
              ++runs[e.key];
              EXPECT_EQ(runs[e.key], 1) << "done twice, seed " << seed;
              if (p.connected) d.ended(id, e, now_s);
            }
          break;
        case 6:  // a worker dies; what it had begun is known to its successor
          for (auto& [id, p] : places)
            if (chance(6) == 0) {
              p.connected = false;
              d.disconnected(id);
              ++p.incarnation;
              if (!p.has.empty()) {
                TaskEnd e;
                e.key = *p.has.begin();
                e.times.assigned_s = now_s;
                p.journal.ended[e.key] = e;  // lost
              }
              p.has.clear();
            }
          break;
        case 7:  // a block ends
          if (chance(8) == 0) {
            const std::string block = places.begin()->first.block;
            std::map<WorkerId, JournalContent> journals;
            for (auto p = places.begin(); p != places.end();)
              if (p->first.block == block) {
                if (!p->second.has.empty()) p->second.journal.begun[*p->second.has.begin()] = {*p->second.has.begin()};
                journals[p->first] = p->second.journal;
                p = places.erase(p);
              } else {
                ++p;
              }
            open();
            d.block_ended(block, "ended", journals);
          }
          break;
        default: {
          std::vector<TaskKey> acknowledged;
          for (const auto& [key, times] : ended)
            if (times > 0 && chance(2) == 0) acknowledged.push_back(key);
          d.acknowledged(acknowledged);
          const auto orders = d.take_orders();
          for (const auto& [id, keys] : orders.acknowledge)
            if (const auto p = places.find(id); p != places.end())
              for (const TaskKey& key : keys) p->second.journal.ended.erase(key);
          for (const TaskEnd& e : orders.ended) ++ended[e.key];
        }
      }
      deliver();
      if (::testing::Test::HasFatalFailure()) return;
    }
    // In the end everything is calm: all tasks come to an end.
    for (int round = 0; round < 200; ++round) {
      now_s += 1;
      for (auto& [id, p] : places) {
        if (!p.connected) {
          p.connected = true;
          std::vector<TaskKey> known(p.has.begin(), p.has.end());
          for (const auto& [key, end] : p.journal.ended) known.push_back(key);
          d.greeted({id, p.incarnation, known, now_s + 1000, 0, true}, now_s);
        }
        for (const auto& [key, end] : p.journal.ended) d.ended(id, end, now_s);
        for (const TaskKey& key : std::set<TaskKey>(p.has)) {
          TaskEnd e;
          e.key = key;
          e.ending = Ending::done;
          e.times.started_s = now_s;
          p.has.erase(key);
          p.journal.ended[key] = e;
          EXPECT_EQ(++runs[key], 1) << "done twice, seed " << seed;
          d.ended(id, e, now_s);
        }
      }
      for (const auto& h : storing) d.stored(h, now_s);
      storing.clear();
      storing.push_back(d.place(now_s));
      deliver();
      if (::testing::Test::HasFatalFailure()) return;
    }
    for (const TaskKey& key : open_tasks) EXPECT_GE(ended[key], 1) << key.task << " is forgotten, seed " << seed;
  }
}

}  // namespace
}  // namespace farfield::services::compute
