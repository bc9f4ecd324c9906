#pragma once
// Colours and colour maps. The maps are built in Oklab (B. Ottosson, 2020, "A perceptual color space for image
// processing"), where equal distances look about equally different, so that equal steps of the value look equal.

#include <array>
#include <cstdint>

namespace farfield::plot {

/// sRGB, alpha not premultiplied.
struct Colour {
  std::uint8_t r = 0, g = 0, b = 0, a = 255;
  bool operator==(const Colour&) const = default;
};

/// Lightness L 0 (black) to 1 (white); a and b span the chroma plane.
struct Oklab {
  double L = 0, a = 0, b = 0;
};
Oklab to_oklab(Colour colour);
/// Out-of-gamut components are clipped.
Colour from_oklab(const Oklab& colour);

enum class ColourMap {
  gray,
  viridis,    ///< sequential, dark blue to yellow: amplitudes
  inferno,    ///< sequential from black: intensities that span decades
  diverging,  ///< blue, white in the middle, red: signed quantities
  phase,      ///< cyclic: 0 and 1 are the same colour, 0.5 (phase 0) is red, lightness rises through it
};

/// 256 colours; entry i stands for values around (i + 0.5) / 256.
const std::array<Colour, 256>& table(ColourMap map);

/// The colour of t, 0 to 1; the cyclic map wraps, the others clip.
Colour colour_at(ColourMap map, double t);

/// Hue = phase as in the phase map but of one lightness, brightness 0 (black) to 1: for complex images.
/// `phase_rad` any; `brightness` is clipped.
Colour complex_colour(double phase_rad, double brightness);

}  // namespace farfield::plot
