#include "farfield/plot/colour.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <span>
#include <vector>

namespace farfield::plot {
namespace {
constexpr double kPi = std::numbers::pi;
// The hues of the cyclic map: phase 0 is rose, and the hue angle of Oklab grows with the phase.
constexpr double kZeroPhaseHue = 15.0 * kPi / 180.0;

double to_linear(std::uint8_t v) {
  const double s = v / 255.0;
  return s <= 0.04045 ? s / 12.92 : std::pow((s + 0.055) / 1.055, 2.4);
}
std::uint8_t from_linear(double v) {
  v = std::clamp(v, 0.0, 1.0);
  const double s = v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255 * s));
}

Oklab mix(const Oklab& p, const Oklab& q, double t) {
  return {p.L + t * (q.L - p.L), p.a + t * (q.a - p.a), p.b + t * (q.b - p.b)};
}
double distance(const Oklab& p, const Oklab& q) { return std::hypot(p.L - q.L, p.a - q.a, p.b - q.b); }

/// 256 colours along path(0..1), equally far apart in Oklab. Cyclic: entry 0 stands for t = 1/512 either way.
std::array<Colour, 256> walk(const std::function<Oklab(double)>& path) {
  constexpr int kSteps = 4096;
  std::vector<double> length(kSteps + 1);
  for (int i = 1; i <= kSteps; ++i)
    length[static_cast<std::size_t>(i)] =
        length[static_cast<std::size_t>(i - 1)] +
        distance(path(static_cast<double>(i - 1) / kSteps), path(static_cast<double>(i) / kSteps));
  std::array<Colour, 256> colours{};
  for (int i = 0; i < 256; ++i) {
    const double wanted = (i + 0.5) / 256 * length.back();
    const auto above = std::lower_bound(length.begin() + 1, length.end(), wanted);
    const double step = *above - *(above - 1);
    const double part = step > 0 ? (wanted - *(above - 1)) / step : 0;
    colours[static_cast<std::size_t>(i)] =
        from_oklab(path((static_cast<double>(above - 1 - length.begin()) + part) / kSteps));
  }
  return colours;
}

/// A smooth curve (Catmull-Rom) through stops that are equally far apart already.
std::array<Colour, 256> through(std::span<const Colour> stops) {
  const auto stop = [stops](int i) {
    return to_oklab(stops[static_cast<std::size_t>(std::clamp(i, 0, static_cast<int>(stops.size()) - 1))]);
  };
  std::array<Colour, 256> colours{};
  for (int k = 0; k < 256; ++k) {
    const double at = k / 255.0 * static_cast<double>(stops.size() - 1);
    const int i = std::min(static_cast<int>(at), static_cast<int>(stops.size()) - 2);
    const double t = at - i;
    const Oklab p = stop(i - 1), q = stop(i), r = stop(i + 1), s = stop(i + 2);
    const auto curve = [t](double w, double x, double y, double z) {
      return x + t / 2 * (y - w + t * (2 * w - 5 * x + 4 * y - z + t * (3 * (x - y) + z - w)));
    };
    colours[static_cast<std::size_t>(k)] =
        from_oklab({curve(p.L, q.L, r.L, s.L), curve(p.a, q.a, r.a, s.a), curve(p.b, q.b, r.b, s.b)});
  }
  return colours;
}

/// A tilted circle: yellow hues light and blue ones dark, as the sRGB gamut has them, which allows more chroma than a
/// circle of one lightness and keeps weak phase structure visible as brightness.
Oklab phase_path(double t) {
  const double hue = kZeroPhaseHue + 2 * kPi * (t - 0.5);
  constexpr double kLightest = 105.0 * kPi / 180.0, kChroma = 0.118;
  // Moved towards red, because the gamut ends soonest at cyan.
  return {0.665 + 0.165 * std::cos(hue - kLightest), 0.022 + kChroma * std::cos(hue), kChroma * std::sin(hue)};
}

std::array<Colour, 256> build(ColourMap map) {
  switch (map) {
    case ColourMap::gray: {  // as every other program has it
      std::array<Colour, 256> colours{};
      for (std::size_t i = 0; i < 256; ++i) {
        const auto v = static_cast<std::uint8_t>(i);
        colours[i] = {v, v, v};
      }
      return colours;
    }
    case ColourMap::viridis: {  // ten colours of the map by N. Smith and S. van der Walt (CC0)
      static constexpr Colour stops[] = {{68, 1, 84},    {72, 40, 120},  {62, 73, 137},  {49, 104, 142},
                                         {38, 130, 142}, {31, 158, 137}, {53, 183, 121}, {110, 206, 88},
                                         {181, 222, 43}, {253, 231, 37}};
      return through(stops);
    }
    case ColourMap::inferno: {  // as above
      static constexpr Colour stops[] = {{0, 0, 4},     {27, 12, 65},   {74, 12, 107}, {120, 28, 109}, {165, 44, 96},
                                         {207, 68, 70}, {237, 105, 37}, {251, 155, 6}, {247, 209, 61}, {252, 255, 164}};
      return through(stops);
    }
    case ColourMap::diverging:  // straight lines: lightness rises evenly, then falls
      return walk([](double t) {
        const Oklab blue{0.42, -0.02, -0.135}, white{0.97, 0, 0}, red{0.42, 0.135, 0.07};
        return t < 0.5 ? mix(blue, white, 2 * t) : mix(white, red, 2 * t - 1);
      });
    case ColourMap::phase: return walk(phase_path);
  }
  return {};
}
}  // namespace

Oklab to_oklab(Colour c) {
  const double r = to_linear(c.r), g = to_linear(c.g), b = to_linear(c.b);
  const double l = std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const double m = std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const double s = std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

Colour from_oklab(const Oklab& c) {
  const double l = std::pow(c.L + 0.3963377774 * c.a + 0.2158037573 * c.b, 3);
  const double m = std::pow(c.L - 0.1055613458 * c.a - 0.0638541728 * c.b, 3);
  const double s = std::pow(c.L - 0.0894841775 * c.a - 1.2914855480 * c.b, 3);
  return {from_linear(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          from_linear(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          from_linear(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

const std::array<Colour, 256>& table(ColourMap map) {
  static const std::array<std::array<Colour, 256>, 5> tables = {build(ColourMap::gray), build(ColourMap::viridis),
                                                                build(ColourMap::inferno), build(ColourMap::diverging),
                                                                build(ColourMap::phase)};
  return tables[static_cast<std::size_t>(map)];
}

Colour colour_at(ColourMap map, double t) {
  if (map == ColourMap::phase) t -= std::floor(t);
  const double i = std::clamp(std::floor(t * 256), 0.0, 255.0);
  return table(map)[std::isfinite(i) ? static_cast<std::size_t>(i) : 0];
}

Colour complex_colour(double phase_rad, double brightness) {
  constexpr double kLightness = 0.76, kChroma = 0.12;  // the largest circle of one lightness within sRGB
  const double hue = kZeroPhaseHue + phase_rad;
  const double scale = std::clamp(brightness, 0.0, 1.0);
  return from_oklab({kLightness * scale, kChroma * scale * std::cos(hue), kChroma * scale * std::sin(hue)});
}

}  // namespace farfield::plot
