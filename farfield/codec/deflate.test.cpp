#include "farfield/codec/deflate.hpp"

#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using testing::Bytes;

TEST(Deflate, RoundTripInEveryWrapping) {
  for (const auto wrapping : {DeflateWrapping::bare, DeflateWrapping::zlib, DeflateWrapping::gzip})
    for (const std::size_t n : {0, 1, 1000, 300000}) {
      const Bytes data = testing::detector_like(n, 1, 1);
      const Bytes stream = deflate(data, wrapping);
      Bytes out(n), longer(n + 1);
      ASSERT_TRUE(inflate(stream, wrapping, out)) << n;
      EXPECT_EQ(out, data);
      EXPECT_EQ(inflate(stream, wrapping, longer).error().code(), ErrorCode::corrupt_data);
      Bytes trailing = stream;
      trailing.push_back(std::byte{});
      EXPECT_EQ(inflate(trailing, wrapping, out).error().code(), ErrorCode::corrupt_data);
    }
}

TEST(Deflate, DecodesKnownStreams) {
  // RFC 1951 stored block; RFC 1950: the same with header 78 01 and Adler-32 of "hello" = 0x062c0215.
  const unsigned char bare[] = {1, 5, 0, 0xfa, 0xff, 'h', 'e', 'l', 'l', 'o'};
  const unsigned char zlib[] = {0x78, 1, 1, 5, 0, 0xfa, 0xff, 'h', 'e', 'l', 'l', 'o', 0x06, 0x2c, 0x02, 0x15};
  std::string out(5, ' ');
  ASSERT_TRUE(inflate(std::as_bytes(std::span(bare)), DeflateWrapping::bare, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, "hello");
  out.assign(5, ' ');
  ASSERT_TRUE(inflate(std::as_bytes(std::span(zlib)), DeflateWrapping::zlib, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, "hello");
}

TEST(Deflate, DamageIsRefused) {
  const Bytes data = testing::detector_like(3000, 2, 5);
  const Bytes valid = deflate(data, DeflateWrapping::zlib);
  testing::expect_survives_damage(valid, [&](std::span<const std::byte> stream) {
    Bytes out(data.size());
    return inflate(stream, DeflateWrapping::zlib, out).has_value();
  });
  Bytes bad = valid;
  bad.back() ^= std::byte{1};  // the checksum
  Bytes out(data.size());
  EXPECT_EQ(inflate(bad, DeflateWrapping::zlib, out).error().code(), ErrorCode::corrupt_data);
}

TEST(Deflate, StoredBeginningsAreReadAsAnyStream) {
  const Bytes noise = testing::random_bytes(200000, 3);
  Bytes data = noise;
  const Bytes tail = testing::detector_like(30000, 2, 5);
  data.insert(data.end(), tail.begin(), tail.end());
  for (const std::size_t stored :
       {std::size_t{0}, std::size_t{1}, std::size_t{65535}, std::size_t{65536}, noise.size(), data.size()}) {
    const Bytes stream = deflate_tail(data, stored, 1);
    Bytes out(data.size());
    const auto done = inflate(stream, DeflateWrapping::zlib, out);
    ASSERT_TRUE(done) << stored << ": " << done.error().what();
    EXPECT_EQ(out, data);
    EXPECT_LT(stream.size(), data.size() + 64);
  }
  EXPECT_LT(deflate_tail(data, noise.size(), 1).size(), noise.size() + tail.size() / 2) << "the rest is compressed";
  EXPECT_THROW(deflate_tail(data, data.size() + 1), core::Error);
}

TEST(Deflate, Crc32KnownAnswer) {
  const std::string check = "123456789";  // the catalogue's check value of CRC-32/ISO-HDLC
  EXPECT_EQ(crc32(testing::as_bytes(check)), 0xcbf43926U);
  EXPECT_EQ(crc32(testing::as_bytes(check).subspan(4), crc32(testing::as_bytes(check).first(4))), 0xcbf43926U);
}

TEST(ByteShuffle, KnownOrderAndRoundTrip) {
  const std::string in = "a1b2c3d", expected = "abc123d";  // three elements of two bytes, one left over
  std::string out(7, ' ');
  byte_shuffle(testing::as_bytes(in), 2, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, expected);
  for (const Index size : {1, 2, 3, 4, 8, 16})
    for (const std::size_t n : {0, 1, 7, 64, 1001}) {
      const Bytes data = testing::random_bytes(n, 9);
      Bytes shuffled(n), back(n);
      byte_shuffle(data, size, shuffled);
      byte_unshuffle(shuffled, size, back);
      EXPECT_EQ(back, data) << "element size " << size << ", " << n << " bytes";
    }
  Bytes wrong(3);
  EXPECT_THROW(byte_shuffle(Bytes(4), 2, wrong), core::Error);
  EXPECT_THROW(byte_unshuffle(Bytes(3), 0, wrong), core::Error);
}

}  // namespace
}  // namespace farfield::codec
