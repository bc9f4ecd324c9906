// The oracle: each kernel as its definition reads, accumulating in double.

#include <cmath>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography {
namespace {

using math::abs2;
using math::cmul;
using math::conj_mul;
using cdouble = std::complex<double>;

cfloat interpolate(Shape s, const SubPixelShift& shift, const cfloat* p, Index y, Index x, int sign, int offset) {
  cdouble sum = 0;
  for (int k = 0; k < kTaps; ++k)
    for (int l = 0; l < kTaps; ++l) {
      const Index yy = (y + sign * (k - offset) + 2 * s.ny * kTaps) % s.ny,
                  xx = (x + sign * (l - offset) + 2 * s.nx * kTaps) % s.nx;
      sum += static_cast<double>(shift.y[k]) * static_cast<double>(shift.x[l]) * cdouble(p[yy * s.nx + xx]);
    }
  return cfloat(sum);
}

void exit_wave(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* probe, const cfloat* object,
               Index stride, cfloat* shifted, cfloat* psi, float*) {
  for (Index y = range.begin; y < range.end; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x;
      const cfloat p = shift.identity ? probe[i] : interpolate(s, shift, probe, y, x, 1, kTapsBack);
      if (!shift.identity) shifted[i] = p;
      if (psi != nullptr) psi[i] = cmul(p, object[y * stride + x]);
    }
}

void unshift_add(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* term, cfloat* sum, float*) {
  if (range.end < s.ny) return;
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x)
      sum[y * s.nx + x] += shift.identity ? term[y * s.nx + x] : interpolate(s, shift, term, y, x, -1, kTapsBack);
}

ModulusSums modulus(const ModulusTask& t) {
  ModulusSums sums;
  for (Index i = 0; i < t.n; ++i) {
    double measured = 0;
    core::visit_dtype(t.dtype, [&](auto v) {
      if constexpr (std::is_arithmetic_v<decltype(v)>)
        measured = static_cast<double>(static_cast<const decltype(v)*>(t.counts)[i]);
    });
    double model = 0;
    for (int m = 0; m < t.modes; ++m) model += abs2(cdouble(t.psi[m][i]));
    model = model * static_cast<double>(t.intensity_scale) +
            (t.background != nullptr ? static_cast<double>(t.background[i]) : 0.0);
    const bool valid =
        (t.valid == nullptr || t.valid[i] != 0) && (t.saturation == 0 || measured < static_cast<double>(t.saturation));
    double gradient = 0, factor = 0;
    if (valid) {
      const double amplitude = std::sqrt(measured), modelled = std::sqrt(model), d = modelled - amplitude;
      const double ratio = amplitude / std::max(modelled, 1e-15);
      gradient = (t.likelihood == Likelihood::amplitude ? ratio : ratio * ratio) - 1;
      factor = t.newton && t.likelihood == Likelihood::poisson ? gradient / (ratio * ratio + 1) : gradient;
      sums.cost += d * d;
      sums.abs_difference += std::abs(d);
      sums.amplitude += amplitude;
      sums.model_intensity += model;
      sums.measured_intensity += measured;
      sums.valid += 1;
    }
    if (t.background_gradient != nullptr) t.background_gradient[i] += static_cast<float>(gradient);
    for (int m = 0; m < t.modes; ++m) t.psi[m][i] *= static_cast<float>(factor) * t.residual_scale;
  }
  return sums;
}

void modulus_block(const ModulusTask& t, Index nx, const math::FftBlock& b, ModulusLanes& lanes) {
  for (Index r = 0; r < b.rows; ++r)
    for (Index x = 0; x < b.columns; ++x) {
      const Index at = r * 2 * b.columns + x, i = (b.first_row + r * b.row_step) * nx + b.first_column + x;
      std::vector<cfloat> psi;
      std::vector<cfloat*> pointers;
      for (int m = 0; m < t.modes; ++m) psi.emplace_back(b.data[m][at], b.data[m][at + b.columns]);
      for (cfloat& v : psi) pointers.push_back(&v);
      ModulusTask pixel = t;
      pixel.n = 1;
      pixel.psi = pointers.data();
      pixel.counts = static_cast<const std::byte*>(t.counts) + i * core::item_size(t.dtype);
      if (t.valid != nullptr) pixel.valid = t.valid + i;
      if (t.background != nullptr) pixel.background = t.background + i;
      if (t.background_gradient != nullptr) pixel.background_gradient = t.background_gradient + i;
      const ModulusSums sums = modulus(pixel);
      const auto add = [&](float* to, double v) { to[x % ModulusLanes::kLanes] += static_cast<float>(v); };
      add(lanes.cost, sums.cost);
      add(lanes.abs_difference, sums.abs_difference);
      add(lanes.amplitude, sums.amplitude);
      add(lanes.model_intensity, sums.model_intensity);
      add(lanes.measured_intensity, sums.measured_intensity);
      add(lanes.valid, sums.valid);
      for (int m = 0; m < t.modes; ++m) {
        b.data[m][at] = psi[static_cast<std::size_t>(m)].real();
        b.data[m][at + b.columns] = psi[static_cast<std::size_t>(m)].imag();
      }
    }
}

void gradients(Shape s, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride, cfloat* gradient,
               Index gradient_stride, float* illumination, cfloat* term) {
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x, g = y * gradient_stride + x;
      const cfloat c = chi[i];
      gradient[g] += conj_mul(p[i], c);
      if (illumination != nullptr) illumination[g] += abs2(p[i]);
      if (term != nullptr) term[i] = conj_mul(object[y * stride + x], c);
    }
}

void add_sums(StepSums& sums, cdouble chi, cdouble a, cdouble b) {
  sums.a_chi += (std::conj(a) * chi).real();
  sums.b_chi += (std::conj(b) * chi).real();
  sums.aa += std::norm(a);
  sums.bb += std::norm(b);
  sums.ab += (std::conj(a) * b).real();
}

void back_project(Shape s, RowRange range, const SubPixelShift& shift, const cfloat* chi, const cfloat* p,
                  const cfloat* object, Index stride, cfloat* gradient, Index gradient_stride, float* illumination,
                  cfloat* probe, cfloat* term, float* row) {
  if (range.end < s.ny) return;
  gradients(s, chi, p, object, stride, gradient, gradient_stride, illumination, term);
  unshift_add(s, range, shift, term, probe, row);
}

StepSums direction(Index n, int parts, const cfloat* const* gradients, const float* illumination, float keep,
                   float floor, cfloat* delta) {
  StepSums sums;
  for (Index i = 0; i < n; ++i) {
    cfloat g = 0;
    const float l = illumination[i];
    for (int t = 0; t < parts; ++t) g += gradients[t][i];
    const cfloat d = g / (keep * l + floor);
    sums.a_chi += (std::conj(cdouble(d)) * cdouble(g)).real();
    sums.aa += static_cast<double>(abs2(d)) * static_cast<double>(l);
    delta[i] = d;
  }
  return sums;
}

StepSums object_step_sums(Shape s, const cfloat* chi, const cfloat* p, const cfloat* delta, Index stride) {
  StepSums sums;
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x;
      add_sums(sums, chi[i], cmul(delta[y * stride + x], p[i]), 0);
    }
  return sums;
}

StepSums position_sums(Shape s, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride) {
  StepSums sums;
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const cfloat* o = object + y * stride + x;
      const Index i = y * s.nx + x;
      add_sums(sums, chi[i], cmul(p[i], 0.5F * (o[stride] - o[-stride])), cmul(p[i], 0.5F * (o[1] - o[-1])));
    }
  return sums;
}

void pie_update(Shape s, int modes, cfloat* const* chi, const cfloat* const* p, cfloat* object, Index stride,
                float alpha, float p_max2, float o_max2, float object_step) {
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x;
      cfloat& o = object[y * stride + x];
      const cfloat before = o;
      float p2 = 0;
      cfloat sum = 0;
      for (int m = 0; m < modes; ++m) {
        p2 += abs2(p[m][i]);
        sum += conj_mul(p[m][i], chi[m][i]);
        chi[m][i] = conj_mul(before, chi[m][i]) / ((1 - alpha) * abs2(before) + alpha * o_max2);
      }
      o += object_step * sum / ((1 - alpha) * p2 + alpha * p_max2);
    }
}

double dot(Index n, const cfloat* a, const cfloat* b) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += (std::conj(cdouble(a[i])) * cdouble(b[i])).real();
  return sum;
}
double norm2(Index n, const cfloat* a) { return dot(n, a, a); }
float max_abs2(Index n, const cfloat* a) {
  float largest = 0;
  for (Index i = 0; i < n; ++i) largest = std::max(largest, abs2(a[i]));
  return largest;
}
float largest(Index n, const float* a) {
  float most = 0;
  for (Index i = 0; i < n; ++i) most = std::max(most, a[i]);
  return most;
}
void add_abs2(Index n, float s, const cfloat* b, float* a) {
  for (Index i = 0; i < n; ++i) a[i] += s * abs2(b[i]);
}
void axpy(Index n, float s, const cfloat* b, cfloat* a) {
  for (Index i = 0; i < n; ++i) a[i] += s * b[i];
}

}  // namespace

const Kernels& reference_kernels() {
  static const Kernels table{core::Isa::v2, exit_wave, modulus,          modulus_block, gradients,  unshift_add,
                             back_project,  direction, object_step_sums, position_sums, pie_update, dot,
                             norm2,         max_abs2,  largest,          add_abs2,      axpy};
  return table;
}

}  // namespace farfield::techniques::ptychography
