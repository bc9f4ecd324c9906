#include "farfield/stream/distribute/distributor.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "farfield/stream/dectris/simplon_testing.hpp"

namespace farfield::stream {
namespace {

namespace fs = std::filesystem;
using dectris::testing::messages;
using dectris::testing::scan;

struct DistributorTest : ::testing::Test {
  DistributorTest() { fs::create_directories(folder); }
  ~DistributorTest() override { fs::remove_all(folder); }
  std::string address() { return "ipc://" + (folder / std::to_string(next++)).string(); }
  OutletOptions outlet(const std::string& at, OutletPolicy policy) {
    return {.endpoint = "@" + at, .policy = policy, .spool = folder / ("spool" + std::to_string(next++))};
  }

  fs::path folder = fs::temp_directory_path() / ("farfield_distributor_" + std::to_string(::getpid()));
  int next = 0;
};

/// Messages when they are told to come.
class ToldFeed final : public Feed {
public:
  FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    (void)changed_.wait_for(lock, stop, limit, [&] { return !messages_.empty() || ended_; });
    if (stop.stop_requested()) return FeedOutcome::stopped;
    if (messages_.empty()) return ended_ ? FeedOutcome::ended : FeedOutcome::timeout;
    const auto parts = std::make_shared<MemoryFeed::Parts>(std::move(messages_.front()));
    messages_.pop_front();
    message.parts.assign(parts->begin(), parts->end());
    message.owner = parts;
    return FeedOutcome::message;
  }
  std::string name() const override { return "told"; }
  void tell(const MemoryFeed::Parts& message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(message);
    changed_.notify_all();
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<MemoryFeed::Parts> messages_;
  bool ended_ = false;
};

/// One of two analyses behind a distributor.
struct Behind final : model::FrameSource {
  Behind(const std::vector<MemoryFeed::Parts>& sent, std::vector<OutletOptions> outlets, const std::string& at)
      : source([&] {
          for (const auto& message : sent) feed.tell(message);
          return &feed;
        }()),
        distributor(*source, std::move(outlets)),
        thread([this](std::stop_token stop) { distributor.run(std::move(stop)); }),
        socket(net::ZmqKind::pull, at),
        receiver(socket, {}),
        series(receiver.next({})) {}
  const model::Acquisition& acquisition() const override { return series->acquisition(); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return series->next(std::move(stop), take);
  }
  ToldFeed feed;
  Feed* source;
  Distributor distributor;
  std::jthread thread;
  SocketFeed socket;
  dectris::SeriesReceiver receiver;
  std::unique_ptr<dectris::Series> series;
};

TEST_F(DistributorTest, EveryOutletGetsTheSeriesAsItWasSent) {
  const auto expected = scan(core::DType::u16, 8);
  for (const auto protocol : {dectris::Protocol::v1, dectris::Protocol::v2})
    for (const auto policy : {OutletPolicy::block, OutletPolicy::spool}) {
      const auto sent = messages(expected, {.protocol = protocol});
      const auto make = [&] {
        const auto mine = address();
        // The other one has no analysis, and disturbs nobody.
        return std::make_unique<Behind>(sent, std::vector{outlet(mine, policy), outlet(address(), OutletPolicy::drop)},
                                        mine);
      };
      EXPECT_EQ(model::check_source(make, expected), std::vector<std::string>{});
    }
}

TEST_F(DistributorTest, WhoComesLateGetsTheHeaderFirst) {
  const auto expected = scan(core::DType::u16, 6);
  const auto sent = messages(expected, {});
  ToldFeed feed;
  const auto at = address();
  Distributor distributor(feed, {outlet(at, OutletPolicy::drop)});
  std::jthread thread([&](std::stop_token stop) { distributor.run(std::move(stop)); });
  for (int i = 0; i < 3; ++i) feed.tell(sent[static_cast<std::size_t>(i)]);  // start and two images
  while (distributor.counts().outlets[0].dropped < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  SocketFeed socket(net::ZmqKind::pull, at);
  while (distributor.counts().outlets[0].connected < 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (std::size_t i = 3; i < sent.size(); ++i) feed.tell(sent[i]);
  dectris::SeriesReceiver receiver(socket, {.late_s = 0.1});
  const auto series = receiver.next({});
  ASSERT_NE(series, nullptr);
  EXPECT_EQ(series->acquisition().beam.energy_eV, expected.acquisition.beam.energy_eV);
  std::vector<model::FrameId> ids;
  while (series->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& frame : batch.frames) ids.push_back(frame.id);
  })) {}
  EXPECT_EQ(ids, (std::vector<model::FrameId>{2, 3, 4, 5}));
  feed.end();
  thread.join();
  const auto counts = distributor.counts();
  EXPECT_EQ(counts.images, 6);
  EXPECT_EQ(counts.outlets[0].images + counts.outlets[0].dropped, 6) << "every image has one fate";
}

TEST_F(DistributorTest, ASpoolKeepsTheSeriesForAnAnalysisThatComesBack) {
  const auto expected = scan(core::DType::u16, 40);
  const auto sent = messages(expected, {});
  ToldFeed feed;
  const auto at = address();
  Distributor distributor(feed, {outlet(at, OutletPolicy::spool)});
  std::jthread thread([&](std::stop_token stop) { distributor.run(std::move(stop)); });
  for (const auto& message : sent) feed.tell(message);
  while (distributor.counts().messages < std::ssize(sent)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  SocketFeed socket(net::ZmqKind::pull, at);  // after the end
  dectris::SeriesReceiver receiver(socket, {});
  const auto series = receiver.next({});
  ASSERT_NE(series, nullptr);
  Index frames = 0;
  while (series->next({}, [&](const model::FrameBatch& batch) { frames += std::ssize(batch.frames); })) {}
  EXPECT_EQ(frames, 40);
}

TEST_F(DistributorTest, ADiskThatRefusesOrLosesStopsNobody) {
  for (const bool lost : {false, true}) {
    const auto expected = scan(core::DType::u16, 40);
    const auto sent = messages(expected, {});
    ToldFeed feed;
    const auto at = address();
    const auto options = outlet(at, OutletPolicy::spool);
    fs::create_directories(options.spool / "released.part");  // nobody may write what is read
    Distributor distributor(feed, {options});
    std::jthread thread([&](std::stop_token stop) { distributor.run(std::move(stop)); });
    for (const auto& message : sent) feed.tell(message);
    // The first one is in the hand of the outlet.
    while (distributor.counts().messages < std::ssize(sent) ||
           distributor.counts().outlets[0].waiting > std::ssize(sent) - 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (lost) {
      const auto file = options.spool / "00000000.spool";
      const auto size = fs::file_size(file);
      fs::resize_file(file, 0);
      fs::resize_file(file, size);
    }
    SocketFeed socket(net::ZmqKind::pull, at);
    feed.end();
    Envelope message;
    const Index expected_messages = lost ? 1 : std::ssize(sent);
    for (Index i = 0; i < expected_messages; ++i)
      ASSERT_EQ(socket.receive(message, std::chrono::seconds(10), {}), FeedOutcome::message);
    thread.join();
    const auto counts = distributor.counts().outlets[0];
    EXPECT_EQ(counts.images, lost ? 0 : 40);
    EXPECT_EQ(counts.dropped, lost ? std::ssize(sent) - 1 : 0);
    EXPECT_EQ(counts.waiting, 0);
  }
}

TEST_F(DistributorTest, AnAnalysisThatStopsReadingHoldsNobodyUp) {
  const auto expected = scan(core::DType::u16, 200);
  const auto sent = messages(expected, {});
  ToldFeed feed;
  const auto dead = address();
  auto stuck = outlet(dead, OutletPolicy::drop);
  stuck.queue_bytes = 1;
  const auto at = address();
  Distributor distributor(feed, {stuck, outlet(at, OutletPolicy::block)});
  const SocketFeed never_read(net::ZmqKind::pull, dead, {.high_water_mark = 1});
  std::jthread thread([&](std::stop_token stop) { distributor.run(std::move(stop)); });
  for (const auto& message : sent) feed.tell(message);
  SocketFeed socket(net::ZmqKind::pull, at);
  dectris::SeriesReceiver receiver(socket, {});
  const auto series = receiver.next({});
  Index frames = 0;
  while (series->next({}, [&](const model::FrameBatch& batch) { frames += std::ssize(batch.frames); })) {}
  EXPECT_EQ(frames, 200);
}

TEST_F(DistributorTest, WithoutOutletsThereIsNothingToDo) {
  ToldFeed feed;
  EXPECT_THROW(Distributor(feed, {}), core::Error);
}

TEST_F(DistributorTest, WhoComesBackGetsTheHeaderOfTheSeriesThatWaits) {
  const auto sent = messages(scan(core::DType::u16, 6), {}, {1, "one"});
  const auto following = messages(scan(core::DType::u16, 6), {}, {2, "two"});
  ToldFeed feed;
  const auto at = address();
  Distributor distributor(feed, {outlet(at, OutletPolicy::spool)});
  std::jthread thread([&](std::stop_token stop) { distributor.run(std::move(stop)); });
  Envelope message;
  {
    SocketFeed first(net::ZmqKind::pull, at);
    for (std::size_t i = 0; i < 3; ++i) {
      feed.tell(sent[i]);
      ASSERT_EQ(first.receive(message, std::chrono::seconds(10), {}), FeedOutcome::message);
    }
  }
  while (distributor.counts().outlets[0].connected > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (std::size_t i = 3; i < sent.size(); ++i) feed.tell(sent[i]);
  for (const auto& later : following) feed.tell(later);
  const Index all = std::ssize(sent) + std::ssize(following);
  while (distributor.counts().messages < all) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  SocketFeed second(net::ZmqKind::pull, at);
  ASSERT_EQ(second.receive(message, std::chrono::seconds(10), {}), FeedOutcome::message);
  const auto parsed = dectris::parse(message.parts);
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(std::holds_alternative<dectris::SeriesStart>(parsed->content));
  EXPECT_EQ(parsed->series().number, 1) << "not of the series that came last";
}

}  // namespace
}  // namespace farfield::stream
