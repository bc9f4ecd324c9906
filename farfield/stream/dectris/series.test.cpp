#include "farfield/stream/dectris/series.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "farfield/stream/dectris/simplon_testing.hpp"

namespace farfield::stream::dectris {
namespace {

using namespace testing;
using core::DType;
using Messages = std::vector<MemoryFeed::Parts>;

struct Case {
  Protocol protocol;
  Compression compression;
  DType type;
};

class Conformance : public ::testing::TestWithParam<Case> {};

TEST_P(Conformance, WhatIsSentArrives) {
  const auto expected = scan(GetParam().type, 5);
  const auto sent = messages(expected, {GetParam().protocol, GetParam().compression});
  const Index frame = static_cast<Index>(expected.frames.at(0).size());
  for (const auto& [how_many, bytes] :
       std::initializer_list<std::pair<int, Index>>{{1, 1}, {2, 1}, {2, 2 * frame}, {3, Index{64} << 20}})
    EXPECT_EQ(fmt::format("{}", fmt::join(model::check_source(
                                              [&] {
                                                return std::make_unique<FedSeries>(
                                                    sent, SeriesOptions{.threads = how_many, .batch_bytes = bytes});
                                              },
                                              expected),
                                          "\n")),
              "");
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const auto protocol : {Protocol::v1, Protocol::v2}) {
    for (const auto compression : {Compression::none, Compression::lz4, Compression::bitshuffle_lz4})
      for (const auto type : {DType::u8, DType::u16, DType::u32, DType::f32})
        out.push_back({protocol, compression, type});
    out.push_back({protocol, Compression::bitshuffle_lz4, DType::i32});
    out.push_back({protocol, Compression::bitshuffle_lz4, DType::f64});
  }
  return out;
}
INSTANTIATE_TEST_SUITE_P(Encodings, Conformance, ::testing::ValuesIn(cases()));

struct Came {
  std::vector<model::FrameId> frames;
  std::map<model::FrameId, std::string> bad;
};
Came drain(model::FrameSource& source) {
  Came out;
  const auto take = [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames) out.frames.push_back(f.id);
    out.bad.insert(batch.bad.begin(), batch.bad.end());
  };
  while (source.next({}, take)) {}
  return out;
}

using Ids = std::vector<model::FrameId>;

class Order : public ::testing::TestWithParam<Protocol> {
protected:
  Messages series(Index frames, std::int64_t number) const {
    return messages(scan(DType::u16, frames, 16, 24), {GetParam()}, {number, fmt::format("u{}", number)});
  }
};
INSTANTIATE_TEST_SUITE_P(Protocols, Order, ::testing::Values(Protocol::v1, Protocol::v2));

template <class... M>
Messages joined(M&&... m) {
  Messages out;
  (out.insert(out.end(), m.begin(), m.end()), ...);
  return out;
}

TEST_P(Order, SeriesFollowOneAnother) {
  MemoryFeed feed(joined(series(3, 1), series(2, 2)));
  SeriesReceiver receiver(feed, {});
  auto first = receiver.next({});
  EXPECT_EQ(drain(*first).frames, (Ids{0, 1, 2}));
  EXPECT_EQ(first->state(), SeriesState::complete);
  EXPECT_EQ(first->id().number, 1);
  auto second = receiver.next({});
  EXPECT_EQ(drain(*second).frames, (Ids{0, 1}));
  EXPECT_EQ(second->id().number, 2);
  EXPECT_EQ(receiver.next({}), nullptr);
  EXPECT_EQ(receiver.counts().messages, 9);
}

TEST_P(Order, ASeriesIsJoinedOnTheWay) {
  auto m = series(5, 1);
  m.erase(m.begin(), m.begin() + 3);
  FedSeries source(m);
  EXPECT_EQ(drain(source).frames, (Ids{2, 3, 4}));
  EXPECT_EQ(source.acquisition().detector.ny, 16) << "told by the first image";
  EXPECT_EQ(source.acquisition().scan.expected_frames, -1) << "nobody said";
}

TEST_P(Order, ARestartedDetectorBeginsAnotherSeries) {
  auto first = series(5, 8);
  first.resize(3);  // start and two images
  MemoryFeed feed(joined(first, series(2, 1)));
  SeriesReceiver receiver(feed, {});
  auto cut = receiver.next({});
  EXPECT_EQ(drain(*cut).frames, (Ids{0, 1}));
  EXPECT_EQ(cut->state(), SeriesState::cut_short);
  auto next = receiver.next({});
  EXPECT_EQ(drain(*next).frames, (Ids{0, 1}));
  EXPECT_EQ(next->state(), SeriesState::complete);
}

TEST_P(Order, SeriesWithoutImagesArePassedOver) {
  auto empty = series(5, 1);
  MemoryFeed feed(joined(Messages{empty.front(), empty.back()}, series(1, 2)));
  SeriesReceiver receiver(feed, {});
  EXPECT_EQ(receiver.next({})->id().number, 2);
}

TEST_P(Order, ImagesOfASeriesThatIsOverAreStrays) {
  auto first = series(2, 1);
  auto second = series(2, 2);
  second.insert(second.begin() + 2, first[1]);
  MemoryFeed feed(joined(first, second));
  SeriesReceiver receiver(feed, {});
  drain(*receiver.next({}));
  EXPECT_EQ(drain(*receiver.next({})).frames, (Ids{0, 1}));
  EXPECT_EQ(receiver.counts().strays, 1);
}

TEST_P(Order, RepeatedStartsAndDuplicatesChangeNothing) {
  auto m = series(3, 1);
  m.insert(m.begin() + 2, m[0]);  // the start again, as to somebody who connects anew
  m.insert(m.begin() + 3, m[1]);
  FedSeries source(m);
  EXPECT_EQ(drain(source).frames, (Ids{0, 0, 1, 2})) << "the account tells duplicates";
  EXPECT_EQ(source.series().state(), SeriesState::complete);
}

TEST_P(Order, ImagesMayComeAfterTheEnd) {
  auto m = series(4, 1);
  std::swap(m[4], m[5]);
  FedSeries source(m);
  EXPECT_EQ(drain(source).frames, (Ids{0, 1, 2, 3}));
  EXPECT_EQ(source.series().state(), SeriesState::complete);
}

/// Says nothing once its messages are gone, and lets time pass.
class SilentFeed final : public Feed {
public:
  SilentFeed(Messages messages, core::ManualClock& clock) : feed_(std::move(messages)), clock_(clock) {}
  FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) override {
    const auto outcome = feed_.receive(message, limit, stop);
    if (outcome != FeedOutcome::ended) return outcome;
    clock_.time_s += std::chrono::duration<double>(limit).count();
    return FeedOutcome::timeout;
  }
  std::string name() const override { return "silent"; }

private:
  MemoryFeed feed_;
  core::ManualClock& clock_;
};

TEST_P(Order, NobodyWaitsForASilentDetectorForEver) {
  auto m = series(5, 1);
  core::ManualClock clock;
  {
    auto unended = m;
    unended.resize(3);
    SilentFeed feed(unended, clock);
    SeriesReceiver receiver(feed, {.clock = &clock, .silence_s = 60});
    auto series = receiver.next({});
    EXPECT_EQ(drain(*series).frames, (Ids{0, 1}));
    EXPECT_EQ(series->state(), SeriesState::silent);
    EXPECT_GE(clock.time_s, 60);
  }
  clock.time_s = 0;
  m.erase(m.begin() + 2);  // one image is missing: the end waits for it, but not long
  SilentFeed feed(m, clock);
  SeriesReceiver receiver(feed, {.clock = &clock, .late_s = 2});
  auto series = receiver.next({});
  EXPECT_EQ(drain(*series).frames, (Ids{0, 2, 3, 4}));
  EXPECT_EQ(series->state(), SeriesState::complete);
  EXPECT_GE(clock.time_s, 2);
  EXPECT_LT(clock.time_s, 10);
}

TEST_P(Order, DamageCostsOneFrame) {
  auto m = series(6, 1);
  const bool v1 = GetParam() == Protocol::v1;
  auto& pixels = v1 ? m[2].at(2) : m[2].at(0);  // frame 1: cut off in the middle of the pixels
  pixels.resize(pixels.size() - 10);
  m[4].back().clear();  // frame 3: an empty appendix (v1) or nothing at all (v2)
  m.insert(m.begin() + 5, {{std::byte{'?'}}});  // nonsense
  FedSeries source(m);
  const auto came = drain(source);
  if (v1) {
    EXPECT_EQ(came.frames, (Ids{0, 2, 3, 4, 5}));
    EXPECT_EQ(came.bad.size(), 1U);
    EXPECT_EQ(came.bad.count(1), 1U);
    EXPECT_EQ(source.receiver().counts().unreadable, 1);
  } else {
    // A truncated map has no frame number.
    EXPECT_EQ(came.frames, (Ids{0, 2, 4, 5}));
    EXPECT_EQ(source.receiver().counts().unreadable, 3);
  }
}

TEST_P(Order, AFrameOfAnotherShapeIsBad) {
  auto m = series(3, 1);
  auto odd = messages(scan(DType::u16, 3, 16, 32), {GetParam()}, {1, "u1"});
  m[2] = odd[2];
  FedSeries source(m);
  const auto came = drain(source);
  EXPECT_EQ(came.frames, (Ids{0, 2}));
  EXPECT_NE(came.bad.at(1).find("16 x 32"), std::string::npos) << came.bad.at(1);
}

TEST_P(Order, DamagedBeforeTheFirstWholeImageStillCounts) {
  auto m = series(3, 1);
  if (GetParam() == Protocol::v1) {
    m[1].at(2).clear();
    FedSeries source(m);
    const auto came = drain(source);
    EXPECT_EQ(came.frames, (Ids{1, 2}));
    EXPECT_EQ(came.bad.count(0), 1U);
  }
}

TEST_P(Order, AnUnknownChannelIsNamed) {
  MemoryFeed feed(series(3, 1));
  SeriesReceiver receiver(feed, {.channel = "threshold_9"});
  try {
    (void)receiver.next({});
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::not_found);
  }
}

TEST_P(Order, TheTapSeesEachImagePacked) {
  const auto expected = scan(DType::u16, 3, 16, 24);
  std::vector<model::FrameId> seen;
  FedSeries source(series(3, 1), {.tap = [&](model::FrameId id, const PackedPixels& pixels, const auto& owner) {
                     EXPECT_NE(owner, nullptr);
                     EXPECT_EQ(pixels.compression, Compression::bitshuffle_lz4);
                     std::vector<std::byte> out(static_cast<std::size_t>(pixels.pixels_bytes()));
                     ASSERT_TRUE(unpack(pixels, out));
                     EXPECT_EQ(out, expected.frames.at(id));
                     seen.push_back(id);
                   }});
  drain(source);
  EXPECT_EQ(seen, (Ids{0, 1, 2}));
}

TEST(IdSet, CountsEachNumberOnce) {
  IdSet set;
  for (const std::int64_t id : {5, 3, 4, 5, 0, 1, 2, 9, 7, 8, 6, 3, -1}) (void)set.insert(id);
  EXPECT_EQ(set.size(), 11);
  EXPECT_FALSE(set.insert(7));
  EXPECT_TRUE(set.contains(-1));
  EXPECT_TRUE(set.contains(9));
  EXPECT_FALSE(set.contains(-2));
  EXPECT_FALSE(set.contains(10));
  EXPECT_TRUE(set.insert(10));
}

}  // namespace
}  // namespace farfield::stream::dectris
