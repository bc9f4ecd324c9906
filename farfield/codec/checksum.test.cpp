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

}  // namespace
}  // namespace farfield::codec
