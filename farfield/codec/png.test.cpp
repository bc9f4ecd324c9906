#include "farfield/codec/png.hpp"

#include "farfield/codec/deflate.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/testing.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
using testing::Bytes;

Image8 noise(Index ny, Index nx, int channels) {
  Image8 image{ny, nx, channels};
  for (const std::byte b : testing::random_bytes(static_cast<std::size_t>(ny * nx * channels), 1))
    image.pixels.push_back(std::to_integer<std::uint8_t>(b));
  return image;
}

TEST(Png, RoundTripWithText) {
  for (const int channels : {1, 3, 4})
    for (const auto& [ny, nx] : {std::pair<Index, Index>{1, 1}, {5, 300}, {129, 2}}) {
      Image8 image = noise(ny, nx, channels);
      image.text = {{"Title", "object phase"}, {"Software", "Farfield"}, {"Comment", ""}};
      image.pixels_per_metre = 11811;
      const auto back = png_decode(png_encode(image));
      ASSERT_TRUE(back) << back.error().what();
      EXPECT_EQ(back->ny, ny);
      EXPECT_EQ(back->nx, nx);
      EXPECT_EQ(back->channels, channels);
      EXPECT_EQ(back->pixels, image.pixels);
      EXPECT_EQ(back->text, image.text);
      EXPECT_EQ(back->pixels_per_metre, 11811U);
    }
}

void append_chunk(Bytes& png, const std::string& type, const Bytes& data) {
  Bytes body;
  for (const char c : type) body.push_back(static_cast<std::byte>(c));
  body.insert(body.end(), data.begin(), data.end());
  std::byte word[4];
  store_be32(word, static_cast<std::uint32_t>(data.size()));
  png.insert(png.end(), word, word + 4);
  png.insert(png.end(), body.begin(), body.end());
  store_be32(word, crc32(body));
  png.insert(png.end(), word, word + 4);
}
Bytes bytes_of(std::initializer_list<int> values) {
  Bytes out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}
/// A PNG written by hand from RFC 2083.
Bytes by_hand(int nx, int ny, int depth, int colour, const Bytes& palette, const Bytes& rows) {
  Bytes png = bytes_of({0x89, 'P', 'N', 'G', 13, 10, 26, 10});
  append_chunk(png, "IHDR", bytes_of({0, 0, 0, nx, 0, 0, 0, ny, depth, colour, 0, 0, 0}));
  if (!palette.empty()) append_chunk(png, "PLTE", palette);
  append_chunk(png, "IDAT", deflate(rows, DeflateWrapping::zlib));
  append_chunk(png, "IEND", {});
  return png;
}

TEST(Png, OtherKindsBecomeEightBits) {
  const auto palette = png_decode(by_hand(2, 1, 8, 3, bytes_of({1, 2, 3, 200, 100, 50}), bytes_of({0, 1, 0})));
  ASSERT_TRUE(palette) << palette.error().what();
  EXPECT_EQ(palette->channels, 3);
  EXPECT_EQ(palette->pixels, (std::vector<std::uint8_t>{200, 100, 50, 1, 2, 3}));
  const auto sixteen = png_decode(by_hand(2, 1, 16, 0, {}, bytes_of({0, 0xff, 0xff, 0x80, 0x80})));
  ASSERT_TRUE(sixteen) << sixteen.error().what();
  EXPECT_EQ(sixteen->pixels, (std::vector<std::uint8_t>{255, 128}));
  const auto gray_alpha = png_decode(by_hand(1, 1, 8, 4, {}, bytes_of({0, 77, 128})));
  ASSERT_TRUE(gray_alpha) << gray_alpha.error().what();
  EXPECT_EQ(gray_alpha->channels, 4);
  EXPECT_EQ(gray_alpha->pixels, (std::vector<std::uint8_t>{77, 77, 77, 128}));
}

TEST(Png, DamageIsRefused) {
  const Bytes valid = png_encode(noise(9, 11, 3));
  testing::expect_survives_damage(Bytes(valid.begin(), valid.end() - 12),  // the empty end chunk may be missing or not
                                  [](std::span<const std::byte> data) { return png_decode(data).has_value(); });
  const auto foreign = png_decode(Bytes(100));
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code(), ErrorCode::corrupt_data);
}

TEST(Png, LimitsAreKept) {
  // A header that promises 2^31 - 1 columns: refused before a row of them is allocated.
  Bytes wide = bytes_of({0x89, 'P', 'N', 'G', 13, 10, 26, 10});
  append_chunk(wide, "IHDR", bytes_of({0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 16, 6, 0, 0, 0}));
  append_chunk(wide, "IDAT", deflate(Bytes(9), DeflateWrapping::zlib));
  const auto refused = png_decode(wide);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted) << refused.error().what();
  const auto image = png_decode(png_encode(noise(10, 10, 1)), 99);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::resource_exhausted);
  EXPECT_THROW(png_encode(Image8{0, 5, 3}), core::Error);
  EXPECT_THROW(png_encode(Image8{5, 5, 2, std::vector<std::uint8_t>(50)}), core::Error);
  EXPECT_THROW(png_encode(Image8{5, 5, 3, std::vector<std::uint8_t>(74)}), core::Error);
  EXPECT_THROW(png_encode(Image8{1, 1, 1, {0}, {{"", "x"}}}), core::Error);
}

}  // namespace
}  // namespace farfield::codec
