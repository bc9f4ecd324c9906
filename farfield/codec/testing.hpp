#pragma once
// What the tests of this room share. Not part of its interface.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace farfield::codec::testing {

using Bytes = std::vector<std::byte>;

inline Bytes random_bytes(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// Small counts with a few large ones, as detector pixels of `element_size` bytes: they compress.
inline Bytes detector_like(std::size_t elements, std::size_t element_size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(elements * element_size);
  for (std::size_t i = 0; i < elements; ++i) {
    std::uint64_t value = random() % 4 == 0 ? random() % 20 : 0;
    if (random() % 1000 == 0) value = random();
    for (std::size_t b = 0; b < element_size; ++b)
      bytes[i * element_size + b] = static_cast<std::byte>(value >> (8 * b));
  }
  return bytes;
}

inline Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto* from = reinterpret_cast<const std::byte*>(chars.data());
  return {from, from + chars.size()};
}

/// The repository's root, from this file's place in it.
inline std::filesystem::path repository() {
  // Not __FILE__: a compiler cache may have made it relative to the build folder.
  for (auto folder = std::filesystem::current_path(); folder.has_relative_path(); folder = folder.parent_path())
    if (std::filesystem::exists(folder / "tests" / "data")) return folder;
  return std::filesystem::current_path();
}
inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

/// Damages valid input in every way that is cheap to try (cut at each length, each byte changed) and hands it to
/// `decode`, which must refuse or decode it; the sanitizers watch that it touches nothing else.
template <class Decode>
void expect_survives_damage(const Bytes& valid, Decode decode) {
  const std::size_t step = valid.size() / 400 + 1;
  for (std::size_t length = 0; length < valid.size(); length += step) {
    // A copy of exact size, so that one byte too many is seen.
    const Bytes cut(valid.begin(), valid.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(decode(std::span<const std::byte>(cut))) << "cut to " << length << " of " << valid.size() << " bytes";
  }
  for (std::size_t i = 0; i < valid.size(); i += step)
    for (const unsigned flip : {0x01U, 0x80U, 0xffU}) {
      Bytes damaged = valid;
      damaged[i] ^= static_cast<std::byte>(flip);
      (void)decode(std::span<const std::byte>(damaged));
    }
}

}  // namespace farfield::codec::testing
