#include "farfield/pipeline/driver.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "farfield/parallel/communicator.hpp"

namespace farfield::pipeline {
namespace {

using technique::StepState;

/// u16 frames of 1 x 2 pixels, frame i = (i, i). Written by hand what comes in which batch.
struct Frames final : model::FrameSource {
  explicit Frames(std::vector<std::vector<model::FrameId>> b, Index expected) : batches(std::move(b)) {
    a.detector.ny = 1;
    a.detector.nx = 2;
    a.scan.expected_frames = expected;
  }
  const model::Acquisition& acquisition() const override { return a; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (at == batches.size()) {
      if (error) throw core::Error(core::ErrorCode::corrupt_data, "truncated");
      while (endless && !stop.stop_requested()) std::this_thread::yield();
      return false;
    }
    if (before_batch) before_batch(at);
    model::FrameBatch batch;
    core::Array<std::uint16_t, 3> pixels({static_cast<Index>(batches[at].size()), 1, 2});
    for (std::size_t i = 0; i < batches[at].size(); ++i) {
      const auto id = batches[at][i];
      if (id == bad) {
        batch.bad.emplace_back(id, "damaged chunk");
        continue;
      }
      auto frame = pixels[static_cast<Index>(i)];
      frame(0, 0) = frame(0, 1) = static_cast<std::uint16_t>(id);
      auto image = core::AnyImage::of<std::uint16_t>(frame);
      if (id == narrow) image.nx = 1;
      batch.frames.push_back({id, image});
      batch.values.emplace_back(id, model::Values{{"y_m", static_cast<double>(id)}});
    }
    take(batch);
    // What a source lends ends with the call.
    pixels.fill(0xdead);
    ++at;
    return true;
  }
  model::Acquisition a;
  std::vector<std::vector<model::FrameId>> batches;
  model::FrameId bad = -1, narrow = -1;
  bool error = false, endless = false;
  std::function<void(std::size_t)> before_batch;
  std::size_t at = 0;
};

/// Sums what it gets; ends `steps` steps after the scan has ended.
struct Adder final : technique::Technique {
  void begin(const model::Acquisition&) override { log += "b"; }
  void push(std::span<const model::FrameView> frames) override {
    for (const auto& f : frames) {
      ids.insert(f.id);
      sum += f.image.view<std::uint16_t>()(0, 1);
    }
    log += "p";
  }
  void annotate(model::FrameId, const model::Values& v) override { position_sum += v.at("y_m"); }
  void end_of_scan() override { log += "e"; }
  StepState step(std::stop_token, technique::Observer& observer) override {
    log += "s";
    if (refuse >= 0) observer.rejected(std::exchange(refuse, -1), "too dark");
    const bool ended = log.find('e') != std::string::npos;
    if (ended || !waits) observer.progress({++done, 0, 0, {{"sum", sum}}});
    if (on_step) on_step(done);
    if (!ended && waits) return StepState::waiting;
    return ended && done >= steps ? end : StepState::working;
  }
  model::Product snapshot() const override {
    model::Product p;
    p.metrics = {{"sum", sum}, {"done", static_cast<double>(done)}};
    return p;
  }
  void save(technique::Sink&) const override {}
  void restore(technique::Source&) override { log += "r"; }
  model::Product finish(technique::Observer&) override {
    log += "f";
    return snapshot();
  }
  std::string log;  // order of the calls
  std::set<model::FrameId> ids;
  double sum = 0, position_sum = 0;
  std::int64_t done = 0, steps = 2;
  StepState end = StepState::finished;
  model::FrameId refuse = -1;
  bool waits = false;
  std::function<void(std::int64_t)> on_step;
};

struct NoSource final : technique::Source {
  std::vector<std::byte> get(std::string_view) override { return {}; }
  bool has(std::string_view) const override { return false; }
};

struct DriverTest : testing::Test {
  Outcome run(Frames& source, DriverOptions options = {}) {
    return drive(source, adder, account, observer, clock, options, stop.get_token());
  }
  Adder adder;
  FrameAccount account{6};
  DriverObserver observer;
  core::ManualClock clock;
  std::stop_source stop;
};

TEST_F(DriverTest, OfflineAllFramesArePushedBeforeTheFirstStep) {
  Frames source({{0, 1}, {2}, {3, 4, 5}}, 6);
  const auto outcome = run(source);
  EXPECT_EQ(adder.log, "bpppessf");
  EXPECT_EQ(outcome.state, StepState::finished);
  EXPECT_FALSE(outcome.stopped);
  EXPECT_EQ(outcome.product->metrics.at("sum"), 15);
  EXPECT_EQ(adder.position_sum, 15);
  const auto t = account.totals();
  EXPECT_EQ(t.processed, 6);
  EXPECT_EQ(t.missing, 0);
}

TEST_F(DriverTest, LiveStepsLieBetweenThePushesAndTheResultIsTheSame) {
  adder.waits = true;
  Frames source({{0}, {1}, {2}, {3}, {4}, {5}}, 6);
  std::atomic<bool> stepped{false};
  adder.on_step = [&](std::int64_t) { stepped = true; };
  source.before_batch = [&](std::size_t i) {  // the second frame comes after a step
    while (i == 1 && !stepped) std::this_thread::yield();
  };
  const auto outcome = run(source, {.iterate_while_reading = true});
  EXPECT_EQ(outcome.product->metrics.at("sum"), 15);
  EXPECT_EQ(adder.log.find("bps"), 0U);
  EXPECT_LT(adder.log.find('s'), adder.log.find('e')) << adder.log;
}

TEST_F(DriverTest, ALiveTechniqueMayEndBeforeTheScan) {
  Frames source({{0}, {1}}, 6);
  source.endless = true;
  adder.on_step = [&](std::int64_t done) {
    if (done == 3) adder.log += "e";
  };
  EXPECT_EQ(run(source, {.iterate_while_reading = true}).state, StepState::finished);
}

TEST_F(DriverTest, BadFramesAreCountedWithTheirReasonAndTheRestGoesOn) {
  Frames source({{0, 1, 1}, {2, 3}, {4}}, 6);
  source.bad = 2;
  source.narrow = 3;
  adder.refuse = 4;
  const auto outcome = run(source);
  EXPECT_EQ(adder.ids, (std::set<model::FrameId>{0, 1, 4}));
  const auto t = account.totals();
  EXPECT_EQ(t.received, 5);
  EXPECT_EQ(t.processed, 2);
  EXPECT_EQ(t.dropped, 3);
  EXPECT_EQ(t.missing, 1);
  EXPECT_EQ(t.duplicates, 1);
  EXPECT_TRUE(t.reasons.contains("damaged chunk"));
  EXPECT_TRUE(t.reasons.contains("too dark"));
  EXPECT_TRUE(t.reasons.contains("frame of 1 x 1 pixels of type uint16 instead of 1 x 2 of uint16"));
  EXPECT_TRUE(outcome.product.has_value());
}

TEST_F(DriverTest, AnErrorOfTheSourceIsTheErrorOfTheRun) {
  Frames source({{0}, {1}}, 6);
  source.error = true;
  EXPECT_THROW(run(source), core::Error);
  EXPECT_EQ(account.totals().processed, 2) << "the frames before it were whole";
}

TEST_F(DriverTest, StopKeepsTheLastSnapshotAndACheckpoint) {
  Frames source({{0, 1, 2, 3, 4, 5}}, 6);
  adder.steps = 1000;
  adder.on_step = [&](std::int64_t done) {
    if (done == 4) stop.request_stop();
  };
  int checkpoints = 0;
  const auto outcome = run(source, {.checkpoint = [&](const technique::Technique&) { ++checkpoints; }});
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.product->metrics.at("done"), 4);
  EXPECT_EQ(checkpoints, 1);
  EXPECT_EQ(adder.log.find('f'), std::string::npos);
}

TEST_F(DriverTest, StopWhileReadingEndsWithoutAStep) {
  Frames source({{0}}, 6);
  source.endless = true;
  struct StopAtFirst final : DriverObserver {
    explicit StopAtFirst(std::stop_source& s) : stop(s) {}
    void reading(Index, Index) override { stop.request_stop(); }
    std::stop_source& stop;
  } stopper(stop);
  const auto outcome = drive(source, adder, account, stopper, clock, {}, stop.get_token());
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(adder.log, "bp");
}

TEST_F(DriverTest, CheckpointsAndPreviewsComeByTheClock) {
  struct Screen final : PreviewSink {
    void show(const model::Product& product, std::int64_t iteration) override {
      const std::lock_guard lock(mutex);
      shown.emplace_back(iteration, product.metrics.at("done"));
      if (fail) throw core::Error(core::ErrorCode::io, "screen is off");
    }
    std::mutex mutex;
    std::vector<std::pair<std::int64_t, double>> shown;
    bool fail = true;
  } screen;
  Frames source({{0, 1, 2, 3, 4, 5}}, 6);
  adder.steps = 10;
  adder.on_step = [&](std::int64_t) { clock.time_s += 1; };
  std::vector<std::int64_t> saved_after;
  run(source, {.checkpoint = [&](const technique::Technique&) { saved_after.push_back(adder.done); },
               .checkpoint_every_s = 3,
               .preview = &screen,
               .preview_every_s = 8});
  EXPECT_EQ(saved_after, (std::vector<std::int64_t>{3, 6, 9}));
  // The one at 8 s; a failing screen does not end the computation.
  ASSERT_EQ(screen.shown.size(), 1U);
  EXPECT_EQ(screen.shown[0], (std::pair<std::int64_t, double>{8, 8}));
}

TEST_F(DriverTest, ResumeComesBetweenBeginAndTheFirstPush) {
  Frames source({{0, 1}}, 6);
  NoSource checkpoint;
  run(source, {.resume = &checkpoint});
  EXPECT_EQ(adder.log.substr(0, 3), "brp");
}

TEST_F(DriverTest, AScanWithoutFramesReachesTheTechnique) {
  Frames source({}, 0);
  run(source);
  EXPECT_EQ(adder.log, "bessf");
}

TEST_F(DriverTest, ATechniqueThatWaitsForEverIsABug) {
  struct Waiting final : technique::Technique {
    void begin(const model::Acquisition&) override {}
    void push(std::span<const model::FrameView>) override {}
    void annotate(model::FrameId, const model::Values&) override {}
    void end_of_scan() override {}
    StepState step(std::stop_token, technique::Observer&) override { return StepState::waiting; }
    model::Product snapshot() const override { return {}; }
    void save(technique::Sink&) const override {}
    void restore(technique::Source&) override {}
    model::Product finish(technique::Observer&) override { return {}; }
  } waiting;
  Frames source({{0}}, 6);
  EXPECT_THROW(drive(source, waiting, account, observer, clock, {}, {}), core::Error);
}

TEST_F(DriverTest, TheQueueIsBounded) {
  // 200 frames of 64 bytes each (a cache line) through a queue of 256 bytes.
  std::vector<std::vector<model::FrameId>> batches;
  for (model::FrameId i = 0; i < 200; ++i) batches.push_back({i});
  Frames source(batches, 200);
  FrameAccount wide(200);
  struct Ahead final : DriverObserver {
    void reading(Index received, Index) override { most = std::max(most, received - ++fed); }
    Index fed = 0, most = 0;
  } ahead;
  drive(source, adder, wide, ahead, clock, {.queue_bytes = 256}, {});
  EXPECT_EQ(wide.totals().processed, 200);
  // With its values a piece costs more than 128 bytes: one waits, one is in the reader's hands, one was just fed.
  EXPECT_LE(ahead.most, 3);
}

TEST_F(DriverTest, SeveralRanksDoNotIterateWhileReading) {
  struct Two final : parallel::Communicator {
    int rank() const override { return 0; }
    int size() const override { return 2; }
    void all_reduce(std::span<float>, parallel::Reduce) override {}
    void all_reduce(std::span<double> v, parallel::Reduce) override { v[0] = std::max(v[0], other_rank); }
    void broadcast(std::span<std::byte>, int) override {}
    void exchange(std::span<const Message>) override {}
    void barrier() override {}
    std::size_t bytes_sent() const override { return 0; }
    double other_rank = 0;
  } two;
  Frames source({{0}}, 6);
  EXPECT_THROW(run(source, {.iterate_while_reading = true, .communicator = &two}), core::Error);
  // A stop that only the other rank has seen stops this one, too.
  two.other_rank = 1;
  EXPECT_TRUE(run(source, {.communicator = &two}).stopped);
}

}  // namespace
}  // namespace farfield::pipeline
