#pragma once
// The arithmetic of one pattern, as pure functions of pointers. Every table of functions computes the
// same thing: kernels_reference.cpp naively (the oracle), kernels_cpu.cpp fast, once per instruction set.
//
// Shapes: a tile is (ny, nx), contiguous, 64-byte aligned. An object window is (ny, nx) inside an array
// whose rows are `stride` elements apart. Complex numbers are interleaved float pairs.

#include <complex>
#include <cstdint>

#include "farfield/core/any_array.hpp"
#include "farfield/core/cpu.hpp"
#include "farfield/math/fft.hpp"

namespace farfield::techniques::ptychography {

using core::cfloat;
using core::Index;

struct Shape {
  Index ny = 0, nx = 0;
  Index size() const { return ny * nx; }
  bool operator==(const Shape&) const = default;
};

/// Rows begin ... end - 1 of a tile. Functions that take it are called with the ranges of a tile in order, each row
/// once.
struct RowRange {
  Index begin = 0, end = 0;
};
constexpr RowRange all_rows(Shape s) { return {0, s.ny}; }

/// Interpolation taps per axis. A probe is smooth (its spectrum is the lens's aperture, a fraction of the
/// detector), so eight taps shift it to 2e-3 without a transform; see sub_pixel_shift().
inline constexpr int kTaps = 8;
/// The first tap of S lies this many pixels back, that of S^T one less.
inline constexpr int kTapsBack = kTaps / 2;

/// (S p)(r) = sum_kl y[k] x[l] p(r - kTapsBack + (k, l)), circular: the probe moved by a fraction of a pixel.
struct SubPixelShift {
  float y[kTaps], x[kTaps];
  bool identity = true;
};

/// What the measured counts are compared with.
enum class Likelihood { amplitude, poisson };

/// Detector plane of one pattern. On return psi_m holds the residual residual_scale (psi'_m - psi_m),
/// where psi' is psi with its modulus replaced by the measured one (amplitude), or psi I/I_model
/// (Poisson); zero where a pixel is invalid.
struct ModulusTask {
  Index n = 0;                        ///< pixels
  int modes = 0;
  cfloat* const* psi = nullptr;       ///< modes tiles of n
  const void* counts = nullptr;       ///< n
  core::DType dtype = core::DType::f32;  ///< u8, u16, u32 or f32
  const float* valid = nullptr;       ///< n of 0 or 1; null: all valid
  float saturation = 0;               ///< counts >= this are not used; 0: none
  const float* background = nullptr;  ///< n, intensity added to the model; null: none
  float intensity_scale = 1;          ///< I_model = intensity_scale sum_m |psi_m|^2 + background
  float residual_scale = 1;
  Likelihood likelihood = Likelihood::amplitude;
  /// Poisson only: psi' - psi is the Newton step along psi, psi (I - I_model) / (I + I_model), which is bounded where
  /// the plain gradient psi (I / I_model - 1) has no bound. For the algorithms that take steps of order one.
  bool newton = false;
  float* background_gradient = nullptr;  ///< n, += d cost / d background, negated; null: not wanted
};

struct ModulusSums {
  double cost = 0;  ///< sum over valid pixels of (sqrt(I_model) - sqrt(I))^2
  double abs_difference = 0;  ///< sum of |sqrt(I_model) - sqrt(I)|
  double amplitude = 0;  ///< sum of sqrt(I)
  double model_intensity = 0;  ///< sum of I_model
  double measured_intensity = 0;
  double valid = 0;  ///< number of valid pixels
  ModulusSums& operator+=(const ModulusSums& o) {
    cost += o.cost;
    abs_difference += o.abs_difference;
    amplitude += o.amplitude;
    model_intensity += o.model_intensity;
    measured_intensity += o.measured_intensity;
    valid += o.valid;
    return *this;
  }
};

/// ModulusSums by vector lane, in float: to be gathered after at most some hundred pixels a lane.
struct ModulusLanes {
  static constexpr int kLanes = 16;
  alignas(64) float cost[kLanes] = {}, abs_difference[kLanes] = {}, amplitude[kLanes] = {},
                    model_intensity[kLanes] = {}, measured_intensity[kLanes] = {}, valid[kLanes] = {};
  /// Adds the lanes up and empties them.
  void gather(ModulusSums& into);
};

/// chi against two directions a (object) and b (probe): what the least-squares steps are solved from.
struct StepSums {
  double a_chi = 0, b_chi = 0, aa = 0, bb = 0, ab = 0;
  StepSums& operator+=(const StepSums& o) {
    a_chi += o.a_chi;
    b_chi += o.b_chi;
    aa += o.aa;
    bb += o.bb;
    ab += o.ab;
    return *this;
  }
};

/// Floats of row scratch that the kernels want: padded rows, one for each tap and a few to keep.
constexpr Index row_scratch(Index nx) { return (2 * kTaps + 6) * (2 * nx + 64); }

struct Kernels {
  core::Isa isa;

  /// shifted = S probe; psi = shifted * object window. psi may be null. With S the identity, `shifted`
  /// is not written (use the probe itself). `row` is scratch of row_scratch(nx) floats, 64-byte aligned.
  void (*exit_wave)(Shape, RowRange, const SubPixelShift&, const cfloat* probe, const cfloat* object, Index stride,
                    cfloat* shifted, cfloat* psi, float* row);

  ModulusSums (*modulus)(const ModulusTask&);
  /// The same for a part of the detector planes while a transform shows it; task.psi is not used. The block's columns
  /// are a multiple of 16.
  void (*modulus_block)(const ModulusTask&, Index nx, const math::FftBlock&, ModulusLanes&);

  /// gradient += conj(p) chi on an object window; illumination += |p|^2 there (null: not wanted);
  /// term = conj(object) chi on a tile (null: not wanted; may be chi itself).
  void (*gradients)(Shape, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride, cfloat* gradient,
                    Index gradient_stride, float* illumination, cfloat* term);

  /// sum += S^T term: the probe gradient moved back to the unshifted probe. `row` keeps rows from range to range.
  void (*unshift_add)(Shape, RowRange, const SubPixelShift&, const cfloat* term, cfloat* sum, float* row);

  /// gradients() and unshift_add() in one sweep, for one mode: gradient += conj(p) chi, illumination += |p|^2,
  /// probe += S^T (conj(object) chi). `term` is a scratch tile; `row` keeps rows from range to range.
  void (*back_project)(Shape, RowRange, const SubPixelShift&, const cfloat* chi, const cfloat* p, const cfloat* object,
                       Index stride, cfloat* gradient, Index gradient_stride, float* illumination, cfloat* probe,
                       cfloat* term, float* row);

  /// A preconditioned direction from the shares of several threads: g = sum gradients, l = illumination,
  /// delta = g / (keep l + floor) (may be gradients[0]). Returns a_chi = sum Re(conj(delta) g) and
  /// aa = sum |delta|^2 l: the two sums whose ratio is the least-squares step along delta.
  StepSums (*direction)(Index n, int parts, const cfloat* const* gradients, const float* illumination, float keep,
                        float floor, cfloat* delta);

  /// a = delta p (one mode), delta a window; only a_chi and aa.
  StepSums (*object_step_sums)(Shape, const cfloat* chi, const cfloat* p, const cfloat* delta, Index stride);

  /// a = p d(object)/dy, b = p d(object)/dx by central differences (the window has a margin of 1 pixel).
  StepSums (*position_sums)(Shape, const cfloat* chi, const cfloat* p, const cfloat* object, Index stride);

  /// One rPIE update with all modes: object += step sum_m conj(p_m) chi_m / ((1-alpha) sum|p|^2 + alpha p_max2),
  /// term_m = conj(object_before) chi_m / ((1-alpha) |object|^2 + alpha o_max2) in place of chi_m.
  void (*pie_update)(Shape, int modes, cfloat* const* chi, const cfloat* const* p, cfloat* object, Index stride,
                     float alpha, float p_max2, float o_max2, float object_step);

  /// sum_i Re(conj(a_i) b_i) and sum_i |a_i|^2, largest |a_i|^2 over n complex numbers.
  double (*dot)(Index n, const cfloat* a, const cfloat* b);
  double (*norm2)(Index n, const cfloat* a);
  float (*max_abs2)(Index n, const cfloat* a);
  /// Largest of n values >= 0.
  float (*largest)(Index n, const float* a);
  /// a_i += s |b_i|^2 over n complex numbers b.
  void (*add_abs2)(Index n, float s, const cfloat* b, float* a);
  /// a += s b over n complex numbers.
  void (*axpy)(Index n, float s, const cfloat* b, cfloat* a);
};

/// The oracle.
const Kernels& reference_kernels();
/// The fast ones for an instruction set.
const Kernels& cpu_kernels(core::Isa isa);

}  // namespace farfield::techniques::ptychography
