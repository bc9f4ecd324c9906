#include "farfield/codec/zstd.hpp"

#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using testing::Bytes;

TEST(Zstd, RoundTrip) {
  for (const std::size_t n : {0, 1, 1000, 300000})
    for (const int level : {1, 3, 19}) {
      const Bytes data = testing::detector_like(n, 1, 1);
      const Bytes frame = zstd_encode(data, level);
      Bytes out(n);
      ASSERT_TRUE(zstd_decode(frame, out));
      EXPECT_EQ(out, data);
      Bytes longer(n + 1);
      EXPECT_EQ(zstd_decode(frame, longer).error().code(), ErrorCode::corrupt_data);
      if (n > 0) {
        Bytes shorter(n - 1);
        EXPECT_EQ(zstd_decode(frame, shorter).error().code(), ErrorCode::corrupt_data);
      }
    }
  EXPECT_THROW(zstd_encode(Bytes(3), 0), core::Error);
  EXPECT_THROW(zstd_encode(Bytes(3), 20), core::Error);
}

TEST(Zstd, DecodesAKnownFrame) {
  // RFC 8878: magic, single segment with 1-byte content size 5, one last raw block of 5 bytes.
  const unsigned char frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o'};
  std::string out(5, ' ');
  ASSERT_TRUE(zstd_decode(std::as_bytes(std::span(frame)), std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, "hello");
}

TEST(Zstd, DamagedFramesAreRefused) {
  const Bytes data = testing::detector_like(3000, 2, 5);
  testing::expect_survives_damage(zstd_encode(data), [&](std::span<const std::byte> frame) {
    Bytes out(data.size());
    return zstd_decode(frame, out).has_value();
  });
}

TEST(ZstdStream, DecodesPieceByPieceAndKnowsTheEnd) {
  std::vector<std::byte> data(300000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 2654435761U >> 15);
  auto frames = zstd_encode(data);
  const auto second = zstd_encode(std::span(data).first(1000));
  frames.insert(frames.end(), second.begin(), second.end());
  ZstdStream stream;
  EXPECT_TRUE(stream.at_end());
  std::vector<std::byte> out, piece(777);
  std::span<const std::byte> in(frames);
  for (std::size_t taken = 1, given = 1; taken + given > 0;) {
    const auto step = stream.decode(in.first(std::min<std::size_t>(in.size(), 101)), piece);
    ASSERT_TRUE(step);
    taken = step->taken;
    given = step->given;
    in = in.subspan(taken);
    out.insert(out.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(given));
    if (out.size() == 1000) {
      EXPECT_FALSE(stream.at_end());
    }
  }
  EXPECT_TRUE(stream.at_end());
  data.insert(data.end(), data.begin(), data.begin() + 1000);
  EXPECT_EQ(out, data);
}

TEST(ZstdStream, RefusesDamageAndNoticesACut) {
  const std::vector<std::byte> data(5000, std::byte{7});
  auto frames = zstd_encode(data);
  std::vector<std::byte> out(10000);
  ZstdStream cut;
  ASSERT_TRUE(cut.decode(std::span(frames).first(frames.size() - 1), out));
  EXPECT_FALSE(cut.at_end());
  frames[1] ^= std::byte{0xff};
  ZstdStream damaged;
  const auto step = damaged.decode(frames, out);
  ASSERT_FALSE(step);
  EXPECT_EQ(step.error().code(), core::ErrorCode::corrupt_data);
}

}  // namespace
}  // namespace farfield::codec
