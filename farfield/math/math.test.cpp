#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "farfield/core/array.hpp"
#include "farfield/core/error.hpp"
#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/math/random.hpp"

namespace farfield::math {
namespace {

using core::Index;

template <class T>
void compare_with_sum(Index ny, Index nx) {
  Random random(3);
  core::Array<std::complex<T>, 2> image({ny, nx});
  for (auto& v : image) v = {static_cast<T>(random.normal()), static_cast<T>(random.normal())};
  auto transformed = image.clone();
  Fft2<T>(ny, nx, FftEffort::estimate).forward(transformed.data());
  // Rounding of a transform grows with log2(n); 20 eps sqrt(n) is far below any error of sign or order.
  const double tolerance = 20 * std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<double>(ny * nx));
  for (Index u = 0; u < ny; ++u)
    for (Index v = 0; v < nx; ++v) {
      std::complex<double> sum = 0;
      for (Index y = 0; y < ny; ++y)
        for (Index x = 0; x < nx; ++x)
          sum += std::complex<double>(image(y, x)) *
                 std::polar(1.0, -2 * M_PI *
                                     (static_cast<double>(u * y) / static_cast<double>(ny) +
                                      static_cast<double>(v * x) / static_cast<double>(nx)));
      EXPECT_LT(std::abs(sum - std::complex<double>(transformed(u, v))), tolerance) << u << " " << v;
    }
}

TEST(Fft2, EqualsTheSumThatDefinesIt) {
  compare_with_sum<float>(6, 10);
  compare_with_sum<double>(7, 4);
}

TEST(Fft2, InverseOfForwardIsTheNumberOfPoints) {
  Random random(1);
  core::Array<std::complex<float>, 2> image({32, 16});
  for (auto& v : image) v = {static_cast<float>(random.normal()), static_cast<float>(random.normal())};
  auto copy = image.clone();
  const Fft2<float> fft(32, 16);
  fft.forward(copy.data());
  fft.inverse(copy.data());
  for (Index i = 0; i < image.size(); ++i) EXPECT_NEAR(std::abs(copy.data()[i] / 512.0F - image.data()[i]), 0, 2e-6);
}

TEST(Fft2, WisdomSurvivesARoundTrip) {
  const Fft2<float> fft(24, 24, FftEffort::measure);
  const std::string wisdom = export_fft_wisdom();
  EXPECT_NE(wisdom.find("fftw"), std::string::npos);
  EXPECT_TRUE(import_fft_wisdom(wisdom));
  EXPECT_FALSE(import_fft_wisdom("not wisdom"));
}

TEST(Fft2, RefusesAnEmptyShape) { EXPECT_THROW((Fft2<float>(0, 4)), core::Error); }

TEST(Complex, ProductsEqualStd) {
  const std::complex<double> a{1.5, -2}, b{-0.5, 3};
  EXPECT_EQ(cmul(a, b), a * b);
  EXPECT_EQ(conj_mul(a, b), std::conj(a) * b);
  EXPECT_EQ(abs2(a), std::norm(a));
}

TEST(Random, SameSeedSameNumbersAndStreamsDiffer) {
  Random a(7), b(7), c(7, 1);
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
  Random d(0);
  d.set_state(a.state());
  EXPECT_EQ(a.next(), d.next());
}

TEST(Random, PoissonHasItsMeanAndVariance) {
  for (const double mean : {0.3, 4.0, 9.9, 10.1, 60.0, 5e4}) {
    Random random(11);
    const int n = 40000;
    double sum = 0, sum2 = 0;
    for (int i = 0; i < n; ++i) {
      const double k = static_cast<double>(random.poisson(mean));
      sum += k;
      sum2 += k * k;
    }
    const double m = sum / n, variance = sum2 / n - m * m;
    // Five standard errors: of the mean sqrt(mean/n), of the variance sqrt((mean + 2 mean^2)/n).
    EXPECT_NEAR(m, mean, 5 * std::sqrt(mean / n));
    EXPECT_NEAR(variance, mean, 5 * std::sqrt((mean + 2 * mean * mean) / n));
  }
}

TEST(Random, BelowIsUniform) {
  Random random(5);
  std::map<std::uint64_t, int> counts;
  for (int i = 0; i < 60000; ++i) ++counts[random.below(6)];
  ASSERT_EQ(counts.size(), 6U);
  for (const auto& [value, count] : counts) EXPECT_NEAR(count, 10000, 5 * std::sqrt(10000.0)) << value;
}

}  // namespace
}  // namespace farfield::math
