// The kernels of line_kernels.hpp for one instruction set.

#include <algorithm>
#include <type_traits>

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/line_kernels.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift_simd.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE {
const LineKernels& line_kernels();
namespace {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;
using namespace tile_simd;

/// a b + c d of interleaved pairs.
inline Vec cmul_add(Vec a, Vec b, Vec c, Vec d) {
  const Vec crossed = fma(imag_twice(a), swap_pairs(b), imag_twice(c) * swap_pairs(d));
  return fma(real_twice(c), d, fmaddsub(real_twice(a), b, crossed));
}

template <bool kDirection, bool kSecond>
void waves_as(Shape s, const SubPixelShift& shift, const cfloat* probe, const cfloat* direction, const ObjectLine& line,
              cfloat* a, cfloat* b, cfloat* c, float* rows) {
  const auto row = [&](Index y, auto&& probe_at, auto&& direction_at) {
    const float *o = f(line.o + y * line.stride), *d = f(line.first + y * line.first_stride);
    const float* e = kSecond ? f(line.second + y * s.nx) : nullptr;
    float *to_a = f(a + y * s.nx), *to_b = f(b + y * s.nx), *to_c = kDirection || kSecond ? f(c + y * s.nx) : nullptr;
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec p = probe_at(i, part), q = direction_at(i, part), vo = load(o + i, part), vd = load(d + i, part);
      store(to_a + i, cmul(p, vo), part);
      if constexpr (kDirection) {
        store(to_b + i, cmul_add(p, vd, q, vo), part);
        if constexpr (kSecond) store(to_c + i, cmul_add(q, vd, p, load(e + i, part)), part);
        else store(to_c + i, cmul(q, vd), part);
      } else {
        store(to_b + i, cmul(p, vd), part);
        if constexpr (kSecond) store(to_c + i, cmul(p, load(e + i, part)), part);
      }
    });
  };
  if (shift.identity) {
    for (Index y = 0; y < s.ny; ++y)
      row(
          y, [&](Index i, auto part) { return load(f(probe + y * s.nx) + i, part); },
          [&](Index i, auto part) { return kDirection ? load(f(direction + y * s.nx) + i, part) : set(0); });
    return;
  }
  const Horizontal horizontal(shift.x);
  const Vertical sum_rows(shift.y);
  const Index step = row_step(s);
  const auto block = [&](Index y, auto count) {
    constexpr int kRows = decltype(count)::value;
    float* other = rows + kRows * step;
    vertical<kRows>(s, sum_rows, kTapsBack, probe, y, rows);
    if constexpr (kDirection) vertical<kRows>(s, sum_rows, kTapsBack, direction, y, other);
    for (int r = 0; r < kRows; ++r)
      row(
          y + r, [&](Index i, auto part) { return horizontal(rows + r * step + i, part); },
          [&](Index i, auto part) { return kDirection ? horizontal(other + r * step + i, part) : set(0); });
  };
  Index y = 0;
  for (; y + kTogether <= s.ny; y += kTogether) block(y, std::integral_constant<int, kTogether>{});
  for (; y < s.ny; ++y) block(y, std::integral_constant<int, 1>{});
}

void waves(Shape s, const SubPixelShift& shift, const cfloat* probe, const cfloat* direction, const ObjectLine& line,
           cfloat* a, cfloat* b, cfloat* c, float* rows) {
  if (direction != nullptr) {
    if (line.second != nullptr) waves_as<true, true>(s, shift, probe, direction, line, a, b, c, rows);
    else waves_as<true, false>(s, shift, probe, direction, line, a, b, c, rows);
  } else {
    if (line.second != nullptr) waves_as<false, true>(s, shift, probe, direction, line, a, b, c, rows);
    else waves_as<false, false>(s, shift, probe, direction, line, a, b, c, rows);
  }
}

/// Sums run in float over this many vectors and then in double.
constexpr Index kBlock = 64;

/// Coefficients of the intensity along the line: c0 + 2 c1 t + c2 t^2 + 2 c3 t^3 + c4 t^4.
struct Quartic {
  Vec c0, c1, c2, c3, c4;
};
inline Quartic operator+(Quartic a, Quartic b) {
  return {a.c0 + b.c0, a.c1 + b.c1, a.c2 + b.c2, a.c3 + b.c3, a.c4 + b.c4};
}

/// The arithmetic of kLanes pixels.
template <bool kQuartic>
struct Line {
  const LineTask& t;
  const ModulusTask& d = t.detector;
  bool poisson = d.likelihood == Likelihood::poisson;
  Vec to_transform = set(1 / d.intensity_scale), one = set(1), three = set(3), tiny = set(1e-30F),
      saturation = set(d.saturation);
  // Rounding leaves about 1e-7 of I(0) where the intensity passes through zero; 1e-6 keeps its reciprocal tame.
  Vec rounding = set(1e-6F);
  Vec step[kTrials];
  explicit Line(const LineTask& task) : t(task) {
    for (int k = 0; k < kTrials; ++k) step[k] = set(t.steps[k]);
  }

  /// Half of the slopes, added to `slope`; `i` is the first pixel.
  template <class P>
  void add(Quartic q, Vec measured, Index i, P part, Vec* slope) const {
    // Intensities stay in units of the transform: counts and background are brought to them instead.
    if (d.background != nullptr) q.c0 = fma(load(d.background + i, part), to_transform, q.c0);
    const Vec scaled = measured * to_transform, root = scaled * rsqrt(max(scaled, tiny));
    const Vec least = fma(q.c0, rounding, tiny);
    Vec weight = one;
    if (d.valid != nullptr) weight = load(d.valid + i, part);
    if (d.saturation > 0) weight = keep_if_less(measured, saturation, weight);
    const Vec twice_c1 = q.c1 + q.c1, c3x2 = q.c3 + q.c3, c3x3 = q.c3 * three, c4x2 = q.c4 + q.c4;
    for (int k = 0; k < kTrials; ++k) {
      const Vec s = step[k];
      Vec model, half_slope;
      if constexpr (kQuartic) {
        model = fma(s, fma(s, fma(s, fma(s, q.c4, c3x2), q.c2), twice_c1), q.c0);
        half_slope = fma(s, fma(s, fma(s, c4x2, c3x3), q.c2), q.c1);
      } else {
        model = fma(s, fma(s, q.c2, twice_c1), q.c0);
        half_slope = fma(s, q.c2, q.c1);
      }
      const Vec ratio = root * rsqrt(max(model, least));
      const Vec excess = poisson ? one - ratio * ratio : one - ratio;
      slope[k] = fma(half_slope * weight, excess, slope[k]);
    }
  }
  void gather(const Vec* slope, LineSlopes& sums) const {
    for (int k = 0; k < kTrials; ++k) sums.at[k] += 2 * static_cast<double>(d.intensity_scale * sum(slope[k]));
  }
};

template <class Counts, bool kQuartic>
LineSlopes slopes_of(const LineTask& t) {
  const auto* counts = static_cast<const Counts*>(t.detector.counts);
  const Line<kQuartic> line(t);
  const Vec zero = set(0);
  LineSlopes sums;
  for (Index begin = 0; begin < t.n; begin += kBlock * kLanes) {
    const Index end = std::min(t.n, begin + kBlock * kLanes);
    Vec slope[kTrials] = {zero, zero};
    const auto pixels = [&](Index i, auto part) {
      // kLanes pixels are two vectors of interleaved complex numbers per mode; lanes beyond the end are zero and add
      // nothing.
      const auto get = [&](const cfloat* p, Vec& low, Vec& high) {
        if constexpr (std::is_same_v<decltype(part), Part>) {
          const Index first = std::min(2 * part.n, kLanes);
          low = load(f(p + i), Part{first});
          high = 2 * part.n > first ? load(f(p + i) + kLanes, Part{2 * part.n - first}) : zero;
        } else {
          low = load(f(p + i), Full{});
          high = load(f(p + i) + kLanes, Full{});
        }
      };
      const auto mode = [&](int m) {
        Vec a0, a1, b0, b1, e0, e1;
        get(t.a[m], a0, a1);
        get(t.b[m], b0, b1);
        Quartic q{pair_sum(a0 * a0, a1 * a1), pair_sum(a0 * b0, a1 * b1), zero, zero, zero};
        if constexpr (kQuartic) {
          get(t.c[m], e0, e1);
          q.c2 = pair_sum(fma(a0 + a0, e0, b0 * b0), fma(a1 + a1, e1, b1 * b1));
          q.c3 = pair_sum(b0 * e0, b1 * e1);
          q.c4 = pair_sum(e0 * e0, e1 * e1);
        } else {
          q.c2 = pair_sum(b0 * b0, b1 * b1);
        }
        return q;
      };
      Quartic q = mode(0);
      for (int m = 1; m < t.modes; ++m) q = q + mode(m);
      line.add(q, load_counts(counts + i, part), i, part, slope);
    };
    Index i = begin;
    for (; i + kLanes <= end; i += kLanes) pixels(i, Full{});
    if (i < end) pixels(i, Part{end - i});
    line.gather(slope, sums);
  }
  return sums;
}

template <class Counts, bool kQuartic>
LineSlopes block_of(const LineTask& t, Index nx, const math::FftBlock& b) {
  const auto* counts = static_cast<const Counts*>(t.detector.counts);
  const Line<kQuartic> line(t);
  const Vec zero = set(0);
  constexpr int kEach = kQuartic ? 3 : 2;
  Vec slope[kTrials] = {zero, zero};
  for (Index r = 0; r < b.rows; ++r)
    for (Index x = 0; x < b.columns; x += kLanes) {
      const Index at = r * 2 * b.columns + x, i = (b.first_row + r * b.row_step) * nx + b.first_column + x;
      const auto mode = [&](int m) {
        const auto re = [&](int k) { return load(b.data[kEach * m + k] + at, Full{}); };
        const auto im = [&](int k) { return load(b.data[kEach * m + k] + at + b.columns, Full{}); };
        const Vec ar = re(0), ai = im(0), br = re(1), bi = im(1);
        const Vec bb = fma(br, br, bi * bi);
        Quartic q{fma(ar, ar, ai * ai), fma(ar, br, ai * bi), bb, zero, zero};
        if constexpr (kQuartic) {
          const Vec er = re(2), ei = im(2), ae = fma(ar, er, ai * ei);
          q.c2 = bb + ae + ae;
          q.c3 = fma(br, er, bi * ei);
          q.c4 = fma(er, er, ei * ei);
        }
        return q;
      };
      Quartic q = mode(0);
      for (int m = 1; m < t.modes; ++m) q = q + mode(m);
      line.add(q, load_counts(counts + i, Full{}), i, Full{}, slope);
    }
  LineSlopes sums;
  line.gather(slope, sums);
  return sums;
}

/// f(value of the counts' type)
template <class F>
LineSlopes for_counts(const LineTask& t, F&& f) {
  switch (t.detector.dtype) {
    case core::DType::u8: return f(std::uint8_t{});
    case core::DType::u16: return f(std::uint16_t{});
    case core::DType::u32: return f(std::uint32_t{});
    default: return f(float{});
  }
}

LineSlopes slopes(const LineTask& t) {
  return for_counts(t, [&](auto counts) {
    using Counts = decltype(counts);
    return t.c != nullptr ? slopes_of<Counts, true>(t) : slopes_of<Counts, false>(t);
  });
}

LineSlopes slopes_block(const LineTask& t, Index nx, const math::FftBlock& b) {
  return for_counts(t, [&](auto counts) {
    using Counts = decltype(counts);
    return b.images == 3 * t.modes ? block_of<Counts, true>(t, nx, b) : block_of<Counts, false>(t, nx, b);
  });
}

void moving_window(Shape s, const cfloat* o, const cfloat* d, Index stride, float dy, float dx, cfloat* first,
                   cfloat* second) {
  const Vec y1 = set(0.5F * dy), x1 = set(0.5F * dx), yy = set(0.5F * dy * dy), xx = set(0.5F * dx * dx),
            xy = set(0.25F * dy * dx);
  const Index row = 2 * stride;
  for (Index y = 0; y < s.ny; ++y) {
    const float *po = f(o + y * stride), *pd = f(d + y * stride);
    float *out1 = f(first + y * s.nx), *out2 = f(second + y * s.nx);
    sweep(2 * s.nx, [&](Index i, auto part) {
      const auto at = [&](const float* p, Index v, Index u) { return load(p + i + v * row + 2 * u, part); };
      const Vec up = at(po, -1, 0), down = at(po, 1, 0), left = at(po, 0, -1), right = at(po, 0, 1),
                centre = at(po, 0, 0);
      const Vec corners = at(po, 1, 1) - at(po, 1, -1) - at(po, -1, 1) + at(po, -1, -1);
      store(out1 + i, fma(y1, down - up, fma(x1, right - left, at(pd, 0, 0))), part);
      const Vec of_d = fma(y1, at(pd, 1, 0) - at(pd, -1, 0), x1 * (at(pd, 0, 1) - at(pd, 0, -1)));
      const Vec of_o = fma(yy, down + up - centre - centre, fma(xx, left + right - centre - centre, xy * corners));
      store(out2 + i, of_d + of_o, part);
    });
  }
}

}  // namespace

const LineKernels& line_kernels() {
  static const LineKernels table{waves, slopes, slopes_block, moving_window};
  return table;
}

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE
