#pragma once
// In-place complex 2-D Fourier transforms: single precision with sides 64, 128, 256 or 512 by our own kernels where the
// machine has AVX-512, everything else by FFTW. FFTW's plans are made once per shape behind one mutex and shared.
// Executing is thread-safe. Transforms are not normalised: inverse(forward(x)) = ny nx x.

#include <complex>
#include <memory>
#include <span>
#include <string>

#include "farfield/core/view.hpp"
#include "farfield/math/tile_fft.hpp"

namespace farfield::math {

/// How long FFTW may search for a fast plan. `patient` costs seconds a size once (wisdom keeps it) and
/// buys 15-26 % on the sizes of ptychography.
enum class FftEffort { estimate, measure, patient };

/// A transform of image(y, x), contiguous and 64-byte aligned (as core::Array is).
template <class T>
class Fft2 {
public:
  Fft2() = default;
  /// Throws `invalid_argument` unless ny, nx >= 1.
  Fft2(core::Index ny, core::Index nx, FftEffort effort = FftEffort::measure);

  void forward(std::complex<T>* image) const;  ///< sum f exp(-2 pi i (u y/ny + v x/nx))
  void inverse(std::complex<T>* image) const;  ///< sum F exp(+2 pi i (u y/ny + v x/nx))

  /// True if the functions below can be called, with so many images at once.
  bool has_parts(int images) const { return tile_ != nullptr && images <= kFftAroundImages; }
  /// forward(), `visit` for each part of the transforms, which it may change, then inverse(): in one go, with each
  /// part in level-1 cache while it is visited. Every pixel is visited once.
  void around(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const;
  /// The first half of around(): the images are spoilt.
  void visit(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const;

  /// around() in three steps, for who makes and takes the rows one after the other: row_step() rows at a time (or a
  /// multiple) through forward_rows(), when all are there around_columns(), then inverse_rows() and they are done.
  core::Index row_step() const { return tile_->row_step(nx_); }
  void forward_rows(std::complex<T>* rows, core::Index count) const;
  void around_columns(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const;
  void inverse_rows(std::complex<T>* rows, core::Index count) const;

  core::Index ny() const { return ny_; }
  core::Index nx() const { return nx_; }

private:
  void columns(std::span<std::complex<T>* const> images, FftVisit visitor, void* context, bool back) const;

  core::Index ny_ = 0, nx_ = 0;
  const TileFft* tile_ = nullptr;  ///< null: by FFTW
  std::shared_ptr<void> forward_, inverse_;
};

extern template class Fft2<float>;
extern template class Fft2<double>;

/// What FFTW has learnt in this process. Importing adds to it; text that FFTW does not accept is refused (false).
std::string export_fft_wisdom();
bool import_fft_wisdom(const std::string& wisdom);

/// Seconds spent in planning so far in this process: benchmarks print it apart.
double fft_planning_seconds();

}  // namespace farfield::math
