#include "farfield/codec/bitshuffle_sparse.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "farfield/codec/bit_transpose.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/sparse_block.hpp"
#include "farfield/codec/testing.hpp"
#include "farfield/core/cpu.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using core::PixelCount;
using testing::Bytes;
using Events = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

constexpr Index kSizes[] = {1, 2, 4};

/// Counts of which about `per_mille` of 1000 are not 0, most of them small, a few of any size.
Bytes counts(Index n, Index size, unsigned per_mille, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes out(static_cast<std::size_t>(n * size));
  for (Index i = 0; i < n; ++i) {
    if (random() % 1000 >= per_mille) continue;
    const std::uint64_t value = random() % 50 == 0 ? random() : 1 + random() % 3;
    std::memcpy(out.data() + i * size, &value, static_cast<std::size_t>(size));
  }
  return out;
}

std::vector<std::uint32_t> some_mask(Index n, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> mask(static_cast<std::size_t>(n));
  for (auto& m : mask) m = random() % 5 == 0 ? 1 : 0;
  return mask;
}

/// The definition, on the decoded elements.
Events expected(const Bytes& data, Index size, std::uint32_t above, const std::vector<std::uint32_t>& mask) {
  Events out;
  for (std::size_t i = 0; i < data.size() / static_cast<std::size_t>(size); ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, data.data() + i * static_cast<std::size_t>(size), static_cast<std::size_t>(size));
    if (value > above && (mask.empty() || mask[i] == 0)) out.emplace_back(static_cast<std::uint32_t>(i), value);
  }
  return out;
}
Events pairs(std::span<const PixelCount> events) {
  Events out;
  for (const auto& e : events) out.emplace_back(e.pixel, e.count);
  return out;
}

TEST(SparseBlock, EveryInstructionSetEqualsTheReference) {
  struct Level {
    core::Isa isa;
    std::int64_t (*run)(const SparseBlock&, std::byte*, PixelCount*);
  };
  constexpr Level kLevels[] = {
      {core::Isa::v2, v2::sparse_block}, {core::Isa::v3, v3::sparse_block}, {core::Isa::v4, v4::sparse_block}};
  for (const Level& level : kLevels) {
    if (level.isa > core::isa()) continue;
    for (const Index size : kSizes)
      for (const Index n : {8, 56, 64, 72, 120, 512, 1000, 4096})
        for (const unsigned per_mille : {0U, 10U, 200U, 1000U})
          for (const std::uint32_t above : {0U, 2U}) {
            const Bytes data = counts(n, size, per_mille, static_cast<std::uint64_t>(n) + per_mille);
            Bytes shuffled(data.size());
            bit_shuffle(data.data(), shuffled.data(), n, size);
            const auto bits = valid_bits(some_mask(n, 3));
            for (const std::byte* valid : {static_cast<const std::byte*>(nullptr), bits.data()}) {
              const SparseBlock block{shuffled.data(), n, size, valid, above, 24};
              Bytes room(static_cast<std::size_t>(n / 8 + n * size));
              std::vector<PixelCount> out(static_cast<std::size_t>(n)), oracle(out.size());
              const auto made = static_cast<std::size_t>(level.run(block, room.data(), out.data()));
              const auto right = static_cast<std::size_t>(reference::sparse_block(block, room.data(), oracle.data()));
              ASSERT_EQ(pairs(std::span(out).first(made)), pairs(std::span(oracle).first(right)))
                  << core::name(level.isa) << " size=" << size << " n=" << n << " per mille=" << per_mille;
            }
          }
  }
}

TEST(BitshuffleSparse, EqualsDecodingAndThenLooking) {
  for (const auto compression : {BlockCompression::lz4, BlockCompression::zstd})
    for (const Index size : kSizes)
      // Less than a group, whole blocks, a shorter last one, and elements that remain.
      for (const Index n : {0, 1, 7, 8, 9, 1029, 4096, 20011})
        for (const Index block : {0, 8, 264})
          for (const unsigned per_mille : {0U, 12U, 900U}) {
            const BitshuffleFormat format{size, compression};
            const Bytes data = counts(n, size, per_mille, static_cast<std::uint64_t>(n + block));
            const auto mask = some_mask(n, 5);
            const auto valid = valid_bits(mask);
            const Bytes chunk = bitshuffle_encode(data, format, block);
            std::vector<PixelCount> out(static_cast<std::size_t>(n));
            for (const std::uint32_t above : {0U, 1U, 200U}) {
              const auto all = bitshuffle_sparse(chunk, format, n, {above, {}}, out);
              ASSERT_TRUE(all) << all.error().what();
              ASSERT_EQ(pairs(std::span(out).first(static_cast<std::size_t>(*all))), expected(data, size, above, {}));
              const auto some = bitshuffle_sparse(chunk, format, n, {above, valid}, out);
              ASSERT_TRUE(some) << some.error().what();
              ASSERT_EQ(pairs(std::span(out).first(static_cast<std::size_t>(*some))), expected(data, size, above, mask))
                  << "size=" << size << " n=" << n << " block=" << block << " above=" << above;
            }
          }
}

TEST(BitshuffleSparse, TheLargestCountsAreKeptWhole) {
  const std::vector<std::uint32_t> values{0, 0xffffffffU, 0xfffffffeU, 1, 0, 0x80000000U, 0, 0};
  const Bytes data(reinterpret_cast<const std::byte*>(values.data()),
                   reinterpret_cast<const std::byte*>(values.data() + values.size()));
  std::vector<PixelCount> out(8);
  const auto made = bitshuffle_sparse(bitshuffle_encode(data, {4}), {4}, 8, {0xfffffffeU, {}}, out);
  ASSERT_TRUE(made);
  ASSERT_EQ(*made, 1);
  EXPECT_EQ(out[0].pixel, 1U);
  EXPECT_EQ(out[0].count, 0xffffffffU);
}

TEST(BitshuffleSparse, ARecordedEigerFrame) {
  const Bytes chunk = testing::read_file(testing::repository() / "tests/data/dectris_v1/frame_0.bs16-lz4");
  const Index n = 2167 * 2070;
  Bytes frame(static_cast<std::size_t>(n * 2));
  ASSERT_TRUE(bitshuffle_decode(chunk, {2}, frame));
  // As a detector is used: pixels that say 65535 are masked.
  std::vector<std::uint32_t> mask(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < mask.size(); ++i) {
    std::uint16_t value;
    std::memcpy(&value, frame.data() + 2 * i, 2);
    mask[i] = value == 65535 ? 1 : 0;
  }
  std::vector<PixelCount> out(static_cast<std::size_t>(n));
  const auto made = bitshuffle_sparse(chunk, {2}, n, {0, valid_bits(mask)}, out);
  ASSERT_TRUE(made) << made.error().what();
  EXPECT_EQ(pairs(std::span(out).first(static_cast<std::size_t>(*made))), expected(frame, 2, 0, mask));
}

TEST(BitshuffleSparse, DamagedChunksAreRefused) {
  const BitshuffleFormat format{2, BlockCompression::lz4};
  const Index n = 3003;
  const Bytes valid = bitshuffle_encode(counts(n, 2, 50, 23), format, 1024);
  std::vector<PixelCount> out(static_cast<std::size_t>(n));
  testing::expect_survives_damage(valid, [&](std::span<const std::byte> chunk) {
    return bitshuffle_sparse(chunk, format, n, {}, out).has_value();
  });
  Bytes longer = valid;
  longer.push_back(std::byte{});
  EXPECT_EQ(bitshuffle_sparse(longer, format, n, {}, out).error().code(), ErrorCode::corrupt_data);
}

TEST(BitshuffleSparse, WhatTheCallerGotWrongIsSaid) {
  const Bytes chunk = bitshuffle_encode(Bytes(64), {2});
  std::vector<PixelCount> out(32);
  const Bytes mask(3);
  const auto code = [&](const BitshuffleFormat& format, Index n, std::span<const std::byte> valid, std::size_t room) {
    return bitshuffle_sparse(chunk, format, n, {0, valid}, std::span(out).first(room)).error().code();
  };
  EXPECT_TRUE(bitshuffle_sparse(chunk, {2}, 32, {}, out));
  EXPECT_EQ(code({8}, 8, {}, 32), ErrorCode::invalid_argument);
  EXPECT_EQ(code({2}, 32, {}, 31), ErrorCode::invalid_argument);
  EXPECT_EQ(code({2}, 32, mask, 32), ErrorCode::invalid_argument);
  EXPECT_EQ(code({2}, -1, {}, 32), ErrorCode::invalid_argument);
  EXPECT_EQ(code({2}, Index{1} << 62, {}, 32), ErrorCode::invalid_argument);
  EXPECT_EQ(code({2}, 31, {}, 32), ErrorCode::corrupt_data);
}

}  // namespace
}  // namespace farfield::codec
