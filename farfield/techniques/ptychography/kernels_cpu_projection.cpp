// The kernels of projection_kernels.hpp for one instruction set. Stored waves come from main memory, everything else
// from the level-2 cache; one pattern's waves are fetched while the previous pattern is transformed.

#include <algorithm>

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/projection_kernels.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift_simd.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE {
const ProjectionKernels& projection_kernels();
namespace {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;
using namespace tile_simd;

void wave(Shape s, RowRange range, const SubPixelShift& shift, WaveMix mix, const cfloat* probe, const cfloat* object,
          Index stride, const cfloat* stored, cfloat* shifted, cfloat* psi, const cfloat* next, float* row) {
  const Horizontal horizontal(shift.x);
  const Vec model = set(mix.model), keep = set(mix.stored);
  const auto fetch = [&](Index y) {
    if (next != nullptr)
      for (Index i = 0; i < s.nx; i += 8) __builtin_prefetch(next + y * s.nx + i, 1, 2);
  };
  const auto mixed = [&](Index y, Index i, auto part, Vec p) {
    store(f(psi + y * s.nx) + i,
          fma(model, cmul(p, load(f(object + y * stride) + i, part)), keep * load(f(stored + y * s.nx) + i, part)),
          part);
  };
  if (shift.identity) {
    for (Index y = range.begin; y < range.end; ++y) {
      fetch(y);
      sweep(2 * s.nx, [&](Index i, auto part) { mixed(y, i, part, load(f(probe + y * s.nx) + i, part)); });
    }
    return;
  }
  vertical_rows(s, range, shift.y, kTapsBack, probe, row, [&](Index y, const float* padded) {
    fetch(y);
    float* to = f(shifted + y * s.nx);
    sweep(2 * s.nx, [&](Index i, auto part) {
      const Vec p = horizontal(padded + i, part);
      store(to + i, p, part);
      mixed(y, i, part, p);
    });
  });
}

/// One row but for the probe's share, which goes to `term`, or nowhere.
template <bool kTerm>
void update_row(Shape s, Index y, const WaveUpdate& u, float* term) {
  const Vec s0 = set(u.store.model), s1 = set(u.store.stored), s2 = set(u.store.residual);
  const Vec q0 = set(u.overlap.model), q1 = set(u.overlap.stored), q2 = set(u.overlap.residual);
  const float *p = f(u.p + y * s.nx), *o = f(u.object + y * u.stride), *r = f(u.residual + y * s.nx);
  float *w = f(u.stored + y * s.nx), *g = f(u.object_sum + y * u.object_stride);
  sweep(2 * s.nx, [&](Index i, auto part) {
    const Vec vp = load(p + i, part), vo = load(o + i, part), model = cmul(vp, vo), stored = load(w + i, part),
              residual = load(r + i, part);
    const Vec overlap = fma(q0, model, fma(q1, stored, q2 * residual));
    store(w + i, fma(s0, model, fma(s1, stored, s2 * residual)), part);
    store(g + i, load(g + i, part) + conj_mul(vp, overlap), part);
    if constexpr (kTerm) store(term + i, conj_mul(vo, overlap), part);
  });
  float* l = u.illumination + y * u.object_stride;
  Index x = 0;
  for (; x + kLanes <= s.nx; x += kLanes)
    store(l + x, load(l + x, Full{}) + abs2(load(p + 2 * x, Full{}), load(p + 2 * x + kLanes, Full{})), Full{});
  for (; x < s.nx; ++x) l[x] += p[2 * x] * p[2 * x] + p[2 * x + 1] * p[2 * x + 1];
}

void update(Shape s, RowRange range, const WaveUpdate& u) {
  if (u.probe_sum == nullptr) {
    for (Index y = range.begin; y < range.end; ++y) update_row<false>(s, y, u, nullptr);
  } else if (!u.shift.identity && TransposedShift::fits(s)) {
    TransposedShift transposed(s, u.shift, u.probe_sum, u.row);
    for (Index y = range.begin; y < range.end; ++y) {
      update_row<true>(s, y, u, transposed.next());
      transposed.push(y);
    }
  } else {
    for (Index y = range.begin; y < range.end; ++y) update_row<true>(s, y, u, f(u.term + y * s.nx));
    cpu_kernels(level()).unshift_add(s, range, u.shift, u.term, u.probe_sum, u.row);
  }
}

void add_windows(Shape s, const cfloat* d, const float* a, Index stride, const Index* offsets, Index count,
                 cfloat* change, float* weight) {
  constexpr Index kAtOnce = 8;  // windows for each pass over the sums
  for (Index first = 0; first < count; first += kAtOnce) {
    const Index some = std::min(kAtOnce, count - first);
    const Index* at = offsets + first;
    for (Index y = 0; y < s.ny; ++y) {
      const float *from_d = f(d + y * stride), *from_a = a + y * stride;
      float *c = f(change + y * s.nx), *w = weight + y * s.nx;
      sweep(2 * s.nx, [&](Index i, auto part) {
        Vec sum = load(c + i, part);
        for (Index k = 0; k < some; ++k) sum = sum + load(from_d + 2 * at[k] + i, part);
        store(c + i, sum, part);
      });
      sweep(s.nx, [&](Index i, auto part) {
        Vec sum = load(w + i, part);
        for (Index k = 0; k < some; ++k) sum = sum + load(from_a + at[k] + i, part);
        store(w + i, sum, part);
      });
    }
  }
}

}  // namespace

const ProjectionKernels& projection_kernels() {
  static const ProjectionKernels table{wave, update, add_windows};
  return table;
}

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE
