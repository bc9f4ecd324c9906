#include "farfield/codec/lz4_zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "farfield/codec/lz4.hpp"
#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using testing::Bytes;

/// Memory of exact size behind the decoded bytes, so that a sanitizer sees one byte too many.
core::Result<Bytes> decode(std::span<const std::byte> block, Index bytes) {
  Bytes room(static_cast<std::size_t>(bytes + kLz4ZerosSlack), std::byte{0xee});
  if (auto done = lz4_decode_zeros(block, bytes, room); !done) return tl::unexpected(done.error());
  room.resize(static_cast<std::size_t>(bytes));
  return room;
}
Bytes encode(const Bytes& data) {
  Bytes out(static_cast<std::size_t>(lz4_bound(std::ssize(data))));
  out.resize(static_cast<std::size_t>(lz4_encode(data, out)));
  return out;
}

/// Zeros, with bytes, runs and short patterns in between.
Bytes mixture(std::size_t n, unsigned per_mille, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes data(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (random() % 1000 >= per_mille) continue;
    const std::size_t period = 1 + random() % 12, length = random() % 3 == 0 ? random() % 200 : 1 + random() % 10;
    std::byte pattern[12];
    for (auto& b : pattern) b = static_cast<std::byte>(random() % 4 == 0 ? 0 : random());
    for (std::size_t k = 0; k < length && i < n; ++k, ++i) data[i] = pattern[k % period];
  }
  return data;
}

TEST(Lz4Zeros, GivesWhatLz4Gives) {
  for (const std::size_t n : {1U, 4U, 12U, 13U, 64U, 1000U, 8192U, 70000U})
    for (const unsigned per_mille : {0U, 1U, 10U, 50U, 300U, 1000U})
      for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const Bytes data = mixture(n, per_mille, seed);
        const auto got = decode(encode(data), std::ssize(data));
        ASSERT_TRUE(got) << got.error().what();
        ASSERT_EQ(*got, data) << n << " bytes, " << per_mille << " per mille, seed " << seed;
      }
  for (const std::size_t n : {0U, 100U, 5000U}) {  // what does not shrink
    const Bytes data = testing::random_bytes(n, 3);
    EXPECT_EQ(*decode(encode(data), std::ssize(data)), data);
  }
}

TEST(Lz4Zeros, EveryDistanceAndLength) {
  // Four literals that are not 0, four zeros, and a match: written by hand, as encoders choose other ones.
  for (Index distance = 1; distance <= 8; ++distance)
    for (Index length = 4; length <= 60; ++length) {
      Bytes block{std::byte(8 << 4 | std::min<Index>(length - 4, 15))};
      for (int i = 0; i < 8; ++i) block.push_back(static_cast<std::byte>(i < 4 ? i + 1 : i == 6 ? 9 : 0));
      block.push_back(static_cast<std::byte>(distance));
      block.push_back(std::byte{0});
      if (length - 4 >= 15) block.push_back(static_cast<std::byte>(length - 4 - 15));
      block.push_back(std::byte{12 << 4});  // liblz4 wants no match within the last twelve bytes
      for (int i = 0; i < 12; ++i) block.push_back(std::byte{0x77});
      Bytes expected(static_cast<std::size_t>(8 + length + 12));
      ASSERT_TRUE(lz4_decode(block, expected)) << "the block is as it should be";
      const auto got = decode(block, std::ssize(expected));
      ASSERT_TRUE(got) << got.error().what();
      ASSERT_EQ(*got, expected) << "distance " << distance << ", length " << length;
    }
}

TEST(Lz4Zeros, DamageIsRefused) {
  const Bytes data = mixture(3000, 20, 5);
  const Bytes valid = encode(data);
  testing::expect_survives_damage(
      valid, [&](std::span<const std::byte> block) { return decode(block, std::ssize(data)).has_value(); });
  const auto code = [](const Bytes& block, Index bytes) {
    const auto got = decode(block, bytes);
    return got ? std::string("decoded") : std::string(core::traits(got.error().code()).name);
  };
  EXPECT_EQ(code(valid, std::ssize(data)), "decoded");
  EXPECT_EQ(code(valid, std::ssize(data) - 1), "corrupt_data");
  EXPECT_EQ(code(valid, std::ssize(data) + 1), "corrupt_data");
  EXPECT_EQ(code({}, 0), "corrupt_data");
  EXPECT_EQ(code({std::byte{0}, std::byte{0}, std::byte{0}}, 4), "corrupt_data") << "distance 0";
  EXPECT_EQ(code({std::byte{0}, std::byte{1}, std::byte{0}}, 4), "corrupt_data") << "before the beginning";
  Bytes small(10);
  EXPECT_EQ(lz4_decode_zeros(valid, 10, small).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::codec
