#include "farfield/stream/replay/replay.hpp"

#include <algorithm>
#include <chrono>

#include "farfield/stream/dectris/simplon_testing.hpp"

namespace farfield::stream {
namespace {

using dectris::testing::FedSeries;

/// The frames of an expected scan, two at a time; values come a piece after their frames' pixels would need them.
class ScanSource final : public model::FrameSource {
public:
  explicit ScanSource(const model::ExpectedScan& scan) : scan_(scan), next_(scan.frames.begin()) {}
  const model::Acquisition& acquisition() const override { return scan_.acquisition; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (stop.stop_requested() || next_ == scan_.frames.end()) return false;
    model::FrameBatch batch;
    for (int i = 0; i < 2 && next_ != scan_.frames.end(); ++i, ++next_) {
      batch.frames.push_back(dectris::testing::view(scan_, next_->first));
      batch.values.emplace_back(next_->first, scan_.values.at(next_->first));
    }
    take(batch);
    return true;
  }

private:
  const model::ExpectedScan& scan_;
  std::map<model::FrameId, std::vector<std::byte>>::const_iterator next_;
};

struct Played {
  std::vector<MemoryFeed::Parts> messages;
  std::vector<std::pair<model::FrameId, model::Values>> values;
  ReplayCounts counts;
  std::vector<model::FrameId> order() const {
    std::vector<model::FrameId> out;
    for (const auto& m : messages) {
      const auto message = dectris::testing::parsed(m);
      if (const auto* image = std::get_if<dectris::SeriesImage>(&message.content)) out.push_back(image->frame);
    }
    return out;
  }
};

Played play(const model::ExpectedScan& scan, const ReplayOptions& options, bool second_stream = false) {
  Played out;
  ScanSource source(scan);
  SendValues values;
  if (second_stream)
    values = [&](model::FrameId id, const model::Values& v) {
      out.values.emplace_back(id, v);
      return true;
    };
  out.counts = replay(source, options,
                      [&](const dectris::OwnedParts& parts) {
                        out.messages.push_back(parts);
                        return true;
                      },
                      values, {});
  return out;
}

TEST(Replay, WithoutFaultsAScanArrivesAsItIs) {
  const auto scan = dectris::testing::scan(core::DType::u16, 7, 16, 24);
  for (const auto protocol : {dectris::Protocol::v1, dectris::Protocol::v2}) {
    const auto played = play(scan, {.encode = {.protocol = protocol}});
    EXPECT_EQ(model::check_source([&] { return std::make_unique<FedSeries>(played.messages); }, scan),
              std::vector<std::string>{});
    EXPECT_EQ(played.counts.sent, 7);
  }
}

TEST(Replay, FaultsAreAsManyAsCountedAndRepeatWithTheSeed) {
  const auto scan = dectris::testing::scan(core::DType::u8, 400, 4, 4);
  const ReplayOptions options{.gaps = 0.1, .duplicates = 0.2, .disorder = 3, .seed = 5};
  const auto played = play(scan, options);
  EXPECT_EQ(played.counts.sent + played.counts.left_out, 400);
  // Binomial: five standard deviations are 30 of 40 and 38 of 72.
  EXPECT_NEAR(static_cast<double>(played.counts.left_out), 40, 30);
  EXPECT_NEAR(static_cast<double>(played.counts.duplicated), 72, 38);
  auto order = played.order();
  EXPECT_EQ(std::ssize(order), played.counts.sent + played.counts.duplicated);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(order, play(scan, options).order());
  std::sort(order.begin(), order.end());
  EXPECT_EQ(std::unique(order.begin(), order.end()) - order.begin(), played.counts.sent);
}

TEST(Replay, ValuesMayGoOnASecondStream) {
  const auto scan = dectris::testing::scan(core::DType::u8, 5, 4, 4);
  const auto played = play(scan, {}, true);
  EXPECT_EQ(played.values.size(), 5U);
  FedSeries source(played.messages);
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& [id, v] : batch.values) EXPECT_FALSE(v.contains("x_m")) << "not with the images, too";
  })) {}
}

TEST(Replay, OnlyTheFirstFrames) {
  const auto scan = dectris::testing::scan(core::DType::u8, 5, 4, 4);
  const auto played = play(scan, {.frames = 3});
  EXPECT_EQ(played.order(), (std::vector<model::FrameId>{0, 1, 2}));
  FedSeries source(played.messages);
  EXPECT_EQ(source.acquisition().scan.expected_frames, 3);
}

TEST(Replay, ARateIsKept) {
  const auto scan = dectris::testing::scan(core::DType::u8, 11, 4, 4);
  const auto begin = std::chrono::steady_clock::now();
  play(scan, {.rate_hz = 100, .jitter = 0.5});
  // The last frame is due after 10 periods, less half of one.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(95));
}

TEST(Replay, ImpossibleOptionsAreRefused) {
  const auto scan = dectris::testing::scan(core::DType::u8, 1, 4, 4);
  EXPECT_THROW(play(scan, {.rate_hz = -1}), core::Error);
  EXPECT_THROW(play(scan, {.gaps = 1.5}), core::Error);
  EXPECT_THROW(play(scan, {.disorder = -1}), core::Error);
}

TEST(Replay, StopEndsIt) {
  const auto scan = dectris::testing::scan(core::DType::u8, 5, 4, 4);
  ScanSource source(scan);
  std::stop_source stop;
  int sent = 0;
  const auto counts = replay(
      source, {.rate_hz = 0.001},
      [&](const dectris::OwnedParts&) {
        if (++sent == 2) stop.request_stop();
        return true;
      },
      {}, stop.get_token());
  EXPECT_LE(counts.sent, 1);
}

}  // namespace
}  // namespace farfield::stream
