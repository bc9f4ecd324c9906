#pragma once
// Lengths of one scan: wavelength, size of an object pixel, positions in pixels. What neither the scan nor an
// option says stays unknown; a scan that gives its positions in pixels needs none of it in the far field.

#include <optional>
#include <utility>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/operators/propagator.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"
#include "farfield/techniques/ptychography/options.hpp"

namespace farfield::techniques::ptychography {

/// Far field: object pixel = lambda z / (n p) for n detector pixels of size p. Near field: the detector's own
/// pixel, as a parallel beam projects it. Binning makes p larger, cropping and padding change n.
class Geometry {
public:
  Geometry() = default;
  /// Options win over what the scan says. Throws `invalid_argument` when near-field propagation lacks a length.
  Geometry(const model::Acquisition&, const Options&, Shape tile);

  std::optional<double> wavelength_m() const { return wavelength_m_; }
  std::optional<double> energy_eV() const { return energy_eV_; }
  /// Of the object and the probe; both or none are known.
  std::optional<double> pixel_y_m() const { return pixel_y_m_; }
  std::optional<double> pixel_x_m() const { return pixel_x_m_; }

  /// (y, x) in object pixels from "y_m", "x_m" or "y_px", "x_px"; nothing where the values hold no position.
  /// Pixels of a scan are those of its whole frames: with crop, pad or bin they are converted.
  /// Throws `invalid_argument` for metres when the object pixel is not known.
  std::optional<std::pair<double, double>> position_px(const model::Values&) const;

  /// Sample to detector.
  operators::Propagator propagator(math::FftEffort) const;
  /// The probe moved along the beam by `distance_m` (angular spectrum). Throws `invalid_argument` when the
  /// object pixel or the wavelength is not known; `why` names the option that needs them.
  operators::Propagator free_space(double distance_m, std::string_view why) const;
  /// Throws likewise.
  void require_lengths(std::string_view why) const;

private:
  Propagation propagation_ = Propagation::far_field;
  Shape tile_;
  std::optional<double> energy_eV_, wavelength_m_, distance_m_, pixel_y_m_, pixel_x_m_;
  model::PositionUnit unit_ = model::PositionUnit::unknown;
  bool swap_ = false;
  double scale_y_ = 1, scale_x_ = 1;        // chosen by options
  double frame_px_y_ = 1, frame_px_x_ = 1;  // object pixels of this reconstruction per pixel of whole frames
  std::string missing_;                     // "energy, distance"
};

}  // namespace farfield::techniques::ptychography
