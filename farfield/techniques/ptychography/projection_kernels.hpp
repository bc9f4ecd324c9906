#pragma once
// The arithmetic of projection algorithms on one stored exit wave. Every wave that occurs in the difference map and
// in RAAR is a linear combination of the model wave P O, the stored wave and the residual of the modulus projection.
//
// Shapes and conventions as in kernels.hpp.

#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography {

/// model p o + stored w + residual chi.
struct WaveMix {
  float model = 0, stored = 0, residual = 0;
};

/// The second half of an iteration, for one mode of one pattern. Tiles and windows begin at the tile's first row,
/// whatever the range.
struct WaveUpdate {
  WaveMix store, overlap;            ///< what is kept, and by how much the model misses what it should overlap with
  SubPixelShift shift;
  const cfloat* p = nullptr;         ///< S probe
  const cfloat* object = nullptr;    ///< window
  Index stride = 0;
  cfloat* stored = nullptr;          ///< tile, in and out
  const cfloat* residual = nullptr;  ///< tile
  cfloat* object_sum = nullptr;      ///< window of object_stride, += conj(p) overlap
  Index object_stride = 0;
  float* illumination = nullptr;     ///< window of object_stride, += |p|^2
  cfloat* probe_sum = nullptr;       ///< tile, += S^T (conj(o) overlap); null: not wanted
  cfloat* term = nullptr;            ///< scratch tile
  float* row = nullptr;              ///< scratch of row_scratch(nx), kept from range to range
};

struct ProjectionKernels {
  /// shifted = S probe; psi = mix.model (S probe) o + mix.stored stored. As Kernels::exit_wave; `next` is the tile that
  /// the next pattern will need from memory (null: none), fetched into the cache by the way.
  void (*wave)(Shape, RowRange, const SubPixelShift&, WaveMix, const cfloat* probe, const cfloat* object, Index stride,
               const cfloat* stored, cfloat* shifted, cfloat* psi, const cfloat* next, float* row);

  void (*update)(Shape, RowRange, const WaveUpdate&);

  /// change(y, x) += sum_k d(y, x) and weight(y, x) += sum_k a(y, x) over the windows of maps d and a, rows `stride`
  /// apart, that begin at offsets[k], 0 <= k < count.
  void (*add_windows)(Shape, const cfloat* d, const float* a, Index stride, const Index* offsets, Index count,
                      cfloat* change, float* weight);
};

const ProjectionKernels& reference_projection_kernels();
const ProjectionKernels& cpu_projection_kernels(core::Isa isa);

}  // namespace farfield::techniques::ptychography
