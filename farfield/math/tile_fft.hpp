#pragma once
// Transforms of the tiles that ptychography lives on, as one instruction set does them best. Inside Fft2<float>, which
// hands every other shape to FFTW; no other file includes this.
//
// A tile fits the level-2 cache but not level 1, and a general library passes over it once for the rows, once for the
// columns and once for each thing done between two transforms. Here a strip of columns as wide as one vector goes into
// level 1, is transformed there without a shuffle (real and imaginary parts lie in vectors of their own), is shown to
// the visitor, and is transformed back. The rows' transforms shuffle once, between their two stages.

#include <complex>

#include "farfield/core/cpu.hpp"
#include "farfield/core/view.hpp"

namespace farfield::math {

/// Part of the transforms of `images` images while it is in level-1 cache: `rows` rows, first_row, first_row +
/// row_step,
/// ..., of `columns` columns from first_column. data[image] holds, by row, `columns` real and `columns` imaginary
/// parts.
struct FftBlock {
  core::Index first_row, row_step, rows;
  core::Index first_column, columns;
  int images;
  float* const* data;
};
using FftVisit = void (*)(void* context, const FftBlock&);
/// Most images of one call.
inline constexpr int kFftAroundImages = 64;

/// For tiles whose sides are 64, 128, 256 or 512.
struct TileFft {
  core::Index lanes;  ///< columns of a block
  /// image(ny, nx) in place; scratch: 2 lanes ny floats, 64-byte aligned.
  void (*transform)(std::complex<float>* image, core::Index ny, core::Index nx, bool inverse, float* scratch);
  /// The same in three steps, for who makes or takes the rows one after the other: all rows (some at a time, a multiple
  /// of row_step(nx)), then the columns, with the visitor in their middle, and all rows back. Between the steps an
  /// image is nobody's business. Without `back` it is spoilt. scratch: 2 lanes ny floats for each image.
  void (*forward_rows)(std::complex<float>* rows, core::Index count, core::Index nx);
  void (*columns)(std::complex<float>* const* images, int count, core::Index ny, core::Index nx, FftVisit visit,
                  void* context, bool back, float* scratch);
  void (*inverse_rows)(std::complex<float>* rows, core::Index count, core::Index nx);
  core::Index row_step(core::Index nx) const { return nx >= lanes * lanes ? 1 : lanes * lanes / nx; }
};

/// Null where the shape is not one of them, or FFTW is as good on that instruction set.
const TileFft* tile_fft(core::Isa isa, core::Index ny, core::Index nx);

}  // namespace farfield::math
