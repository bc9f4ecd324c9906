#include "farfield/techniques/ptychography/geometry.hpp"

#include <fmt/format.h>

#include <cmath>

namespace farfield::techniques::ptychography {

using core::Error;
using core::ErrorCode;

namespace {

std::optional<double> either(double option, std::optional<double> recorded) {
  return option > 0 ? std::optional(option) : recorded;
}

}  // namespace

Geometry::Geometry(const model::Acquisition& a, const Options& o, Shape tile)
    : propagation_(o.propagation),
      tile_(tile),
      energy_eV_(either(o.energy_eV, a.beam.energy_eV)),
      distance_m_(either(o.distance_m, a.detector.distance_m)),
      unit_(a.scan.unit),
      swap_(o.swap_positions),
      scale_y_(o.position_scale_y),
      scale_x_(o.position_scale_x) {
  if (energy_eV_) wavelength_m_ = model::kHcEvM / *energy_eV_;
  auto detector_y = either(o.detector_pixel_m, a.detector.pixel_size_y_m);
  auto detector_x = either(o.detector_pixel_m, a.detector.pixel_size_x_m);
  Index frame_ny = a.detector.ny, frame_nx = a.detector.nx;
  if (o.transpose) {
    std::swap(detector_y, detector_x);
    std::swap(frame_ny, frame_nx);
  }
  const auto missing = [&](bool known, std::string_view what) {
    if (!known) missing_ += fmt::format("{}{}", missing_.empty() ? "" : ", ", what);
  };
  missing(energy_eV_.has_value(), "energy");
  missing(distance_m_.has_value(), "distance");
  missing(detector_y && detector_x, "detector-pixel");

  const auto bin = static_cast<double>(o.bin);
  if (propagation_ == Propagation::far_field) {
    if (missing_.empty()) {
      pixel_y_m_ = *wavelength_m_ * *distance_m_ / (static_cast<double>(tile.ny) * *detector_y * bin);
      pixel_x_m_ = *wavelength_m_ * *distance_m_ / (static_cast<double>(tile.nx) * *detector_x * bin);
    }
    frame_px_y_ = static_cast<double>(tile.ny) * bin / static_cast<double>(frame_ny);
    frame_px_x_ = static_cast<double>(tile.nx) * bin / static_cast<double>(frame_nx);
  } else {
    if (!missing_.empty())
      throw Error(ErrorCode::invalid_argument, fmt::format("near-field propagation needs energy, distance and "
                                                           "detector-pixel; neither the scan nor an option says: {}",
                                                           missing_));
    pixel_y_m_ = *detector_y * bin;
    pixel_x_m_ = *detector_x * bin;
    frame_px_y_ = frame_px_x_ = 1 / bin;
  }
}

std::optional<std::pair<double, double>> Geometry::position_px(const model::Values& values) const {
  const auto pair = [&](const char* y, const char* x) -> std::optional<std::pair<double, double>> {
    const auto at_y = values.find(y), at_x = values.find(x);
    if (at_y == values.end() || at_x == values.end()) return std::nullopt;
    std::pair recorded(at_y->second, at_x->second);
    if (swap_) std::swap(recorded.first, recorded.second);
    return std::pair(recorded.first * scale_y_, recorded.second * scale_x_);
  };
  if (unit_ != model::PositionUnit::pixels) {
    if (const auto metres = pair("y_m", "x_m")) {
      if (pixel_y_m_) return std::pair(metres->first / *pixel_y_m_, metres->second / *pixel_x_m_);
      if (!values.contains("y_px"))
        throw Error(ErrorCode::invalid_argument, fmt::format("positions are in metres, but the size of an object pixel "
                                                             "is not known: neither the scan nor an option says: {}",
                                                             missing_));
    }
  }
  if (const auto pixels = pair("y_px", "x_px"))
    return std::pair(pixels->first * frame_px_y_, pixels->second * frame_px_x_);
  return std::nullopt;
}

operators::Propagator Geometry::propagator(math::FftEffort effort) const {
  if (propagation_ == Propagation::far_field) return operators::Propagator::far_field(tile_.ny, tile_.nx, effort);
  return operators::Propagator::near_field(
      tile_.ny, tile_.nx,
      {*wavelength_m_, *distance_m_, *pixel_y_m_, *pixel_x_m_, propagation_ == Propagation::fresnel}, effort);
}

void Geometry::require_lengths(std::string_view why) const {
  if (pixel_y_m_ && wavelength_m_) return;
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("{} needs the size of an object pixel; neither the scan nor an option says: {}", why, missing_));
}

operators::Propagator Geometry::free_space(double distance_m, std::string_view why) const {
  require_lengths(why);
  return operators::Propagator::near_field(tile_.ny, tile_.nx, {*wavelength_m_, distance_m, *pixel_y_m_, *pixel_x_m_},
                                           math::FftEffort::estimate);
}

}  // namespace farfield::techniques::ptychography
