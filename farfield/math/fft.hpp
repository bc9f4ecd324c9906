#pragma once
// In-place complex 2-D Fourier transforms by FFTW. Plans are made once per shape behind one mutex and
// shared; executing is thread-safe. Transforms are not normalised: inverse(forward(x)) = ny nx x.

#include <complex>
#include <memory>
#include <string>

#include "farfield/core/view.hpp"

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

  core::Index ny() const { return ny_; }
  core::Index nx() const { return nx_; }

private:
  core::Index ny_ = 0, nx_ = 0;
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
