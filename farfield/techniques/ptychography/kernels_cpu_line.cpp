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
  float* other = rows + 2 * (s.nx + kTaps);
  const Horizontal horizontal(shift.x);
  for (Index y = 0; y < s.ny; ++y) {
    if (!shift.identity) {
      vertical(s, shift.y, kTapsBack, probe, y, rows);
      if constexpr (kDirection) vertical(s, shift.y, kTapsBack, direction, y, other);
    }
    const float *o = f(line.o + y * line.stride), *d = f(line.first + y * line.first_stride);
    const float* e = kSecond ? f(line.second + y * s.nx) : nullptr;
    float *to_a = f(a + y * s.nx), *to_b = f(b + y * s.nx), *to_c = kDirection || kSecond ? f(c + y * s.nx) : nullptr;
    const auto products = [&](Index i, auto part, Vec p, Vec q) {
      const Vec vo = load(o + i, part), vd = load(d + i, part);
      store(to_a + i, cmul(p, vo), part);
      if constexpr (kDirection) {
        store(to_b + i, cmul_add(p, vd, q, vo), part);
        if constexpr (kSecond) store(to_c + i, cmul_add(q, vd, p, load(e + i, part)), part);
        else store(to_c + i, cmul(q, vd), part);
      } else {
        store(to_b + i, cmul(p, vd), part);
        if constexpr (kSecond) store(to_c + i, cmul(p, load(e + i, part)), part);
      }
    };
    if (shift.identity) {
      const float *p = f(probe + y * s.nx), *q = kDirection ? f(direction + y * s.nx) : nullptr;
      sweep(2 * s.nx,
            [&](Index i, auto part) { products(i, part, load(p + i, part), kDirection ? load(q + i, part) : set(0)); });
    } else {
      sweep(2 * s.nx, [&](Index i, auto part) {
        products(i, part, horizontal(rows + i, part), kDirection ? horizontal(other + i, part) : set(0));
      });
    }
  }
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

template <class Counts, bool kQuartic, bool kOneMode>
LineSlopes slopes_of(const LineTask& t) {
  const ModulusTask& d = t.detector;
  const auto* counts = static_cast<const Counts*>(d.counts);
  const Vec to_transform = set(1 / d.intensity_scale), one = set(1), three = set(3), zero = set(0), tiny = set(1e-30F);
  // Rounding leaves about 1e-7 of I(0) where the intensity passes through zero; 1e-6 keeps its reciprocal tame.
  const Vec rounding = set(1e-6F), saturation = set(d.saturation);
  const bool poisson = d.likelihood == Likelihood::poisson;
  Vec step[kTrials];
  for (int k = 0; k < kTrials; ++k) step[k] = set(t.steps[k]);
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
      Vec c0, c1, c2, c3 = zero, c4 = zero;
      const auto coefficients = [&](int m) {
        Vec a0, a1, b0, b1, e0, e1;
        get(t.a[m], a0, a1);
        get(t.b[m], b0, b1);
        c0 = pair_sum(a0 * a0, a1 * a1);
        c1 = pair_sum(a0 * b0, a1 * b1);  // half of the linear coefficient, as c3 of the cubic one
        if constexpr (kQuartic) {
          get(t.c[m], e0, e1);
          c2 = pair_sum(fma(a0 + a0, e0, b0 * b0), fma(a1 + a1, e1, b1 * b1));
          c3 = pair_sum(b0 * e0, b1 * e1);
          c4 = pair_sum(e0 * e0, e1 * e1);
        } else {
          c2 = pair_sum(b0 * b0, b1 * b1);
        }
      };
      coefficients(0);
      if constexpr (!kOneMode) {
        for (int m = 1; m < t.modes; ++m) {
          const Vec s0 = c0, s1 = c1, s2 = c2, s3 = c3, s4 = c4;
          coefficients(m);
          c0 = c0 + s0;
          c1 = c1 + s1;
          c2 = c2 + s2;
          c3 = c3 + s3;
          c4 = c4 + s4;
        }
      }
      // Intensities stay in units of the transform: counts and background are brought to them instead.
      if (d.background != nullptr) c0 = fma(load(d.background + i, part), to_transform, c0);
      const Vec measured = load_counts(counts + i, part), scaled = measured * to_transform,
                root = scaled * rsqrt(max(scaled, tiny));
      const Vec least = fma(c0, rounding, tiny);
      Vec weight = one;
      if (d.valid != nullptr) weight = load(d.valid + i, part);
      if (d.saturation > 0) weight = keep_if_less(measured, saturation, weight);
      const Vec twice_c1 = c1 + c1, c3x2 = c3 + c3, c3x3 = c3 * three, c4x2 = c4 + c4;
      for (int k = 0; k < kTrials; ++k) {
        const Vec s = step[k];
        Vec model, half_slope;
        if constexpr (kQuartic) {
          model = fma(s, fma(s, fma(s, fma(s, c4, c3x2), c2), twice_c1), c0);
          half_slope = fma(s, fma(s, fma(s, c4x2, c3x3), c2), c1);
        } else {
          model = fma(s, fma(s, c2, twice_c1), c0);
          half_slope = fma(s, c2, c1);
        }
        const Vec ratio = root * rsqrt(max(model, least));
        const Vec excess = poisson ? one - ratio * ratio : one - ratio;
        slope[k] = fma(half_slope * weight, excess, slope[k]);
      }
    };
    Index i = begin;
    for (; i + kLanes <= end; i += kLanes) pixels(i, Full{});
    if (i < end) pixels(i, Part{end - i});
    for (int k = 0; k < kTrials; ++k) sums.at[k] += 2 * static_cast<double>(d.intensity_scale * sum(slope[k]));
  }
  return sums;
}

template <class Counts>
LineSlopes slopes_as(const LineTask& t) {
  if (t.c != nullptr) return t.modes == 1 ? slopes_of<Counts, true, true>(t) : slopes_of<Counts, true, false>(t);
  return t.modes == 1 ? slopes_of<Counts, false, true>(t) : slopes_of<Counts, false, false>(t);
}

LineSlopes slopes(const LineTask& t) {
  switch (t.detector.dtype) {
    case core::DType::u8: return slopes_as<std::uint8_t>(t);
    case core::DType::u16: return slopes_as<std::uint16_t>(t);
    case core::DType::u32: return slopes_as<std::uint32_t>(t);
    default: return slopes_as<float>(t);
  }
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
  static const LineKernels table{waves, slopes, moving_window};
  return table;
}

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE
