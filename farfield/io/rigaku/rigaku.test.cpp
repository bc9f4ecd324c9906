#include "farfield/io/rigaku/rigaku.hpp"

#include <cmath>
#include <map>

#include "farfield/io/testing.hpp"
#include "farfield/math/random.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using model::PixelCount;
using rigaku::pack;
using testing::caught;

struct Scan {
  std::map<model::FrameId, std::vector<PixelCount>> frames;
  std::map<model::FrameId, std::string> bad;
};

Scan take_all(model::FrameSource& source) {
  Scan scan;
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames) {
      EXPECT_TRUE(f.is_sparse());
      scan.frames[f.id] = {f.sparse.events.begin(), f.sparse.events.end()};
    }
    for (const auto& [id, reason] : batch.bad) scan.bad[id] = reason;
  })) {}
  return scan;
}

std::vector<std::byte> bytes_of(const std::vector<std::uint64_t>& words, std::size_t cut = 0) {
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(cut)};
}

Scan read(std::vector<std::byte> bytes, const OpenOptions& options = {}) {
  return take_all(*rigaku::open_500k(memory_bytes(std::move(bytes)), "scan.bin", "", options));
}

void expect_events(const std::vector<PixelCount>& found, const std::vector<PixelCount>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].pixel, expected[i].pixel) << i;
    EXPECT_EQ(found[i].count, expected[i].count) << i;
  }
}

// Nothing of a word is cut off: the largest count is far above the 255, 2047 and 4095 of other readers.
TEST(Rigaku, KeepsEveryCount) {
  const auto scan =
      read(bytes_of({pack({0, 0, 1}), pack({0, 512 * 1024 - 1, 65535}), pack({2, 77, 256}), pack({2, 77, 4096})}));
  ASSERT_EQ(scan.frames.size(), 3U);
  expect_events(scan.frames.at(0), {{0, 1}, {512 * 1024 - 1, 65535}});
  EXPECT_TRUE(scan.frames.at(1).empty()) << "a frame in which nothing counted is a frame";
  expect_events(scan.frames.at(2), {{77, 256}, {77, 4096}});
}

TEST(Rigaku, GivesBackWhatWasWritten) {
  const testing::TemporaryFolder folder;
  math::Random random(3);
  std::map<model::FrameId, std::vector<PixelCount>> written;
  {
    rigaku::EventWriter writer(folder / "a.bin");
    // Frames of no event, of few, and of more than a buffer of the reader holds.
    for (model::FrameId id = 0; id < 60; ++id) {
      auto& events = written[id];
      events.resize(id == 31 ? 200000 : random.below(3000));
      for (auto& e : events)
        e = {static_cast<std::uint32_t>(random.below(300 * 400)), static_cast<std::uint32_t>(1 + random.below(65535))};
      writer.append(id, events);
    }
    writer.commit();
  }
  OpenOptions options;
  options.frame_ny = 300;
  options.frame_nx = 400;
  for (const Index batch : {Index{1}, Index{100000}, Index{1} << 30}) {
    options.batch_bytes = batch;
    const auto source = open_scan(folder / "a.bin", options);
    EXPECT_EQ(source->acquisition().detector.ny, 300);
    EXPECT_EQ(source->acquisition().detector.nx, 400);
    EXPECT_EQ(source->acquisition().scan.expected_frames, written.rbegin()->first + 1);
    EXPECT_TRUE(source->acquisition().checksum.starts_with("sha256:"));
    const auto scan = take_all(*source);
    EXPECT_TRUE(scan.bad.empty());
    ASSERT_EQ(scan.frames.size(), written.size());
    for (const auto& [id, events] : written) expect_events(scan.frames.at(id), events);
  }
}

TEST(Rigaku, OneDamagedWordCostsOneFrame) {
  const std::vector<std::uint64_t> good{pack({0, 1, 1}), pack({0, 2, 1}), pack({1, 3, 1}),
                                        pack({1, 4, 1}), pack({2, 5, 1}), pack({3, 6, 1})};
  for (const std::uint32_t wrong : {9U, 0xffffffU}) {
    auto words = good;
    words[3] = pack({wrong, 4, 1});
    const auto scan = read(bytes_of(words));
    ASSERT_EQ(scan.bad.size(), 1U) << wrong;
    EXPECT_CONTAINS(scan.bad.at(1), "event 3 of the file says frame " + std::to_string(wrong));
    ASSERT_EQ(scan.frames.size(), 3U) << wrong;
    expect_events(scan.frames.at(0), {{1, 1}, {2, 1}});
    expect_events(scan.frames.at(3), {{6, 1}});
  }
  // 0 0 1 0 2: the 1 or the second 0 is wrong.
  auto words = good;
  words[3] = pack({0, 4, 1});
  const auto either = read(bytes_of(words));
  EXPECT_EQ(either.bad.size(), 2U);
  EXPECT_EQ(either.frames.size(), 2U);
  words = good;
  words[4] = pack({2, 512 * 1024, 1});
  const auto scan = read(bytes_of(words));
  EXPECT_CONTAINS(scan.bad.at(2), "1 of 1 events lie outside of the 524288 pixels, as pixel 524288");
  EXPECT_EQ(scan.frames.size(), 3U);
}

TEST(Rigaku, ADamagedLastWordDoesNotChangeTheLength) {
  for (const std::uint32_t wrong : {0U, 2U, 0xffffffU}) {
    const auto scan =
        read(bytes_of({pack({0, 1, 1}), pack({1, 3, 1}), pack({2, 5, 1}), pack({3, 6, 1}), pack({wrong, 7, 1})}));
    // 2 3 2: either of the last two is wrong.
    ASSERT_EQ(scan.bad.size(), wrong == 2 ? 2U : 1U) << wrong;
    ASSERT_EQ(scan.frames.size(), wrong == 2 ? 2U : 3U) << wrong;
    expect_events(scan.frames.at(1), {{3, 1}});
    EXPECT_CONTAINS(scan.bad.at(3), "event 4 of the file, its last one, says frame " + std::to_string(wrong));
  }
  // The word before it is the damaged one.
  for (const std::uint32_t wrong : {9U, 0xffffffU}) {
    const auto scan = read(bytes_of({pack({0, 1, 1}), pack({1, 3, 1}), pack({wrong, 5, 1}), pack({2, 6, 1})}));
    EXPECT_EQ(scan.frames.size(), 2U) << wrong;
    expect_events(scan.frames.at(2), {{6, 1}});
    EXPECT_EQ(scan.bad.size(), 1U) << wrong;
  }
  // The last two are damaged, or two series are in one file: nothing is left out in silence.
  EXPECT_EQ(caught([] {
              read(bytes_of({pack({0, 1, 1}), pack({9, 3, 1}), pack({9, 5, 1}), pack({2, 6, 1}), pack({2, 7, 1})}));
            }).code,
            ErrorCode::corrupt_data);
}

TEST(Rigaku, ATornFileLosesItsLastFrameOnly) {
  const auto scan = read(bytes_of({pack({0, 1, 1}), pack({1, 2, 1}), pack({1, 3, 1})}, 3));
  EXPECT_EQ(scan.frames.size(), 1U);
  ASSERT_EQ(scan.bad.size(), 1U);
  EXPECT_CONTAINS(scan.bad.at(1), "ends within an event, 5 bytes");
}

TEST(Rigaku, RefusesWhatIsNoSeries) {
  EXPECT_CONTAINS(
      caught([] {
        read(bytes_of({pack({5, 1, 1}), pack({6, 1, 1}), pack({0, 1, 1}), pack({1, 1, 1}), pack({7, 1, 1})}));
      }).text,
      "event 2 is of frame 0, after events of frame 5");
  EXPECT_EQ(caught([] { read({}); }).code, ErrorCode::corrupt_data);
  const testing::TemporaryFolder folder;
  testing::write_plain(folder / "noise.bin", std::vector<std::byte>(4096, std::byte{0x5a}));
  EXPECT_EQ(caught([&] { open_scan(folder / "noise.bin"); }).code, ErrorCode::unsupported);
  OpenOptions half;
  half.frame_ny = 10;
  EXPECT_CONTAINS(caught([&] { open_scan(folder / "noise.bin", half); }).text, "frame shape 10 x 0");
  rigaku::EventWriter writer(folder / "a.bin");
  writer.append(4, {});
  EXPECT_EQ(caught([&] { writer.append(4, {}); }).code, ErrorCode::invalid_argument);
  const std::vector<PixelCount> large{{1, 65536}};
  EXPECT_CONTAINS(caught([&] { writer.append(5, large); }).text, "count 65536 does not fit");
}

// Where each module stands: file 5 is top left, 0 top right, 4 and 1 in the middle, 3 and 2 at the bottom.
TEST(Rigaku, PutsSixModulesInTheirPlaces) {
  const testing::TemporaryFolder folder;
  constexpr std::uint32_t kPixel = 3 * 1024 + 7;
  for (std::uint32_t i = 0; i < 6; ++i)
    testing::write_plain(folder / ("s.bin.00" + std::to_string(i)),
                         bytes_of({pack({0, (1U << 20) + kPixel, static_cast<std::uint16_t>(i + 1)}),
                                   pack({i, (1U << 20) + kPixel, 1})}));
  const auto source = open_scan(folder / "s.bin.002");
  const auto& detector = source->acquisition().detector;
  ASSERT_EQ(detector.ny, 1676);
  ASSERT_EQ(detector.nx, 2100);
  EXPECT_EQ(detector.pixel_mask(511, 1023), 0U);
  EXPECT_EQ(detector.pixel_mask(512, 0), model::pixel_mask::kGap);
  EXPECT_EQ(detector.pixel_mask(0, 1024), model::pixel_mask::kGap);
  EXPECT_EQ(detector.pixel_mask(582, 1076), 0U);
  const auto scan = take_all(*source);
  EXPECT_TRUE(scan.bad.empty());
  ASSERT_EQ(scan.frames.size(), 6U);
  std::map<std::uint32_t, std::uint32_t> found;
  for (const auto& e : scan.frames.at(0))
    if (e.count > 1 || !found.contains(e.pixel)) found[e.pixel] = std::max(found[e.pixel], e.count);
  const auto at = [](std::uint32_t y, std::uint32_t x) { return (y + 3) * 2100 + x + 7; };
  const std::map<std::uint32_t, std::uint32_t> expected{{at(0, 0), 6},      {at(0, 1076), 1}, {at(582, 0), 5},
                                                        {at(582, 1076), 2}, {at(1164, 0), 4}, {at(1164, 1076), 3}};
  EXPECT_EQ(found, expected);
  expect_events(scan.frames.at(5), {{at(0, 0), 1}});

  std::filesystem::remove(folder / "s.bin.004");
  EXPECT_EQ(caught([&] { open_scan(folder / "s.bin.000"); }).code, ErrorCode::not_found);
}

TEST(Rigaku, ReadsASimulatedSeries) {
  const auto path = tests::shared_data("xpcs/d.bin");
  FARFIELD_REQUIRE_SHARED(path);
  OpenOptions options;
  options.frame_ny = options.frame_nx = 128;
  const auto rigaku_scan = take_all(*open_scan(path, options));
  const auto imm_scan = take_all(*open_scan(tests::shared_data("xpcs/d.imm")));
  EXPECT_EQ(rigaku_scan.frames.size(), 2000U);
  EXPECT_TRUE(rigaku_scan.bad.empty() && imm_scan.bad.empty());
  ASSERT_EQ(imm_scan.frames.size(), 2000U);
  for (const auto& [id, events] : rigaku_scan.frames) {
    const auto& other = imm_scan.frames.at(id);
    ASSERT_TRUE(std::equal(events.begin(), events.end(), other.begin(), other.end(),
                           [](auto a, auto b) { return a.pixel == b.pixel && a.count == b.count; }))
        << "frame " << id;
  }
}

}  // namespace
}  // namespace farfield::io
