#include "farfield/codec/cbor.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "farfield/codec/testing.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::codec {
namespace {

using testing::Bytes;

Bytes hex(std::string_view digits) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    out.push_back(static_cast<std::byte>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16)));
  return out;
}

/// Decoded and written again in the shortest form, as hexadecimal digits.
std::string canonical(std::string_view digits) {
  const auto bytes = hex(digits);
  const auto document = cbor_decode(bytes);
  if (!document) return document.error().what();
  std::string out;
  CborWriter writer;
  for (const std::byte b : writer.value(document->root()).message())
    out += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return out;
}

double real(std::string_view digits) {
  const auto bytes = hex(digits);
  return cbor_decode(bytes).value().root().number().value();
}

// RFC 8949, appendix A.
TEST(Cbor, NumbersOfTheStandard) {
  EXPECT_EQ(real("00"), 0);
  EXPECT_EQ(real("17"), 23);
  EXPECT_EQ(real("1818"), 24);
  EXPECT_EQ(real("1903e8"), 1000);
  EXPECT_EQ(real("1b000000e8d4a51000"), 1e12);
  EXPECT_EQ(real("1bffffffffffffffff"), 18446744073709551615.0);
  EXPECT_EQ(real("3bffffffffffffffff"), -18446744073709551616.0);
  EXPECT_EQ(real("20"), -1);
  EXPECT_EQ(real("3903e7"), -1000);
  EXPECT_EQ(real("f90000"), 0);
  EXPECT_TRUE(std::signbit(real("f98000")));
  EXPECT_EQ(real("f93c00"), 1);
  EXPECT_EQ(real("f97bff"), 65504);
  EXPECT_EQ(real("f90001"), 5.960464477539063e-8);
  EXPECT_EQ(real("f90400"), 0.00006103515625);
  EXPECT_EQ(real("f9c400"), -4);
  EXPECT_EQ(real("fa47c35000"), 100000);
  EXPECT_EQ(real("fb3ff199999999999a"), 1.1);
  EXPECT_EQ(real("f97c00"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(real("f97e00")));
}

TEST(Cbor, OtherItemsOfTheStandard) {
  for (const auto* same :
       {"f4", "f5", "f6", "f7", "f0", "f8ff", "40", "4401020304", "60", "6449455446", "80", "83010203",
        "8301820203820405", "a0", "a26161016162820203", "c11a514b67b0", "d818456449455446"})
    EXPECT_EQ(canonical(same), same);
  // Of indefinite length.
  EXPECT_EQ(canonical("5f42010243030405ff"), "450102030405");
  EXPECT_EQ(canonical("7f657374726561646d696e67ff"), "6973747265616d696e67");
  EXPECT_EQ(canonical("9fff"), "80");
  EXPECT_EQ(canonical("9f018202039f0405ffff"), "8301820203820405");
  EXPECT_EQ(canonical("bf61610161629f0203ffff"), "a26161016162820203");
}

TEST(Cbor, ValuesAreFoundByKey) {
  const auto message =
      CborWriter().map(3).text("a").integer(-7).integer(5).text("no text key").text("b").real(0.5).message();
  const auto document = cbor_decode(message).value();
  EXPECT_EQ(document.root().find("a")->whole(), -7);
  EXPECT_EQ(document.root().find("b")->number(), 0.5);
  EXPECT_EQ(document.root().find("b")->whole(), std::nullopt);
  EXPECT_EQ(document.root().find("c"), nullptr);
  EXPECT_EQ(document.root().find("a")->find("a"), nullptr) << "no map";
}

TEST(Cbor, MalformedInputIsRefused) {
  for (const auto* bad :
       {"",   "1c",     "1d",     "1e",       "1f",           "3c",   "5c",   "7e",     "9d", "bc",   "dc",
        "fc", "ff",     "18",     "1900",     "1b00",         "41",   "62c3", "81",     "a1", "a101", "c1",
        "9f", "bf01ff", "5f4101", "5f6101ff", "5f5f4101ffff", "f818", "0000", "df00ff", "3f"}) {
    const auto bytes = hex(bad);
    const auto document = cbor_decode(bytes);
    ASSERT_FALSE(document) << bad;
    EXPECT_EQ(document.error().code(), core::ErrorCode::corrupt_data);
  }
}

TEST(Cbor, WhatWouldTakeTooMuchIsRefused) {
  EXPECT_FALSE(cbor_decode(hex("9b7fffffffffffffff"))) << "items announced, none there";
  EXPECT_FALSE(cbor_decode(hex("5b7fffffffffffffff00"))) << "bytes announced, one there";
  EXPECT_FALSE(cbor_decode(Bytes(100, std::byte{0x81}))) << "arrays in arrays";
  EXPECT_FALSE(cbor_decode(Bytes(1 << 20, std::byte{0xc1}))) << "a million tags";
  Bytes many(1 << 17, std::byte{0});
  many[0] = std::byte{0x9f};
  many.back() = std::byte{0xff};
  EXPECT_FALSE(cbor_decode(many)) << "more items than the limit";
  EXPECT_TRUE(cbor_decode(many, {.items = 1 << 18}));
  EXPECT_FALSE(cbor_decode(hex("5f42010243030405ff"), {.joined_bytes = 4}));
}

TEST(Cbor, DamageIsSurvived) {
  const auto message = CborWriter()
                           .tag(kCborSelfDescribed)
                           .map(3)
                           .text("type")
                           .text("image")
                           .text("data")
                           .tag(40)
                           .array(2)
                           .array(2)
                           .integer(2)
                           .integer(3)
                           .tag(69)
                           .bytes(testing::random_bytes(12, 1))
                           .text("user_data")
                           .null()
                           .message();
  testing::expect_survives_damage(message, [](auto bytes) { return cbor_decode(bytes).has_value(); });
}

TEST(Cbor, DetectorMessagesComeThroughUnchanged) {
  for (const auto* file : {"00_start_small.cbor", "02_image_u16_bslz4.cbor", "07_end.cbor", "09_image_eiger4M.cbor"}) {
    const auto path = tests::shared_data(std::filesystem::path("stream/dectris_v2") / file);
    FARFIELD_REQUIRE_SHARED(path);
    const auto message = testing::read_file(path);
    const auto document = cbor_decode(message);
    ASSERT_TRUE(document) << document.error().what();
    EXPECT_TRUE(document->root().has_tag(kCborSelfDescribed));
    EXPECT_EQ(document->root().items[0].text, "type") << "the first key";
    EXPECT_EQ(document->root().find("series_id")->whole(), 6);
    const auto written = CborWriter().value(document->root()).message();
    EXPECT_EQ(CborWriter().value(cbor_decode(written).value().root()).message(), written);
  }
}

}  // namespace
}  // namespace farfield::codec
