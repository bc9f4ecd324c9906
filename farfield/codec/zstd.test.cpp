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

}  // namespace
}  // namespace farfield::codec
