// The oracle: each kernel as its definition reads.

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/projection_kernels.hpp"

namespace farfield::techniques::ptychography {
namespace {

using math::cmul;
using math::conj_mul;

void wave(Shape s, RowRange range, const SubPixelShift& shift, WaveMix mix, const cfloat* probe, const cfloat* object,
          Index stride, const cfloat* stored, cfloat* shifted, cfloat* psi, const cfloat*, float* row) {
  reference_kernels().exit_wave(s, range, shift, probe, object, stride, shifted, psi, row);
  for (Index i = range.begin * s.nx; i < range.end * s.nx; ++i) psi[i] = mix.model * psi[i] + mix.stored * stored[i];
}

void update(Shape s, RowRange range, const WaveUpdate& u) {
  for (Index y = range.begin; y < range.end; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x;
      const cfloat p = u.p[i], o = u.object[y * u.stride + x], model = cmul(p, o), stored = u.stored[i],
                   residual = u.residual[i];
      const auto mixed = [&](WaveMix m) { return m.model * model + m.stored * stored + m.residual * residual; };
      const cfloat overlap = mixed(u.overlap);
      u.stored[i] = mixed(u.store);
      u.object_sum[y * u.object_stride + x] += conj_mul(p, overlap);
      u.illumination[y * u.object_stride + x] += math::abs2(p);
      u.term[i] = conj_mul(o, overlap);
    }
  if (u.probe_sum != nullptr) reference_kernels().unshift_add(s, range, u.shift, u.term, u.probe_sum, u.row);
}

void add_windows(Shape s, const cfloat* d, const float* a, Index stride, const Index* offsets, Index count,
                 cfloat* change, float* weight) {
  for (Index k = 0; k < count; ++k)
    for (Index y = 0; y < s.ny; ++y)
      for (Index x = 0; x < s.nx; ++x) {
        change[y * s.nx + x] += d[offsets[k] + y * stride + x];
        weight[y * s.nx + x] += a[offsets[k] + y * stride + x];
      }
}

}  // namespace

const ProjectionKernels& reference_projection_kernels() {
  static const ProjectionKernels table{wave, update, add_windows};
  return table;
}

}  // namespace farfield::techniques::ptychography
