#pragma once
// Test objects: transmission functions of thin samples, drawn with edges one pixel soft so that they are
// sampled without jagged steps.

#include "farfield/core/any_array.hpp"

namespace farfield::techniques::ptychography {

enum class Phantom {
  siemens_star,  ///< spokes in rings, the resolution target
  coins,         ///< discs with rims, beads and relief
  catalyst,      ///< porous grains made of many small spheres
  random,        ///< speckle of amplitude and phase, correlated over a few pixels
  flat,          ///< 1 everywhere
};

/// Full thickness turns the phase by -phase_depth (X-rays are advanced by matter: n = 1 - delta + i beta, wave
/// exp(+ikz)) and takes `absorption` of the amplitude away.
struct Material {
  double phase_depth_rad = 0.85;
  double absorption = 0.04;  ///< 0 <= absorption < 1
};

/// Projected thickness (y, x) of the phantom, 0 to 1. `seed` places grains and coins; the star needs none.
core::Array<float, 2> phantom_thickness(Phantom phantom, core::Index ny, core::Index nx, std::uint64_t seed);

/// Transmission (y, x) = (1 - absorption)^t exp(-i phase_depth t) for thickness t.
/// Throws `invalid_argument` unless ny, nx >= 1, absorption in [0, 1) and phase_depth is finite.
core::Array<core::cfloat, 2> make_phantom(Phantom phantom, core::Index ny, core::Index nx, const Material& material,
                                          std::uint64_t seed);

}  // namespace farfield::techniques::ptychography
