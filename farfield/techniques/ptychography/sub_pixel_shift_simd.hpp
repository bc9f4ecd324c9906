#pragma once
// Rows of a tile, and the shift by a fraction of a pixel, in vectors. Only for sources listed in
// farfield_isa_sources(), as math/simd.hpp is.

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;

/// The level that the including file is compiled for.
constexpr core::Isa level() {
#if defined(__AVX512F__)
  return core::Isa::v4;
#elif defined(__AVX2__)
  return core::Isa::v3;
#else
  return core::Isa::v2;
#endif
}

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

/// Rows that are filtered together: neighbours need the same input rows, which are loaded once for all.
inline constexpr int kTogether = 4;

/// out[r][i] = sum_k taps[k] source[r + k][i], 0 <= r < kRows.
struct Vertical {
  Vec w[kTaps];
  explicit Vertical(const float* taps) {
    for (int k = 0; k < kTaps; ++k) w[k] = set(taps[k]);
  }
  template <int kRows, class P>
  void operator()(const float* const* source, Index i, P part, Vec (&out)[kRows]) const {
    Vec in = load(source[0] + i, part);
    out[0] = w[0] * in;
#pragma GCC unroll 16
    for (int j = 1; j < kTaps + kRows - 1; ++j) {
      in = load(source[j] + i, part);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (j == r) out[r] = w[0] * in;
        else if (j > r && j - r < kTaps) out[r] = fma(w[j - r], in, out[r]);
      }
    }
  }
};

/// Floats from one row of scratch to the next.
inline Index row_step(Shape s) { return 2 * s.nx + 64; }

/// The padded rows sum_k taps_y[k] in(y + r - before + k, x), circular, r < kRows, row_step() apart.
template <int kRows>
inline void vertical(Shape s, const Vertical& sum_rows, int before, const cfloat* in, Index y, float* row) {
  const float* source[kTaps + kRows - 1];
  for (int k = 0; k < kTaps + kRows - 1; ++k) {
    Index yy = y - before + k;
    if (yy < 0 || yy >= s.ny) yy = (yy % s.ny + s.ny) % s.ny;
    source[k] = f(in + yy * s.nx);
  }
  const Index step = row_step(s);
  sweep(2 * s.nx, [&](Index i, auto part) {
    Vec out[kRows];
    sum_rows(source, i, part, out);
    for (int r = 0; r < kRows; ++r) store(row + r * step + 2 * kMargin + i, out[r], part);
  });
  for (int r = 0; r < kRows; ++r) wrap_margins(s.nx, row + r * step);
}

/// use(y, padded row) for the rows of a range; the vertical part of a shift by `taps` is done.
template <class Use>
inline void vertical_rows(Shape s, RowRange range, const float* taps, int before, const cfloat* in, float* row,
                          Use&& use) {
  const Vertical sum_rows(taps);
  Index y = range.begin;
  for (; y + kTogether <= range.end; y += kTogether) {
    vertical<kTogether>(s, sum_rows, before, in, y, row);
    for (int r = 0; r < kTogether; ++r) use(y + r, static_cast<const float*>(row + r * row_step(s)));
  }
  for (; y < range.end; ++y) {
    vertical<1>(s, sum_rows, before, in, y, row);
    use(y, static_cast<const float*>(row));
  }
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

/// S^T is S with its taps reversed; they then begin one pixel later.
struct ReversedTaps {
  float y[kTaps], x[kTaps];
  explicit ReversedTaps(const SubPixelShift& shift) {
    for (int k = 0; k < kTaps; ++k) {
      y[k] = shift.y[kTaps - 1 - k];
      x[k] = shift.x[kTaps - 1 - k];
    }
  }
};

/// sum += S^T of rows that come one after the other. The horizontally shifted rows live in a ring in level 1; kTogether
/// rows of the sum are written as soon as the rows they need are there. The first rows are kept for the wrap-around at
/// the end. All of it is in the scratch `row`, so that a tile may come in several ranges.
class TransposedShift {
public:
  static bool fits(Shape s) { return s.ny >= 2 * kTaps; }
  TransposedShift(Shape s, const SubPixelShift& shift, cfloat* sum, float* row)
      : s_(s), taps_(shift), vertical_(taps_.y), horizontal_(taps_.x), sum_(sum), row_(row), step_(row_step(s)) {}

  /// Where row y is to be put, interleaved.
  float* next() { return row_ + 2 * kMargin; }
  void push(Index y) {
    wrap_margins(s_.nx, row_);
    float* u = shifted(y);
    sweep(2 * s_.nx, [&](Index i, auto part) { store(u + i, horizontal_(row_ + 2 + i, part), part); });
    // Row e of the sum needs rows e - kTapsBack + 1 ... e + kTapsBack; the first kTapsBack - 1 come at the end.
    const Index there = y + 1 - kKept;
    if (there > 0 && there % kTogether == 0) emit<kTogether>(kTapsBack - 1 + there - kTogether);
    if (y + 1 < s_.ny) return;
    for (Index e = kTapsBack - 1 + there / kTogether * kTogether; e < s_.ny + kTapsBack - 1; ++e) emit<1>(e % s_.ny);
  }

private:
  static constexpr Index kKept = kTaps - 1, kRing = kTaps + kTogether;

  float* shifted(Index y) const { return row_ + (y < kKept ? 1 + y : 1 + kKept + y % kRing) * step_; }
  template <int kRows>
  void emit(Index y) {
    const float* source[kTaps + kRows - 1];
    for (int k = 0; k < kTaps + kRows - 1; ++k) {
      Index at = y - kTapsBack + 1 + k;  // circular, without a division per row
      if (at < 0) at += s_.ny;
      if (at >= s_.ny) at -= s_.ny;
      source[k] = shifted(at);
    }
    float* out = f(sum_ + y * s_.nx);
    const Index width = 2 * s_.nx;
    const Vertical sum_rows = vertical_;
    sweep(width, [&](Index i, auto part) {
      Vec rows[kRows];
      sum_rows(source, i, part, rows);
      for (int r = 0; r < kRows; ++r) store(out + r * width + i, load(out + r * width + i, part) + rows[r], part);
    });
  }

  Shape s_;
  ReversedTaps taps_;
  Vertical vertical_;
  Horizontal horizontal_;
  cfloat* sum_;
  float* row_;
  Index step_;
};

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE::tile_simd
