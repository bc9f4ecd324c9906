// The kernels for one instruction set. Each pass is bound by the level-2 cache, which holds the tile, the
// probe, its shifted copy and the object window of one pattern: passes are fused so that each array is
// read once, and intermediate rows stay in level 1.

#include <algorithm>

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift_simd.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE {
const Kernels& kernels();
ModulusSums modulus(const ModulusTask&);  // kernels_cpu_modulus.cpp
void modulus_block(const ModulusTask&, Index, const math::FftBlock&, ModulusLanes&);
namespace {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;
using namespace tile_simd;

/// Sums run in float over this many vectors and then in double, so that a 256^2 tile loses no digits.
constexpr Index kBlock = 64;

void exit_wave(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* probe, const cfloat* object,
               Index stride, cfloat* shifted, cfloat* psi, float* row) {
  if (shift.identity) {
    if (psi == nullptr) return;
    for (Index y = range.begin; y < range.end; ++y) {
      const float *p = f(probe + y * s.nx), *o = f(object + y * stride);
      float* out = f(psi + y * s.nx);
      sweep(2 * s.nx, [&](Index i, auto part) { store(out + i, cmul(load(p + i, part), load(o + i, part)), part); });
    }
    return;
  }
  const Horizontal horizontal(shift.x);
  vertical_rows(s, range, shift.y, kTapsBack, probe, row, [&](Index y, const float* padded) {
    float* p = f(shifted + y * s.nx);
    if (psi == nullptr) {
      sweep(2 * s.nx, [&](Index i, auto part) { store(p + i, horizontal(padded + i, part), part); });
    } else {
      const float* o = f(object + y * stride);
      float* out = f(psi + y * s.nx);
      sweep(2 * s.nx, [&](Index i, auto part) {
        const Vec v = horizontal(padded + i, part);
        store(p + i, v, part);
        store(out + i, cmul(v, load(o + i, part)), part);
      });
    }
  });
}

void unshift_add(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* term, cfloat* sum, float* row) {
  if (shift.identity) {
    const float* t = f(term + range.begin * s.nx);
    float* out = f(sum + range.begin * s.nx);
    sweep(2 * (range.end - range.begin) * s.nx,
          [&](Index i, auto part) { store(out + i, load(out + i, part) + load(t + i, part), part); });
    return;
  }
  if (TransposedShift::fits(s)) {
    TransposedShift transposed(s, shift, sum, row);
    for (Index y = range.begin; y < range.end; ++y) {
      std::memcpy(transposed.next(), term + y * s.nx, static_cast<std::size_t>(s.nx) * sizeof(cfloat));
      transposed.push(y);
    }
    return;
  }
  if (range.end < s.ny) return;  // a few rows: all at once
  const ReversedTaps taps(shift);
  const Horizontal horizontal(taps.x);
  vertical_rows(s, all_rows(s), taps.y, kTapsBack - 1, term, row, [&](Index y, const float* padded) {
    float* out = f(sum + y * s.nx);
    const float* r = padded + 2;  // the first tap of the adjoint is one pixel later
    sweep(2 * s.nx, [&](Index i, auto part) { store(out + i, load(out + i, part) + horizontal(r + i, part), part); });
  });
}

void add_abs2(Index n, float s, const cfloat* b, float* a);

template <bool kIllumination, bool kTerm>
void gradients_as(Shape s, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride, cfloat* gradient,
                  Index gradient_stride, float* illumination, cfloat* term) {
  for (Index y = 0; y < s.ny; ++y) {
    const float *c = f(chi + y * s.nx), *q = f(p + y * s.nx), *o = f(object + y * stride);
    float *g = f(gradient + y * gradient_stride), *t = kTerm ? f(term + y * s.nx) : nullptr;
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec vc = load(c + i, part);
      store(g + i, load(g + i, part) + conj_mul(load(q + i, part), vc), part);
      if constexpr (kTerm) store(t + i, conj_mul(load(o + i, part), vc), part);
    });
    if constexpr (kIllumination) {
      float* l = illumination + y * gradient_stride;
      add_abs2(s.nx, 1, p + y * s.nx, l);
    }
  }
}

void gradients(Shape s, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride, cfloat* gradient,
               Index gradient_stride, float* illumination, cfloat* term) {
  const auto go = [&](auto with_illumination, auto with_term) {
    gradients_as<decltype(with_illumination)::value, decltype(with_term)::value>(s, chi, p, object, stride, gradient,
                                                                                 gradient_stride, illumination, term);
  };
  using std::false_type, std::true_type;
  if (illumination != nullptr) {
    if (term != nullptr) go(true_type{}, true_type{});
    else go(true_type{}, false_type{});
  } else {
    if (term != nullptr) go(false_type{}, true_type{});
    else go(false_type{}, false_type{});
  }
}

void back_project(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* chi, const cfloat* p,
                  const cfloat* object, Index stride, cfloat* gradient, Index gradient_stride, float* illumination,
                  cfloat* probe, cfloat* term, float* row) {
  if (shift.identity || !TransposedShift::fits(s)) {
    const Index at = range.begin * s.nx;
    gradients({range.end - range.begin, s.nx}, chi + at, p + at, object + range.begin * stride, stride,
              gradient + range.begin * gradient_stride, gradient_stride,
              illumination != nullptr ? illumination + range.begin * gradient_stride : nullptr, term + at);
    unshift_add(s, range, shift, term, probe, row);
    return;
  }
  TransposedShift transposed(s, shift, probe, row);
  for (Index y = range.begin; y < range.end; ++y) {
    const float *c = f(chi + y * s.nx), *q = f(p + y * s.nx), *o = f(object + y * stride);
    float *g = f(gradient + y * gradient_stride), *t = transposed.next();
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec vc = load(c + i, part);
      store(g + i, load(g + i, part) + conj_mul(load(q + i, part), vc), part);
      store(t + i, conj_mul(load(o + i, part), vc), part);
    });
    if (illumination != nullptr) add_abs2(s.nx, 1, p + y * s.nx, illumination + y * gradient_stride);
    transposed.push(y);
  }
}

StepSums direction(Index n, int parts, const cfloat* const* gradients, const float* illumination, float keep,
                   float floor, cfloat* delta) {
  StepSums sums;
  Vec with_g = set(0), with_l = set(0);
  const Vec v_floor = set(floor), v_keep = set(keep);
  Index i = 0;
  for (; i + kLanes <= n; i += kLanes) {  // kLanes pixels: two vectors of complex numbers
    Vec ga = load(f(gradients[0] + i), Full{}), gb = load(f(gradients[0] + i) + kLanes, Full{});
    const Vec l = load(illumination + i, Full{});
    for (int t = 1; t < parts; ++t) {
      ga = ga + load(f(gradients[t] + i), Full{});
      gb = gb + load(f(gradients[t] + i) + kLanes, Full{});
    }
    const Vec r = set(1) / fma(v_keep, l, v_floor);
    Vec ra, rb, la, lb;
    twice(r, ra, rb);
    twice(l, la, lb);
    const Vec da = ga * ra, db = gb * rb;
    with_g = fma(da, ga, fma(db, gb, with_g));
    with_l = fma(da * da, la, fma(db * db, lb, with_l));
    store(f(delta + i), da, Full{});
    store(f(delta + i) + kLanes, db, Full{});
  }
  sums.a_chi = static_cast<double>(sum(with_g));
  sums.aa = static_cast<double>(sum(with_l));
  for (; i < n; ++i) {
    const float l = illumination[i];
    float re = 0, im = 0;
    for (int t = 0; t < parts; ++t) {
      re += f(gradients[t])[2 * i];
      im += f(gradients[t])[2 * i + 1];
    }
    const float r = 1 / (keep * l + floor), d2 = (re * re + im * im) * r;
    sums.a_chi += static_cast<double>(d2);
    sums.aa += static_cast<double>(d2 * r * l);
    f(delta)[2 * i] = re * r;
    f(delta)[2 * i + 1] = im * r;
  }
  return sums;
}

/// Re(conj(a) b) of interleaved pairs is the plain product of floats, summed over both.
struct Accumulator {
  Vec a_chi = set(0), b_chi = set(0), aa = set(0), bb = set(0), ab = set(0);
  void add(Vec chi, Vec a, Vec b) {
    a_chi = fma(a, chi, a_chi);
    b_chi = fma(b, chi, b_chi);
    aa = fma(a, a, aa);
    bb = fma(b, b, bb);
    ab = fma(a, b, ab);
  }
  void into(StepSums& sums) const {
    sums.a_chi += static_cast<double>(sum(a_chi));
    sums.b_chi += static_cast<double>(sum(b_chi));
    sums.aa += static_cast<double>(sum(aa));
    sums.bb += static_cast<double>(sum(bb));
    sums.ab += static_cast<double>(sum(ab));
  }
};

StepSums object_step_sums(Shape s, const cfloat* chi, const cfloat* p, const cfloat* delta, Index stride) {
  StepSums sums;
  for (Index y = 0; y < s.ny; ++y) {
    const float *c = f(chi + y * s.nx), *q = f(p + y * s.nx), *d = f(delta + y * stride);
    Vec a_chi = set(0), aa = set(0);
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec a = cmul(load(d + i, part), load(q + i, part));
      a_chi = fma(a, load(c + i, part), a_chi);
      aa = fma(a, a, aa);
    });
    sums.a_chi += static_cast<double>(sum(a_chi));
    sums.aa += static_cast<double>(sum(aa));
  }
  return sums;
}

StepSums position_sums(Shape s, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride) {
  StepSums sums;
  const Vec half = set(0.5F);
  for (Index y = 0; y < s.ny; ++y) {
    const float *c = f(chi + y * s.nx), *q = f(p + y * s.nx), *o = f(object + y * stride);
    Accumulator row;
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec vq = load(q + i, part) * half;
      const Vec dy = load(o + i + 2 * stride, part) - load(o + i - 2 * stride, part);
      const Vec dx = load(o + i + 2, part) - load(o + i - 2, part);
      row.add(load(c + i, part), cmul(vq, dy), cmul(vq, dx));
    });
    row.into(sums);
  }
  return sums;
}

void pie_update(Shape s, int modes, cfloat* const* chi, const cfloat* const* p, cfloat* object, Index stride,
                float alpha, float p_max2, float o_max2, float object_step) {
  const Vec keep = set(1 - alpha), p_floor = set(alpha * p_max2), o_floor = set(alpha * o_max2),
            step = set(object_step);
  const auto own_abs2 = [](Vec v) {  // |z|^2 in both lanes of each pair
    const Vec v2 = v * v;
    return v2 + swap_pairs(v2);
  };
  for (Index y = 0; y < s.ny; ++y) {
    float* o = f(object + y * stride);
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec before = load(o + i, part), o_den = fma(keep, own_abs2(before), o_floor);
      Vec p2 = set(0), update = set(0);
      for (int m = 0; m < modes; ++m) {
        float* c = f(chi[m] + y * s.nx) + i;
        const Vec q = load(f(p[m] + y * s.nx) + i, part), vc = load(c, part);
        p2 = p2 + own_abs2(q);
        update = update + conj_mul(q, vc);
        store(c, conj_mul(before, vc) / o_den, part);
      }
      store(o + i, before + step * update / fma(keep, p2, p_floor), part);
    });
  }
}

double dot(Index n, const cfloat* a, const cfloat* b) {
  double total = 0;
  for (Index begin = 0; begin < 2 * n; begin += kBlock * kLanes) {
    Vec s = set(0);
    const float *x = f(a) + begin, *y = f(b) + begin;
    sweep(std::min(kBlock * kLanes, 2 * n - begin),
          [&](Index i, auto part) { s = fma(load(x + i, part), load(y + i, part), s); });
    total += static_cast<double>(sum(s));
  }
  return total;
}
double norm2(Index n, const cfloat* a) { return dot(n, a, a); }

float max_abs2(Index n, const cfloat* a) {
  Vec m = set(0);
  sweep(2 * n, [&](Index i, auto part) {
    const Vec v = load(f(a) + i, part), v2 = v * v;
    m = max(m, v2 + swap_pairs(v2));
  });
  return largest(m);
}

float largest(Index n, const float* a) {
  Vec m = set(0);
  sweep(n, [&](Index i, auto part) { m = max(m, load(a + i, part)); });
  return math::simd::FARFIELD_ISA_NAMESPACE::largest(m);
}

void add_abs2(Index n, float s, const cfloat* b, float* a) {
  const Vec scale = set(s);
  Index i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(a + i, fma(scale, abs2(load(f(b + i), Full{}), load(f(b + i) + kLanes, Full{})), load(a + i, Full{})),
          Full{});
  for (; i < n; ++i) a[i] += s * (f(b)[2 * i] * f(b)[2 * i] + f(b)[2 * i + 1] * f(b)[2 * i + 1]);
}

void axpy(Index n, float s, const cfloat* b, cfloat* a) {
  const Vec vs = set(s);
  sweep(2 * n, [&](Index i, auto part) { store(f(a) + i, fma(vs, load(f(b) + i, part), load(f(a) + i, part)), part); });
}

}  // namespace

const Kernels& kernels() {
  static const Kernels table{level(),      exit_wave, modulus,          modulus_block, gradients,  unshift_add,
                             back_project, direction, object_step_sums, position_sums, pie_update, dot,
                             norm2,        max_abs2,  largest,          add_abs2,      axpy};
  return table;
}

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE
