#include "farfield/stream/spool/spool.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "farfield/stream/dectris/simplon_testing.hpp"

namespace farfield::stream {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct SpoolTest : ::testing::Test {
  ~SpoolTest() override { fs::remove_all(folder); }

  static Envelope message(int number, std::size_t size = 100) {
    auto bytes = std::make_shared<std::vector<std::byte>>(size, std::byte{7});
    std::memcpy(bytes->data(), &number, sizeof number);
    Envelope e;
    e.parts = {std::span(*bytes).first(4), std::span(*bytes).subspan(4), {}};
    e.owner = bytes;
    return e;
  }
  static int number(const Envelope& e) {
    int n = -1;
    if (e.parts.size() == 3 && e.parts[0].size() == sizeof n) std::memcpy(&n, e.parts[0].data(), sizeof n);
    return n;
  }
  static std::vector<int> rest(Spool& spool) {
    std::vector<int> out;
    for (Envelope e; spool.next(e);) out.push_back(number(e));
    return out;
  }
  static void damage(const fs::path& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put('!');
  }

  fs::path folder = fs::temp_directory_path() / ("farfield_spool_" + std::to_string(::getpid()));
};

TEST_F(SpoolTest, WhatIsAppendedComesOutInOrder) {
  Spool spool(folder, {.segment_bytes = 300});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(spool.append(message(i)));
  EXPECT_EQ(spool.unread(), 10);
  EXPECT_EQ(rest(spool), (std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(spool.unread(), 0);
  ASSERT_TRUE(spool.append(message(10, 5000)));
  Envelope e;
  ASSERT_TRUE(spool.next(e));
  EXPECT_EQ(e.bytes(), 5000);
  EXPECT_TRUE(e.parts.at(2).empty());
}

TEST_F(SpoolTest, WhoComesBackFindsWhatWasNotReleased) {
  {
    Spool spool(folder, {.segment_bytes = 300});
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(spool.append(message(i)));
    Envelope e;
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(spool.next(e));
    spool.release(2);  // 0 to 3 are done, 4 and 5 were only read
    EXPECT_EQ(spool.bytes(), 7 * (24 + 3 * 8 + 100)) << "the first segment is gone";
  }
  Spool spool(folder, {.segment_bytes = 300});
  EXPECT_EQ(rest(spool), (std::vector{4, 5, 6, 7, 8, 9}));
  spool.release();
  ASSERT_TRUE(spool.append(message(10)));
  EXPECT_EQ(rest(spool), std::vector{10});
}

TEST_F(SpoolTest, AFullSpoolRefusesWhatIsUnreadAndForgetsWhatWasRead) {
  Spool spool(folder, {.most_bytes = 1000, .segment_bytes = 200});
  int sent = 0;
  while (spool.append(message(sent))) ++sent;
  EXPECT_LE(spool.bytes(), 1000);
  EXPECT_GE(sent, 5);
  EXPECT_FALSE(spool.append(message(sent))) << "unread messages are never given up";
  EXPECT_EQ(std::ssize(rest(spool)), sent);
  EXPECT_EQ(spool.forgotten(), 0);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(spool.append(message(i)));
    EXPECT_LE(spool.bytes(), 1000);
    EXPECT_EQ(rest(spool), std::vector{i});
  }
  EXPECT_GT(spool.forgotten(), 0);
}

TEST_F(SpoolTest, AnUnfinishedRecordIsCutOff) {
  for (const std::uintmax_t cut : {1, 99, 110, 140}) {  // within the parts, the lengths, the header
    const auto own = folder / std::to_string(cut);
    {
      Spool spool(own);
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(spool.append(message(i)));
    }
    const auto path = own / "00000000.spool";
    fs::resize_file(path, fs::file_size(path) - cut);
    Spool spool(own);
    ASSERT_TRUE(spool.append(message(9)));
    EXPECT_EQ(rest(spool), (std::vector{0, 1, 9})) << cut;
  }
}

TEST_F(SpoolTest, SegmentsThatSomebodyRemovedAreNotWaitedFor) {
  {
    Spool spool(folder, {.segment_bytes = 300});
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(spool.append(message(i)));
    (void)rest(spool);
    spool.release();
  }
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".spool") fs::resize_file(entry.path(), 0);
  Spool spool(folder, {.segment_bytes = 300});
  ASSERT_TRUE(spool.append(message(1)));
  EXPECT_EQ(rest(spool), std::vector{1});
}

TEST_F(SpoolTest, DamageCostsOneMessage) {
  Spool spool(folder);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(spool.append(message(i)));
  damage(folder / "00000000.spool", spool.bytes() / 3 + 60);
  Envelope e;
  ASSERT_TRUE(spool.next(e));
  EXPECT_THROW((void)spool.next(e), core::Error);
  ASSERT_TRUE(spool.next(e));
  EXPECT_EQ(number(e), 2);
}

TEST_F(SpoolTest, AFolderHasOneOwner) {
  const Spool spool(folder);
  EXPECT_THROW(Spool{folder}, core::Error);
}

TEST_F(SpoolTest, ASeriesThroughASpoolIsThatSeries) {
  const auto expected = dectris::testing::scan(core::DType::u16, 8);
  const auto messages = dectris::testing::messages(expected, {});
  int turn = 0;
  struct Spooled final : model::FrameSource {
    Spooled(std::vector<MemoryFeed::Parts> messages, const fs::path& folder)
        : source(std::move(messages)), feed(source, folder, {.segment_bytes = 4096}), receiver(feed, {}) {
      series = receiver.next({});
    }
    const model::Acquisition& acquisition() const override { return series->acquisition(); }
    bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
      return series->next(std::move(stop), take);
    }
    MemoryFeed source;
    SpoolFeed feed;
    dectris::SeriesReceiver receiver;
    std::unique_ptr<dectris::Series> series;
  };
  const auto make = [&] { return std::make_unique<Spooled>(messages, folder / std::to_string(turn++)); };
  EXPECT_EQ(model::check_source(make, expected), std::vector<std::string>{});
}

TEST_F(SpoolTest, AConsumerThatDiesAndComesBackMissesNothing) {
  const auto expected = dectris::testing::scan(core::DType::u16, 8);
  const auto messages = dectris::testing::messages(expected, {});
  {
    MemoryFeed source(messages);
    SpoolFeed feed(source, folder);
    Envelope e;
    for (int i = 0; i < 5; ++i) ASSERT_EQ(feed.receive(e, 10s, {}), FeedOutcome::message);
    while (feed.unread() + 5 < std::ssize(messages)) std::this_thread::sleep_for(1ms);
  }
  MemoryFeed nothing({});
  SpoolFeed feed(nothing, folder);
  dectris::SeriesReceiver receiver(feed, {});
  const auto series = receiver.next({});
  ASSERT_NE(series, nullptr);
  std::vector<model::FrameId> ids;
  while (series->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& frame : batch.frames) ids.push_back(frame.id);
  })) {}
  EXPECT_EQ(ids, (std::vector<model::FrameId>{0, 1, 2, 3, 4, 5, 6, 7})) << "from the first one on: its state died, too";
  feed.release();
  EXPECT_EQ(feed.unread(), 0);
}

TEST_F(SpoolTest, AFullSpoolHoldsTheSourceUpAndLosesNothing) {
  std::vector<MemoryFeed::Parts> messages;
  for (int i = 0; i < 100; ++i) {
    const auto e = message(i);
    messages.emplace_back();
    for (const auto& part : e.parts) messages.back().emplace_back(part.begin(), part.end());
  }
  MemoryFeed source(messages);
  SpoolFeed feed(source, folder, {.most_bytes = 700});
  Envelope e;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(feed.receive(e, 10s, {}), FeedOutcome::message);
    ASSERT_EQ(number(e), i);
  }
  EXPECT_EQ(feed.receive(e, 10s, {}), FeedOutcome::ended);
}

}  // namespace
}  // namespace farfield::stream
