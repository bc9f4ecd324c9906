#include "farfield/pipeline/terminal_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "farfield/plot/image_data.hpp"

namespace farfield::pipeline {
namespace {

using model::Dataset;

bool is_image(const Dataset& d) {
  return d.data.rank() == 2 && !d.data.empty() && d.data.size() > 0 && d.axes.size() == 2 && d.axes[0] == "y" &&
         d.axes[1] == "x" && d.draw != "none" && d.draw != "valid" && d.draw != "weight";
}

struct Window {
  Index y0 = 0, x0 = 0, ny = 0, nx = 0;
};

/// Rows and columns in which at least one pixel has a tenth of the greatest weight.
Window measured(const model::Product& product, const Dataset& image) {
  const Index ny = image.data.shape()[0], nx = image.data.shape()[1];
  const Window whole{0, 0, ny, nx};
  for (const auto& d : product.datasets) {
    if ((d.draw != "weight" && d.draw != "valid") || d.data.shape() != image.data.shape()) continue;
    const auto weight = d.data.to<float, 2>();
    const float least = 0.1F * *std::max_element(weight.begin(), weight.end());
    Index top = ny, bottom = 0, left = nx, right = 0;
    for (Index y = 0; y < ny; ++y)
      for (Index x = 0; x < nx; ++x)
        if (weight(y, x) > 0 && weight(y, x) >= least) {
          top = std::min(top, y);
          bottom = std::max(bottom, y + 1);
          left = std::min(left, x);
          right = std::max(right, x + 1);
        }
    return bottom > top ? Window{top, left, bottom - top, right - left} : whole;
  }
  return whole;
}

std::string colour_of(const plot::Colour& c, int layer) {
  return fmt::format("\x1b[{};2;{};{};{}m", layer, c.r, c.g, c.b);
}

}  // namespace

std::optional<Pixels> thumbnail(const model::Product& product, Index ny, Index nx) {
  const auto found = std::find_if(product.datasets.begin(), product.datasets.end(), is_image);
  if (found == product.datasets.end() || ny < 1 || nx < 1) return std::nullopt;
  const auto& d = *found;
  const bool complex = d.data.dtype() == core::DType::c64 || d.data.dtype() == core::DType::c128;
  core::Array<float, 2> values;
  if (complex) {
    const auto waves = d.data.to<core::cfloat, 2>();
    values = plot::phase(waves.view(), plot::mean_phase(waves.view(), {}));
  } else {
    values = d.data.to<float, 2>();
  }
  const Window w = measured(product, d);
  const double scale = std::max(
      {1.0, static_cast<double>(w.ny) / static_cast<double>(ny), static_cast<double>(w.nx) / static_cast<double>(nx)});
  const auto side = [&](Index n) { return std::max<Index>(1, static_cast<Index>(static_cast<double>(n) / scale)); };
  Pixels out({side(w.ny), side(w.nx)});
  core::Array<float, 2> small({out.extent(0), out.extent(1)});
  for (Index y = 0; y < out.extent(0); ++y)
    for (Index x = 0; x < out.extent(1); ++x)
      small(y, x) = values(w.y0 + std::min(w.ny - 1, static_cast<Index>((static_cast<double>(y) + 0.5) * scale)),
                           w.x0 + std::min(w.nx - 1, static_cast<Index>((static_cast<double>(x) + 0.5) * scale)));
  const auto range = plot::robust_range(small.view(), {});
  const double span = range.high > range.low ? range.high - range.low : 1;
  for (Index i = 0; i < small.size(); ++i) {
    const double v = static_cast<double>(small.data()[i]);
    out.data()[i] = std::isfinite(v) ? plot::colour_at(complex ? plot::ColourMap::gray : plot::ColourMap::viridis,
                                                       (v - range.low) / span)
                                     : plot::Colour{};
  }
  return out;
}

std::string half_blocks(const Pixels& image) {
  std::string out;
  for (Index y = 0; y < image.extent(0); y += 2) {
    for (Index x = 0; x < image.extent(1); ++x) {
      out += colour_of(image(y, x), 38);
      out += y + 1 < image.extent(0) ? colour_of(image(y + 1, x), 48) : "\x1b[49m";
      out += "\u2580";  // upper half block
    }
    out += "\x1b[0m\n";
  }
  return out;
}

std::string sixels(const Pixels& image) {
  constexpr int kLevels = 6, kColours = kLevels * kLevels * kLevels;
  const Index ny = image.extent(0), nx = image.extent(1);
  const auto level = [](std::uint8_t v) { return (v * (kLevels - 1) + 127) / 255; };
  std::vector<int> index(static_cast<std::size_t>(ny * nx));
  std::vector<bool> used(kColours);
  for (Index i = 0; i < ny * nx; ++i) {
    const auto& c = image.data()[i];
    const int n = (level(c.r) * kLevels + level(c.g)) * kLevels + level(c.b);
    index[static_cast<std::size_t>(i)] = n;
    used[static_cast<std::size_t>(n)] = true;
  }
  std::string out = fmt::format("\x1bPq\"1;1;{};{}", nx, ny);
  for (int n = 0; n < kColours; ++n)
    if (used[static_cast<std::size_t>(n)])
      out +=
          fmt::format("#{};2;{};{};{}", n, n / (kLevels * kLevels) * 20, n / kLevels % kLevels * 20, n % kLevels * 20);
  // A band is six rows; each of its colours is one pass over its columns.
  for (Index band = 0; band < ny; band += 6) {
    for (int n = 0; n < kColours; ++n) {
      if (!used[static_cast<std::size_t>(n)]) continue;
      std::string line;
      bool any = false;
      for (Index x = 0; x < nx;) {
        const auto bits = [&](Index column) {
          int b = 0;
          for (Index y = band; y < std::min(ny, band + 6); ++y)
            if (index[static_cast<std::size_t>(y * nx + column)] == n) b |= 1 << (y - band);
          return b;
        };
        const int b = bits(x);
        Index run = 1;
        while (x + run < nx && bits(x + run) == b) ++run;
        any |= b != 0;
        line += fmt::format("!{}{}", run, static_cast<char>(63 + b));
        x += run;
      }
      if (any) out += fmt::format("#{}{}$", n, line);
    }
    out += "-";
  }
  return out + "\x1b\\";
}

std::string sparkline(std::span<const double> values, std::size_t width) {
  values = values.last(std::min(width, values.size()));
  static constexpr const char* kBars[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                          "\u2585", "\u2586", "\u2587", "\u2588"};
  const bool logarithmic = std::all_of(values.begin(), values.end(), [](double v) { return v > 0; });
  const auto height = [&](double v) { return logarithmic ? std::log(v) : v; };
  double low = INFINITY, high = -INFINITY;
  for (const double v : values)
    if (std::isfinite(v)) {
      low = std::min(low, height(v));
      high = std::max(high, height(v));
    }
  std::string out;
  for (const double v : values) {
    if (!std::isfinite(v)) {
      out += " ";
      continue;
    }
    const double part = high > low ? (height(v) - low) / (high - low) : 0;
    out += kBars[static_cast<std::size_t>(std::clamp(part * 7.999, 0.0, 7.0))];
  }
  return out;
}

}  // namespace farfield::pipeline
