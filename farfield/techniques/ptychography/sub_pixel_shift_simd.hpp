#pragma once
// Rows of a tile, and the shift by a fraction of a pixel, in vectors. Only for sources listed in
// farfield_isa_sources(), as math/simd.hpp is.

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;

inline const float* f(const cfloat* p) { return reinterpret_cast<const float*>(p); }
inline float* f(cfloat* p) { return reinterpret_cast<float*>(p); }

/// Pixel x of a padded row is at kMargin + x: the horizontal taps reach three pixels out on either side.
inline constexpr Index kMargin = 3;

inline void wrap_margins(Index nx, float* row) {
  float* r = row + 2 * kMargin;
  for (Index x = 0; x < kMargin; ++x)
    for (Index c = 0; c < 2; ++c) {
      r[2 * (x - kMargin) + c] = r[2 * (((x - kMargin) % nx + nx) % nx) + c];
      r[2 * (nx + x) + c] = r[2 * (x % nx) + c];
    }
}

/// sum_k taps[k] source[k][i] over kTaps rows.
struct Vertical {
  Vec w0, w1, w2, w3, w4, w5;
  explicit Vertical(const float* t)
      : w0(set(t[0])), w1(set(t[1])), w2(set(t[2])), w3(set(t[3])), w4(set(t[4])), w5(set(t[5])) {}
  template <class P>
  Vec operator()(const float* const* source, Index i, P part) const {
    const Vec u =
        fma(w0, load(source[0] + i, part), fma(w1, load(source[1] + i, part), w2 * load(source[2] + i, part)));
    const Vec v =
        fma(w3, load(source[3] + i, part), fma(w4, load(source[4] + i, part), w5 * load(source[5] + i, part)));
    return u + v;
  }
};

/// The padded row sum_k taps_y[k] in(y - before + k, x), circular.
inline void vertical(Shape s, const float* taps, int before, const cfloat* in, Index y, float* row) {
  const float* source[kTaps];
  for (int k = 0; k < kTaps; ++k) {
    Index yy = y - before + k;
    if (yy < 0 || yy >= s.ny) yy = ((yy % s.ny) + s.ny) % s.ny;
    source[k] = f(in + yy * s.nx);
  }
  const Vertical sum_rows(taps);
  sweep(2 * s.nx, [&](Index i, auto part) { store(row + 2 * kMargin + i, sum_rows(source, i, part), part); });
  wrap_margins(s.nx, row);
}

/// sum_k taps[k] (pixel + k) of a padded row.
struct Horizontal {
  Vec w0, w1, w2, w3, w4, w5;
  explicit Horizontal(const float* t)
      : w0(set(t[0])), w1(set(t[1])), w2(set(t[2])), w3(set(t[3])), w4(set(t[4])), w5(set(t[5])) {}
  template <class P>
  Vec operator()(const float* r, P part) const {  // r: first tap
    const Vec u = fma(w0, load(r, part), fma(w1, load(r + 2, part), w2 * load(r + 4, part)));
    const Vec v = fma(w3, load(r + 6, part), fma(w4, load(r + 8, part), w5 * load(r + 10, part)));
    return u + v;
  }
};

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd
