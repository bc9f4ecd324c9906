// Discrete Fourier transforms of 2 to 32 points, each point a vector pair: lane by lane, in registers, in natural
// order. Only for files built by farfield_isa_sources().
#pragma once

#include "farfield/math/simd.hpp"

namespace farfield::math::FARFIELD_ISA_NAMESPACE::small_dft {

using namespace simd::FARFIELD_ISA_NAMESPACE;

#define FARFIELD_INLINE inline __attribute__((always_inline))

/// kLanes complex numbers.
struct Complex {
  Vec re, im;
};
FARFIELD_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
FARFIELD_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
FARFIELD_INLINE Complex times(Complex a, Vec re, Vec im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};  // contracted to one product and one fma each
}
/// a exp(-i pi / 4), a exp(-i pi / 2), a exp(-i 3 pi / 4)
inline constexpr float kHalfRoot = 0.70710678118654752F;
FARFIELD_INLINE Complex eighth(Complex a) {
  const Vec h = set(kHalfRoot);
  return {h * (a.re + a.im), h * (a.im - a.re)};
}
FARFIELD_INLINE Complex quarter(Complex a) { return {a.im, set(0) - a.re}; }
FARFIELD_INLINE Complex three_eighths(Complex a) {
  const Vec h = set(kHalfRoot), minus_h = set(-kHalfRoot);
  return {h * (a.im - a.re), minus_h * (a.re + a.im)};
}

FARFIELD_INLINE void dft4(Complex& a, Complex& b, Complex& c, Complex& d) {
  const Complex s0 = a + c, d0 = a - c, s1 = b + d, d1 = b - d;
  a = s0 + s1;
  c = s0 - s1;
  b = {d0.re + d1.im, d0.im - d1.re};
  d = {d0.re - d1.im, d0.im + d1.re};
}

/// x[k] = sum_n x[n] exp(-2 pi i n k / N)
template <int N>
FARFIELD_INLINE void dft(Complex* x);

template <>
FARFIELD_INLINE void dft<4>(Complex* x) {
  dft4(x[0], x[1], x[2], x[3]);
}

template <>
FARFIELD_INLINE void dft<8>(Complex* x) {
  dft4(x[0], x[2], x[4], x[6]);
  dft4(x[1], x[3], x[5], x[7]);
  const Complex e0 = x[0], e1 = x[2], e2 = x[4], e3 = x[6], o0 = x[1], o2 = x[5];
  // The odd ones' factors, up to the common kHalfRoot, which the fma below brings in.
  const Complex o1{x[3].re + x[3].im, x[3].im - x[3].re}, o3{x[7].im - x[7].re, x[7].re + x[7].im};
  const Vec h = set(kHalfRoot), minus_h = set(-kHalfRoot);
  x[0] = e0 + o0;
  x[4] = e0 - o0;
  x[1] = {fma(h, o1.re, e1.re), fma(h, o1.im, e1.im)};
  x[5] = {fma(minus_h, o1.re, e1.re), fma(minus_h, o1.im, e1.im)};
  x[2] = {e2.re + o2.im, e2.im - o2.re};
  x[6] = {e2.re - o2.im, e2.im + o2.re};
  x[3] = {fma(h, o3.re, e3.re), fma(minus_h, o3.im, e3.im)};
  x[7] = {fma(minus_h, o3.re, e3.re), fma(h, o3.im, e3.im)};
}

template <>
FARFIELD_INLINE void dft<16>(Complex* x) {
  constexpr float c = 0.92387953251128674F, s = 0.38268343236508977F;  // cos and sin of pi / 8
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n) dft4(x[n], x[n + 4], x[n + 8], x[n + 12]);
  x[5] = times(x[5], set(c), set(-s));
  x[6] = eighth(x[6]);
  x[7] = times(x[7], set(s), set(-c));
  x[9] = eighth(x[9]);
  x[10] = quarter(x[10]);
  x[11] = three_eighths(x[11]);
  x[13] = times(x[13], set(s), set(-c));
  x[14] = three_eighths(x[14]);
  x[15] = times(x[15], set(-c), set(s));
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) dft4(x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]);
  // x[4 k1 + k2] is the sum for k1 + 4 k2: no instructions, other names.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
    for (int j = i + 1; j < 4; ++j) {
      const Complex t = x[4 * i + j];
      x[4 * i + j] = x[4 * j + i];
      x[4 * j + i] = t;
    }
}

template <>
FARFIELD_INLINE void dft<32>(Complex* x) {
  // cos and sin of pi k / 16
  constexpr float c[16] = {
      1, 0.98078528F,  0.92387953F,  0.83146961F,  0.70710678F,  0.55557023F,  0.38268343F,  0.19509032F,
      0, -0.19509032F, -0.38268343F, -0.55557023F, -0.70710678F, -0.83146961F, -0.92387953F, -0.98078528F};
  constexpr float s[16] = {0,           0.19509032F, 0.38268343F, 0.55557023F, 0.70710678F, 0.83146961F,
                           0.92387953F, 0.98078528F, 1,           0.98078528F, 0.92387953F, 0.83146961F,
                           0.70710678F, 0.55557023F, 0.38268343F, 0.19509032F};
  Complex even[16], odd[16];
#pragma GCC unroll 16
  for (int n = 0; n < 16; ++n) {
    even[n] = x[2 * n];
    odd[n] = x[2 * n + 1];
  }
  dft<16>(even);
  dft<16>(odd);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    const Complex o = k == 0 ? odd[0] : times(odd[k], set(c[k]), set(-s[k]));
    x[k] = even[k] + o;
    x[k + 16] = even[k] - o;
  }
}

}  // namespace farfield::math::FARFIELD_ISA_NAMESPACE::small_dft
