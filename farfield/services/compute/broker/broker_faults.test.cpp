// Faults at random: the broker dies, lines break with what is on them, messages come twice, the endpoint forgets, tasks
// are lost, interrupted and cancelled. Whatever happens, each task that was acknowledged ends once, and no attempt is
// handed out twice.

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <set>

#include "farfield/services/compute/broker/testing.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::compute {
namespace {
using testing::HandEndpoint;
using testing::KeepingLine;

class Faults : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFailure()) return;
    database = database_.open();
    start();
    broker->register_endpoint("cluster", "user:garcia");
    join();
  }

  void start() {
    broker = std::make_unique<Broker>(*database, BrokerOptions{.folder = folder.path().string()});
    listening = broker->listen([this](const TaskEvent& e) {
      if (e.kind != TaskEvent::Kind::ended) return;
      const std::lock_guard lock(mutex);
      if (!told.emplace(e.status.id, e.status.state).second) ADD_FAILURE() << "told twice: " << e.status.id;
    });
  }
  /// Nothing that it has in memory survives.
  void kill_broker() {
    listening.reset();
    broker.reset();
    line.reset();
    start();
    join();
  }

  // ---- the endpoint: what it has, and ends that were not acknowledged

  struct Held {
    bool running = false;
    std::string end;  ///< the message, once it ended
  };
  std::map<TaskKey, Held> held;
  std::set<TaskKey> ever;
  std::map<TaskKey, std::string> results;  ///< of attempts that were done here

  void join() {
    line = std::make_shared<KeepingLine>();
    broker->connected("cluster", line);
    std::vector<TaskKey> known;
    for (const auto& [key, what] : held) known.push_back(key);
    broker->received("cluster", line.get(), encode(HandEndpoint::hello(6, std::move(known))), false);
    Begun begun;
    for (const auto& [key, what] : held)
      if (what.running && what.end.empty()) begun.tasks.push_back({key});
    say(encode(begun));
  }
  void break_line() {
    broker->disconnected("cluster", line.get());
    line->take();  // what was on it is lost
    join();
  }
  void say(const std::string& message) {
    broker->received("cluster", line.get(), message, false);
    if (chance(0.1)) broker->received("cluster", line.get(), message, false);
  }
  void hear() {
    if (line->closed()) join();
    for (const Message& message : line->take()) {
      if (const auto* assign = std::get_if<Assign>(&message)) {
        for (const Assignment& a : assign->tasks) {
          EXPECT_TRUE(ever.insert(a.key).second) << "attempt handed out twice: " << a.key.task << " " << a.key.attempt;
          // A higher attempt replaces an older one.
          std::erase_if(held, [&](const auto& h) {
            if (h.first.task != a.key.task) return false;
            EXPECT_LT(h.first.attempt, a.key.attempt);
            return true;
          });
          held[a.key];
        }
      } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
        for (auto& [key, what] : held)
          if (what.end.empty() && std::count(cancel->tasks.begin(), cancel->tasks.end(), key.task) > 0)
            end(key, what, Ending::cancelled);
      } else if (const auto* stored = std::get_if<Stored>(&message)) {
        for (const TaskKey& key : stored->ends) held.erase(key);
      }
    }
  }
  void end(const TaskKey& key, Held& what, Ending ending) {
    const std::string output = std::to_string(random());
    if (ending == Ending::done) results[key] = output;
    what.end =
        encode(Ended{{{key, ending, ending == Ending::done ? output : "null", "", {.started_s = 1, .ended_s = 2}}}});
    if (!chance(0.2)) say(what.end);  // else it is lost, and said again later
  }
  /// One that has not ended; null: none.
  std::pair<const TaskKey, Held>* pick() {
    std::vector<std::pair<const TaskKey, Held>*> open;
    for (auto& one : held)
      if (one.second.end.empty()) open.push_back(&one);
    return open.empty() ? nullptr : open[random() % open.size()];
  }

  void step(bool faults) {
    hear();
    const auto what = random() % 100;
    if (what < 25) {
      if (auto* one = pick()) {
        one->second.running = true;
        say(encode(Begun{{{one->first}}}));
      }
    } else if (what < 60) {
      if (auto* one = pick()) {
        const bool good = !faults || chance(0.6);
        end(one->first, one->second,
            good          ? Ending::done
            : chance(0.3) ? Ending::lost
            : chance(0.5) ? Ending::interrupted
                          : Ending::failed);
      }
    } else if (what < 75) {
      for (const auto& [key, h] : held)
        if (!h.end.empty()) say(h.end);
    } else if (!faults) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else if (what < 80) {
      break_line();
    } else if (what < 83) {
      kill_broker();
    } else if (what < 85) {
      broker->disconnected("cluster", line.get());
      line->take();
      held.clear();  // killed, with all its workers
      join();
    } else if (what < 88 && !submitted.empty()) {
      const std::string& id = submitted[random() % submitted.size()];
      broker->cancel(id);
      if (!has_ended(broker->status(id).state)) ADD_FAILURE() << "cancelled, and goes on";
    } else {
      submit();
    }
  }
  void submit() {
    TaskRequest request;
    request.function = "farfield.test.nothing";
    request.endpoint = "cluster";
    request.owner = "user:garcia";
    request.attempts = 1000;
    const std::string key = "key" + std::to_string(random() % 1000);
    request.priority = static_cast<Priority>(std::hash<std::string>()(key) % 4);  // one key asks for one thing
    const std::string id = broker->submit(request, key);
    const auto [place, added] = by_key.emplace(key, id);
    EXPECT_EQ(place->second, id) << "two tasks under one key";
    if (added) submitted.push_back(id);
  }

  unsigned random() { return static_cast<unsigned>(generator()); }
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(generator) < p; }

  std::mt19937 generator;
  store::testing::TemporaryFolder folder;
  std::unique_ptr<store::Database> database;
  std::shared_ptr<KeepingLine> line;
  std::mutex mutex;
  std::map<std::string, TaskState> told;
  std::unique_ptr<Broker> broker;
  std::shared_ptr<void> listening;
  std::vector<std::string> submitted;
  std::map<std::string, std::string> by_key;
};

TEST_P(Faults, EachTaskEndsOnceWhateverHappens) {
  const auto seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  generator.seed(seed);
  for (int i = 0; i < 1500 && !HasFailure(); ++i) step(true);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto open = [&] {
    return std::count_if(submitted.begin(), submitted.end(),
                         [&](const std::string& id) { return !has_ended(broker->status(id).state); });
  };
  while (open() > 0 && std::chrono::steady_clock::now() < limit && !HasFailure())
    for (int i = 0; i < 100; ++i) step(false);
  ASSERT_EQ(open(), 0);
  ASSERT_GT(submitted.size(), 20U);
  std::map<std::string, TaskStatus> ends;
  for (const std::string& id : submitted) ends[id] = broker->status(id);
  // What was told is what is stored, and what is stored is what an attempt gave.
  int done = 0;
  for (const auto& [id, s] : ends) {
    if (const auto heard = told.find(id); heard != told.end()) {
      EXPECT_EQ(heard->second, s.state);
    }
    if (s.state != TaskState::done) continue;
    ++done;
    EXPECT_EQ(results[(TaskKey{id, s.attempt})], s.output);
  }
  EXPECT_GT(done, 0);
  // Late words change nothing.
  for (const auto& [id, s] : ends) say(encode(Ended{{{{id, s.attempt}, Ending::failed}}}));
  kill_broker();
  for (const auto& [id, s] : ends) {
    EXPECT_EQ(broker->status(id).state, s.state);
    EXPECT_EQ(broker->status(id).output, s.output);
  }
}

INSTANTIATE_TEST_SUITE_P(Each, Faults, store::testing::kinds(), store::testing::kind_name);

}  // namespace
}  // namespace farfield::services::compute
