#include "farfield/services/compute/worker/teller.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace farfield::services::compute {
namespace {
using std::chrono::milliseconds;

/// Keeps what is sent.
class Wire final : public net::WebSocket {
public:
  bool send(std::string message, bool) override {
    if (broken) return false;
    said.push_back(decode(message));
    return true;
  }
  bool send_latest(const std::string&, std::string) override { return !broken; }
  void close(int, std::string) override { broken = true; }
  bool closed() const override { return broken; }
  core::Index queued_bytes() const override { return 0; }

  template <class T>
  std::vector<T> all() const {
    std::vector<T> out;
    for (const Message& m : said)
      if (const auto* one = std::get_if<T>(&m)) out.push_back(*one);
    return out;
  }
  std::vector<Message> said;
  bool broken = false;
};

TaskEnd done(const std::string& task) {
  TaskEnd end;
  end.key = {task, 1};
  end.ending = Ending::done;
  return end;
}
TaskBegin begin(const std::string& task) {
  TaskBegin b;
  b.key = {task, 1};
  return b;
}
/// As the thread of the line does; ends when `enough`.
template <class F>
void tell_until(Teller& teller, F enough) {
  for (int i = 0; i < 1000 && !enough(); ++i) {
    teller.wait(Teller::Clock::now() + milliseconds(10));
    teller.tell();
  }
}

struct TellerTest : ::testing::Test {
  std::shared_ptr<Wire> wire = std::make_shared<Wire>();
  Teller teller;
};

TEST_F(TellerTest, EndsGoTogetherOnceNoOtherTaskWaits) {
  ASSERT_TRUE(teller.greet(wire, {}, {done("before")}));
  ASSERT_EQ(wire->said.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<Hello>(wire->said[0]));
  EXPECT_EQ(std::get<Ended>(wire->said[1]).tasks.at(0).key.task, "before");
  for (const char* task : {"a", "b", "c"}) {
    teller.begun(begin(task));
    teller.ended(done(task), task[0] != 'c');
  }
  EXPECT_FALSE(teller.empty());
  EXPECT_TRUE(teller.tell());
  EXPECT_TRUE(teller.empty());
  EXPECT_TRUE(wire->all<Begun>().empty()) << "an end tells that it began";
  // Where the machine was slow the first ones may have been overdue; all are told, once and in order.
  std::string told;
  for (const Ended& message : wire->all<Ended>())
    for (const TaskEnd& end : message.tasks) told += end.key.task;
  EXPECT_EQ(told, "beforeabc");
}

TEST_F(TellerTest, AnEndDoesNotWaitForATaskThatTakesLong) {
  ASSERT_TRUE(teller.greet(wire, {}, {}));
  teller.ended(done("short"), true);
  teller.begun(begin("long"));
  tell_until(teller, [&] { return !wire->all<Ended>().empty() && !wire->all<Begun>().empty(); });
  ASSERT_EQ(wire->all<Ended>().size(), 1U);
  ASSERT_EQ(wire->all<Begun>().size(), 1U);
  EXPECT_EQ(wire->all<Begun>()[0].tasks.at(0).key.task, "long");
}

TEST_F(TellerTest, LinesGoBeforeTheEndOfTheirTaskAndAfterItsBeginning) {
  ASSERT_TRUE(teller.greet(wire, {}, {}));
  teller.begun(begin("a"));
  teller.log({{"a", 1}, "first"});
  teller.progress({{"a", 1}, 0.5, "half"});
  tell_until(teller, [&] { return !wire->all<Logged>().empty(); });
  teller.log({{"a", 1}, "second"});
  teller.progress({{"a", 1}, 0.9, "late"});
  teller.ended(done("a"), false);
  EXPECT_TRUE(teller.tell());
  std::string order;
  for (const Message& m : wire->said)
    order += std::holds_alternative<Begun>(m)        ? "b"
             : std::holds_alternative<Progressed>(m) ? "p"
             : std::holds_alternative<Logged>(m)     ? "l"
             : std::holds_alternative<Ended>(m)      ? "e"
                                                     : "";
  EXPECT_EQ(order, "bplle") << "progress of what has ended is no news";
}

TEST_F(TellerTest, ABrokenLineWakesWhoWaitsAndTheNextOneHearsWhatRuns) {
  ASSERT_TRUE(teller.greet(wire, {}, {}));
  teller.begun(begin("a"));
  tell_until(teller, [&] { return !wire->all<Begun>().empty(); });
  wire->broken = true;
  std::thread working([&] {
    teller.ended(done("b"), false);
    EXPECT_FALSE(teller.tell());
  });
  const auto start = Teller::Clock::now();
  teller.wait(start + std::chrono::seconds(30));
  EXPECT_LT(Teller::Clock::now() - start, std::chrono::seconds(20)) << "nobody woke it";
  working.join();
  EXPECT_FALSE(teller.tell());

  teller.restart();
  EXPECT_TRUE(teller.empty()) << "ends are in the journal, which the caller tells";
  teller.ended(done("c"), false);  // while the line is being made
  EXPECT_FALSE(teller.tell());
  const auto next = std::make_shared<Wire>();
  ASSERT_TRUE(teller.greet(next, {}, {done("b")}));
  tell_until(teller, [&] { return !next->all<Begun>().empty() && next->all<Ended>().size() == 2; });
  ASSERT_EQ(next->all<Ended>().size(), 2U);
  EXPECT_EQ(next->all<Ended>()[1].tasks.at(0).key.task, "c");
  EXPECT_EQ(next->all<Begun>().at(0).tasks.at(0).key.task, "a");
}

TEST_F(TellerTest, SaysThatItLeaves) {
  ASSERT_TRUE(teller.greet(wire, {}, {}));
  teller.leaves();
  EXPECT_FALSE(teller.empty());
  EXPECT_TRUE(teller.tell());
  ASSERT_EQ(wire->all<CapacityNow>().size(), 1U);
  EXPECT_EQ(wire->all<CapacityNow>()[0].capacity.workers, 0);
  EXPECT_TRUE(teller.empty());
}

}  // namespace
}  // namespace farfield::services::compute
