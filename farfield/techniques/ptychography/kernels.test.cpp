#include "farfield/techniques/ptychography/kernels.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/techniques/ptychography/kernels_testing.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;

using testing::expect_near;
using testing::noise;
using Case = testing::KernelCase;

void expect_sums(const StepSums& a, const StepSums& b, const char* what) {
  const double scale = std::sqrt(b.aa * b.bb) + b.aa + b.bb;
  for (const auto member : {&StepSums::a_chi, &StepSums::b_chi, &StepSums::aa, &StepSums::bb, &StepSums::ab})
    EXPECT_NEAR(a.*member, b.*member, 1e-5 * scale) << what;
}

/// A tile as it may come: some rows, one row, the rest.
std::vector<RowRange> in_pieces(Shape s) {
  const Index a = s.ny / 3, b = std::min(s.ny, a + 1);
  return {{0, a}, {a, b}, {b, s.ny}};
}

class KernelsEqualReference : public testing::KernelTest {
protected:
  const Kernels& fast() { return cpu_kernels(GetParam().isa); }
  const Kernels& oracle = reference_kernels();
};

TEST_P(KernelsEqualReference, ExitWaveAndItsAdjoint) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 13;
  const auto probe = noise(s.ny, s.nx, 1), object = noise(s.ny + 2, stride, 2), term = noise(s.ny, s.nx, 3);
  Array<float, 1> row({row_scratch(s.nx)});
  for (const auto& shift : {sub_pixel_shift(0.3, 0.85), sub_pixel_shift(0, 0), sub_pixel_shift(0.5, 0)}) {
    Array<cfloat, 2> p1({s.ny, s.nx}), p2({s.ny, s.nx}), w1({s.ny, s.nx}), w2({s.ny, s.nx});
    for (const RowRange rows : in_pieces(s))
      fast().exit_wave(s, rows, shift, probe.data(), object.data() + stride + 5, stride, p1.data(), w1.data(),
                       row.data());
    oracle.exit_wave(s, all_rows(s), shift, probe.data(), object.data() + stride + 5, stride, p2.data(), w2.data(),
                     row.data());
    expect_near(p1.data(), p2.data(), s.size(), "shifted probe");
    expect_near(w1.data(), w2.data(), s.size(), "exit wave");
    Array<cfloat, 2> g1 = term.clone(), g2 = term.clone();
    for (const RowRange rows : in_pieces(s)) fast().unshift_add(s, rows, shift, term.data(), g1.data(), row.data());
    oracle.unshift_add(s, all_rows(s), shift, term.data(), g2.data(), row.data());
    expect_near(g1.data(), g2.data(), s.size(), "unshifted gradient");
    Array<cfloat, 2> scratch({s.ny, s.nx}), b1 = noise(s.ny + 2, stride, 6), b2 = b1.clone(), q1 = probe.clone(),
                                            q2 = probe.clone();
    Array<float, 2> l1({s.ny + 2, stride}), l2({s.ny + 2, stride});
    for (const RowRange rows : in_pieces(s))
      fast().back_project(s, rows, shift, term.data(), probe.data(), object.data() + 3, stride, b1.data(), stride,
                          l1.data(), q1.data(), scratch.data(), row.data());
    oracle.back_project(s, all_rows(s), shift, term.data(), probe.data(), object.data() + 3, stride, b2.data(), stride,
                        l2.data(), q2.data(), scratch.data(), row.data());
    expect_near(b1.data(), b2.data(), b1.size(), "object gradient");
    expect_near(l1.data(), l2.data(), l1.size(), "illumination");
    expect_near(q1.data(), q2.data(), s.size(), "probe gradient");
    // <S p, t> = <p, S^T t>: rounding of n products, 1e-5 of the norms.
    if (!shift.identity) {
      Array<cfloat, 2> back({s.ny, s.nx});
      fast().unshift_add(s, all_rows(s), shift, term.data(), back.data(), row.data());
      const auto n = s.size();
      EXPECT_NEAR(fast().dot(n, p1.data(), term.data()), fast().dot(n, probe.data(), back.data()),
                  1e-5 * std::sqrt(fast().norm2(n, p1.data()) * fast().norm2(n, term.data())));
    }
  }
}

template <class T>
void compare_modulus(const Kernels& fast, const Kernels& oracle, Shape s, int modes, bool everything,
                     Likelihood likelihood) {
  math::Random random(9);
  const Index n = s.size();
  std::vector<T> counts(static_cast<std::size_t>(n));
  for (auto& c : counts) c = static_cast<T>(random.poisson(random.uniform() < 0.3 ? 0.0 : 40.0));
  std::vector<float> valid(static_cast<std::size_t>(n)), background(static_cast<std::size_t>(n));
  for (auto& v : valid) v = random.uniform() < 0.9 ? 1.0F : 0.0F;
  for (auto& b : background) b = static_cast<float>(random.uniform());
  std::vector<Array<cfloat, 2>> a, b;
  std::vector<cfloat*> pa, pb;
  for (int m = 0; m < modes; ++m) {
    a.push_back(noise(s.ny, s.nx, 20 + static_cast<std::uint64_t>(m)));
    b.push_back(a.back().clone());
  }
  for (int m = 0; m < modes; ++m) {
    pa.push_back(a[static_cast<std::size_t>(m)].data());
    pb.push_back(b[static_cast<std::size_t>(m)].data());
  }
  std::vector<float> ga(static_cast<std::size_t>(n)), gb(static_cast<std::size_t>(n));
  ModulusTask task{n,       modes, pa.data(), counts.data(), core::dtype_of<T>, nullptr, 0,
                   nullptr, 0.7F,  0.25F,     likelihood,    everything,        nullptr};
  if (everything) {
    task.valid = valid.data();
    task.background = background.data();
    task.saturation = 50;
    task.background_gradient = ga.data();
  }
  const ModulusSums x = fast.modulus(task);
  task.psi = pb.data();
  task.background_gradient = everything ? gb.data() : nullptr;
  const ModulusSums y = oracle.modulus(task);
  for (int m = 0; m < modes; ++m)
    expect_near(pa[static_cast<std::size_t>(m)], pb[static_cast<std::size_t>(m)], n, "residual");
  if (everything) expect_near(ga.data(), gb.data(), n, "background gradient");
  EXPECT_EQ(x.valid, y.valid);
  EXPECT_NEAR(x.cost, y.cost, 1e-5 * y.cost);
  EXPECT_NEAR(x.abs_difference, y.abs_difference, 1e-5 * y.abs_difference);
  EXPECT_NEAR(x.amplitude, y.amplitude, 1e-5 * y.amplitude);
  EXPECT_NEAR(x.model_intensity, y.model_intensity, 1e-5 * y.model_intensity);
  EXPECT_NEAR(x.measured_intensity, y.measured_intensity, 1e-5 * y.measured_intensity);
}

/// Rows 1, 4, 7, ... and 16 columns of a tile of 24 x 48, with real and imaginary parts apart.
template <class T>
void compare_modulus_block(const Kernels& fast, const Kernels& oracle, int modes, bool everything,
                           Likelihood likelihood) {
  const Shape s{24, 48};
  math::Random random(6);
  const auto n = static_cast<std::size_t>(s.size());
  std::vector<T> counts(n);
  for (auto& c : counts) c = static_cast<T>(random.poisson(random.uniform() < 0.3 ? 0.0 : 40.0));
  std::vector<float> valid(n), background(n);
  for (auto& v : valid) v = random.uniform() < 0.9 ? 1.0F : 0.0F;
  for (auto& b : background) b = static_cast<float>(random.uniform());
  ModulusTask task{s.size(), modes, nullptr, counts.data(), core::dtype_of<T>, nullptr, 0,
                   nullptr,  0.7F,  0.25F,   likelihood,    everything,        nullptr};
  if (everything) {
    task.valid = valid.data();
    task.background = background.data();
    task.saturation = 50;
  }
  constexpr Index kRows = 8, kColumns = 16;
  std::vector<Array<float, 2>> stores;
  std::vector<ModulusLanes> lanes(2);
  std::vector<std::vector<float>> gradients(2, std::vector<float>(n));
  for (std::size_t which = 0; which < 2; ++which) {
    std::vector<float*> data;
    for (int m = 0; m < modes; ++m) {
      Array<float, 2> store({kRows, 2 * kColumns});
      const auto values = noise(kRows, kColumns, 70 + static_cast<std::uint64_t>(m));
      std::memcpy(store.data(), values.data(), sizeof(float) * static_cast<std::size_t>(store.size()));
      stores.push_back(std::move(store));
      data.push_back(stores.back().data());
    }
    if (everything) task.background_gradient = gradients[which].data();
    (which == 0 ? fast : oracle)
        .modulus_block(task, s.nx, {1, 3, kRows, 16, kColumns, modes, data.data()}, lanes[which]);
  }
  for (int m = 0; m < modes; ++m)
    expect_near(stores[static_cast<std::size_t>(m)].data(), stores[static_cast<std::size_t>(m + modes)].data(),
                kRows * 2 * kColumns, "block");
  if (everything) expect_near(gradients[0].data(), gradients[1].data(), s.size(), "background gradient");
  ModulusSums x, y;
  lanes[0].gather(x);
  lanes[1].gather(y);
  EXPECT_EQ(x.valid, y.valid);
  EXPECT_GT(y.valid, 60);
  EXPECT_NEAR(x.cost, y.cost, 1e-5 * y.cost);
  EXPECT_NEAR(x.abs_difference, y.abs_difference, 1e-5 * y.abs_difference);
  EXPECT_NEAR(x.amplitude, y.amplitude, 1e-5 * y.amplitude);
  EXPECT_NEAR(x.model_intensity, y.model_intensity, 1e-5 * y.model_intensity);
  EXPECT_NEAR(x.measured_intensity, y.measured_intensity, 1e-5 * y.measured_intensity);
  EXPECT_EQ(lanes[0].cost[0], 0);
}

TEST_P(KernelsEqualReference, ModulusOfABlock) {
  for (const int modes : {1, 3})
    for (const bool everything : {false, true})
      for (const auto likelihood : {Likelihood::amplitude, Likelihood::poisson}) {
        compare_modulus_block<float>(fast(), oracle, modes, everything, likelihood);
        compare_modulus_block<std::uint8_t>(fast(), oracle, modes, everything, likelihood);
        compare_modulus_block<std::uint16_t>(fast(), oracle, modes, everything, likelihood);
        compare_modulus_block<std::uint32_t>(fast(), oracle, modes, everything, likelihood);
      }
}

TEST_P(KernelsEqualReference, Modulus) {
  for (const int modes : {1, 3})
    for (const bool everything : {false, true})
      for (const auto likelihood : {Likelihood::amplitude, Likelihood::poisson}) {
        compare_modulus<float>(fast(), oracle, GetParam().shape, modes, everything, likelihood);
        compare_modulus<std::uint8_t>(fast(), oracle, GetParam().shape, modes, everything, likelihood);
        compare_modulus<std::uint16_t>(fast(), oracle, GetParam().shape, modes, everything, likelihood);
        compare_modulus<std::uint32_t>(fast(), oracle, GetParam().shape, modes, everything, likelihood);
      }
}

TEST_P(KernelsEqualReference, GradientsStepsAndPositions) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 7, big = (s.ny + 2) * stride;
  const auto chi = noise(s.ny, s.nx, 1), p = noise(s.ny, s.nx, 2), object = noise(s.ny + 2, stride, 3),
             delta = noise(s.ny + 2, stride, 4), dp = noise(s.ny, s.nx, 5);
  const cfloat* o = object.data() + stride + 1;
  for (const bool extras : {false, true}) {
    auto g1 = delta.clone(), g2 = delta.clone(), t1 = chi.clone(), t2 = chi.clone();
    Array<float, 2> l1({s.ny + 2, stride}), l2({s.ny + 2, stride});
    fast().gradients(s, chi.data(), p.data(), o, stride, g1.data() + stride, stride, extras ? l1.data() : nullptr,
                     extras ? t1.data() : nullptr);
    oracle.gradients(s, chi.data(), p.data(), o, stride, g2.data() + stride, stride, extras ? l2.data() : nullptr,
                     extras ? t2.data() : nullptr);
    expect_near(g1.data(), g2.data(), big, "object gradient");
    expect_near(t1.data(), t2.data(), s.size(), "probe term");
    expect_near(l1.data(), l2.data(), big, "illumination");
  }
  expect_sums(fast().object_step_sums(s, chi.data(), p.data(), delta.data() + 2, stride),
              oracle.object_step_sums(s, chi.data(), p.data(), delta.data() + 2, stride), "step sums");
  expect_sums(fast().position_sums(s, chi.data(), p.data(), o, stride),
              oracle.position_sums(s, chi.data(), p.data(), o, stride), "position sums");
}

TEST_P(KernelsEqualReference, Direction) {
  const Index n = GetParam().shape.size();
  const auto g1 = noise(1, n, 1), g2 = noise(1, n, 2);
  Array<float, 1> l1({n}), l2({n});
  fast().add_abs2(n, 0.7F, g2.data(), l1.data());
  oracle.add_abs2(n, 0.7F, g2.data(), l2.data());
  expect_near(l1.data(), l2.data(), n, "illumination");
  EXPECT_FLOAT_EQ(fast().largest(n, l1.data()), oracle.largest(n, l1.data()));
  const cfloat* g[] = {g1.data(), g2.data()};
  for (const int parts : {1, 2}) {
    Array<cfloat, 1> d1({n}), d2({n});
    const StepSums a = fast().direction(n, parts, g, l1.data(), 0.9F, 0.3F, d1.data()),
                   b = oracle.direction(n, parts, g, l1.data(), 0.9F, 0.3F, d2.data());
    expect_near(d1.data(), d2.data(), n, "direction");
    EXPECT_NEAR(a.a_chi, b.a_chi, 1e-5 * b.a_chi);
    EXPECT_NEAR(a.aa, b.aa, 1e-5 * b.aa);
  }
}

TEST_P(KernelsEqualReference, PieUpdate) {
  const Shape s = GetParam().shape;
  const Index stride = s.nx + 3;
  for (const int modes : {1, 2}) {
    auto o1 = noise(s.ny, stride, 1), o2 = o1.clone();
    std::vector<Array<cfloat, 2>> c1, c2, p;
    std::vector<cfloat*> pc1, pc2;
    std::vector<const cfloat*> pp;
    for (int m = 0; m < modes; ++m) {
      c1.push_back(noise(s.ny, s.nx, 30 + static_cast<std::uint64_t>(m)));
      c2.push_back(c1.back().clone());
      p.push_back(noise(s.ny, s.nx, 40 + static_cast<std::uint64_t>(m)));
    }
    for (std::size_t m = 0; m < c1.size(); ++m) {
      pc1.push_back(c1[m].data());
      pc2.push_back(c2[m].data());
      pp.push_back(p[m].data());
    }
    fast().pie_update(s, modes, pc1.data(), pp.data(), o1.data(), stride, 0.1F, 9, 8, 0.5F);
    oracle.pie_update(s, modes, pc2.data(), pp.data(), o2.data(), stride, 0.1F, 9, 8, 0.5F);
    expect_near(o1.data(), o2.data(), s.ny * stride, "object");
    for (std::size_t m = 0; m < c1.size(); ++m) expect_near(pc1[m], pc2[m], s.size(), "probe term");
  }
}

TEST_P(KernelsEqualReference, VectorSums) {
  const auto a = noise(1, 1003, 1), b = noise(1, 1003, 2);
  EXPECT_NEAR(fast().dot(1003, a.data(), b.data()), oracle.dot(1003, a.data(), b.data()), 1e-3);
  EXPECT_NEAR(fast().norm2(1003, a.data()), oracle.norm2(1003, a.data()), 1e-2);
  EXPECT_FLOAT_EQ(fast().max_abs2(1003, a.data()), oracle.max_abs2(1003, a.data()));
  auto x = a.clone(), y = a.clone();
  fast().axpy(1003, 0.3F, b.data(), x.data());
  oracle.axpy(1003, 0.3F, b.data(), y.data());
  expect_near(x.data(), y.data(), 1003, "axpy");
}

INSTANTIATE_TEST_SUITE_P(Levels, KernelsEqualReference,
                         ::testing::Values(Case{core::Isa::v2, {16, 16}}, Case{core::Isa::v2, {7, 13}},
                                           Case{core::Isa::v3, {16, 16}}, Case{core::Isa::v3, {9, 21}},
                                           Case{core::Isa::v3, {24, 40}}, Case{core::Isa::v4, {23, 37}},
                                           Case{core::Isa::v2, {13, 12}}, Case{core::Isa::v4, {16, 16}},
                                           Case{core::Isa::v4, {128, 128}}, Case{core::Isa::v4, {11, 19}},
                                           Case{core::Isa::v4, {5, 4}}));

TEST(SubPixelShift, EqualsTheFourierShiftOfABandLimitedProbe) {
  // A disc of spatial frequencies up to 0.55 of Nyquist, shifted by taps and by its phase ramp.
  const Index n = 64;
  const double fy = 0.37, fx = 0.81;
  Array<cfloat, 2> spectrum({n, n}), ramp({n, n}), shifted({n, n});
  for (Index u = 0; u < n; ++u)
    for (Index v = 0; v < n; ++v) {
      const double qy = static_cast<double>(u < n / 2 ? u : u - n), qx = static_cast<double>(v < n / 2 ? v : v - n);
      if (std::hypot(qy, qx) > 0.55 * static_cast<double>(n) / 2) continue;
      const auto value = std::polar(1.0, 0.002 * (qy * qy + qx * qx));
      spectrum(u, v) = cfloat(value);
      ramp(u, v) = cfloat(value * std::polar(1.0, -2 * M_PI * (qy * fy + qx * fx) / static_cast<double>(n)));
    }
  const math::Fft2<float> fft(n, n, math::FftEffort::estimate);
  fft.inverse(spectrum.data());
  fft.inverse(ramp.data());
  Array<float, 1> row({row_scratch(n)});
  cpu_kernels(core::isa())
      .exit_wave({n, n}, {0, n}, sub_pixel_shift(fy, fx), spectrum.data(), nullptr, 0, shifted.data(), nullptr,
                 row.data());
  double error = 0, total = 0;
  for (Index i = 0; i < n * n; ++i) {
    error += std::norm(shifted.data()[i] - ramp.data()[i]);
    total += std::norm(ramp.data()[i]);
  }
  // The filter is within 2e-3 per axis up to 0.6 of Nyquist: 1e-5 of the intensity for both, below the
  // counting noise of 1e5 photons in every pixel.
  EXPECT_LT(std::sqrt(error / total), 3e-3);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
