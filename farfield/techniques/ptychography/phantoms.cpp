#include "farfield/techniques/ptychography/phantoms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::Index;
using math::Random;
constexpr double kPi = std::numbers::pi;

/// Coverage of a pixel whose centre lies `distance` pixels inside an edge (negative: outside).
double coverage(double distance) { return std::clamp(0.5 + distance, 0.0, 1.0); }

/// Calls set(pixel, dy, dx) for the pixels of a disc around (cy, cx), clipped to the image.
template <class F>
void for_disc(Array<float, 2>& image, double cy, double cx, double radius, F&& set) {
  const auto low = [](double v) { return std::max<Index>(0, static_cast<Index>(std::floor(v))); };
  const Index y1 = std::min<Index>(image.extent(0), static_cast<Index>(std::ceil(cy + radius)) + 1);
  const Index x1 = std::min<Index>(image.extent(1), static_cast<Index>(std::ceil(cx + radius)) + 1);
  for (Index y = low(cy - radius); y < y1; ++y)
    for (Index x = low(cx - radius); x < x1; ++x) {
      const double dy = static_cast<double>(y) - cy, dx = static_cast<double>(x) - cx;
      if (dy * dy + dx * dx < (radius + 1) * (radius + 1)) set(image(y, x), dy, dx);
    }
}

Array<float, 2> siemens_star(Index ny, Index nx) {
  constexpr int kSpokes = 36;
  // Spokes run from ring to ring; the breaks between carry the scale, as on lithographic targets.
  constexpr double kBreaks[] = {0.12, 0.27, 0.45, 0.70};
  constexpr double kBreakWidth = 0.03, kCore = 0.03;
  Array<float, 2> t({ny, nx});
  const double cy = 0.5 * static_cast<double>(ny - 1), cx = 0.5 * static_cast<double>(nx - 1);
  const double outer = 0.48 * static_cast<double>(std::min(ny, nx));
  for_disc(t, cy, cx, outer, [&](float& pixel, double dy, double dx) {
    const double r = std::hypot(dy, dx);
    const double turn = std::atan2(dy, dx) / (2 * kPi) * kSpokes, u = turn - std::floor(turn);
    // Signed distance along the arc to the nearest spoke edge, positive inside a spoke (0 < u < 1/2).
    const double arc = (u < 0.5 ? std::min(u, 0.5 - u) : -std::min(u - 0.5, 1 - u)) * 2 * kPi * r / kSpokes;
    double inside = std::min({arc, outer - r, r - kCore * outer});
    for (const double b : kBreaks) inside = std::min(inside, std::abs(r - b * outer) - 0.5 * kBreakWidth * outer);
    pixel = static_cast<float>(coverage(inside));
  });
  return t;
}

void draw_coin(Array<float, 2>& t, double cy, double cx, double radius, Random& random) {
  const double rim = 0.08 * radius, tilt = random.uniform(0, 2 * kPi);
  const int corners = 3 + static_cast<int>(random.below(5)), beads = 24 + static_cast<int>(random.below(24));
  const double bead_ring = 0.83 * radius, bead = 0.25 * kPi * bead_ring / beads, face = 0.55 * radius;
  const double waves = random.uniform(0.15, 0.4);
  for_disc(t, cy, cx, radius, [&](float& pixel, double dy, double dx) {
    const double r = std::hypot(dy, dx), angle = std::atan2(dy, dx) - tilt;
    double height = 0.55;
    height += 0.45 * coverage(r - (radius - rim));
    const double nearest = std::round(angle / (2 * kPi) * beads) * 2 * kPi / beads;
    const double to_bead =
        std::sqrt(std::max(0.0, r * r + bead_ring * bead_ring - 2 * r * bead_ring * std::cos(angle - nearest)));
    height += 0.25 * coverage(bead - to_bead);
    // A star-shaped polygon in relief, with ridges that get finer toward its centre.
    const double edge = face * (0.72 + 0.28 * std::cos(corners * angle));
    const double ridge = 0.5 + 0.5 * std::sin(waves * r * (1 + 1.5 * (1 - r / radius)));
    height += coverage(edge - r) * (0.12 + 0.23 * ridge);
    const double inside = coverage(radius - r);
    pixel = static_cast<float>(inside * height + (1 - inside) * static_cast<double>(pixel));
  });
}

Array<float, 2> coins(Index ny, Index nx, Random& random) {
  Array<float, 2> t({ny, nx});
  struct Disc {
    double y, x, r;
  };
  std::vector<Disc> placed;
  const double size = static_cast<double>(std::min(ny, nx)), largest = std::max(4.0, std::min(0.3 * size, 160.0));
  const Index tries = 40 * (1 + ny * nx / static_cast<Index>(largest * largest));
  for (Index i = 0; i < tries; ++i) {
    const Disc d{random.uniform(0, static_cast<double>(ny)), random.uniform(0, static_cast<double>(nx)),
                 largest * random.uniform(0.45, 1)};
    const bool free = std::all_of(placed.begin(), placed.end(),
                                  [&](const Disc& o) { return std::hypot(o.y - d.y, o.x - d.x) > o.r + d.r + 2; });
    if (!free) continue;
    placed.push_back(d);
    draw_coin(t, d.y, d.x, d.r, random);
  }
  return t;
}

/// Grains: balls of radius R filled with small spheres whose projected thickness adds up.
Array<float, 2> catalyst(Index ny, Index nx, Random& random) {
  Array<float, 2> t({ny, nx});
  const double size = static_cast<double>(std::min(ny, nx));
  const Index grains = 3 + ny * nx / 60000;
  for (Index g = 0; g < grains; ++g) {
    const double cy = random.uniform(0, static_cast<double>(ny)), cx = random.uniform(0, static_cast<double>(nx));
    const double grain = std::min(0.25 * size, 140.0) * random.uniform(0.35, 1);
    const Index spheres = static_cast<Index>(0.08 * grain * grain) + 1;
    for (Index s = 0; s < spheres; ++s) {
      const double radius = std::clamp(5 * std::exp(0.35 * random.normal()), 1.5, 12.0);
      // Uniform in the ball, seen along the beam.
      const double z = random.uniform(-1, 1), turn = random.uniform(0, 2 * kPi), depth = std::cbrt(random.uniform());
      const double across = grain * depth * std::sqrt(1 - z * z);
      for_disc(t, cy + across * std::sin(turn), cx + across * std::cos(turn), radius,
               [&](float& pixel, double dy, double dx) {
                 pixel += static_cast<float>(2 * std::sqrt(std::max(0.0, radius * radius - dy * dy - dx * dx)));
               });
    }
  }
  const float peak = *std::max_element(t.begin(), t.end());
  if (peak > 0)
    for (float& v : t) v /= peak;
  return t;
}

/// White noise smoothed by three passes of a box (nearly a Gaussian of about `width` pixels), scaled to 0..1.
Array<float, 2> speckle(Index ny, Index nx, int width, Random& random) {
  Array<float, 2> t({ny, nx});
  for (float& v : t) v = static_cast<float>(random.normal());
  std::vector<float> line;
  const auto smooth = [&](float* first, Index n, Index stride) {
    line.resize(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) line[static_cast<std::size_t>(i)] = first[i * stride];
    for (Index i = 0; i < n; ++i) {
      float sum = 0;
      for (Index k = -width; k <= width; ++k) sum += line[static_cast<std::size_t>(((i + k) % n + n) % n)];
      first[i * stride] = sum;
    }
  };
  for (int pass = 0; pass < 3; ++pass) {
    for (Index y = 0; y < ny; ++y) smooth(&t(y, 0), nx, 1);
    for (Index x = 0; x < nx; ++x) smooth(&t(0, x), ny, nx);
  }
  const auto [low, high] = std::minmax_element(t.begin(), t.end());
  const float offset = *low, range = std::max(*high - *low, 1e-30F);
  for (float& v : t) v = (v - offset) / range;
  return t;
}

}  // namespace

Array<float, 2> phantom_thickness(Phantom phantom, Index ny, Index nx, std::uint64_t seed) {
  if (ny < 1 || nx < 1)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("object of {} x {} pixels must be at least 1 x 1", ny, nx));
  Random random(seed);
  switch (phantom) {
    case Phantom::siemens_star: return siemens_star(ny, nx);
    case Phantom::coins: return coins(ny, nx, random);
    case Phantom::catalyst: return catalyst(ny, nx, random);
    case Phantom::random: return speckle(ny, nx, 2, random);
    case Phantom::flat: return Array<float, 2>({ny, nx});
  }
  throw core::Error(core::ErrorCode::internal, "unknown phantom");
}

Array<core::cfloat, 2> make_phantom(Phantom phantom, Index ny, Index nx, const Material& material, std::uint64_t seed) {
  if (!(material.absorption >= 0 && material.absorption < 1))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("absorption {} must be from 0 to less than 1", material.absorption));
  if (!std::isfinite(material.phase_depth_rad))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("phase depth {} rad must be finite", material.phase_depth_rad));
  const auto thickness = phantom_thickness(phantom, ny, nx, seed);
  const double log_amplitude = std::log1p(-material.absorption);
  Array<core::cfloat, 2> object({ny, nx});
  for (Index i = 0; i < object.size(); ++i) {
    const double t = static_cast<double>(thickness.data()[i]);
    object.data()[i] = core::cfloat(std::polar(std::exp(log_amplitude * t), -material.phase_depth_rad * t));
  }
  return object;
}

}  // namespace farfield::techniques::ptychography
