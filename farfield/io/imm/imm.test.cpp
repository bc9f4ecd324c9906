#include "farfield/io/imm/imm.hpp"

#include <cmath>

#include "farfield/io/convert.hpp"
#include "farfield/io/testing.hpp"
#include "farfield/math/random.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

constexpr Index kNy = 12, kNx = 20;

core::Array<std::uint16_t, 3> counts(Index frames) {
  math::Random random(5);
  core::Array<std::uint16_t, 3> stack({frames, kNy, kNx});
  for (auto& v : stack) v = random.below(6) == 0 ? static_cast<std::uint16_t>(1 + random.below(65535)) : 0;
  std::fill(stack[1].begin(), stack[1].end(), std::uint16_t{0});  // nothing counted
  return stack;
}

void write(const std::filesystem::path& path, const core::Array<std::uint16_t, 3>& stack, bool compressed) {
  imm::Writer writer(path, kNy, kNx, compressed, 1e-3);
  for (Index i = 0; i < stack.extent(0); ++i)
    writer.append({i, core::AnyImage::of<std::uint16_t>(stack[i])}, 2e-3 * static_cast<double>(i));
  writer.commit();
}

struct Scan {
  std::map<model::FrameId, core::Array<std::uint16_t, 2>> frames;
  std::map<model::FrameId, model::Values> values;
  std::map<model::FrameId, std::string> bad;
  bool sparse = false;
};
Scan read(const std::filesystem::path& path, Index batch_bytes = 1 << 20) {
  OpenOptions options;
  options.batch_bytes = batch_bytes;
  const auto source = open_scan(path, options);
  Scan scan;
  while (source->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames) {
      core::Array<std::uint16_t, 2> image({f.ny(), f.nx()});
      scan.sparse = f.is_sparse();
      if (f.is_sparse())
        for (const auto& e : f.sparse.events) image.data()[e.pixel] = static_cast<std::uint16_t>(e.count);
      else std::copy_n(f.image.view<std::uint16_t>().data(), image.size(), image.data());
      scan.frames[f.id] = std::move(image);
    }
    scan.values.insert(batch.values.begin(), batch.values.end());
    scan.bad.insert(batch.bad.begin(), batch.bad.end());
  })) {}
  return scan;
}

TEST(Imm, GivesBackWhatWasWritten) {
  const testing::TemporaryFolder folder;
  const auto stack = counts(9);
  for (const bool compressed : {true, false}) {
    write(folder / "a.imm", stack, compressed);
    for (const Index batch : {Index{1}, Index{3000}, Index{1} << 20}) {
      const auto scan = read(folder / "a.imm", batch);
      EXPECT_EQ(scan.sparse, compressed);
      EXPECT_TRUE(scan.bad.empty());
      ASSERT_EQ(scan.frames.size(), 9U);
      for (const auto& [id, image] : scan.frames)
        EXPECT_TRUE(std::equal(image.begin(), image.end(), stack[id].begin())) << id;
      EXPECT_DOUBLE_EQ(scan.values.at(7).at("time_s"), 14e-3);
    }
  }
  EXPECT_EQ(open_scan(folder / "a.imm")->acquisition().metadata.at("exposure_time_s"), "0.001");
}

// Offsets of the C struct that the acquisition software writes, as numbers: a mistake shared by reader and writer
// would pass every round trip.
TEST(Imm, HeaderFieldsStandWhereTheyShould) {
  imm::Header h;
  h.compression = imm::kCompressed;
  h.rows = 300;
  h.cols = 400;
  h.elapsed_s = 1.5;
  h.length = 77;
  const auto stored = imm::format(h);
  const auto at = [&](std::size_t offset, auto value) {
    std::memcpy(&value, stored.data() + offset, sizeof value);
    return value;
  };
  EXPECT_EQ(at(4, std::int32_t{}), 6);
  EXPECT_EQ(at(88, std::int32_t{}), 299);
  EXPECT_EQ(at(96, std::int32_t{}), 399);
  EXPECT_EQ(at(108, std::int32_t{}), 300);
  EXPECT_EQ(at(112, std::int32_t{}), 400);
  EXPECT_EQ(at(116, std::int32_t{}), 2);
  EXPECT_EQ(at(128, double{}), 1.5);
  EXPECT_EQ(at(152, std::uint32_t{}), 77U);
  EXPECT_EQ(at(1020, std::uint32_t{}), 0xffffffffU);
}

TEST(Imm, DamageCostsTheFramesThatItHits) {
  const testing::TemporaryFolder folder;
  const auto stack = counts(6);
  const Index frame_bytes = imm::kHeaderBytes + kNy * kNx * 2;
  const auto damaged = [&](bool compressed, const std::function<void(std::vector<std::byte>&)>& harm) {
    write(folder / "a.imm", stack, compressed);
    auto bytes = read_file(folder / "a.imm", 1 << 20);
    harm(bytes);
    testing::write_plain(folder / "b.imm", bytes);
    return read(folder / "b.imm");
  };
  const auto put = [](std::vector<std::byte>& bytes, Index at, std::int32_t value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  };

  auto scan = damaged(false, [&](auto& b) { put(b, 2 * frame_bytes + 108, -4); });
  EXPECT_EQ(scan.frames.size(), 5U) << "raw frames are all as long as each other";
  EXPECT_CONTAINS(scan.bad.at(2), "damaged header at byte " + std::to_string(2 * frame_bytes));
  EXPECT_TRUE(std::equal(stack[3].begin(), stack[3].end(), scan.frames.at(3).begin()));

  scan = damaged(false, [&](auto& b) { b.resize(b.size() - 10); });
  EXPECT_EQ(scan.frames.size(), 5U);
  EXPECT_CONTAINS(scan.bad.at(5), "the file ends 10 bytes before the frame does");

  // Frame 1 is empty, so the header of frame 2 follows that of frame 1.
  Index second = 0;
  scan = damaged(true, [&](auto& b) {
    std::int32_t length = 0;
    std::memcpy(&length, b.data() + 152, sizeof length);
    second = 2 * imm::kHeaderBytes + Index{length} * 6;
    put(b, second + 152, kNy * kNx + 1);
  });
  EXPECT_EQ(scan.frames.size(), 2U);
  ASSERT_EQ(scan.bad.size(), 1U);
  EXPECT_CONTAINS(scan.bad.at(2), "from there on cannot be read");

  scan = damaged(true, [&](auto& b) { put(b, imm::kHeaderBytes, kNy * kNx); });
  EXPECT_EQ(scan.frames.size(), 5U);
  EXPECT_CONTAINS(scan.bad.at(0), "1 of ");
  EXPECT_CONTAINS(scan.bad.at(0), "pixel numbers are not within the 12 x 20 pixels");

  scan = damaged(true, [&](auto& b) { b.resize(b.size() - 1); });
  EXPECT_EQ(scan.bad.size(), 1U);
  scan = damaged(true, [&](auto& b) { b.insert(b.end(), 100, std::byte{}); });
  EXPECT_CONTAINS(scan.bad.at(6), "ends within the header");
}

TEST(Imm, IsConvertedToImages) {
  const testing::TemporaryFolder folder;
  const auto stack = counts(5);
  write(folder / "a.imm", stack, true);
  convert(folder / "a.imm", folder / "a.cxi", {}, {});
  const auto taken = testing::take_all(*open_scan(folder / "a.cxi"));
  ASSERT_EQ(taken.frames.size(), 5U);
  for (const auto& [id, image] : taken.frames) {
    const auto found = image.view<std::uint32_t, 2>();
    EXPECT_TRUE(std::equal(found.begin(), found.end(), stack[id].begin())) << id;
  }
  EXPECT_DOUBLE_EQ(taken.values.at(3).at("time_s"), 6e-3);
}

TEST(Imm, RefusesWhatItCannotHold) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(caught([&] { imm::Writer(folder / "x.imm", 0, 5, true); }).code, ErrorCode::invalid_argument);
  imm::Writer writer(folder / "x.imm", 4, 5, true);
  const std::vector<model::PixelCount> twice{{3, 65535}, {3, 1}}, outside{{20, 1}};
  EXPECT_CONTAINS(caught([&] { writer.append({0, {}, {4, 5, twice}}, 0); }).text, "count 65536 of pixel 3");
  EXPECT_CONTAINS(caught([&] { writer.append({0, {}, {4, 5, outside}}, 0); }).text, "pixel 20");
  EXPECT_CONTAINS(caught([&] { writer.append({0, {}, {5, 4, {}}}, 0); }).text, "5 x 4");
  testing::write_plain(folder / "short.imm", std::vector<std::byte>(100));
  EXPECT_EQ(caught([&] { open_scan(folder / "short.imm"); }).code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace farfield::io
