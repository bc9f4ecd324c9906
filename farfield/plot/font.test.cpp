#include "farfield/plot/font.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "farfield/plot/drawing.hpp"

namespace farfield::plot {
namespace {

const std::string kSigns = "µμ°Å±×·–…−≤≥√αβγδεθλπρστφχψωΔΦΩ⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺₀₁₂₃₄₅₆₇₈₉";

std::string utf8(char32_t c) {  // of the characters above, at most three bytes
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  return {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
          static_cast<char>(0x80 | (c & 63))};
}

TEST(Font, HasEveryPrintableCharacterAndTheSigns) {
  for (char32_t c = 0x20; c < 0x7f; ++c) EXPECT_TRUE(has_glyph(c)) << "U+" << std::hex << static_cast<unsigned>(c);
  for (const char32_t c : decode_utf8(kSigns)) EXPECT_TRUE(has_glyph(c)) << utf8(c);
  EXPECT_FALSE(has_glyph(U'\n'));
  EXPECT_FALSE(has_glyph(U'漢'));
}

TEST(Font, GlyphsStayInTheirBoxAndLookDifferent) {
  std::u32string all = decode_utf8(kSigns);
  for (char32_t c = 0x21; c < 0x7f; ++c) all += c;
  std::map<std::vector<std::uint8_t>, std::string> seen;
  for (const char32_t c : all) {
    const std::string text = utf8(c);
    const double width = text_width(text);
    ASSERT_FALSE(text_strokes(text).empty()) << text;
    for (const Stroke& s : text_strokes(text))
      for (const Point& p : s.points) {
        EXPECT_GE(p.x, 0) << text;
        EXPECT_LE(p.x, width) << text;
        EXPECT_GE(p.y, -0.27) << text;
        EXPECT_LE(p.y, 0.92) << text;
      }
    Drawing d(40, 40);
    d.text({5, 28}, text, {.size = 20});
    const auto [other, fresh] = seen.emplace(rasterise(d).pixels, text);
    EXPECT_TRUE(fresh || c == U'μ') << text << " looks like " << other->second;
  }
}

TEST(Font, WidthsAdd) {
  EXPECT_NEAR(text_width("10 µm"), text_width("10") + text_width(" ") + text_width("µm"), 1e-12);
  EXPECT_EQ(text_width(""), 0);
  for (char digit = '0'; digit <= '9'; ++digit) EXPECT_EQ(text_width(std::string(1, digit)), text_width("0"));
}

TEST(Font, MalformedUtf8IsReplaced) {
  EXPECT_EQ(decode_utf8("a\xc2\xb5"
                        "b"),
            U"aµb");
  EXPECT_EQ(decode_utf8("\xff\xc2"), U"\uFFFD\uFFFD");
  EXPECT_EQ(decode_utf8("\xe2\x88"), U"\uFFFD\uFFFD");
  EXPECT_EQ(decode_utf8("\xc0\x80"), U"\uFFFD\uFFFD");  // overlong
  EXPECT_GT(text_width("\xff"), 0);
}

}  // namespace
}  // namespace farfield::plot
