#include "farfield/codec/checksum.hpp"

#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {

TEST(Sha256, KnownAnswers) {  // FIPS 180-4 examples
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::string abc = "abc";
  EXPECT_EQ(sha256_hex(testing::as_bytes(abc)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesEqualTheWhole) {
  const auto data = testing::random_bytes(1000, 1);
  Sha256 sum;
  sum.update(std::span(data).first(333));
  const std::string early = sum.hex();  // looking does not end it
  EXPECT_EQ(early, sha256_hex(std::span(data).first(333)));
  sum.update(std::span(data).subspan(333));
  EXPECT_EQ(sum.hex(), sha256_hex(data));
}

TEST(Crc32c, KnownAnswers) {
  const std::string check = "123456789";  // the catalogue's check value of CRC-32/ISCSI
  EXPECT_EQ(crc32c(testing::as_bytes(check)), 0xe3069283U);
  EXPECT_EQ(crc32c(testing::Bytes(32)), 0x8a9136aaU);  // RFC 3720 B.4
}

TEST(Crc32c, PiecesEqualTheWhole) {
  const auto data = testing::random_bytes(100, 2);
  for (std::size_t cut = 0; cut <= data.size(); ++cut)
    EXPECT_EQ(crc32c(std::span(data).subspan(cut), crc32c(std::span(data).first(cut))), crc32c(data));
}

// Long enough for several groups of lanes, and the rests that follow them; the oracle goes bit by bit.
TEST(Crc32c, LongDataEqualsTheDefinition) {
  const auto data = testing::random_bytes(3 * 8192 * 2 + 8192 + 13, 3);
  std::uint32_t expected = ~0U;
  for (const std::byte byte : data) {
    expected ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) expected = (expected >> 1) ^ ((expected & 1) != 0 ? 0x82f63b78U : 0U);
  }
  EXPECT_EQ(crc32c(data), ~expected);
  for (const std::size_t cut : {1UL, 8191UL, 3 * 8192UL, 3 * 8192UL + 1, data.size() - 1})
    EXPECT_EQ(crc32c(std::span(data).subspan(cut), crc32c(std::span(data).first(cut))), ~expected) << cut;
}

TEST(Adler32, KnownAnswersAndPieces) {
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  EXPECT_EQ(adler32({}), 1U);
  EXPECT_EQ(adler32(bytes("Wikipedia")), 0x11e60398U);
  std::string text(200'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(255 - i % 7);
  for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{65521}, std::size_t{65536}, text.size()})
    EXPECT_EQ(adler32_combine(adler32(bytes(text.substr(0, cut))), adler32(bytes(text.substr(cut))), text.size() - cut),
              adler32(bytes(text)))
        << cut;
}

TEST(Crc32c, CombinesPieces) {
  const auto data = testing::random_bytes(100000, 4);
  for (const std::size_t cut : {0UL, 1UL, 4096UL, 65537UL, 100000UL}) {
    const auto a = std::span(data).first(cut), b = std::span(data).subspan(cut);
    EXPECT_EQ(crc32c_combine(crc32c(a), crc32c(b), b.size()), crc32c(data)) << cut;
  }
}

}  // namespace
}  // namespace farfield::codec
