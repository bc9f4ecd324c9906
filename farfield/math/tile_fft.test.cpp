#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/cpu.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/math/random.hpp"

namespace farfield::math {
namespace {

using core::Index;
using Image = core::Array<std::complex<float>, 2>;

Image noise(Index ny, Index nx, std::uint64_t seed) {
  Random random(seed);
  Image image({ny, nx});
  for (auto& v : image) v = {static_cast<float>(random.normal()), static_cast<float>(random.normal())};
  return image;
}

/// The same transform in double precision, by FFTW.
core::Array<std::complex<double>, 2> oracle(const Image& image, bool inverse) {
  core::Array<std::complex<double>, 2> out({image.extent(0), image.extent(1)});
  for (Index i = 0; i < image.size(); ++i) out.data()[i] = image.data()[i];
  const Fft2<double> fft(image.extent(0), image.extent(1), FftEffort::estimate);
  if (inverse) fft.inverse(out.data());
  else fft.forward(out.data());
  return out;
}

double relative_error(const Image& image, const core::Array<std::complex<double>, 2>& truth) {
  double error = 0, norm = 0;
  for (Index i = 0; i < image.size(); ++i) {
    error += std::norm(std::complex<double>(image.data()[i]) - truth.data()[i]);
    norm += std::norm(truth.data()[i]);
  }
  return std::sqrt(error / norm);
}

const Index kSides[] = {64, 128, 256, 512};
/// Rounding adds up over the log2(n) stages as a random walk: about 0.3 eps sqrt(log2 n) = 1.5e-7. A wrong factor or
/// place anywhere is at least 1e-3 (one point of 512 x 512).
constexpr double kTolerance = 5e-7;

TEST(TileFft, EqualsDoublePrecisionForEveryPairOfSides) {
  if (tile_fft(core::isa(), 64, 64) == nullptr) GTEST_SKIP() << "this instruction set leaves all shapes to FFTW";
  for (const Index ny : kSides)
    for (const Index nx : kSides)
      for (const bool inverse : {false, true}) {
        const Image image = noise(ny, nx, static_cast<std::uint64_t>(ny + 3 * nx));
        Image transformed = image.clone();
        const Fft2<float> fft(ny, nx);
        ASSERT_TRUE(fft.has_parts(1));
        if (inverse) fft.inverse(transformed.data());
        else fft.forward(transformed.data());
        EXPECT_LT(relative_error(transformed, oracle(image, inverse)), kTolerance)
            << ny << " x " << nx << " " << inverse;
      }
}

TEST(TileFft, SinglePointsGoWhereTheSumSaysTheyGo) {
  if (tile_fft(core::isa(), 64, 64) == nullptr) GTEST_SKIP() << "this instruction set leaves all shapes to FFTW";
  for (const Index n : kSides)
    for (const Index y : {Index{0}, Index{1}, n / 3, n - 1}) {
      const Index x = (7 * y + 5) % n;
      Image image({n, n});
      image(y, x) = 1;
      Fft2<float>(n, n).forward(image.data());
      for (Index v = 0; v < n; v += 13)
        for (Index u = 0; u < n; ++u) {
          const double phase = -2 * M_PI * static_cast<double>((v * y + u * x) % n) / static_cast<double>(n);
          EXPECT_NEAR(static_cast<double>(image(v, u).real()), std::cos(phase), 2e-6);
          EXPECT_NEAR(static_cast<double>(image(v, u).imag()), std::sin(phase), 2e-6);
        }
    }
}

TEST(TileFft, AroundVisitsEachPixelOfTheTransformsOnceAndGoesBack) {
  if (tile_fft(core::isa(), 64, 64) == nullptr) GTEST_SKIP() << "this instruction set leaves all shapes to FFTW";
  struct Seen {
    std::vector<Image> transform;
    core::Array<int, 2> visits;
  };
  for (const Index ny : {64, 128, 512})
    for (const Index nx : {64, 128, 256}) {
      const std::vector<Image> before = [&] {
        std::vector<Image> list;
        for (std::uint64_t m = 0; m < 3; ++m) list.push_back(noise(ny, nx, m));
        return list;
      }();
      std::vector<Image> after;
      Seen seen{{}, core::Array<int, 2>({ny, nx})};
      std::vector<std::complex<float>*> pointers;
      for (const Image& image : before) {
        after.push_back(image.clone());
        seen.transform.emplace_back(Image({ny, nx}));
      }
      for (Image& image : after) pointers.push_back(image.data());
      // Doubles image 1 on its way, so that a swap of the images would show.
      const auto visit = [](void* context, const FftBlock& b) {
        Seen& s = *static_cast<Seen*>(context);
        for (int m = 0; m < b.images; ++m)
          for (Index r = 0; r < b.rows; ++r) {
            float* at = b.data[m] + r * 2 * b.columns;
            for (Index c = 0; c < b.columns; ++c) {
              const Index y = b.first_row + r * b.row_step, x = b.first_column + c;
              s.transform[static_cast<std::size_t>(m)](y, x) = {at[c], at[b.columns + c]};
              if (m == 0) ++s.visits(y, x);
              if (m == 1) {
                at[c] *= 2;
                at[b.columns + c] *= 2;
              }
            }
          }
      };
      Fft2<float>(ny, nx).around(pointers, visit, &seen);
      for (const int v : seen.visits) ASSERT_EQ(v, 1);
      {  // In steps it is the same to the last bit.
        const Fft2<float> fft(ny, nx);
        std::vector<Image> stepwise;
        std::vector<std::complex<float>*> in_steps;
        for (const Image& image : before) {
          stepwise.push_back(image.clone());
          in_steps.push_back(stepwise.back().data());
          for (Index y = 0; y < ny; y += fft.row_step()) fft.forward_rows(&stepwise.back()(y, 0), fft.row_step());
        }
        Seen again{{}, core::Array<int, 2>({ny, nx})};
        for (std::size_t m = 0; m < before.size(); ++m) again.transform.emplace_back(Image({ny, nx}));
        fft.around_columns(in_steps, visit, &again);
        for (std::size_t m = 0; m < before.size(); ++m) {
          for (Index y = 0; y < ny; y += fft.row_step()) fft.inverse_rows(&stepwise[m](y, 0), fft.row_step());
          EXPECT_TRUE(std::equal(after[m].data(), after[m].data() + ny * nx, stepwise[m].data()));
        }
      }
      Seen only_seen{{}, core::Array<int, 2>({ny, nx})};
      std::vector<Image> spoilt;
      std::vector<std::complex<float>*> to_spoil;
      for (const Image& image : before) {
        spoilt.push_back(image.clone());
        only_seen.transform.emplace_back(Image({ny, nx}));
      }
      for (Image& image : spoilt) to_spoil.push_back(image.data());
      Fft2<float>(ny, nx).visit(to_spoil, visit, &only_seen);
      for (std::size_t m = 0; m < before.size(); ++m)
        EXPECT_TRUE(
            std::equal(seen.transform[m].data(), seen.transform[m].data() + ny * nx, only_seen.transform[m].data()));
      for (std::size_t m = 0; m < before.size(); ++m) {
        EXPECT_LT(relative_error(seen.transform[m], oracle(before[m], false)), kTolerance);
        core::Array<std::complex<double>, 2> expected({ny, nx});
        const double factor = static_cast<double>(ny * nx) * (m == 1 ? 2 : 1);
        for (Index i = 0; i < expected.size(); ++i)
          expected.data()[i] = factor * std::complex<double>(before[m].data()[i]);
        EXPECT_LT(relative_error(after[m], expected), kTolerance);
      }
    }
}

}  // namespace
}  // namespace farfield::math
