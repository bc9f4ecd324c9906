#include "farfield/techniques/ptychography/line_kernels.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "farfield/techniques/ptychography/kernels_testing.hpp"
#include "farfield/techniques/ptychography/projection_kernels.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;

using testing::expect_near;
using testing::noise;
using Case = testing::KernelCase;
class LineAndProjectionKernels : public testing::KernelTest {};

TEST_P(LineAndProjectionKernels, WavesEqualReference) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 5;
  const auto probe = noise(s.ny, s.nx, 1), direction = noise(s.ny, s.nx, 2), o = noise(s.ny, stride, 3),
             d = noise(s.ny, stride, 4), second = noise(s.ny, s.nx, 5);
  std::vector<float> rows(static_cast<std::size_t>(row_scratch(s.nx)));
  for (const auto& shift : {sub_pixel_shift(0.3, 0.85), sub_pixel_shift(0, 0)})
    for (const bool with_direction : {false, true})
      for (const bool with_second : {false, true}) {
        const ObjectLine line{o.data(), stride, d.data() + 2, stride, with_second ? second.data() : nullptr};
        const bool quadratic = with_direction || with_second;
        std::vector<Array<cfloat, 2>> out;
        for (int i = 0; i < 6; ++i) out.emplace_back(std::array<Index, 2>{s.ny, s.nx});
        int at = 0;
        for (const auto* table : {&cpu_line_kernels(GetParam().isa), &reference_line_kernels()}) {
          table->waves(s, shift, probe.data(), with_direction ? direction.data() : nullptr, line,
                       out[static_cast<std::size_t>(at)].data(), out[static_cast<std::size_t>(at + 1)].data(),
                       quadratic ? out[static_cast<std::size_t>(at + 2)].data() : nullptr, rows.data());
          at = 3;
        }
        expect_near(out[0].data(), out[3].data(), s.size(), "a");
        expect_near(out[1].data(), out[4].data(), s.size(), "b");
        expect_near(out[2].data(), out[5].data(), s.size(), "c");
      }
}

TEST_P(LineAndProjectionKernels, MovingWindowEqualsReference) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 5;
  const auto o = noise(s.ny + 2, stride, 3), d = noise(s.ny + 2, stride, 4);
  Array<cfloat, 2> a1({s.ny, s.nx}), a2({s.ny, s.nx}), b1({s.ny, s.nx}), b2({s.ny, s.nx});
  cpu_line_kernels(GetParam().isa)
      .moving_window(s, o.data() + stride + 1, d.data() + stride + 1, stride, 0.3F, -0.7F, a1.data(), a2.data());
  reference_line_kernels().moving_window(s, o.data() + stride + 1, d.data() + stride + 1, stride, 0.3F, -0.7F,
                                         b1.data(), b2.data());
  expect_near(a1.data(), b1.data(), s.size(), "first");
  expect_near(a2.data(), b2.data(), s.size(), "second");
}

template <class T>
void compare_slopes(core::Isa isa, Shape s, int modes, bool quartic, bool everything, Likelihood likelihood) {
  math::Random random(9);
  const Index n = s.size();
  std::vector<T> counts(static_cast<std::size_t>(n));
  std::vector<float> valid(counts.size()), background(counts.size());
  for (auto& c : counts) c = static_cast<T>(random.poisson(random.uniform() < 0.3 ? 0.0 : 4.0));
  for (auto& v : valid) v = random.uniform() < 0.9 ? 1.0F : 0.0F;
  for (auto& b : background) b = static_cast<float>(random.uniform());
  std::vector<Array<cfloat, 2>> tiles;
  std::vector<const cfloat*> a, b, c;
  for (int m = 0; m < modes; ++m)
    for (auto* list : {&a, &b, &c}) {
      tiles.push_back(noise(s.ny, s.nx, 50 + tiles.size()));
      list->push_back(tiles.back().data());
    }
  LineTask t{n, modes, a.data(), b.data(), quartic ? c.data() : nullptr, {}, {0.4F, -0.7F}};
  t.detector.counts = counts.data();
  t.detector.dtype = core::dtype_of<T>;
  t.detector.intensity_scale = 0.8F;
  t.detector.likelihood = likelihood;
  if (everything) {
    t.detector.valid = valid.data();
    t.detector.background = background.data();
    t.detector.saturation = 8;
  }
  const LineSlopes fast = cpu_line_kernels(isa).slopes(t), oracle = reference_line_kernels().slopes(t);
  // Terms of order 10, some of either sign: rounding of the sum grows with their number, not with the sum.
  for (int k = 0; k < kTrials; ++k)
    EXPECT_NEAR(fast.at[k], oracle.at[k], 2e-5 * static_cast<double>(n) * 10 + 1e-5 * std::abs(oracle.at[k]));

  constexpr Index kColumns = 16;
  if (s.nx < kColumns) return;
  // The first columns of every second row, with real and imaginary parts apart.
  const Index kRows = s.ny / 2;
  std::vector<Array<float, 2>> stores;
  std::vector<float*> data;
  for (int m = 0; m < modes; ++m)
    for (int k = 0; k < (quartic ? 3 : 2); ++k) {
      Array<float, 2> store({kRows, 2 * kColumns});
      const auto& tile = tiles[static_cast<std::size_t>(3 * m + k)];
      for (Index r = 0; r < kRows; ++r)
        for (Index x = 0; x < kColumns; ++x) {
          store(r, x) = tile(1 + 2 * r, x).real();
          store(r, kColumns + x) = tile(1 + 2 * r, x).imag();
        }
      data.push_back(store.data());
      stores.push_back(std::move(store));
    }
  const math::FftBlock block{1, 2, kRows, 0, kColumns, static_cast<int>(data.size()), data.data()};
  const LineSlopes part = cpu_line_kernels(isa).slopes_block(t, s.nx, block),
                   of_oracle = reference_line_kernels().slopes_block(t, s.nx, block);
  for (int k = 0; k < kTrials; ++k) {
    const double terms = static_cast<double>(kRows * kColumns);
    EXPECT_NEAR(part.at[k], of_oracle.at[k], 2e-5 * terms * 10 + 1e-5 * std::abs(of_oracle.at[k]));
  }
}

TEST_P(LineAndProjectionKernels, SlopesEqualReference) {
  for (const int modes : {1, 3})
    for (const bool quartic : {false, true})
      for (const bool everything : {false, true}) {
        compare_slopes<float>(GetParam().isa, GetParam().shape, modes, quartic, everything, Likelihood::amplitude);
        compare_slopes<std::uint8_t>(GetParam().isa, GetParam().shape, modes, quartic, everything,
                                     Likelihood::amplitude);
        compare_slopes<std::uint16_t>(GetParam().isa, GetParam().shape, modes, quartic, everything,
                                      Likelihood::amplitude);
        compare_slopes<std::uint32_t>(GetParam().isa, GetParam().shape, modes, quartic, everything,
                                      Likelihood::amplitude);
        // With a background no intensity is near zero, where the slope of the Poisson likelihood has a pole.
        if (everything)
          compare_slopes<std::uint16_t>(GetParam().isa, GetParam().shape, modes, quartic, everything,
                                        Likelihood::poisson);
      }
}

TEST_P(LineAndProjectionKernels, ProjectionKernelsEqualReference) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 5;
  const auto probe = noise(s.ny, s.nx, 1), object = noise(s.ny, stride, 2);
  Array<float, 2> power({s.ny, stride});
  for (Index i = 0; i < power.size(); ++i) power.data()[i] = std::norm(object.data()[i]);
  std::vector<float> row(static_cast<std::size_t>(row_scratch(s.nx)));
  for (const auto& shift : {sub_pixel_shift(0.3, 0.85), sub_pixel_shift(0, 0)}) {
    std::vector<Array<cfloat, 2>> shifted, psi, stored, sum, overlap, term, probe_sum;
    const auto residual = noise(s.ny, s.nx, 5);
    std::vector<Array<float, 2>> light, weight;
    for (const auto* table : {&cpu_projection_kernels(GetParam().isa), &reference_projection_kernels()}) {
      shifted.push_back(probe.clone());
      psi.emplace_back(std::array<Index, 2>{s.ny, s.nx});
      stored.push_back(noise(s.ny, s.nx, 4));
      sum.push_back(noise(s.ny, stride, 6));
      overlap.push_back(noise(s.ny, s.nx, 7));
      weight.emplace_back(std::array<Index, 2>{s.ny, s.nx}, 0.5F);
      light.emplace_back(std::array<Index, 2>{s.ny, stride});
      // In ranges, as a transform takes and gives rows.
      const Index cut = s.ny / 3;
      term.emplace_back(std::array<Index, 2>{s.ny, s.nx});
      probe_sum.push_back(noise(s.ny, s.nx, 9));
      for (const RowRange rows : {RowRange{0, cut}, RowRange{cut, s.ny}})
        table->wave(s, rows, shift, {2, -0.5F, 0}, probe.data(), object.data(), stride, stored.back().data(),
                    shifted.back().data(), psi.back().data(), stored.back().data(), row.data());
      for (const RowRange rows : {RowRange{0, cut}, RowRange{cut, s.ny}})
        table->update(s, rows,
                      {{0.3F, 0.4F, -0.6F},
                       {0.8F, 1, 2},
                       shift,
                       shifted.back().data(),
                       object.data(),
                       stride,
                       stored.back().data(),
                       residual.data(),
                       sum.back().data(),
                       stride,
                       light.back().data(),
                       probe_sum.back().data(),
                       term.back().data(),
                       row.data()});
      // Eleven windows, more than are added at once.
      std::vector<Index> offsets;
      for (Index k = 0; k < 11; ++k) offsets.push_back(k % 3 + (k % 2) * stride);
      table->add_windows({s.ny - 1, s.nx}, object.data(), power.data(), stride, offsets.data(), 11,
                         overlap.back().data(), weight.back().data());
    }
    expect_near(shifted[0].data(), shifted[1].data(), s.size(), "shifted");
    expect_near(psi[0].data(), psi[1].data(), s.size(), "wave");
    expect_near(stored[0].data(), stored[1].data(), s.size(), "stored");
    expect_near(probe_sum[0].data(), probe_sum[1].data(), s.size(), "probe sum");
    expect_near(sum[0].data(), sum[1].data(), sum[0].size(), "object sum");
    expect_near(overlap[0].data(), overlap[1].data(), s.size(), "overlap");
    expect_near(weight[0].data(), weight[1].data(), s.size(), "weight");
    expect_near(light[0].data(), light[1].data(), light[0].size(), "illumination");
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, LineAndProjectionKernels,
                         ::testing::Values(Case{core::Isa::v2, {16, 16}}, Case{core::Isa::v2, {7, 13}},
                                           Case{core::Isa::v3, {16, 16}}, Case{core::Isa::v3, {9, 21}},
                                           Case{core::Isa::v4, {32, 32}}, Case{core::Isa::v4, {11, 19}},
                                           Case{core::Isa::v4, {5, 4}}));

}  // namespace
}  // namespace farfield::techniques::ptychography
