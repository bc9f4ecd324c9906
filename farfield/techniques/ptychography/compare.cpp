#include "farfield/techniques/ptychography/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/compare_region.hpp"
#include "farfield/techniques/ptychography/frc.hpp"
#include "farfield/techniques/ptychography/quality.hpp"
#include "farfield/techniques/ptychography/registration.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::AnyArray;
using core::Array;
using core::cdouble;
using core::cfloat;
using core::Error;
using core::ErrorCode;
using core::Index;

/// One of the 16 symmetries: transpose, then flips, then conjugation.
struct Orientation {
  bool transpose = false, flip_y = false, flip_x = false, conjugate = false;
};

std::vector<Orientation> candidates(Orientations choice) {
  std::vector<Orientation> out{{}};
  if (choice == Orientations::same) return out;
  out.push_back({false, true, true, true});
  if (choice == Orientations::twin) return out;
  for (int bits = 1; bits < 16; ++bits)
    if (const Orientation o{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0}; bits != 14)
      out.push_back(o);
  return out;
}

struct Part {
  Array<cfloat, 2> object;
  Region region;
};

Part oriented(const Part& part, const Orientation& o) {
  const Index ny = part.object.extent(0), nx = part.object.extent(1);
  Part out{Array<cfloat, 2>({o.transpose ? nx : ny, o.transpose ? ny : nx}), part.region};
  Region& r = out.region;
  if (o.transpose) r = {r.x, r.y, r.nx, r.ny};
  const Index my = out.object.extent(0), mx = out.object.extent(1);
  if (o.flip_y) r.y = my - r.y - r.ny;
  if (o.flip_x) r.x = mx - r.x - r.nx;
  for (Index y = 0; y < my; ++y)
    for (Index x = 0; x < mx; ++x) {
      const Index sy = o.flip_y ? my - 1 - y : y, sx = o.flip_x ? mx - 1 - x : x;
      const cfloat v = o.transpose ? part.object(sx, sy) : part.object(sy, sx);
      out.object(y, x) = o.conjugate ? std::conj(v) : v;
    }
  return out;
}

Part part_of(const model::Product& product, Index crop) {
  Part part{object_of(product), {}};
  const Index ny = part.object.extent(0), nx = part.object.extent(1);
  part.region =
      crop > 0 ? intersection({crop, crop, ny - 2 * crop, nx - 2 * crop}, {0, 0, ny, nx}) : illuminated_region(product);
  return part;
}

struct Guess {
  double y = 0, x = 0;
};

/// Reconstructions pad their arrays as they like; the same scan tells by how much, else the illuminated parts do.
Guess first_guess(const model::Product& a, const model::Product& b, const Part& part_a, const Part& part_b,
                  const Orientation& o) {
  const auto pa = positions_px(a), pb = positions_px(b);
  if (!o.transpose && !o.flip_y && !o.flip_x && pa && pb && pa->extents() == pb->extents()) {
    Guess sum;
    for (Index j = 0; j < pa->extent(0); ++j) {
      sum.y += (*pb)(j, 0) - (*pa)(j, 0);
      sum.x += (*pb)(j, 1) - (*pa)(j, 1);
    }
    const auto n = static_cast<double>(pa->extent(0));
    return {sum.y / n, sum.x / n};
  }
  const auto centre = [](Index low, Index n) { return static_cast<double>(low) + 0.5 * static_cast<double>(n); };
  return {centre(part_b.region.y, part_b.region.ny) - centre(part_a.region.y, part_a.region.ny),
          centre(part_b.region.x, part_b.region.nx) - centre(part_a.region.x, part_a.region.nx)};
}

std::optional<double> common_pixel_size(const std::optional<double>& a, const std::optional<double>& b,
                                        const char* axis) {
  constexpr double kTolerance = 1e-3;  // over 1000 pixels the images would part by one
  if (a && b && std::abs(*a - *b) > kTolerance * *a)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format(
            "pixel sizes along {} must agree to 0.1 %: {:.6g} m and {:.6g} m; reconstruct both with one detector shape",
            axis, *a, *b));
  return a ? a : b;
}

AnyArray to_array(const std::vector<double>& values) {
  return AnyArray(core::View<const double, 1>(values.data(), {static_cast<Index>(values.size())}));
}

void add_resolution(model::Product& p, const RingCorrelation& curve, const std::vector<double>& threshold,
                    const std::string& name) {
  const auto f = crossing(curve, threshold);
  p.metrics[name + "_reached_nyquist"] = f ? 0 : 1;
  if (f && *f <= 0) return;
  const double half_period_px = 0.5 / f.value_or(0.5);
  p.metrics["resolution_" + name + "_px"] = half_period_px;
  if (p.pixel_size_y_m && p.pixel_size_x_m)
    p.metrics["resolution_" + name + "_nm"] = half_period_px * std::sqrt(*p.pixel_size_y_m * *p.pixel_size_x_m) * 1e9;
}

}  // namespace

const core::BoundSchema<CompareOptions>& compare_schema() {
  static const core::BoundSchema<CompareOptions> schema = [] {
    core::BoundSchema<CompareOptions> s;
    s.add("orientations", &CompareOptions::orientations,
          "symmetries to try on the second object; twin: conjugated and turned by 180 degrees",
          {.choices = {"same", "twin", "all"}});
    s.add("frc-image", &CompareOptions::frc_image, "what the ring correlation compares",
          {.choices = {"complex", "phase"}});
    s.add("crop", &CompareOptions::crop_px,
          "pixels left out at every side; 0: the largest rectangle that the scan illuminates",
          {.min = 0, .max = 1e6, .unit = "px"});
    return s;
  }();
  return schema;
}

model::Product compare(const model::Product& a, const model::Product& b, const CompareOptions& options) {
  model::Product out;
  out.technique = "ptychography";
  out.verb = "compare";
  out.pixel_size_y_m = common_pixel_size(a.pixel_size_y_m, b.pixel_size_y_m, "y");
  out.pixel_size_x_m = common_pixel_size(a.pixel_size_x_m, b.pixel_size_x_m, "x");
  out.energy_eV = a.energy_eV ? a.energy_eV : b.energy_eV;

  const Part part_a = part_of(a, options.crop_px), part_b = part_of(b, options.crop_px);
  const auto aligned_by = [&](const Orientation& o, int rounds) {
    const Part turned = oriented(part_b, o);
    const Guess guess = first_guess(a, b, part_a, turned, o);
    return align(part_a.object.view(), part_a.region, turned.object.view(), turned.region, guess.y, guess.x, rounds);
  };
  Orientation chosen;
  double best = -1;
  const auto choices = candidates(options.orientations);
  for (const Orientation& o : choices) {
    if (choices.size() == 1) break;
    const double correlation = aligned_by(o, 1).alignment.correlation;
    if (correlation <= best) continue;
    best = correlation;
    chosen = o;
  }
  constexpr int kRounds = 8;
  const AlignedObjects aligned = aligned_by(chosen, kRounds);
  const auto& [object_a, object_b, found] = aligned;
  auto difference = object_b.clone();
  for (Index i = 0; i < difference.size(); ++i) difference.data()[i] -= object_a.data()[i];
  RingCorrelation curve;
  if (options.frc_image == FrcImage::complex) {
    curve = ring_correlation(object_a.view(), object_b.view(), false);
  } else {
    cdouble mean = 0;
    for (const cfloat v : object_a) mean += cdouble(v);
    const cdouble turn = std::abs(mean) > 0 ? std::conj(mean) / std::abs(mean) : cdouble(1);  // keeps the wraps away
    const auto phase = [&](const Array<cfloat, 2>& image) {
      auto p = image.clone();
      for (cfloat& v : p) v = cfloat(static_cast<float>(std::arg(cdouble(v) * turn)), 0);
      return p;
    };
    curve = ring_correlation(phase(object_a).view(), phase(object_b).view(), true);
  }

  out.datasets.push_back({"object_a", AnyArray(object_a), "", {"y", "x"}, "reference, common region"});
  out.datasets.push_back({"object_b", AnyArray(object_b), "", {"y", "x"}, "second object, aligned to the reference"});
  out.datasets.push_back({"difference", AnyArray(difference), "", {"y", "x"}, "aligned second object less reference"});
  out.datasets.push_back(
      {"frequency", to_array(curve.frequency), "1/px", {"ring"}, "centre of each Fourier ring", "abscissa"});
  out.datasets.push_back({"frc", to_array(curve.frc), "", {"ring"}, "Fourier ring correlation"});
  out.datasets.push_back({"half_bit", to_array(curve.half_bit), "", {"ring"}, "half-bit threshold"});
  out.datasets.push_back({"one_bit", to_array(curve.one_bit), "", {"ring"}, "1-bit threshold"});

  auto& m = out.metrics;
  m["nrmse"] = nrmse(object_a.view(), object_b.view());
  m["ssim_phase"] = ssim_of_phase(object_a.view(), object_b.view());
  m["correlation"] = found.correlation;
  m["shift_y_px"] = found.shift_y;
  m["shift_x_px"] = found.shift_x;
  m["ramp_y_rad_per_px"] = found.ramp_y;
  m["ramp_x_rad_per_px"] = found.ramp_x;
  m["scale_amplitude"] = std::abs(found.scale);
  m["scale_phase_rad"] = std::arg(found.scale);
  m["transposed"] = chosen.transpose;
  m["flipped_y"] = chosen.flip_y;
  m["flipped_x"] = chosen.flip_x;
  m["conjugated"] = chosen.conjugate;
  m["region_y"] = static_cast<double>(found.region.y);
  m["region_x"] = static_cast<double>(found.region.x);
  m["region_ny"] = static_cast<double>(found.region.ny);
  m["region_nx"] = static_cast<double>(found.region.nx);
  add_resolution(out, curve, curve.half_bit, "half_bit");
  add_resolution(out, curve, curve.one_bit, "one_bit");
  out.provenance["options"] = core::options_to_json(compare_schema().values(options));
  return out;
}

technique::Verb compare_verb() {
  return {.name = "compare",
          .summary = "two objects: registration, ramp and scale removal, ring correlation, resolution, similarity",
          .options = compare_schema(),
          .inputs = {"product", "product"},
          .outputs = {"object_a", "object_b", "difference", "frequency", "frc", "half_bit", "one_bit"},
          .out_optional = true,
          .combine = [](std::span<const model::Product> products, const core::OptionValues& values,
                        const technique::Resources&, std::stop_token, technique::Observer&) {
            if (products.size() != 2)
              throw Error(ErrorCode::invalid_argument,
                          fmt::format("compare takes two products, {} were given", products.size()));
            return compare(products[0], products[1], compare_schema().make(values));
          }};
}

}  // namespace farfield::techniques::ptychography
