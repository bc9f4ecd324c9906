#include "farfield/codec/lz4.hpp"

#include "farfield/codec/endian.hpp"
#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using testing::Bytes;

TEST(Lz4, DecodesAKnownBlock) {
  // By hand from the format: token 0x4F = 4 literals, match 15 + 4 + 1 from the next byte; offset 4; then a last
  // sequence of 5 literals ("abcd" repeated 6 times, "Hello").
  const unsigned char block[] = {0x4f, 'a', 'b', 'c', 'd', 4, 0, 1, 0x50, 'H', 'e', 'l', 'l', 'o'};
  std::string out(29, ' ');
  ASSERT_TRUE(lz4_decode(std::as_bytes(std::span(block)), std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, "abcdabcdabcdabcdabcdabcdHello");
}

TEST(Lz4, BareRoundTrip) {
  for (const std::size_t n : {0, 1, 12, 13, 1000, 100000}) {
    const Bytes data = testing::detector_like(n, 1, 1);
    Bytes block(static_cast<std::size_t>(lz4_bound(std::ssize(data))));
    block.resize(static_cast<std::size_t>(lz4_encode(data, block)));
    Bytes out(n);
    ASSERT_TRUE(lz4_decode(block, out)) << n;
    EXPECT_EQ(out, data);
    Bytes longer(n + 1);
    EXPECT_EQ(lz4_decode(block, longer).error().code(), ErrorCode::corrupt_data);
  }
}

TEST(Lz4, FramedRoundTripWithBlocksStoredAsTheyAre) {
  for (const std::size_t n : {0, 1, 100, 4096, 4097, 50001}) {
    const Bytes noise = testing::random_bytes(n, 2), counts = testing::detector_like(n, 1, 2);
    for (const Bytes& data : {noise, counts}) {
      const Bytes chunk = lz4_framed_encode(data, 4096);
      Bytes out(n);
      const auto done = lz4_framed_decode(chunk, out);
      ASSERT_TRUE(done) << done.error().what();
      EXPECT_EQ(out, data);
    }
    // Noise does not shrink, so each block is stored with its length alone.
    EXPECT_EQ(lz4_framed_encode(noise, 4096).size(), 12 + n + 4 * ((n + 4095) / 4096));
  }
}

TEST(Lz4, DamagedChunksAreRefused) {
  const Bytes data = testing::detector_like(3000, 2, 5);
  const auto decodes = [&](std::span<const std::byte> chunk) {
    Bytes out(data.size());
    return lz4_framed_decode(chunk, out).has_value();
  };
  const Bytes valid = lz4_framed_encode(data, 1024);
  testing::expect_survives_damage(valid, decodes);
  Bytes bad = valid;
  store_be32(bad.data() + 8, 0);
  EXPECT_FALSE(decodes(bad));
  bad = valid;
  store_be64(bad.data(), data.size() + 1);
  EXPECT_FALSE(decodes(bad));
  bad = valid;
  bad.push_back(std::byte{});
  EXPECT_FALSE(decodes(bad));
}

}  // namespace
}  // namespace farfield::codec
