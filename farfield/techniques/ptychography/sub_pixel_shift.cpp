#include "farfield/techniques/ptychography/sub_pixel_shift.hpp"

#include <array>
#include <cmath>
#include <utility>

namespace farfield::techniques::ptychography {
namespace {

double sinc(double t) { return t == 0 ? 1 : std::sin(M_PI * t) / (M_PI * t); }

/// Solves the normal equations sum_l B sinc(B (k - l)) w_l = B sinc(B (k - kTapsBack + f)) for one axis.
void design(double fraction, float* taps) {
  std::array<std::array<double, kTaps + 1>, kTaps> m{};
  for (int k = 0; k < kTaps; ++k) {
    for (int l = 0; l < kTaps; ++l) m[k][l] = sinc(kShiftBand * (k - l));
    m[k][kTaps] = sinc(kShiftBand * (k - kTapsBack + fraction));
  }
  for (int k = 0; k < kTaps; ++k) {  // Gauss-Jordan; the matrix is symmetric and positive definite
    int pivot = k;
    for (int r = k + 1; r < kTaps; ++r)
      if (std::abs(m[r][k]) > std::abs(m[pivot][k])) pivot = r;
    std::swap(m[k], m[pivot]);
    for (int r = 0; r < kTaps; ++r) {
      if (r == k) continue;
      const double factor = m[r][k] / m[k][k];
      for (int c = k; c <= kTaps; ++c) m[r][c] -= factor * m[k][c];
    }
  }
  double total = 0;
  for (int k = 0; k < kTaps; ++k) total += m[k][kTaps] / m[k][k];
  for (int k = 0; k < kTaps; ++k)
    taps[k] = static_cast<float>(m[k][kTaps] / m[k][k] / total);  // a constant stays itself
}

}  // namespace

SubPixelShift sub_pixel_shift(double fy, double fx) {
  SubPixelShift shift{};
  shift.identity = fy == 0 && fx == 0;
  design(fy, shift.y);
  design(fx, shift.x);
  return shift;
}

}  // namespace farfield::techniques::ptychography
