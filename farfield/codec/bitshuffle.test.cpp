#include "farfield/codec/bitshuffle.hpp"

#include <dlfcn.h>
#include <openssl/evp.h>

#include <cstring>

#include "farfield/codec/bit_transpose.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/testing.hpp"
#include "farfield/core/cpu.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using testing::Bytes;
using Transpose = void (*)(const std::byte*, std::byte*, std::int64_t, std::int64_t);

constexpr Index kElementSizes[] = {1, 2, 4, 8};
constexpr BlockCompression kCompressions[] = {BlockCompression::lz4, BlockCompression::zstd};

struct Level {
  core::Isa isa;
  Transpose shuffle, unshuffle;
};
constexpr Level kLevels[] = {{core::Isa::v2, v2::bit_shuffle, v2::bit_unshuffle},
                             {core::Isa::v3, v3::bit_shuffle, v3::bit_unshuffle},
                             {core::Isa::v4, v4::bit_shuffle, v4::bit_unshuffle}};

TEST(BitTranspose, ReferenceFollowsTheDefinition) {
  // 16 elements of 2 bytes, only bit 11 of element 9 set: row 11, byte 1 of its 2, bit 1.
  Bytes in(32), out(32);
  in[9 * 2 + 1] = std::byte{1U << 3};
  reference::bit_shuffle(in.data(), out.data(), 16, 2);
  Bytes expected(32);
  expected[11 * 2 + 1] = std::byte{1U << 1};
  EXPECT_EQ(out, expected);
}

TEST(BitTranspose, EveryInstructionSetEqualsTheReference) {
  for (const Level& level : kLevels) {
    if (level.isa > core::isa()) continue;
    for (const Index size : kElementSizes)
      // Around the widths of tiles (128, 256, 512 elements), and the usual blocks.
      for (const Index n : {0, 8, 16, 120, 128, 136, 248, 256, 264, 504, 512, 520, 1000, 2048, 4096}) {
        const Bytes in = testing::random_bytes(static_cast<std::size_t>(n * size), 7 + static_cast<std::uint64_t>(n));
        Bytes expected(in.size()), out(in.size());
        reference::bit_shuffle(in.data(), expected.data(), n, size);
        level.shuffle(in.data(), out.data(), n, size);
        ASSERT_EQ(out, expected) << "shuffle " << core::name(level.isa) << " n=" << n << " size=" << size;
        reference::bit_unshuffle(in.data(), expected.data(), n, size);
        level.unshuffle(in.data(), out.data(), n, size);
        ASSERT_EQ(out, expected) << "unshuffle " << core::name(level.isa) << " n=" << n << " size=" << size;
      }
  }
}

TEST(Bitshuffle, RoundTrip) {
  for (const BlockCompression compression : kCompressions)
    for (const Index size : kElementSizes)
      for (const Index n : {0, 1, 7, 8, 9, 127, 128, 1029, 4096, 4097, 4103, 4104, 20011})
        for (const Index block : {0, 8, 264, 4096}) {
          const BitshuffleFormat format{size, compression};
          const Bytes data = testing::detector_like(static_cast<std::size_t>(n), static_cast<std::size_t>(size), 3);
          const Bytes chunk = bitshuffle_encode(data, format, block);
          Bytes out(data.size());
          const auto done = bitshuffle_decode(chunk, format, out);
          ASSERT_TRUE(done) << done.error().what() << " n=" << n << " size=" << size << " block=" << block;
          ASSERT_EQ(out, data) << "n=" << n << " size=" << size << " block=" << block;
        }
}

TEST(Bitshuffle, BlocksArriveInOrderAndComplete) {
  const BitshuffleFormat format{2, BlockCompression::lz4};
  const Bytes data = testing::detector_like(10003, 2, 5);
  const Bytes encoded = bitshuffle_encode(data, format, 1024);
  const auto chunk = open_bitshuffle(encoded, format, std::ssize(data));
  ASSERT_TRUE(chunk);
  Bytes seen;
  const auto done = bitshuffle_for_each_block(*chunk, [&](Index first, std::span<const std::byte> block) {
    EXPECT_EQ(first * 2, std::ssize(seen));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 64, 0U);
    seen.insert(seen.end(), block.begin(), block.end());
  });
  ASSERT_TRUE(done);
  EXPECT_EQ(seen, data);
}

TEST(Bitshuffle, BlockLengthZeroMeansTheDefault) {
  for (const Index size : kElementSizes) {
    const BitshuffleFormat format{size, BlockCompression::lz4};
    const Bytes data = testing::detector_like(30000, static_cast<std::size_t>(size), 11);
    Bytes chunk = bitshuffle_encode(data, format);
    EXPECT_EQ(load_be32(chunk.data() + 8), 8192U);
    store_be32(chunk.data() + 8, 0);
    Bytes out(data.size());
    ASSERT_TRUE(bitshuffle_decode(chunk, format, out));
    EXPECT_EQ(out, data);
  }
}

std::string md5_hex(std::span<const std::byte> data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(data.data(), data.size(), digest, &length, EVP_md5(), nullptr);
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", digest[i]);
    text += hex;
  }
  return text;
}

void expect_real_frame(const std::filesystem::path& path, const std::string& md5) {
  const Bytes chunk = testing::read_file(path);
  Bytes frame(std::size_t{2167} * 2070 * 2);
  const auto done = bitshuffle_decode(chunk, {2, BlockCompression::lz4}, frame);
  ASSERT_TRUE(done) << done.error().what();
  EXPECT_EQ(md5_hex(frame), md5);
  std::uint64_t sum = 0, masked = 0;
  const auto opened = open_bitshuffle(chunk, {2, BlockCompression::lz4}, std::ssize(frame));
  ASSERT_TRUE(opened);
  ASSERT_TRUE(bitshuffle_for_each_block(*opened, [&](Index, std::span<const std::byte> block) {
    for (std::size_t i = 0; i < block.size(); i += 2) {
      std::uint16_t pixel;
      std::memcpy(&pixel, block.data() + i, 2);
      if (pixel < 65000) sum += pixel;
      if (pixel == 65535) ++masked;
    }
  }));
  EXPECT_EQ(sum, 4609824U);
  EXPECT_EQ(masked, 251297U);
}

TEST(Bitshuffle, DecodesARecordedEigerFrame) {
  expect_real_frame(testing::repository() / "tests/data/dectris_v1/frame_0.bs16-lz4",
                    "466dfee95c00e7ec8060c7bca25bbeac");
}

TEST(Bitshuffle, DecodesTheWholeRecordedSeries) {
  const auto folder = tests::shared_data("stream/dectris_v1");
  FARFIELD_REQUIRE_SHARED(folder);
  expect_real_frame(folder / "streamfile_12", "466dfee95c00e7ec8060c7bca25bbeac");
  expect_real_frame(folder / "streamfile_16", "ce6c03a6abb32c4873006804c3ca1620");
  expect_real_frame(folder / "streamfile_20", "79cb1532cac76ba7a7baf24aa747b519");
}

// The HDF5 plugin of the bitshuffle project, called directly: same blocks, without the 12-byte header.
struct Plugin {
  using Function = std::int64_t (*)(const void*, void*, std::size_t size, std::size_t elem, std::size_t block);
  void* library = dlopen("/usr/lib/x86_64-linux-gnu/hdf5/serial/plugins/libh5bshuf.so", RTLD_NOW | RTLD_LOCAL);
  Function compress = find("bshuf_compress_lz4"), decompress = find("bshuf_decompress_lz4");
  Function find(const char* name) const {
    return library != nullptr ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
  }
};

TEST(Bitshuffle, UnderstandsAndIsUnderstoodByThePlugin) {
  const Plugin plugin;
  if (plugin.compress == nullptr || plugin.decompress == nullptr)
    GTEST_SKIP() << "the bitshuffle HDF5 plugin is not installed (Debian package bitshuffle)";
  for (const Index size : kElementSizes)
    for (const Index n : {8, 1000, 4096, 12345})
      for (const Index block : {0, 512}) {
        const BitshuffleFormat format{size, BlockCompression::lz4};
        const auto count = static_cast<std::size_t>(n), elem = static_cast<std::size_t>(size);
        const Bytes data = testing::detector_like(count, elem, 17);
        Bytes theirs(12 + 2 * data.size() + 1024);
        const std::int64_t length =
            plugin.compress(data.data(), theirs.data() + 12, count, elem, static_cast<std::size_t>(block));
        ASSERT_GT(length, 0);
        store_be64(theirs.data(), data.size());
        store_be32(theirs.data() + 8, static_cast<std::uint32_t>(block * size));
        theirs.resize(12 + static_cast<std::size_t>(length));
        Bytes out(data.size());
        const auto done = bitshuffle_decode(theirs, format, out);
        ASSERT_TRUE(done) << done.error().what();
        ASSERT_EQ(out, data);

        const Bytes ours = bitshuffle_encode(data, format, block);
        Bytes back(data.size());
        ASSERT_EQ(plugin.decompress(ours.data() + 12, back.data(), count, elem, static_cast<std::size_t>(block)),
                  std::ssize(ours) - 12);
        ASSERT_EQ(back, data) << "n=" << n << " size=" << size << " block=" << block;
      }
}

TEST(Bitshuffle, DamagedChunksAreRefused) {
  for (const BlockCompression compression : kCompressions) {
    const BitshuffleFormat format{2, compression};
    const Bytes data = testing::detector_like(3003, 2, 23);
    const Bytes valid = bitshuffle_encode(data, format, 1024);
    testing::expect_survives_damage(valid, [&](std::span<const std::byte> chunk) {
      Bytes out(data.size());
      return bitshuffle_decode(chunk, format, out).has_value();
    });
    Bytes longer = valid;
    longer.push_back(std::byte{});
    Bytes out(data.size());
    EXPECT_EQ(bitshuffle_decode(longer, format, out).error().code(), ErrorCode::corrupt_data);
  }
}

TEST(Bitshuffle, ContradictoryHeadersAreRefused) {
  const BitshuffleFormat format{4, BlockCompression::lz4};
  const Bytes data = testing::detector_like(1000, 4, 29);
  const Bytes valid = bitshuffle_encode(data, format);
  Bytes out(data.size());
  const auto code = [&](const Bytes& chunk, const BitshuffleFormat& f) {
    const auto done = bitshuffle_decode(chunk, f, out);
    return done ? "decoded" : std::string(core::traits(done.error().code()).name);
  };
  EXPECT_EQ(code(valid, format), "decoded");
  Bytes bad = valid;
  store_be64(bad.data(), ~std::uint64_t{0});
  EXPECT_EQ(code(bad, format), "corrupt_data");
  for (const std::uint32_t block : {1U, 36U, 0xffffffe0U}) {
    bad = valid;
    store_be32(bad.data() + 8, block);
    EXPECT_EQ(code(bad, format), "corrupt_data") << block;
  }
  bad = valid;
  store_be32(bad.data() + 12, 0xffffffffU);
  EXPECT_EQ(code(bad, format), "corrupt_data");
  EXPECT_EQ(code(valid, {3, BlockCompression::lz4}), "invalid_argument");
  EXPECT_THROW(bitshuffle_encode(data, format, 12), core::Error);
  EXPECT_THROW(bitshuffle_encode(std::span(data).first(999), format), core::Error);
}

}  // namespace
}  // namespace farfield::codec
