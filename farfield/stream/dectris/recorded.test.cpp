// Recorded messages: the series of an EIGER 4M (stream v1) and messages that the vendor's own client has read (v2).

#include <fmt/format.h>
#include <openssl/evp.h>

#include <fstream>

#include "farfield/codec/cbor.hpp"
#include "farfield/stream/dectris/simplon_testing.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::stream::dectris {
namespace {

using namespace testing;
namespace fs = std::filesystem;

std::vector<std::byte> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(chars));
  return {bytes.begin(), bytes.end()};
}

std::string md5(const void* data, std::size_t size) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(data, size, digest, &length, EVP_md5(), nullptr);
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

constexpr const char* kMd5[] = {"466dfee95c00e7ec8060c7bca25bbeac", "ce6c03a6abb32c4873006804c3ca1620",
                                "79cb1532cac76ba7a7baf24aa747b519"};

/// The blobs of flat field and mask were not recorded; flat ones stand in for them.
std::vector<MemoryFeed::Parts> series_v1(const fs::path& folder) {
  const auto part = [&](int number) { return read(folder / fmt::format("streamfile_{}", number)); };
  std::vector<std::byte> flat(2167 * 2070 * 4), mask(2167 * 2070 * 4);
  for (std::size_t i = 0; i < flat.size(); i += 4) {
    const float one = 1;
    std::memcpy(flat.data() + i, &one, 4);
  }
  std::vector<MemoryFeed::Parts> out;
  out.push_back({part(1), part(2), part(3), flat, part(5), mask, part(7), part(8), part(9)});
  for (const int first : {10, 14, 18}) out.push_back({part(first), part(first + 1), part(first + 2), part(first + 3)});
  out.push_back({part(22)});
  return out;
}

TEST(Recorded, TheSeriesOfAnEiger4MDecodesToItsPixels) {
  const auto folder = tests::shared_data("stream/dectris_v1");
  FARFIELD_REQUIRE_SHARED(folder);
  FedSeries source(series_v1(folder), {.batch_bytes = 1});
  const auto& a = source.acquisition();
  EXPECT_EQ(a.detector.ny, 2167);
  EXPECT_EQ(a.detector.nx, 2070);
  EXPECT_EQ(a.detector.dtype, core::DType::u16);
  EXPECT_DOUBLE_EQ(a.beam.energy_eV.value(), 8047.77978515625);
  EXPECT_DOUBLE_EQ(a.detector.pixel_size_x_m.value(), 7.5000003562308848e-05);
  EXPECT_EQ(a.detector.distance_m, std::nullopt) << "0 stands for what is not known";
  EXPECT_EQ(a.detector.saturation_counts, 65535);
  EXPECT_EQ(a.scan.expected_frames, 10);
  EXPECT_EQ(a.metadata.at("header_appendix"), R"({"acqID": "test_1"})");
  EXPECT_EQ(a.metadata.at("software_version"), "1.6.6");
  EXPECT_EQ(a.detector.pixel_mask.extent(0), 2167);

  std::vector<std::string> sums;
  std::map<model::FrameId, model::Values> values;
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames) {
      sums.push_back(md5(f.image.data, static_cast<std::size_t>(f.image.ny * f.image.nx * 2)));
      std::uint64_t sum = 0, masked = 0;
      const auto pixels = f.image.view<std::uint16_t>();
      for (const std::uint16_t p : pixels) {
        sum += p < 65000 ? p : 0;
        masked += p == 65535 ? 1 : 0;
      }
      EXPECT_EQ(sum, 4609824U);
      EXPECT_EQ(masked, 251297U);
    }
    for (const auto& [id, v] : batch.values) values[id] = v;
  })) {}
  EXPECT_EQ(sums, std::vector<std::string>(std::begin(kMd5), std::end(kMd5)));
  EXPECT_DOUBLE_EQ(values.at(1).at("time_s"), 143.051395491);
  EXPECT_DOUBLE_EQ(values.at(1).at("exposure_s"), 99.130e-6);
}

TEST(Recorded, HeadersOfALaterDetector) {
  const auto folder = tests::shared_data("stream/dectris_v1/eiger_meta_out");
  FARFIELD_REQUIRE_SHARED(folder);
  const std::string first = R"({"header_detail":"basic","htype":"dheader-1.0","series":40181})";
  const auto text = std::as_bytes(std::span(first));
  const auto message = parsed({{text.begin(), text.end()}, read(folder / "05.json")});
  const auto& start = std::get<SeriesStart>(message.content);
  EXPECT_EQ(start.dtype, core::DType::u32);
  EXPECT_EQ(start.acquisition.detector.ny, 4362);
  EXPECT_EQ(start.acquisition.detector.saturation_counts, 1151122);
  EXPECT_EQ(start.acquisition.metadata.at("detector_number"), "E-32-0117");
}

TEST(Recorded, MessagesThatTheVendorsClientHasRead) {
  const auto folder = tests::shared_data("stream/dectris_v2");
  FARFIELD_REQUIRE_SHARED(folder);
  const auto message = [&](const char* name) { return MemoryFeed::Parts{read(folder / name)}; };
  const auto start_message = message("00_start_small.cbor");
  const auto parsed_start = parsed(start_message);
  const auto& start = std::get<SeriesStart>(parsed_start.content);
  EXPECT_EQ(start.id.number, 6);
  EXPECT_EQ(start.id.unique, "01HTEST0000000000000000006");
  ASSERT_EQ(start.channels.size(), 2U);
  EXPECT_EQ(start.channels[1].name, "threshold_2");
  EXPECT_DOUBLE_EQ(start.channels[1].threshold_eV.value(), 8023.89);
  EXPECT_EQ(start.channels[0].pixel_mask.extent(0), 50);
  EXPECT_EQ(start.channels[0].pixel_mask.extent(1), 70);
  EXPECT_FLOAT_EQ(start.channels[1].flatfield(0, 5), 1.105F);
  EXPECT_EQ(start.countrate.extent(0), 63) << "the last entry marks what is beyond";
  EXPECT_EQ(start.countrate(62, 1), 3844);
  EXPECT_DOUBLE_EQ(start.acquisition.detector.distance_m.value(), 0.15);
  EXPECT_EQ(start.acquisition.detector.saturation_counts, 65534);
  EXPECT_EQ(start.acquisition.scan.expected_frames, 6);
  EXPECT_EQ(start.acquisition.metadata.at("user_data"), R"({"acqID":"test_1"})");
  EXPECT_NE(start.acquisition.metadata.at("goniometer").find("omega"), std::string::npos);

  // The same pixels in three encodings, both channels of the first two as the raw file has them.
  const auto raw = read(folder / "raw_u16_t1.bin");
  for (const auto* name : {"01_image_u16_raw.cbor", "02_image_u16_bslz4.cbor", "03_image_u16_lz4.cbor"}) {
    const auto bytes = message(name);
    const auto parsed_image = parsed(bytes);
    const auto& image = std::get<SeriesImage>(parsed_image.content);
    ASSERT_EQ(image.channels.size(), 2U) << name;
    EXPECT_DOUBLE_EQ(image.values.at("exposure_s"), 99251.0 / 50e6);
    const auto& p = image.channels[0].pixels;
    ASSERT_EQ(p.pixels_bytes(), std::ssize(raw));
    std::vector<std::byte> out(raw.size()), second(raw.size());
    ASSERT_TRUE(unpack(p, out)) << name;
    EXPECT_EQ(out, raw) << name;
    ASSERT_TRUE(unpack(image.channels[1].pixels, second)) << name;
    EXPECT_NE(second, raw);
  }
  for (const auto& [name, type] :
       {std::pair{"04_image_u32_bslz4.cbor", core::DType::u32}, std::pair{"05_image_u8_bslz4.cbor", core::DType::u8},
        std::pair{"06_image_f32_raw.cbor", core::DType::f32}}) {
    const auto bytes = message(name);
    const auto parsed_image = parsed(bytes);
    const auto& p = std::get<SeriesImage>(parsed_image.content).channels.at(0).pixels;
    EXPECT_EQ(p.dtype, type);
    std::vector<std::byte> out(static_cast<std::size_t>(p.pixels_bytes()));
    EXPECT_TRUE(unpack(p, out)) << name;
  }
  EXPECT_TRUE(std::holds_alternative<SeriesEnd>(parsed(message("07_end.cbor")).content));

  FedSeries source({message("08_start_eiger4M.cbor"), message("09_image_eiger4M.cbor"),
                    message("10_image_eiger4M.cbor"), message("11_image_eiger4M.cbor"), message("12_end.cbor")});
  std::vector<std::string> sums;
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames)
      sums.push_back(md5(f.image.data, static_cast<std::size_t>(f.image.ny * f.image.nx * 2)));
  })) {}
  EXPECT_EQ(sums, std::vector<std::string>(std::begin(kMd5), std::end(kMd5)));
}

TEST(Recorded, TheSecondThresholdCanBeChosen) {
  const auto folder = tests::shared_data("stream/dectris_v2");
  FARFIELD_REQUIRE_SHARED(folder);
  const std::vector<MemoryFeed::Parts> m{{read(folder / "00_start_small.cbor")},
                                         {read(folder / "02_image_u16_bslz4.cbor")},
                                         {read(folder / "07_end.cbor")}};
  FedSeries first(m), second(m, {.channel = "threshold_2"});
  std::uint16_t pixels[2] = {};
  int at = 0;
  for (auto* source : {&first, &second}) {
    while (source->next({}, [&](const model::FrameBatch& b) {
      for (const auto& f : b.frames) pixels[at] = f.image.view<std::uint16_t>()(0, 2);
    })) {}
    ++at;
  }
  EXPECT_EQ(pixels[0], 2) << "as the vendor's client printed it";
  EXPECT_EQ(pixels[1], 1);
  EXPECT_DOUBLE_EQ(std::stod(second.acquisition().metadata.at("threshold_eV")), 8023.89);
}

TEST(Encodings, FollowTheGrammarOfTheInterface) {
  EXPECT_EQ(parse_encoding("<")->compression, Compression::none);
  EXPECT_EQ(parse_encoding("lz4<")->compression, Compression::lz4);
  EXPECT_EQ(parse_encoding("bs16-lz4<")->shuffle_bytes, 2);
  EXPECT_EQ(parse_encoding("bs32lz4<")->shuffle_bytes, 4);
  EXPECT_TRUE(parse_encoding("lz4>")->big_endian);
  EXPECT_FALSE(parse_encoding("bs16<")) << "no detector sends it";
  EXPECT_FALSE(parse_encoding("bs12-lz4<"));
  EXPECT_FALSE(parse_encoding("gzip"));
}

TEST(Encodings, BigEndianPixelsAreTurned) {
  const std::vector<std::byte> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const PackedPixels p{core::DType::u16, 1, 2, Compression::none, true, bytes};
  std::uint16_t out[2];
  ASSERT_TRUE(unpack(p, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out[0], 0x0102);
  EXPECT_EQ(out[1], 0x0304);
}

TEST(Encodings, ALittleCannotUnpackToMuch) {
  const std::vector<std::byte> bytes(100);
  EXPECT_FALSE(check({core::DType::u32, 60000, 60000, Compression::bitshuffle_lz4, false, bytes}));
  EXPECT_FALSE(check({core::DType::u16, 1000, 1000, Compression::bitshuffle_lz4, false, bytes}));
  EXPECT_FALSE(check({core::DType::u16, 0, 10, Compression::none, false, {}}));
  EXPECT_TRUE(check({core::DType::u16, 100, 100, Compression::bitshuffle_lz4, false, bytes}));
}

}  // namespace
}  // namespace farfield::stream::dectris
