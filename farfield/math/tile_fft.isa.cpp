#include "farfield/math/tile_fft.hpp"

#include <cmath>
#include <utility>

#include "farfield/math/small_dft_simd.hpp"

namespace farfield::math::FARFIELD_ISA_NAMESPACE {

const TileFft* tile_fft(core::Index ny, core::Index nx);

#if defined(__AVX512F__) && defined(__AVX512DQ__)

namespace {

using core::Index;
using namespace small_dft;

constexpr int W = 16;
static_assert(kLanes == W);
constexpr Index kPair = 2 * W;  ///< floats of W complex numbers

/// Tiles come and go interleaved (re, im, re, im, ...); between the passes W real parts are followed by W imaginary
/// ones.
enum class Format { interleaved, split };
/// inverse(x) = swap(forward(swap(x))), swap exchanging real and imaginary parts: done while loading or storing.
enum class Swap { no, yes };

template <Format F, Swap S>
FARFIELD_INLINE Complex get(const float* p) {
  const Vec a = load(p, Full{}), b = load(p + W, Full{});
  Complex c{a, b};
  if constexpr (F == Format::interleaved) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    c = {{_mm512_permutex2var_ps(a.v, even, b.v)}, {_mm512_permutex2var_ps(a.v, odd, b.v)}};
  }
  if constexpr (S == Swap::yes) std::swap(c.re, c.im);
  return c;
}

FARFIELD_INLINE void interleave(Complex c, Vec& low, Vec& high) {
  const __m512i l = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i h = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  low = {_mm512_permutex2var_ps(c.re.v, l, c.im.v)};
  high = {_mm512_permutex2var_ps(c.re.v, h, c.im.v)};
}

template <Format F, Swap S>
FARFIELD_INLINE void put(float* p, Complex c) {
  if constexpr (S == Swap::yes) std::swap(c.re, c.im);
  Vec a = c.re, b = c.im;
  if constexpr (F == Format::interleaved) interleave(c, a, b);
  store(p, a, Full{});
  store(p + W, b, Full{});
}
FARFIELD_INLINE Complex get(const float* p) { return get<Format::split, Swap::no>(p); }
FARFIELD_INLINE void put(float* p, Complex c) { put<Format::split, Swap::no>(p, c); }

FARFIELD_INLINE void transpose(Vec* r) {
  const auto d = [](__m512 v) { return _mm512_castps_pd(v); };
  const auto s = [](__m512d v) { return _mm512_castpd_ps(v); };
  __m512 t[W], u[W];
#pragma GCC unroll 8
  for (int i = 0; i < W; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
#pragma GCC unroll 4
  for (int i = 0; i < W; i += 4) {
    u[i] = s(_mm512_unpacklo_pd(d(t[i]), d(t[i + 2])));
    u[i + 1] = s(_mm512_unpackhi_pd(d(t[i]), d(t[i + 2])));
    u[i + 2] = s(_mm512_unpacklo_pd(d(t[i + 1]), d(t[i + 3])));
    u[i + 3] = s(_mm512_unpackhi_pd(d(t[i + 1]), d(t[i + 3])));
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // u[4 g + j]: in its quarter q, column j + 4 q of rows 4 g ... 4 g + 3
    const __m512 ab_even = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88),
                 ab_odd = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xDD);
    const __m512 cd_even = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88),
                 cd_odd = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xDD);
    r[j].v = _mm512_shuffle_f32x4(ab_even, cd_even, 0x88);
    r[j + 8].v = _mm512_shuffle_f32x4(ab_even, cd_even, 0xDD);
    r[j + 4].v = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88);
    r[j + 12].v = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xDD);
  }
}

/// exp(-2 pi i j k / N) for a transform in two stages, as each direction wants to read it.
template <int N>
struct Factors {
  static constexpr int M = N / W;                        ///< rows: M points across vectors, then W within
  static constexpr int B = N <= 64 ? 8 : 16, A = N / B;  ///< columns: A points B apart, then B
  alignas(64) float along[M][kPair];                     ///< [k]: for lanes j
  alignas(64) float down[B][A][2];                       ///< [j][k]
  Factors() {
    const auto factor = [](int jk, float& re, float& im) {
      re = static_cast<float>(std::cos(2 * M_PI * jk / N));
      im = static_cast<float>(-std::sin(2 * M_PI * jk / N));
    };
    for (int k = 0; k < M; ++k)
      for (int j = 0; j < W; ++j) factor(j * k, along[k][j], along[k][W + j]);
    for (int j = 0; j < B; ++j)
      for (int k = 0; k < A; ++k) factor(j * k, down[j][k][0], down[j][k][1]);
  }
};
template <int N>
const Factors<N>& factors() {
  static const Factors<N> f;
  return f;
}

/// All rows of N points, in place. With n = W j + l and k = k1 + M k2: transforms over j for each lane l, a transpose
/// that makes (row, k1) the lanes, transforms over l. Where M < W one transpose serves W / M rows.
template <int N, Format In, Format Out, Swap SwapIn, Swap SwapOut>
void rows(float* image, Index ny) {
  constexpr int M = N / W, R = M < W ? W / M : 1;
  const Factors<N>& t = factors<N>();
  alignas(64) float parts[2][R * M][W];
  for (Index y = 0; y < ny; y += R) {
    float* const at = image + y * 2 * N;
#pragma GCC unroll 1
    for (int r = 0; r < R; ++r) {
      Complex x[M];
#pragma GCC unroll 32
      for (int j = 0; j < M; ++j) x[j] = get<In, SwapIn>(at + r * 2 * N + j * kPair);
      dft<M>(x);
#pragma GCC unroll 32
      for (int k = 0; k < M; ++k) {
        const Complex c = k == 0 ? x[0] : times(x[k], load(t.along[k], Full{}), load(t.along[k] + W, Full{}));
        store(parts[0][r * M + k], c.re, Full{});
        store(parts[1][r * M + k], c.im, Full{});
      }
    }
#pragma GCC unroll 1
    for (int g = 0; g < R * M; g += W) {
#pragma GCC unroll 1
      for (auto& part : parts) {
        Vec v[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) v[i] = load(part[g + i], Full{});
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) store(part[g + i], v[i], Full{});
      }
      Complex x[W];
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l) x[l] = {load(parts[0][g + l], Full{}), load(parts[1][g + l], Full{})};
      dft<W>(x);
      if constexpr (SwapOut == Swap::yes)
#pragma GCC unroll 16
        for (auto& c : x) std::swap(c.re, c.im);
      if constexpr (M >= W) {
#pragma GCC unroll 16
        for (int k = 0; k < W; ++k) put<Out, Swap::no>(at + (g + M * k) * 2, x[k]);
      } else if constexpr (M == 8) {  // x[k]: k1 = 0..7 of two rows
#pragma GCC unroll 8
        for (int k = 0; k < W; k += 2) {
          float *first = at + W * k, *second = first + 2 * N;
          if constexpr (Out == Format::interleaved) {
            Vec low, high;
            interleave(x[k], low, high);
            store(first, low, Full{});
            store(second, high, Full{});
            interleave(x[k + 1], low, high);
            store(first + W, low, Full{});
            store(second + W, high, Full{});
          } else {
            const Complex a = x[k], b = x[k + 1];
            store(first, {_mm512_shuffle_f32x4(a.re.v, b.re.v, 0x44)}, Full{});
            store(first + W, {_mm512_shuffle_f32x4(a.im.v, b.im.v, 0x44)}, Full{});
            store(second, {_mm512_shuffle_f32x4(a.re.v, b.re.v, 0xEE)}, Full{});
            store(second + W, {_mm512_shuffle_f32x4(a.im.v, b.im.v, 0xEE)}, Full{});
          }
        }
      } else {  // M == 4: k1 = 0..3 of four rows
        static_assert(M == 4 || M >= 8);
#pragma GCC unroll 4
        for (int k = 0; k < W; k += 4) {
          const auto quarters = [](const Vec& a, const Vec& b, const Vec& c, const Vec& d, Vec* out) {
            const __m512 ab_low = _mm512_shuffle_f32x4(a.v, b.v, 0x44), ab_high = _mm512_shuffle_f32x4(a.v, b.v, 0xEE);
            const __m512 cd_low = _mm512_shuffle_f32x4(c.v, d.v, 0x44), cd_high = _mm512_shuffle_f32x4(c.v, d.v, 0xEE);
            out[0].v = _mm512_shuffle_f32x4(ab_low, cd_low, 0x88);
            out[1].v = _mm512_shuffle_f32x4(ab_low, cd_low, 0xDD);
            out[2].v = _mm512_shuffle_f32x4(ab_high, cd_high, 0x88);
            out[3].v = _mm512_shuffle_f32x4(ab_high, cd_high, 0xDD);
          };
          Vec re[4], im[4];
          quarters(x[k].re, x[k + 1].re, x[k + 2].re, x[k + 3].re, re);
          quarters(x[k].im, x[k + 1].im, x[k + 2].im, x[k + 3].im, im);
#pragma GCC unroll 4
          for (int r = 0; r < 4; ++r) put<Out, Swap::no>(at + r * 2 * N + 8 * k, {re[r], im[r]});
        }
      }
    }
  }
}

/// The strip of W columns at p, rows `stride` floats apart, through the first stage: row j + B i of the image ->
/// row B k + j of the strip.
template <int N>
FARFIELD_INLINE void first_stage(const float* p, Index stride, float* strip) {
  constexpr int A = Factors<N>::A, B = Factors<N>::B;
  const Factors<N>& t = factors<N>();
#pragma GCC unroll 1
  for (int j = 0; j < B; ++j) {
    Complex x[A];
#pragma GCC unroll 32
    for (int i = 0; i < A; ++i) x[i] = get(p + (j + B * i) * stride);
    dft<A>(x);
#pragma GCC unroll 32
    for (int k = 0; k < A; ++k)
      put(strip + (B * k + j) * kPair, k == 0 ? x[0] : times(x[k], set(t.down[j][k][0]), set(t.down[j][k][1])));
  }
}

/// Rows B k ... B k + B - 1 of the strip become the transform's rows k, k + A, ...
template <int N, Swap SwapIn>
FARFIELD_INLINE void second_stage(float* group) {
  constexpr int B = Factors<N>::B;
  Complex x[B];
#pragma GCC unroll 16
  for (int i = 0; i < B; ++i) x[i] = get<Format::split, SwapIn>(group + i * kPair);
  dft<B>(x);
#pragma GCC unroll 16
  for (int i = 0; i < B; ++i) put(group + i * kPair, x[i]);
}

/// As second_stage(), written to the image.
template <int N, Swap SwapOut>
FARFIELD_INLINE void second_stage_to(const float* strip, float* p, Index stride) {
  constexpr int A = Factors<N>::A, B = Factors<N>::B;
#pragma GCC unroll 1
  for (int k = 0; k < A; ++k) {
    Complex x[B];
#pragma GCC unroll 16
    for (int i = 0; i < B; ++i) x[i] = get(strip + (B * k + i) * kPair);
    dft<B>(x);
#pragma GCC unroll 16
    for (int i = 0; i < B; ++i) put<Format::interleaved, SwapOut>(p + (k + A * i) * stride, x[i]);
  }
}

/// The mirror of first_stage(): after second_stage() on each group, row B k + j of the strip -> row j + B i of the
/// image.
template <int N>
FARFIELD_INLINE void last_stage(const float* strip, float* p, Index stride) {
  constexpr int A = Factors<N>::A, B = Factors<N>::B;
  const Factors<N>& t = factors<N>();
#pragma GCC unroll 1
  for (int j = 0; j < B; ++j) {
    Complex x[A];
#pragma GCC unroll 32
    for (int k = 0; k < A; ++k) {
      const Complex c = get(strip + (B * k + j) * kPair);
      x[k] = k == 0 ? c : times(c, set(t.down[j][k][0]), set(t.down[j][k][1]));
    }
    dft<A>(x);
#pragma GCC unroll 32
    for (int i = 0; i < A; ++i) put(p + (j + B * i) * stride, x[i]);
  }
}

template <int N, Swap SwapOut>
void columns(float* image, Index nx, float* strip) {
  for (Index x = 0; x < nx; x += W) {
    first_stage<N>(image + 2 * x, 2 * nx, strip);
    second_stage_to<N, SwapOut>(strip, image + 2 * x, 2 * nx);
  }
}

template <int N>
void columns_around(std::complex<float>* const* images, int count, Index nx, FftVisit visit, void* context, bool back,
                    float* scratch) {
  constexpr int A = Factors<N>::A, B = Factors<N>::B;
  float* data[kFftAroundImages];
  for (Index x = 0; x < nx; x += W) {
    for (int m = 0; m < count; ++m)
      first_stage<N>(reinterpret_cast<const float*>(images[m] + x), 2 * nx, scratch + m * N * kPair);
    for (int k = 0; k < A; ++k) {
      for (int m = 0; m < count; ++m) {
        data[m] = scratch + (m * N + B * k) * kPair;
        second_stage<N, Swap::no>(data[m]);
      }
      visit(context, {k, A, B, x, W, count, data});
      for (int m = 0; back && m < count; ++m) second_stage<N, Swap::yes>(data[m]);
    }
    for (int m = 0; back && m < count; ++m)
      last_stage<N>(scratch + m * N * kPair, reinterpret_cast<float*>(images[m] + x), 2 * nx);
  }
}

/// f(std::integral_constant<int, N>) for the side n.
template <class F>
void for_side(Index n, F&& f) {
  switch (n) {
    case 64: return f(std::integral_constant<int, 64>{});
    case 128: return f(std::integral_constant<int, 128>{});
    case 256: return f(std::integral_constant<int, 256>{});
    default: return f(std::integral_constant<int, 512>{});
  }
}

void transform(std::complex<float>* image, Index ny, Index nx, bool inverse, float* scratch) {
  auto* p = reinterpret_cast<float*>(image);
  using enum Format;
  for_side(nx, [&](auto n) {
    if (inverse) rows<n(), interleaved, split, Swap::yes, Swap::no>(p, ny);
    else rows<n(), interleaved, split, Swap::no, Swap::no>(p, ny);
  });
  for_side(ny, [&](auto n) {
    if (inverse) columns<n(), Swap::yes>(p, nx, scratch);
    else columns<n(), Swap::no>(p, nx, scratch);
  });
}

void forward_rows(std::complex<float>* image, Index count, Index nx) {
  for_side(nx, [&](auto n) {
    rows<n(), Format::interleaved, Format::split, Swap::no, Swap::no>(reinterpret_cast<float*>(image), count);
  });
}

void columns_of(std::complex<float>* const* images, int count, Index ny, Index nx, FftVisit visit, void* context,
                bool back, float* scratch) {
  for_side(ny, [&](auto n) { columns_around<n()>(images, count, nx, visit, context, back, scratch); });
}

void inverse_rows(std::complex<float>* image, Index count, Index nx) {
  // second_stage() has exchanged real and imaginary parts; this puts them back.
  for_side(nx, [&](auto n) {
    rows<n(), Format::split, Format::interleaved, Swap::no, Swap::yes>(reinterpret_cast<float*>(image), count);
  });
}

}  // namespace

const TileFft* tile_fft(Index ny, Index nx) {
  static const TileFft table{W, transform, forward_rows, columns_of, inverse_rows};
  const auto known = [](Index n) { return n == 64 || n == 128 || n == 256 || n == 512; };
  return known(ny) && known(nx) ? &table : nullptr;
}

#else

const TileFft* tile_fft(core::Index, core::Index) { return nullptr; }

#endif

}  // namespace farfield::math::FARFIELD_ISA_NAMESPACE
