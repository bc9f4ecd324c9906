#pragma once
// The arithmetic of an exact line search. With the object o + t d and the probe p + t q at step t, the exit wave is
// the polynomial a + t b + t^2 c, and so is its Fourier transform; the intensity of each detector pixel, summed over
// modes, is a polynomial of degree four whose coefficients stay in registers.
//
// Shapes and conventions as in kernels.hpp.

#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography {

/// Trial steps at which one pass over the detector planes evaluates the slope.
inline constexpr int kTrials = 2;

/// Detector planes of one pattern along a line.
struct LineTask {
  Index n = 0;                           ///< pixels
  int modes = 0;
  const cfloat* const* a = nullptr;      ///< modes tiles of n: transforms of the exit waves' coefficients
  const cfloat* const* b = nullptr;
  const cfloat* const* c = nullptr;      ///< null: the exit wave is linear in the step
  ModulusTask detector;                  ///< counts, mask, background, scale and likelihood; its psi is not used
  float steps[kTrials] = {};
};

/// d cost / d step at each trial step, where cost = sum (sqrt(I_model) - sqrt(I))^2 (amplitude) or
/// sum I_model - I log I_model (Poisson) over valid pixels.
struct LineSlopes {
  double at[kTrials] = {};
  LineSlopes& operator+=(const LineSlopes& o) {
    for (int k = 0; k < kTrials; ++k) at[k] += o.at[k];
    return *this;
  }
};

/// A pattern's window of the object along a line: o + t first + t^2 second.
struct ObjectLine {
  const cfloat* o = nullptr;
  Index stride = 0;
  const cfloat* first = nullptr;
  Index first_stride = 0;
  const cfloat* second = nullptr;        ///< tile; null: zero
};

struct LineKernels {
  /// With p = S probe and q = S direction: a = p o, b = p first + q o, c = q first + p second.
  /// direction null: q = 0. c may be null where direction and second are. `rows` is scratch of row_scratch(nx)
  /// floats.
  void (*waves)(Shape, const SubPixelShift&, const cfloat* probe, const cfloat* direction, const ObjectLine&, cfloat* a,
                cfloat* b, cfloat* c, float* rows);

  LineSlopes (*slopes)(const LineTask&);
  /// The same for a part of the detector planes while a transform shows it: images a, b and, where the block has three
  /// for each mode, c of mode 0, then of mode 1, ... The task's a, b and c are not used.
  LineSlopes (*slopes_block)(const LineTask&, Index nx, const math::FftBlock&);

  /// The window moves by t (dy, dx) px: with derivatives by central differences (margin of 1 pixel),
  ///   first = d + dy o_y + dx o_x,   second = dy d_y + dx d_x + (dy^2 o_yy + 2 dy dx o_xy + dx^2 o_xx) / 2.
  /// o and d are windows with the same stride; first and second are tiles.
  void (*moving_window)(Shape, const cfloat* o, const cfloat* d, Index stride, float dy, float dx, cfloat* first,
                        cfloat* second);
};

const LineKernels& reference_line_kernels();
const LineKernels& cpu_line_kernels(core::Isa isa);

}  // namespace farfield::techniques::ptychography
