#include "apps/farfield/raw_previews.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numbers>

#include "farfield/codec/zstd.hpp"

namespace farfield::apps {
namespace {

using services::compute::decode_preview;
using services::compute::encode_preview;
using services::compute::Preview;

/// What a viewer makes of a message: values between low and high.
std::vector<double> seen(const Preview& p) {
  std::size_t count = 1;
  for (const long long extent : p.shape) count *= static_cast<std::size_t>(extent);
  const std::size_t bytes = p.dtype == "u8" ? 1 : 2;
  std::vector<std::byte> raw(count * bytes);
  EXPECT_TRUE(codec::zstd_decode(std::as_bytes(std::span(p.bytes)), raw)) << p.name;
  std::vector<double> out;
  const double largest = bytes == 1 ? 255 : 65535;
  for (std::size_t i = 0; i < count; ++i) {
    const auto low = std::to_integer<unsigned>(raw[i * bytes]);
    const unsigned level = bytes == 1 ? low : low | std::to_integer<unsigned>(raw[i * bytes + 1]) << 8U;
    out.push_back(p.low + level / largest * (p.high - p.low));
  }
  return out;
}

std::map<std::string, Preview> sent(const model::Product& product) {
  std::map<std::string, Preview> all;
  for (Preview p : raw_previews(product, 7)) {
    p.task = "t1";
    p = decode_preview(encode_preview(p));  // as it goes over the line
    EXPECT_EQ(p.kind, "zstd");
    EXPECT_EQ(p.step, 7);
    all[p.name] = p;
  }
  return all;
}

template <class T>
model::Dataset image(const std::string& name, std::initializer_list<T> values) {
  core::AnyArray data(core::dtype_of<T>, {2, static_cast<core::Index>(values.size() / 2)});
  std::copy(values.begin(), values.end(), static_cast<T*>(data.data()));
  return {name, data, "", {"y", "x"}};
}

TEST(RawPreviews, ComplexImagesAsPhaseAndAmplitude) {
  model::Product product;
  product.datasets = {image<core::cfloat>("object", {{1, 0}, {0, 2}, {-3, 0}, {0, 0}, {1, 1}, {0, -0.5}})};
  const auto all = sent(product);
  ASSERT_EQ(all.size(), 2U);
  const Preview &phase = all.at("object_phase.raw"), &amplitude = all.at("object_amplitude.raw");
  EXPECT_EQ(phase.shape, (std::vector<long long>{2, 3}));
  EXPECT_EQ(phase.dtype, "u16");
  constexpr double pi = std::numbers::pi;
  const std::vector<double> phases{0, pi / 2, pi, 0, pi / 4, -pi / 2}, amplitudes{1, 2, 3, 0, std::sqrt(2), 0.5};
  const auto phases_seen = seen(phase), amplitudes_seen = seen(amplitude);
  for (std::size_t i = 0; i < 6; ++i) {  // half a level, and what float rounds
    EXPECT_NEAR(phases_seen[i], phases[i], pi / 65535 + 1e-6) << i;
    EXPECT_NEAR(amplitudes_seen[i], amplitudes[i], 1.5 / 65535 + 1e-6) << i;
  }
}

TEST(RawPreviews, RealImagesBetweenTheirLowestAndHighestValue) {
  const double inf = std::numeric_limits<double>::infinity();
  model::Product product;
  product.datasets = {image<double>("map", {-1, 0, 4, inf, std::nan(""), 2}),
                      image<std::uint8_t>("mask", {0, 1, 255, 7}), image<float>("flat", {3, 3}),
                      image<double>("hidden", {1, 2})};
  product.datasets[3].draw = "none";
  product.datasets.push_back({"curve", core::AnyArray(core::DType::f64, {5}), "", {"x"}});
  const auto all = sent(product);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all.at("map.raw").low, -1);
  EXPECT_EQ(all.at("map.raw").high, 4);
  const auto map = seen(all.at("map.raw"));
  const std::vector<double> wanted{-1, 0, 4, -1, -1, 2};
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(map[i], wanted[i], 2.5 / 65535 + 1e-9) << i;
  EXPECT_EQ(all.at("mask.raw").dtype, "u8");
  EXPECT_EQ(seen(all.at("mask.raw")), (std::vector<double>{0, 1, 255, 7}));
  EXPECT_EQ(seen(all.at("flat.raw")), (std::vector<double>{3, 3}));
}

}  // namespace
}  // namespace farfield::apps
