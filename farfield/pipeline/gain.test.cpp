#include "farfield/pipeline/gain.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <vector>

#include "farfield/core/error.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::pipeline {
namespace {

using core::Array;
using core::Index;

GainConstants flat(Index ny, Index nx) {
  GainConstants out{Array<float, 3>({kGains, ny, nx}), Array<float, 3>({kGains, ny, nx})};
  const float pedestal[] = {3000, 13000, 14000}, factor[] = {0.5F, -2, -8};
  for (Index g = 0; g < kGains; ++g)
    for (Index i = 0; i < ny * nx; ++i) {
      out.pedestal_ADU.data()[g * ny * nx + i] = pedestal[g];
      out.factor.data()[g * ny * nx + i] = factor[g];
    }
  return out;
}

TEST(GainCorrection, TakesPedestalAndFactorOfThePixelsGain) {
  auto constants = flat(2, 4);
  constants.factor(0, 1, 3) = 0;
  const GainCorrection correction(std::move(constants));
  Array<std::uint16_t, 2> raw({2, 4});
  const std::vector<std::uint16_t> words{3100, 0x4000 | 12000, 0xc000 | 13000, 0x8000 | 5, 0xc000, 2990, 0x4000, 3500};
  std::copy(words.begin(), words.end(), raw.begin());
  Array<float, 2> energy({2, 4});
  const auto counts = correction.apply(raw.view(), energy.view());
  EXPECT_EQ(energy(0, 0), 50);
  EXPECT_EQ(energy(0, 1), 2000);
  EXPECT_EQ(energy(0, 2), 8000);
  EXPECT_TRUE(std::isnan(energy(0, 3)));
  EXPECT_TRUE(std::isnan(energy(1, 0)));
  EXPECT_EQ(energy(1, 1), -5);
  EXPECT_EQ(energy(1, 2), 26000);
  EXPECT_TRUE(std::isnan(energy(1, 3)));
  EXPECT_EQ(counts.gain[0], 2);
  EXPECT_EQ(counts.gain[1], 2);
  EXPECT_EQ(counts.gain[2], 1);
  EXPECT_EQ(counts.saturated, 1);
  EXPECT_EQ(counts.invalid, 2);
}

TEST(GainCorrection, RefusesOtherShapes) {
  EXPECT_THROW(GainCorrection({Array<float, 3>({2, 4, 4}), Array<float, 3>({2, 4, 4})}), core::Error);
  EXPECT_THROW(GainCorrection({Array<float, 3>({3, 4, 4}), Array<float, 3>({3, 4, 5})}), core::Error);
  const GainCorrection correction(flat(2, 4));
  const Array<std::uint16_t, 2> raw({4, 2});
  Array<float, 2> energy({4, 2});
  EXPECT_THROW(correction.apply(raw.view(), energy.view()), core::Error);
}

template <class T>
std::vector<T> read(const std::filesystem::path& path) {
  std::vector<T> out(std::size_t{512} * 1024);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(T)));
  EXPECT_TRUE(in) << path;
  return out;
}

// A recorded JUNGFRAU module with its pedestals and the frame that the facility's program made of it. Its gain map is
// not there: the factor of each gain is taken from the data, one number for each chip of 256 x 256 pixels. What is
// tested is which gain and pedestal a pixel gets, and the sign: a wrong gain is wrong by a factor of ten and more.
TEST(GainCorrection, ConvertsARecordedFrameAsTheFacilityDoes) {
  const auto folder = tests::shared_data("stream/jungfrau_mod5");
  FARFIELD_REQUIRE_SHARED(folder);
  constexpr Index kNy = 512, kNx = 1024, kChip = 256;
  const auto words = read<std::uint16_t>(folder / "mod5_raw0.bin");
  const auto theirs = read<float>(folder / "mod5_conv0.bin");
  GainConstants constants{Array<float, 3>({kGains, kNy, kNx}), Array<float, 3>({kGains, kNy, kNx})};
  for (int g = 0; g < kGains; ++g) {
    const auto pedestal = read<float>(folder / ("mod5_pedeG" + std::to_string(g) + ".bin"));
    std::copy(pedestal.begin(), pedestal.end(), constants.pedestal_ADU.data() + g * kNy * kNx);
  }
  Array<std::uint16_t, 2> raw({kNy, kNx});
  std::copy(words.begin(), words.end(), raw.begin());
  for (int g = 0; g < kGains; ++g)
    for (Index cy = 0; cy < kNy; cy += kChip)
      for (Index cx = 0; cx < kNx; cx += kChip) {
        std::vector<float> ratios;
        for (Index y = cy; y < cy + kChip; ++y)
          for (Index x = cx; x < cx + kChip; ++x) {
            const auto i = static_cast<std::size_t>(y * kNx + x);
            const int gain = words[i] >> 14 == 3 ? 2 : words[i] >> 14;
            const float adu = static_cast<float>(words[i] & 0x3fffU) - constants.pedestal_ADU(g, y, x);
            if (gain == g && words[i] != 0xc000 && std::abs(adu) > 100) ratios.push_back(theirs[i] / adu);
          }
        float factor = 0;
        if (!ratios.empty()) {
          std::nth_element(ratios.begin(), ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2),
                           ratios.end());
          factor = ratios[ratios.size() / 2];
        }
        for (Index y = cy; y < cy + kChip; ++y)
          for (Index x = cx; x < cx + kChip; ++x) constants.factor(g, y, x) = factor;
      }
  const GainCorrection correction(std::move(constants));
  Array<float, 2> ours({kNy, kNx});
  const auto counts = correction.apply(raw.view(), ours.view());
  EXPECT_EQ(counts.gain[0], 523750);
  EXPECT_EQ(counts.gain[1] + counts.invalid, 501);  // one chip has too few pixels in this gain
  EXPECT_EQ(counts.gain[2] + counts.saturated, 37);
  // Gains of the pixels of a chip differ by a few percent, single bad pixels by more.
  Index near = 0, compared = 0, far = 0;
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const float value = ours.data()[i];
    if (std::isnan(value)) continue;
    ++compared;
    const float difference = std::abs(value - theirs[i]), size = std::abs(theirs[i]);
    if (difference <= 0.08F * size + 1e-3F) ++near;
    if (difference > 0.5F * size + 0.5F) ++far;
  }
  EXPECT_GT(near, compared * 999 / 1000);
  EXPECT_LT(far, compared / 10000);
}

}  // namespace
}  // namespace farfield::pipeline
