#pragma once
// Rows of a tile, and the shift by a fraction of a pixel, in vectors. Only for sources listed in
// farfield_isa_sources(), as math/simd.hpp is.

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;

inline const float* f(const cfloat* p) { return reinterpret_cast<const float*>(p); }
inline float* f(cfloat* p) { return reinterpret_cast<float*>(p); }

/// Pixel x of a padded row is at kMargin + x: the horizontal taps reach that far out on either side.
inline constexpr Index kMargin = kTapsBack;

inline void wrap_margins(Index nx, float* row) {
  float* r = row + 2 * kMargin;
  if (nx >= kMargin) {
    std::memcpy(row, r + 2 * (nx - kMargin), 2 * kMargin * sizeof(float));
    std::memcpy(r + 2 * nx, r, 2 * kMargin * sizeof(float));
    return;
  }
  for (Index x = 0; x < kMargin; ++x)
    for (Index c = 0; c < 2; ++c) {
      r[2 * (x - kMargin) + c] = r[2 * (((x - kMargin) % nx + nx) % nx) + c];
      r[2 * (nx + x) + c] = r[2 * (x % nx) + c];
    }
}

/// sum_k w[k] part_k with two chains of multiply-adds.
template <class F>
inline Vec weighted(const Vec* w, F&& term) {
  Vec even = w[0] * term(0), odd = w[1] * term(1);
#pragma GCC unroll 8
  for (int k = 2; k < kTaps; k += 2) {
    even = fma(w[k], term(k), even);
    odd = fma(w[k + 1], term(k + 1), odd);
  }
  return even + odd;
}

/// sum_k taps[k] source[k][i] over kTaps rows.
struct Vertical {
  Vec w[kTaps];
  explicit Vertical(const float* taps) {
    for (int k = 0; k < kTaps; ++k) w[k] = set(taps[k]);
  }
  template <class P>
  Vec operator()(const float* const* source, Index i, P part) const {
    return weighted(w, [&](int k) { return load(source[k] + i, part); });
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
  Vec w[kTaps];
  explicit Horizontal(const float* taps) {
    for (int k = 0; k < kTaps; ++k) w[k] = set(taps[k]);
  }
  template <class P>
  Vec operator()(const float* row, P part) const {  // row: first tap
    return weighted(w, [&](int k) { return load(row + 2 * k, part); });
  }
};

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd
