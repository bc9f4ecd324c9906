#include "farfield/techniques/ptychography/product.hpp"

#include <algorithm>
#include <cmath>

#include "farfield/core/cpu.hpp"
#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/modes.hpp"

namespace farfield::techniques::ptychography {

using core::AnyArray;
using core::Array;
using core::View;

namespace {

AnyArray curve(std::span<const double> values) {
  return AnyArray(View<const double, 1>(values.data(), {static_cast<Index>(values.size())}));
}

/// One number or pair per pattern.
template <class T, class F>
Array<T, 2> pairs(const std::vector<UsedPattern>& patterns, F&& f) {
  Array<T, 2> out({static_cast<Index>(patterns.size()), 2});
  for (Index i = 0; i < out.extent(0); ++i) {
    const auto [y, x] = f(patterns[static_cast<std::size_t>(i)]);
    out(i, 0) = y;
    out(i, 1) = x;
  }
  return out;
}

/// A tile in the order of a prepared frame: in the far field, zero frequency from the corner to (ny/2, nx/2).
Array<float, 2> as_frame(const Array<float, 2>& tile, const Options& o) {
  if (o.propagation != Propagation::far_field) return tile.clone();
  const Index ny = tile.extent(0), nx = tile.extent(1);
  Array<float, 2> frame({ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) frame((y + ny / 2) % ny, (x + nx / 2) % nx) = tile(y, x);
  return frame;
}

void add_provenance(model::Product& out, const ProductInputs& in) {
  const auto& a = in.acquisition;
  auto& p = out.provenance;
  p["options"] = core::options_to_json(schema().values(in.options));
  p["seed"] = std::to_string(in.seed);
  p["instruction_set"] = std::string(core::name(core::isa()));
  if (!a.title.empty()) p["title"] = a.title;
  if (!a.checksum.empty()) p["checksum"] = a.checksum;
  for (const auto& [key, value] : a.metadata) p.try_emplace(key, value);
}

/// |P|^2 of all modes together, counts.
Array<float, 2> beam_of(const State& s) {
  Array<float, 2> beam({s.shape.ny, s.shape.nx});
  for (int m = 0; m < s.modes(); ++m)
    for (Index i = 0; i < beam.size(); ++i) beam.data()[i] += math::abs2(s.probe_mode(m)[i]);
  return beam;
}

/// The area that a non-negative image fills, px: (sum)^2 / sum of squares, which is the number of pixels where it is
/// the same on all of them.
double area_px(const Array<float, 2>& image) {
  double sum = 0, squares = 0;
  for (const float v : image) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  return squares > 0 ? sum * sum / squares : 0;
}

/// What is known of the measurement: how far neighbouring illuminations overlap, what fell on the sample, how far the
/// sample drifted. `all`: illumination of the object.
void add_quality(model::Product& out, const State& s, const std::vector<UsedPattern>& patterns,
                 const Array<float, 2>& all, const ProductInputs& in) {
  if (patterns.empty()) return;
  const auto n = static_cast<double>(patterns.size());
  const double beam_px = area_px(beam_of(s)), scanned_px = area_px(all);
  double counts = 0;
  for (const float v : all) counts += static_cast<double>(v);
  if (beam_px > 0 && scanned_px > 0) {
    // Discs of the beam's area on a square grid as dense as these patterns: 1 - step / diameter.
    const double coverage = n * beam_px / scanned_px;
    out.metrics["overlap_linear"] = 1 - std::sqrt(M_PI / (4 * coverage));
    const auto y = in.geometry.pixel_y_m(), x = in.geometry.pixel_x_m();
    if (y && x) out.metrics["photons_per_um2"] = counts / (scanned_px * *y * *x * 1e12);
  }
  const std::size_t part = patterns.size() / 10;
  if (!in.options.refine_positions || part == 0) return;
  // Where the last tenth of the patterns was found beside where the scan says, less the same for the first tenth.
  const auto offset = [&](std::size_t from) {
    std::pair<double, double> mean{0, 0};
    for (std::size_t i = from; i < from + part; ++i) {
      const auto slot = static_cast<std::size_t>(patterns[i].slot);
      mean.first += (s.y[slot] - patterns[i].recorded_y) / static_cast<double>(part);
      mean.second += (s.x[slot] - patterns[i].recorded_x) / static_cast<double>(part);
    }
    return mean;
  };
  const auto first = offset(0), last = offset(patterns.size() - part);
  const double y = last.first - first.first, x = last.second - first.second;
  if (in.geometry.pixel_y_m())
    out.metrics["drift_m"] = std::hypot(y * *in.geometry.pixel_y_m(), x * in.geometry.pixel_x_m().value_or(0));
  else out.metrics["drift_px"] = std::hypot(y, x);
}

}  // namespace

std::vector<std::string> product_outputs() {
  return {"object", "probe",      "illumination", "positions", "recorded_positions",
          "frames", "mode_power", "cost",         "r_factor"};
}

Array<float, 2> illumination(const State& s, std::span<const UsedPattern> patterns) {
  const auto beam = beam_of(s);
  Array<float, 2> sum(s.object.extents());
  for (const UsedPattern& pattern : patterns) {
    const auto slot = static_cast<std::size_t>(pattern.slot);
    const Placement& place = s.placements[slot];
    const float intensity = s.amplitude[slot] * s.amplitude[slot];
    for (Index y = 0; y < s.shape.ny; ++y) {
      float* row = sum.data() + (place.oy + y) * s.object_stride() + place.ox;
      const float* from = beam.data() + y * s.shape.nx;
      for (Index x = 0; x < s.shape.nx; ++x) row[x] += intensity * from[x];
    }
  }
  return sum;
}

model::Product make_product(const State& s, ProductInputs in) {
  auto& patterns = in.patterns;
  std::sort(patterns.begin(), patterns.end(), [](const UsedPattern& a, const UsedPattern& b) { return a.id < b.id; });
  const bool metres = in.geometry.pixel_y_m().has_value();
  const double unit_y = in.geometry.pixel_y_m().value_or(1), unit_x = in.geometry.pixel_x_m().value_or(1);
  const std::string unit = metres ? "m" : "px";
  const auto from_corner = [&](double y, double x) {
    return std::pair((y - s.origin_y) * unit_y, (x - s.origin_x) * unit_x);
  };

  auto probe = s.probe.clone();
  // An eigen-probe belongs to the first mode, which therefore must not be mixed with others.
  if (in.options.orthogonalise) orthogonalise(probe, s.opr_modes() > 0 ? 1 : 0);

  model::Product out;
  out.technique = "ptychography";
  out.verb = "reconstruct";
  if (metres) {
    out.pixel_size_y_m = unit_y;
    out.pixel_size_x_m = unit_x;
  }
  out.energy_eV = in.geometry.energy_eV();
  const auto add = [&](std::string name, AnyArray data, std::string of_unit, std::vector<std::string> axes,
                       std::string help) {
    out.datasets.push_back({std::move(name), std::move(data), std::move(of_unit), std::move(axes), std::move(help)});
  };
  add("object", AnyArray(s.object), "", {"y", "x"}, "complex transmission of the sample");
  add("probe", AnyArray(probe), "sqrt(counts)", {"mode", "y", "x"}, "illumination in the sample plane");
  const auto counts = illumination(s, patterns);
  add("illumination", AnyArray(counts), "counts", {"y", "x"}, "counts on each object pixel in all patterns together");
  out.datasets.back().draw = "weight";
  add("positions",
      AnyArray(pairs<double>(patterns,
                             [&](const UsedPattern& p) {
                               const auto slot = static_cast<std::size_t>(p.slot);
                               return from_corner(s.y[slot], s.x[slot]);
                             })),
      unit, {"frame", "yx"}, "corner of each window from the object's first pixel, as refined");
  add("recorded_positions",
      AnyArray(pairs<double>(patterns, [&](const UsedPattern& p) { return from_corner(p.recorded_y, p.recorded_x); })),
      unit, {"frame", "yx"}, "the same as the scan recorded them");
  Array<std::int64_t, 1> ids({static_cast<Index>(patterns.size())});
  std::transform(patterns.begin(), patterns.end(), ids.begin(), [](const UsedPattern& p) { return p.id; });
  add("frames", AnyArray(ids), "", {"frame"}, "ids of the frames used");
  out.datasets.back().draw = "none";
  add("mode_power", AnyArray(power_shares(probe)), "", {"mode"}, "share of each probe mode in the power");
  add("cost", curve(in.cost), "counts", {"iteration"},
      "mean over valid pixels of (sqrt(I_model) - sqrt(I_measured))^2, as the pass saw it");
  add("r_factor", curve(in.r_factor), "", {"iteration"},
      "sum |sqrt(I_model) - sqrt(I_measured)| / sum sqrt(I_measured)");

  if (in.options.fit_intensity) {
    Array<double, 1> intensity({static_cast<Index>(patterns.size())});
    std::transform(patterns.begin(), patterns.end(), intensity.begin(), [&](const UsedPattern& p) {
      const auto a = static_cast<double>(s.amplitude[static_cast<std::size_t>(p.slot)]);
      return a * a;
    });
    add("intensity", AnyArray(intensity), "", {"frame"}, "intensity of the beam relative to the probe's");
  }
  if (s.opr_modes() > 0) {
    const Index modes = s.opr_modes();
    Array<float, 2> weights({static_cast<Index>(patterns.size()), modes});
    for (Index i = 0; i < weights.extent(0); ++i)
      for (Index e = 0; e < modes; ++e)
        weights(i, e) = s.opr_weights[static_cast<std::size_t>(patterns[static_cast<std::size_t>(i)].slot * modes + e)];
    add("eigen_probes", AnyArray(s.eigen_probes), "sqrt(counts)", {"mode", "y", "x"}, "variations of the first mode");
    add("opr_weights", AnyArray(weights), "", {"frame", "mode"}, "weight of each eigen-probe in each pattern");
  }
  if (!s.background.empty())
    add("background", AnyArray(as_frame(s.background, in.options)), "counts", {"y", "x"},
        "incoherent background of each pattern");

  out.metrics["patterns"] = static_cast<double>(patterns.size());
  out.metrics["iterations"] = static_cast<double>(in.cost.size());
  if (metres) {
    out.metrics["pixel_size_y_m"] = unit_y;
    out.metrics["pixel_size_x_m"] = unit_x;
  }
  add_quality(out, s, patterns, counts, in);
  add_provenance(out, in);
  return out;
}

}  // namespace farfield::techniques::ptychography
