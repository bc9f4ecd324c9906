// One vector type for whichever instruction set the including file is compiled for. Only files built by
// farfield_isa_sources() include this, inside their FARFIELD_ISA_NAMESPACE; that is why it has no guard
// against ODR clashes other than that namespace, and why it includes nothing but intrinsics.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#ifndef FARFIELD_ISA_NAMESPACE
#error "math/simd.hpp is only for sources listed in farfield_isa_sources()"
#endif

namespace farfield::math::simd::FARFIELD_ISA_NAMESPACE {

/// A partial vector at the end of a row: n valid lanes.
struct Part {
  std::int64_t n;
};
struct Full {};

#if defined(__AVX512F__) && defined(__AVX512DQ__)

inline constexpr std::int64_t kLanes = 16;
struct Vec {
  __m512 v;
};
inline __mmask16 mask_of(Part p) { return static_cast<__mmask16>((1U << p.n) - 1U); }
inline Vec load(const float* p, Full) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const float* p, Part part) { return {_mm512_maskz_loadu_ps(mask_of(part), p)}; }
inline void store(float* p, Vec a, Full) { _mm512_storeu_ps(p, a.v); }
inline void store(float* p, Vec a, Part part) { _mm512_mask_storeu_ps(p, mask_of(part), a.v); }
inline Vec set(float x) { return {_mm512_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
/// a b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fmaddsub(Vec a, Vec b, Vec c) { return {_mm512_fmaddsub_ps(a.v, b.v, c.v)}; }
inline Vec fmsubadd(Vec a, Vec b, Vec c) { return {_mm512_fmsubadd_ps(a.v, b.v, c.v)}; }
inline Vec real_twice(Vec a) { return {_mm512_moveldup_ps(a.v)}; }
inline Vec imag_twice(Vec a) { return {_mm512_movehdup_ps(a.v)}; }
inline Vec swap_pairs(Vec a) { return {_mm512_permute_ps(a.v, 0xB1)}; }
/// 1/sqrt(a) for a > 0, to about 1 ulp of float.
inline Vec rsqrt(Vec a) {
  const __m512 r = _mm512_rsqrt14_ps(a.v), half = _mm512_mul_ps(_mm512_set1_ps(0.5F), a.v);
  return {_mm512_mul_ps(r, _mm512_fnmadd_ps(_mm512_mul_ps(half, r), r, _mm512_set1_ps(1.5F)))};
}
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }
/// a < b ? x : 0
inline Vec keep_if_less(Vec a, Vec b, Vec x) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), x.v)};
}
/// a0 + a1, a2 + a3, ... of the 32 values in (a, b), in order.
inline Vec pair_sum(Vec a, Vec b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_add_ps(_mm512_permutex2var_ps(a.v, even, b.v), _mm512_permutex2var_ps(a.v, odd, b.v))};
}
/// Each of the 16 values twice: low half into a, high half into b.
inline void twice(Vec s, Vec& a, Vec& b) {
  a.v = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), s.v);
  b.v = _mm512_permutexvar_ps(_mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), s.v);
}
inline Vec load_counts(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load_counts(const std::uint16_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))))};
}
inline Vec load_counts(const std::uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec load_counts(const std::uint32_t* p) { return {_mm512_cvtepu32_ps(_mm512_loadu_si512(p))}; }

#elif defined(__AVX2__) && defined(__FMA__)

inline constexpr std::int64_t kLanes = 8;
struct Vec {
  __m256 v;
};
inline __m256i mask_of(Part p) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(p.n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec load(const float* p, Full) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const float* p, Part part) { return {_mm256_maskload_ps(p, mask_of(part))}; }
inline void store(float* p, Vec a, Full) { _mm256_storeu_ps(p, a.v); }
inline void store(float* p, Vec a, Part part) { _mm256_maskstore_ps(p, mask_of(part), a.v); }
inline Vec set(float x) { return {_mm256_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fmaddsub(Vec a, Vec b, Vec c) { return {_mm256_fmaddsub_ps(a.v, b.v, c.v)}; }
inline Vec fmsubadd(Vec a, Vec b, Vec c) { return {_mm256_fmsubadd_ps(a.v, b.v, c.v)}; }
inline Vec real_twice(Vec a) { return {_mm256_moveldup_ps(a.v)}; }
inline Vec imag_twice(Vec a) { return {_mm256_movehdup_ps(a.v)}; }
inline Vec swap_pairs(Vec a) { return {_mm256_permute_ps(a.v, 0xB1)}; }
inline Vec rsqrt(Vec a) {
  const __m256 r = _mm256_rsqrt_ps(a.v), half = _mm256_mul_ps(_mm256_set1_ps(0.5F), a.v);
  return {_mm256_mul_ps(r, _mm256_fnmadd_ps(_mm256_mul_ps(half, r), r, _mm256_set1_ps(1.5F)))};
}
inline float sum(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float largest(Vec a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline Vec keep_if_less(Vec a, Vec b, Vec x) { return {_mm256_and_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ), x.v)}; }
inline Vec pair_sum(Vec a, Vec b) {
  const __m256 h = _mm256_hadd_ps(a.v, b.v);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(h), 0xD8))};
}
inline void twice(Vec s, Vec& a, Vec& b) {
  const __m256 low = _mm256_unpacklo_ps(s.v, s.v), high = _mm256_unpackhi_ps(s.v, s.v);
  a.v = _mm256_permute2f128_ps(low, high, 0x20);
  b.v = _mm256_permute2f128_ps(low, high, 0x31);
}
inline Vec load_counts(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load_counts(const std::uint16_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec load_counts(const std::uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec load_counts(const std::uint32_t* p) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16));
  const __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xFFFF)));
  return {_mm256_fmadd_ps(high, _mm256_set1_ps(65536.0F), low)};
}

#else

inline constexpr std::int64_t kLanes = 4;
struct Vec {
  __m128 v;
};
inline Vec load(const float* p, Full) { return {_mm_loadu_ps(p)}; }
inline Vec load(const float* p, Part part) {
  alignas(16) float t[4] = {};
  std::memcpy(t, p, static_cast<std::size_t>(part.n) * sizeof(float));
  return {_mm_load_ps(t)};
}
inline void store(float* p, Vec a, Full) { _mm_storeu_ps(p, a.v); }
inline void store(float* p, Vec a, Part part) {
  alignas(16) float t[4];
  _mm_store_ps(t, a.v);
  std::memcpy(p, t, static_cast<std::size_t>(part.n) * sizeof(float));
}
inline Vec set(float x) { return {_mm_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm_andnot_ps(_mm_set1_ps(-0.0F), a.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
inline Vec fmaddsub(Vec a, Vec b, Vec c) { return {_mm_addsub_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
inline Vec fmsubadd(Vec a, Vec b, Vec c) {
  return {_mm_addsub_ps(_mm_mul_ps(a.v, b.v), _mm_xor_ps(c.v, _mm_set1_ps(-0.0F)))};
}
inline Vec real_twice(Vec a) { return {_mm_moveldup_ps(a.v)}; }
inline Vec imag_twice(Vec a) { return {_mm_movehdup_ps(a.v)}; }
inline Vec swap_pairs(Vec a) { return {_mm_shuffle_ps(a.v, a.v, 0xB1)}; }
inline Vec rsqrt(Vec a) {
  const __m128 r = _mm_rsqrt_ps(a.v), half = _mm_mul_ps(_mm_set1_ps(0.5F), a.v);
  return {_mm_mul_ps(r, _mm_sub_ps(_mm_set1_ps(1.5F), _mm_mul_ps(_mm_mul_ps(half, r), r)))};
}
inline float sum(Vec a) {
  const __m128 s = _mm_add_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float largest(Vec a) {
  const __m128 s = _mm_max_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline Vec keep_if_less(Vec a, Vec b, Vec x) { return {_mm_and_ps(_mm_cmplt_ps(a.v, b.v), x.v)}; }
inline Vec pair_sum(Vec a, Vec b) { return {_mm_hadd_ps(a.v, b.v)}; }
inline void twice(Vec s, Vec& a, Vec& b) {
  a.v = _mm_unpacklo_ps(s.v, s.v);
  b.v = _mm_unpackhi_ps(s.v, s.v);
}
inline Vec load_counts(const float* p) { return {_mm_loadu_ps(p)}; }
inline Vec load_counts(const std::uint16_t* p) {
  return {_mm_cvtepi32_ps(_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec load_counts(const std::uint8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, 4);
  return {_mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)))};
}
inline Vec load_counts(const std::uint32_t* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128 high = _mm_cvtepi32_ps(_mm_srli_epi32(x, 16)),
               low = _mm_cvtepi32_ps(_mm_and_si128(x, _mm_set1_epi32(0xFFFF)));
  return {_mm_add_ps(_mm_mul_ps(high, _mm_set1_ps(65536.0F)), low)};
}

#endif

/// Counts of a partial vector, the rest zero.
template <class T>
inline Vec load_counts(const T* p, Part part) {
  T t[kLanes] = {};
  std::memcpy(t, p, static_cast<std::size_t>(part.n) * sizeof(T));
  return load_counts(t);
}
template <class T>
inline Vec load_counts(const T* p, Full) {
  return load_counts(p);
}

/// |z|^2 of the kLanes complex numbers in (a, b), in order.
inline Vec abs2(Vec a, Vec b) { return pair_sum(a * a, b * b); }

/// Complex products of interleaved pairs: a b, and conj(a) b.
inline Vec cmul(Vec a, Vec b) { return fmaddsub(real_twice(a), b, imag_twice(a) * swap_pairs(b)); }
inline Vec conj_mul(Vec a, Vec b) { return fmsubadd(real_twice(a), b, imag_twice(a) * swap_pairs(b)); }

/// f(i, Full) for each whole vector of n floats, then f(i, Part) for the rest.
template <class F>
inline void sweep(std::int64_t n, F&& f) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Full{});
  if (i < n) f(i, Part{n - i});
}

}  // namespace farfield::math::simd::FARFIELD_ISA_NAMESPACE
