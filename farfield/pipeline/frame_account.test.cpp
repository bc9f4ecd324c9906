#include "farfield/pipeline/frame_account.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/math/random.hpp"

namespace farfield::pipeline {
namespace {

void expect_balance(const FrameTotals& t) {
  EXPECT_EQ(t.received, t.processed + t.dropped + t.pending);
  if (t.expected >= 0) {
    EXPECT_EQ(t.expected, t.received + t.missing + t.to_come);
  }
  Index reasons = 0;
  for (const auto& [reason, entry] : t.reasons) reasons += entry.frames;
  EXPECT_EQ(reasons, t.dropped);
}

TEST(FrameAccount, FollowsEveryFrame) {
  FrameAccount account(6);
  EXPECT_TRUE(account.receive(0));
  EXPECT_TRUE(account.receive(1));
  EXPECT_TRUE(account.receive(2));
  EXPECT_FALSE(account.receive(1)) << "a second delivery must not be handed on";
  account.process(0);
  account.process(1);
  account.drop(1, "not finite");       // refused by the technique after it was taken
  account.drop(4, "damaged chunk");    // never received whole
  account.drop(4, "something else");   // the first reason stays
  const auto t = account.totals();
  EXPECT_EQ(t.expected, 6);
  EXPECT_EQ(t.received, 4);
  EXPECT_EQ(t.processed, 1);
  EXPECT_EQ(t.dropped, 2);
  EXPECT_EQ(t.pending, 1);
  EXPECT_EQ(t.missing, 1) << "3 was passed over";
  EXPECT_EQ(t.to_come, 1) << "5 has not had its turn";
  EXPECT_EQ(t.duplicates, 1);
  EXPECT_EQ(t.reasons.at("damaged chunk").first_ids, std::vector<model::FrameId>{4});
  expect_balance(t);
  EXPECT_EQ(to_text(t),
            "4 frames received: 1 processed, 2 dropped (damaged chunk: 4; not finite: 1), 1 pending; 1 to come; 1 "
            "missing; 1 duplicates");
}

TEST(FrameAccount, AtTheEndWhatWasToComeIsMissing) {
  FrameAccount account(100);
  EXPECT_EQ(account.totals().to_come, 100);
  EXPECT_EQ(account.totals().missing, 0);
  for (const model::FrameId id : {0, 1, 4}) account.receive(id);
  EXPECT_EQ(account.totals().to_come, 95);
  EXPECT_EQ(account.totals().missing, 2);
  account.receive(3);  // late
  EXPECT_EQ(account.totals().missing, 1);
  account.receive(200);
  EXPECT_EQ(account.totals().to_come, 95) << "a number beyond the scan says nothing about it";
  EXPECT_EQ(account.totals().missing, 1);

  FrameAccount closed(100);
  closed.receive(9);
  closed.close();
  EXPECT_EQ(closed.totals().to_come, 0);
  EXPECT_EQ(closed.totals().missing, 99);
  expect_balance(closed.totals());
}

TEST(FrameAccount, WithoutAnExpectedNumberTheGapsAreMissing) {
  FrameAccount account;
  for (const model::FrameId id : {3, 0, 5}) account.receive(id);
  EXPECT_EQ(account.totals().missing, 3);
  EXPECT_TRUE(nlohmann::json::parse(to_json(account.totals())).at("expected").is_null());
}

TEST(FrameAccount, KeepsTheFirstIdsOnly) {
  FrameAccount account;
  for (model::FrameId id = 0; id < 1000; ++id) account.drop(id, "late");
  EXPECT_EQ(account.totals().reasons.at("late").frames, 1000);
  EXPECT_EQ(account.totals().reasons.at("late").first_ids.size(), 10U);
}

TEST(FrameAccount, BytesThatAreNotTextDoNotBreakTheJson) {
  FrameAccount account;
  account.drop(0, "dataset \xff\xfe");
  EXPECT_FALSE(nlohmann::json::parse(to_json(account.totals()), nullptr, false).is_discarded());
}

TEST(FrameAccount, BalancesWhateverHappensOnSeveralThreads) {
  constexpr Index kFrames = 500;
  FrameAccount account(kFrames);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&account, t] {
      math::Random random(17, t);
      for (int i = 0; i < 2000; ++i) {
        const auto id = static_cast<model::FrameId>(random.below(kFrames));
        switch (random.below(3)) {
          case 0: account.receive(id); break;
          case 1: account.process(id); break;
          default: account.drop(id, id % 2 == 0 ? "even" : "odd");
        }
        if (i % 100 == 0) expect_balance(account.totals());
      }
    });
  for (auto& thread : threads) thread.join();
  expect_balance(account.totals());
}

}  // namespace
}  // namespace farfield::pipeline
