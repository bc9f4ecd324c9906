// Bitshuffle on a recorded EIGER 4M frame (u16, 9 MB): decoded GB/s beside the floors of the same run - LZ4 alone,
// the bit transposition alone, memcpy - and the HDF5 plugin of the bitshuffle project where it is installed.
// The variants take turns in each round, and the figure is the median of the rounds' CPU times, so that a machine
// that is busy or changes its clock does so for all of them alike.
//
//   bench_codec [--json] [--rounds N] [CHUNK]

#include <dlfcn.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "farfield/codec/bit_transpose.hpp"
#include "farfield/codec/bitshuffle.hpp"
#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/lz4.hpp"
#include "farfield/core/cpu.hpp"

namespace {
using namespace farfield;
using codec::BitshuffleFormat;
using codec::BlockCompression;
using core::Index;
using Bytes = std::vector<std::byte>;
using PluginFunction = std::int64_t (*)(const void*, void*, std::size_t, std::size_t, std::size_t);

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Variant {
  std::string name;
  std::function<void()> run;
  std::vector<double> seconds{};
  double median() {
    std::nth_element(seconds.begin(), seconds.begin() + std::ssize(seconds) / 2, seconds.end());
    return seconds[seconds.size() / 2];
  }
};

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw core::Error(core::ErrorCode::not_found, "cannot read " + path);
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto* from = reinterpret_cast<const std::byte*>(chars.data());
  return {from, from + chars.size()};
}

/// Calls f(compressed block, decoded bytes) for each block, without decoding.
template <class F>
void for_blocks(const codec::BitshuffleChunk& chunk, F f) {
  auto in = chunk.blocks;
  const Index group = 8 * chunk.format.element_size;
  for (Index left = chunk.bytes; left >= group;) {
    const Index bytes = std::min(left / group * group, chunk.block_bytes);
    const std::size_t length = codec::load_be32(in.data());
    f(in.subspan(4, length), bytes);
    in = in.subspan(4 + length);
    left -= bytes;
  }
}

int run(int argc, char** argv) {
  bool json = false;
  int rounds = 31;
  std::string path = "tests/data/dectris_v1/frame_0.bs16-lz4";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      json = true;
    } else if (word == "--rounds" && i + 1 < argc) {
      rounds = std::max(1, std::stoi(argv[++i]));
    } else {
      path = word;
    }
  }
  const Bytes input = read_file(path);
  const BitshuffleFormat lz4{2, BlockCompression::lz4}, zstd{2, BlockCompression::zstd};
  Bytes frame(codec::load_be64(input.data())), out(frame.size()), scratch(1 << 20);
  core::value_or_throw(codec::bitshuffle_decode(input, lz4, frame));
  const auto chunk = core::value_or_throw(codec::open_bitshuffle(input, lz4, std::ssize(frame)));
  const Bytes input_zstd = codec::bitshuffle_encode(frame, zstd);
  std::vector<core::PixelCount> events(frame.size() / 2);
  std::uint64_t sum = 0;

  std::vector<Variant> variants;
  variants.push_back({"memcpy of the decoded frame", [&] { std::memcpy(out.data(), frame.data(), frame.size()); }});
  variants.push_back({"LZ4 alone, block by block", [&] {
                        for_blocks(chunk, [&](std::span<const std::byte> block, Index bytes) {
                          (void)codec::lz4_decode(block, std::span(scratch).first(static_cast<std::size_t>(bytes)));
                        });
                      }});
  variants.push_back({"bit transposition alone", [&] {
                        for (std::size_t i = 0; i + 8192 <= frame.size(); i += 8192)
                          codec::bit_unshuffle(frame.data() + i, out.data() + i, 4096, 2);
                      }});
  variants.push_back({"decode bitshuffle-LZ4", [&] { (void)codec::bitshuffle_decode(input, lz4, out); }});
  variants.push_back({"decode and sum, block by block", [&] {
                        (void)codec::bitshuffle_for_each_block(chunk, [&](Index, std::span<const std::byte> block) {
                          const auto* pixel = reinterpret_cast<const std::uint16_t*>(block.data());
                          std::uint32_t part = 0;
                          for (std::size_t i = 0; i < block.size() / 2; ++i) part += pixel[i] < 65000 ? pixel[i] : 0;
                          sum += part;
                        });
                      }});
  variants.push_back({"decode to a sparse list", [&] { (void)codec::bitshuffle_sparse(chunk, {}, events); }});
  variants.push_back({"decode, then make it sparse", [&] {
                        (void)codec::bitshuffle_decode(input, lz4, out);
                        std::size_t made = 0;
                        for (std::size_t i = 0; i < out.size() / 2; ++i) {
                          std::uint16_t value;
                          std::memcpy(&value, out.data() + 2 * i, sizeof value);
                          events[made] = {static_cast<std::uint32_t>(i), value};
                          made += value > 0 ? 1 : 0;
                        }
                      }});
  variants.push_back({"decode bitshuffle-zstd", [&] { (void)codec::bitshuffle_decode(input_zstd, zstd, out); }});
  variants.push_back({"encode bitshuffle-LZ4", [&] { (void)codec::bitshuffle_encode(frame, lz4); }});

  void* plugin = dlopen("/usr/lib/x86_64-linux-gnu/hdf5/serial/plugins/libh5bshuf.so", RTLD_NOW | RTLD_LOCAL);
  if (plugin != nullptr) {
    const auto decompress = reinterpret_cast<PluginFunction>(dlsym(plugin, "bshuf_decompress_lz4"));
    const auto compress = reinterpret_cast<PluginFunction>(dlsym(plugin, "bshuf_compress_lz4"));
    variants.push_back({"plugin: decode bitshuffle-LZ4",
                        [&, decompress] { decompress(chunk.blocks.data(), out.data(), frame.size() / 2, 2, 4096); }});
    variants.push_back({"plugin: encode bitshuffle-LZ4", [&, compress, room = Bytes(2 * frame.size())]() mutable {
                          compress(frame.data(), room.data(), frame.size() / 2, 2, 4096);
                        }});
  }

  for (int round = 0; round < rounds + 1; ++round)
    for (Variant& v : variants) {
      const double start = cpu_seconds();
      v.run();
      if (round > 0) v.seconds.push_back(cpu_seconds() - start);  // the first warms up
    }

  const double gigabytes = 1e-9 * static_cast<double>(frame.size());
  const double floor = variants[1].median() + variants[2].median();
  if (!json)
    fmt::print("{} ({} bytes of {}), {}, medians of {} rounds\n", path, input.size(), frame.size(),
               core::name(core::isa()), rounds);
  for (Variant& v : variants) {
    const double seconds = v.median();
    if (json)
      fmt::print(
          "{{\"message_type\":\"benchmark\",\"name\":\"{}\",\"gigabytes_per_second\":{:.3f},\"over_floor\":{:.3f}}}\n",
          v.name, gigabytes / seconds, seconds / floor);
    else
      fmt::print("  {:<32} {:7.2f} GB/s   {:5.2f} x (LZ4 + transposition)\n", v.name, gigabytes / seconds,
                 seconds / floor);
  }
  return sum == 0;
}
}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_codec: {}\n", error.what());
    return 1;
  }
}
