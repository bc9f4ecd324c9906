#pragma once
// Rows of a tile, and the shift by a fraction of a pixel, in vectors. Only for sources listed in
// farfield_isa_sources(), as math/simd.hpp is.

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;

inline const float* f(const cfloat* p) { return reinterpret_cast<const float*>(p); }
inline float* f(cfloat* p) { return reinterpret_cast<float*>(p); }

/// row[3 + x] = sum_k taps_y[k] in(y - before + k, x), with wrap-around margins for the horizontal taps.
inline void vertical(Shape s, const float* taps, int before, const cfloat* in, Index y, float* row) {
  const float* source[kTaps];
  for (int k = 0; k < kTaps; ++k) {
    Index yy = y - before + k;
    if (yy < 0 || yy >= s.ny) yy = ((yy % s.ny) + s.ny) % s.ny;
    source[k] = f(in + yy * s.nx);
  }
  const Vec w0 = set(taps[0]), w1 = set(taps[1]), w2 = set(taps[2]), w3 = set(taps[3]), w4 = set(taps[4]),
            w5 = set(taps[5]);
  float* out = row + 2 * 3;
  sweep(2 * s.nx, [&](Index i, auto part) {
    const Vec u =
        fma(w0, load(source[0] + i, part), fma(w1, load(source[1] + i, part), w2 * load(source[2] + i, part)));
    const Vec v =
        fma(w3, load(source[3] + i, part), fma(w4, load(source[4] + i, part), w5 * load(source[5] + i, part)));
    store(out + i, u + v, part);
  });
  for (Index x = 0; x < 3; ++x)
    for (Index c = 0; c < 2; ++c) {
      out[2 * (x - 3) + c] = out[2 * (((x - 3) % s.nx + s.nx) % s.nx) + c];
      out[2 * (s.nx + x) + c] = out[2 * (x % s.nx) + c];
    }
}

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
