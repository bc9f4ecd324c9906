#include "farfield/techniques/ptychography/initial.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {

using core::Array;
using core::Error;
using core::ErrorCode;
using core::View;

namespace {

constexpr std::uint64_t kModeStream = 0x6d6f6465, kObjectStream = 0x6f626a;

double power_of(View<const cfloat, 2> field) {
  double sum = 0;
  for (const cfloat& v : field) sum += static_cast<double>(math::abs2(v));
  return sum;
}

/// The central part, or zeros around: centre pixel (n/2) stays the centre pixel.
Array<cfloat, 2> about_centre(View<const cfloat, 2> from, Shape to) {
  Array<cfloat, 2> out({to.ny, to.nx});
  const Index dy = from.extent(0) / 2 - to.ny / 2, dx = from.extent(1) / 2 - to.nx / 2;
  for (Index y = std::max<Index>(0, -dy); y < std::min(to.ny, from.extent(0) - dy); ++y)
    for (Index x = std::max<Index>(0, -dx); x < std::min(to.nx, from.extent(1) - dx); ++x)
      out(y, x) = from(y + dy, x + dx);
  return out;
}

/// Zero frequency between corner and centre (n/2); exact both ways for odd sizes too.
void rotate_tile(View<cfloat, 2> tile, Index by_y, Index by_x) {
  for (Index y = 0; y < tile.extent(0); ++y) {
    cfloat* row = tile.data() + y * tile.extent(1);
    std::rotate(row, row + by_x, row + tile.extent(1));
  }
  std::rotate(tile.data(), tile.data() + by_y * tile.extent(1), tile.data() + tile.size());
}
void corner_to_centre(View<cfloat, 2> t) {
  rotate_tile(t, t.extent(0) - t.extent(0) / 2, t.extent(1) - t.extent(1) / 2);
}
void centre_to_corner(View<cfloat, 2> t) { rotate_tile(t, t.extent(0) / 2, t.extent(1) / 2); }

/// The same field on the same window, sampled with another number of points.
Array<cfloat, 2> resample(View<const cfloat, 2> field, Shape to) {
  Array<cfloat, 2> spectrum = about_centre(field, {field.extent(0), field.extent(1)});
  centre_to_corner(spectrum);
  math::Fft2<float>(field.extent(0), field.extent(1), math::FftEffort::estimate).forward(spectrum.data());
  corner_to_centre(spectrum);
  Array<cfloat, 2> out = about_centre(spectrum, to);
  centre_to_corner(out);
  math::Fft2<float>(to.ny, to.nx, math::FftEffort::estimate).inverse(out.data());
  corner_to_centre(out);
  for (cfloat& v : out) v /= static_cast<float>(field.size());
  return out;
}

/// Mean of the measured amplitudes' squares, (y, x) as in a tile; invalid pixels are 0.
Array<float, 2> mean_pattern(const StartInputs& in) {
  const Patterns& patterns = in.model.patterns();
  const Shape shape = patterns.shape();
  Array<double, 2> sum({shape.ny, shape.nx});
  in.pool.split(shape.size(), [&](Index begin, Index end, int) {
    for (const Index slot : patterns.ready())
      core::visit_dtype(patterns.dtype(), [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_arithmetic_v<T>) {
          const auto* counts = static_cast<const T*>(patterns.counts(slot));
          for (Index i = begin; i < end; ++i) sum.data()[i] += static_cast<double>(counts[i]);
        }
      });
  });
  auto number = static_cast<double>(patterns.ready().size());
  in.sharing.sum(std::span(sum.data(), static_cast<std::size_t>(sum.size())));
  in.sharing.sum(std::span(&number, 1));
  Array<float, 2> mean({shape.ny, shape.nx});
  for (Index i = 0; i < sum.size(); ++i) mean.data()[i] = static_cast<float>(sum.data()[i] / number);
  return mean;
}

/// The wave whose pattern is the mean one with flat phase at the detector, carried back to the sample.
Array<cfloat, 2> probe_from_mean(const StartInputs& in) {
  const auto mean = mean_pattern(in);
  Array<cfloat, 2> wave(mean.extents());
  for (Index i = 0; i < wave.size(); ++i) wave.data()[i] = std::sqrt(mean.data()[i]);
  in.model.propagator().adjoint(wave.data());
  if (in.model.propagator().is_far_field()) corner_to_centre(wave);
  return wave;
}

Array<cfloat, 3> probe_from_file(const StartInputs& in) {
  const auto found = in.acquisition.inputs.find("probe");
  if (found == in.acquisition.inputs.end())
    throw Error(ErrorCode::invalid_argument, "option probe-start = file, but the scan holds no probe");
  if (found->second.rank() != 3 || found->second.size() == 0)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("the scan's probe has {} dimensions; it must be (mode, y, x)", found->second.rank()));
  const auto stored = found->second.to<cfloat, 3>();
  const Shape shape = in.model.patterns().shape();
  const auto& d = in.acquisition.detector;
  const Shape frame = in.options.transpose ? Shape{d.nx, d.ny} : Shape{d.ny, d.nx};
  const Index modes = std::min<Index>(stored.extent(0), in.options.probe_modes);
  Array<cfloat, 3> out({modes, shape.ny, shape.nx});
  for (Index m = 0; m < modes; ++m) {
    const auto mode = fit_probe(stored[m], frame, shape, in.options.bin);
    std::copy(mode.begin(), mode.end(), out[m].begin());
  }
  for (const cfloat& v : stored)
    if (!std::isfinite(v.real()) || !std::isfinite(v.imag()))
      throw Error(ErrorCode::corrupt_data, "the scan's probe holds values that are not finite");
  if (!(power_of(out[0]) > 0)) throw Error(ErrorCode::corrupt_data, "the scan's probe is zero everywhere");
  return out;
}

Array<cfloat, 3> as_modes(const Array<cfloat, 2>& field) {
  Array<cfloat, 3> out({1, field.extent(0), field.extent(1)});
  std::copy(field.begin(), field.end(), out.begin());
  return out;
}

/// Centre of mass and RMS width per axis of |field|^2, in pixels.
struct Spot {
  double cy = 0, cx = 0, wy = 1, wx = 1;
};
Spot spot_of(View<const cfloat, 2> field) {
  double w = 0, y1 = 0, x1 = 0, y2 = 0, x2 = 0;
  for (Index y = 0; y < field.extent(0); ++y)
    for (Index x = 0; x < field.extent(1); ++x) {
      const auto p = static_cast<double>(math::abs2(field(y, x))), yy = static_cast<double>(y),
                 xx = static_cast<double>(x);
      w += p;
      y1 += p * yy;
      x1 += p * xx;
      y2 += p * yy * yy;
      x2 += p * xx * xx;
    }
  if (!(w > 0)) return {};
  y1 /= w;
  x1 /= w;
  return {y1, x1, std::sqrt(std::max(y2 / w - y1 * y1, 0.25)), std::sqrt(std::max(x2 / w - x1 * x1, 0.25))};
}

/// The m-th pair of orders (0,1), (1,0), (0,2), (1,1), (2,0), (0,3) ..., m from 1.
std::pair<int, int> orders(Index m) {
  int total = 0;
  while (m > total) m -= ++total;
  return {static_cast<int>(m), total - static_cast<int>(m)};
}

double hermite(int n, double t) {
  double previous = 0, value = 1;
  for (int k = 0; k < n; ++k) previous = std::exchange(value, t * value - k * previous);
  return value;
}

/// out = field under He_a(y) He_b(x) of its own width: for a Gaussian beam, the modes of a partly coherent source.
void hermite_mode(View<const cfloat, 2> field, const Spot& spot, Index m, View<cfloat, 2> out) {
  const auto [a, b] = orders(m);
  // Tails beyond 3 widths hold little of the field, but a polynomial would raise them above everything.
  const auto scaled = [](Index i, double centre, double width) {
    return std::clamp((static_cast<double>(i) - centre) / width, -3.0, 3.0);
  };
  for (Index y = 0; y < field.extent(0); ++y)
    for (Index x = 0; x < field.extent(1); ++x)
      out(y, x) =
          static_cast<float>(hermite(a, scaled(y, spot.cy, spot.wy)) * hermite(b, scaled(x, spot.cx, spot.wx))) *
          field(y, x);
}

void remove_projection(View<cfloat, 2> from, View<const cfloat, 2> on) {
  core::cdouble overlap = 0;
  const double power = power_of(on);
  if (!(power > 0)) return;
  for (Index i = 0; i < on.size(); ++i) overlap += core::cdouble(math::conj_mul(on.data()[i], from.data()[i]));
  const cfloat factor(overlap / power);
  for (Index i = 0; i < on.size(); ++i) from.data()[i] -= math::cmul(factor, on.data()[i]);
}

void set_power(View<cfloat, 2> field, double power) {
  const double now = power_of(field);
  const auto factor = static_cast<float>(now > 0 ? std::sqrt(power / now) : 0);
  for (cfloat& v : field) v *= factor;
}

}  // namespace

Array<cfloat, 2> fit_probe(View<const cfloat, 2> probe, Shape frame, Shape to, Index bin) {
  const Shape has{probe.extent(0), probe.extent(1)};
  if (has == to || has != frame) return about_centre(probe, to);
  const auto binned = about_centre(probe, {frame.ny / bin, frame.nx / bin});
  return resample(binned, to);
}

Array<cfloat, 3> starting_probe(const StartInputs& in) {
  const Options& o = in.options;
  const Shape shape = in.model.patterns().shape();
  const bool has_file = in.acquisition.inputs.contains("probe");
  const ProbeStart start = o.probe_start != ProbeStart::automatic ? o.probe_start
                           : has_file                             ? ProbeStart::file
                                                                  : ProbeStart::mean_pattern;
  Array<cfloat, 3> known;
  switch (start) {
    case ProbeStart::file: known = probe_from_file(in); break;
    case ProbeStart::aperture: {
      const double diameter =
          o.probe_diameter_px > 0 ? o.probe_diameter_px : static_cast<double>(std::min(shape.ny, shape.nx)) / 3;
      known = as_modes(disc_probe(diameter, shape.ny, shape.nx));
      break;
    }
    case ProbeStart::zone_plate: {
      in.geometry.require_lengths("option probe-start = zone-plate");
      const ZonePlate plate{o.zone_plate_outer_zone_m, o.zone_plate_diameter_m, o.zone_plate_stop_m, o.probe_defocus_m};
      known = as_modes(zone_plate_probe(plate, *in.geometry.wavelength_m(), *in.geometry.pixel_y_m(),
                                        *in.geometry.pixel_x_m(), shape.ny, shape.nx));
      break;
    }
    default: known = as_modes(probe_from_mean(in)); break;
  }
  if (o.probe_defocus_m != 0 && start != ProbeStart::zone_plate) {
    const auto move = in.geometry.free_space(o.probe_defocus_m, "option probe-defocus");
    const float scale = std::sqrt(move.intensity_scale());
    for (Index m = 0; m < known.extent(0); ++m) move.forward(known[m].data());
    for (cfloat& v : known) v *= scale;
  }
  Array<cfloat, 3> probe({o.probe_modes, shape.ny, shape.nx});
  std::copy(known.begin(), known.end(), probe.begin());
  add_modes(probe, known.extent(0), o.mode_start, o.mode_power, in.seed);
  return probe;
}

void add_modes(View<cfloat, 3> probe, Index given, ModeStart start, double power, std::uint64_t seed) {
  const Index modes = probe.extent(0), ny = probe.extent(1), nx = probe.extent(2);
  if (given >= modes) return;
  const View<const cfloat, 2> first = probe[0];
  const Spot spot = spot_of(first);
  for (Index m = given; m < modes; ++m) {
    const View<cfloat, 2> mode = probe[m];
    switch (start) {
      case ModeStart::hermite: hermite_mode(first, spot, m, mode); break;
      case ModeStart::shifted: {
        // Around the first: right, down, left, up, then further out.
        constexpr Index kSteps[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
        const Index far = (m + 3) / 4 * 2;
        std::copy(first.begin(), first.end(), mode.begin());
        const auto wrap = [](Index i, Index n) { return ((i % n) + n) % n; };
        rotate_tile(mode, wrap(-far * kSteps[(m - 1) % 4][0], ny), wrap(-far * kSteps[(m - 1) % 4][1], nx));
        break;
      }
      case ModeStart::random: {
        math::Random random(seed, kModeStream + static_cast<std::uint64_t>(m));
        for (Index i = 0; i < mode.size(); ++i)
          mode.data()[i] = math::cmul(first.data()[i], cfloat(std::polar(1.0, random.uniform(-M_PI, M_PI))));
        break;
      }
    }
    for (Index other = 0; other < m; ++other) remove_projection(mode, probe[other]);
  }
  // The new modes get their share of `power`; what is left scales those that were given.
  const double share = power / static_cast<double>(modes - 1);
  double before = 0;
  for (Index m = 0; m < given; ++m) before += power_of(probe[m]);
  const double added = share * static_cast<double>(modes - given);
  const auto keep = static_cast<float>(std::sqrt(1 - added));
  for (Index m = given; m < modes; ++m) set_power(probe[m], share * before);
  for (Index m = 0; m < given; ++m)
    for (cfloat& v : probe[m]) v *= keep;
}

double total_counts(const void* counts, core::DType dtype, Index n) {
  return core::visit_dtype(dtype, [&](auto zero) -> double {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) {
      std::conditional_t<std::is_integral_v<T>, std::uint64_t, double> sum = 0;
      const auto* c = static_cast<const T*>(counts);
      for (Index i = 0; i < n; ++i) sum += static_cast<decltype(sum)>(c[i]);
      return static_cast<double>(sum);
    } else {
      return 0;
    }
  });
}

namespace {

/// Mean transmission of the beam through each pixel: windows weighted by |P|^2.
Array<float, 2> transmission(const State& s, const StartInputs& in) {
  const Patterns& patterns = in.model.patterns();
  double most = 0;
  for (const Index slot : patterns.ready()) most = std::max(most, in.counts[static_cast<std::size_t>(slot)]);
  Array<float, 2> intensity({s.shape.ny, s.shape.nx});
  for (int m = 0; m < s.modes(); ++m)
    for (Index i = 0; i < s.shape.size(); ++i) intensity.data()[i] += math::abs2(s.probe_mode(m)[i]);
  Array<float, 2> sum(s.object.extents()), weight(s.object.extents());
  for (const Index slot : patterns.ready()) {
    const auto& place = s.placements[static_cast<std::size_t>(slot)];
    const auto t = static_cast<float>(most > 0 ? std::sqrt(in.counts[static_cast<std::size_t>(slot)] / most) : 1);
    for (Index y = 0; y < s.shape.ny; ++y)
      for (Index x = 0; x < s.shape.nx; ++x) {
        sum(place.oy + y, place.ox + x) += t * intensity(y, x);
        weight(place.oy + y, place.ox + x) += intensity(y, x);
      }
  }
  const float floor = 1e-6F * *std::max_element(weight.begin(), weight.end());
  for (Index i = 0; i < sum.size(); ++i)
    sum.data()[i] = weight.data()[i] > floor ? sum.data()[i] / weight.data()[i] : 1.0F;
  return sum;
}

/// The scan's object laid under the scan: its first pixel at position (0, 0) where all windows then lie on it, as
/// results and tike's files have it, else centre on centre.
class StoredObject {
public:
  StoredObject(const State& s, const StartInputs& in) {
    const auto found = in.acquisition.inputs.find("object");
    if (found == in.acquisition.inputs.end())
      throw Error(ErrorCode::invalid_argument, "option object-start = file, but the scan holds no object");
    if (found->second.rank() != 2 || found->second.size() == 0)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("the scan's object has {} dimensions; it must be (y, x)", found->second.rank()));
    pixels_ = found->second.to<cfloat, 2>();
    for (const cfloat& v : pixels_)
      if (!std::isfinite(v.real()) || !std::isfinite(v.imag()))
        throw Error(ErrorCode::corrupt_data, "the scan's object holds values that are not finite");
    double y0 = 1e300, x0 = 1e300, y1 = -1e300, x1 = -1e300;
    for (const Index slot : in.model.patterns().ready()) {
      const auto i = static_cast<std::size_t>(slot);
      y0 = std::min(y0, s.y[i]);
      x0 = std::min(x0, s.x[i]);
      y1 = std::max(y1, s.y[i] + static_cast<double>(s.shape.ny));
      x1 = std::max(x1, s.x[i] + static_cast<double>(s.shape.nx));
    }
    const auto ny = static_cast<double>(pixels_.extent(0)), nx = static_cast<double>(pixels_.extent(1));
    if (y0 >= 0 && x0 >= 0 && y1 <= ny && x1 <= nx) return;
    y_ = std::round((y0 + y1 - ny) / 2);
    x_ = std::round((x0 + x1 - nx) / 2);
  }
  cfloat at(double y, double x) const {
    const auto iy = static_cast<Index>(y - y_), ix = static_cast<Index>(x - x_);
    return y >= y_ && x >= x_ && iy < pixels_.extent(0) && ix < pixels_.extent(1) ? pixels_(iy, ix) : cfloat(1);
  }

private:
  Array<cfloat, 2> pixels_;
  double y_ = 0, x_ = 0;
};

}  // namespace

void fill_object(State& s, double old_y, double old_x, std::array<Index, 2> old_extents, const StartInputs& in) {
  const ObjectStart start = in.options.object_start != ObjectStart::automatic ? in.options.object_start
                            : in.acquisition.inputs.contains("object")        ? ObjectStart::file
                                                                              : ObjectStart::flat;
  std::optional<StoredObject> stored;
  Array<float, 2> stxm;
  if (start == ObjectStart::file) stored.emplace(s, in);
  if (start == ObjectStart::stxm) stxm = transmission(s, in);
  for (Index y = 0; y < s.object.extent(0); ++y)
    for (Index x = 0; x < s.object.extent(1); ++x) {
      const double py = s.origin_y + static_cast<double>(y), px = s.origin_x + static_cast<double>(x);
      if (py >= old_y && px >= old_x && py < old_y + static_cast<double>(old_extents[0]) &&
          px < old_x + static_cast<double>(old_extents[1]))
        continue;
      cfloat& out = s.object(y, x);
      if (stored) {
        out = stored->at(py, px);
      } else if (start == ObjectStart::stxm) {
        out = stxm(y, x);
      } else if (start == ObjectStart::random) {
        const auto where = static_cast<std::uint64_t>(static_cast<std::int64_t>(py)) << 32 ^
                           (static_cast<std::uint64_t>(static_cast<std::int64_t>(px)) & 0xffffffffU);
        math::Random random(in.seed ^ kObjectStream, where);
        const double amplitude = random.uniform(0.9, 1.0), phase = random.uniform(-0.2, 0.2);
        out = cfloat(std::polar(amplitude, phase));
      } else {
        out = 1;
      }
    }
}

void rescale_probe(State& s, const StartInputs& in) {
  const Patterns& patterns = in.model.patterns();
  double power = 0, counts[3] = {0, static_cast<double>(in.counts.size()), 0};
  for (const cfloat& v : s.probe) power += static_cast<double>(math::abs2(v));
  for (const double c : in.counts) counts[0] += c;
  counts[2] = static_cast<double>(patterns.ready().size());
  in.sharing.sum(std::span<double>(counts));
  // A sample whose mean scatters by less than a per cent or two; by frame, so that it is the same for any tiles.
  constexpr double kSample = 64;
  const auto every = std::max<model::FrameId>(1, static_cast<model::FrameId>(counts[2] / kSample));
  if (!(power > 0)) throw Error(ErrorCode::corrupt_data, "the starting probe is zero everywhere");
  const auto roughly =
      static_cast<float>(std::sqrt(std::max(counts[0] / counts[1], 1e-30) / power));  // in the range of floats
  for (cfloat& v : s.probe) v *= roughly;

  const auto background = std::exchange(s.background, {});
  Workspace w(s.shape, s.modes());
  double sums[2] = {0, 0};  // model, measured
  for (const Index slot : patterns.ready()) {
    if (patterns.id(slot) % every != 0) continue;
    in.model.exit_waves(s, slot, w);
    const auto seen = in.model.compare(s, slot, w);
    sums[0] += seen.model_intensity;
    sums[1] += seen.measured_intensity;
    for (Index p = 0; p < background.size(); ++p) sums[1] -= static_cast<double>(background.data()[p]);
  }
  in.sharing.sum(std::span<double>(sums));
  s.background = background.clone();
  if (!(sums[1] > 0)) throw Error(ErrorCode::corrupt_data, "the patterns hold no counts");
  if (!(sums[0] > 0) || !std::isfinite(sums[0]))
    throw Error(ErrorCode::corrupt_data, "the starting probe and object give no counts");
  const auto factor = static_cast<float>(std::sqrt(sums[1] / sums[0]));
  for (cfloat& v : s.probe) v *= factor;
}

Array<float, 2> starting_background(const model::Acquisition& a, const Options& o) {
  const auto found = a.inputs.find("background");
  if (found == a.inputs.end()) return {};
  const auto& d = a.detector;
  if (found->second.rank() != 2 || found->second.shape()[0] != d.ny || found->second.shape()[1] != d.nx)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("the scan's background must be (y, x) of {} x {} px like its frames", d.ny, d.nx));
  auto detector = d.clone();
  detector.dtype = core::DType::f32;
  const FramePreparation preparation(detector, o);
  const auto frame = found->second.to<float, 2>();
  Array<float, 2> tile({preparation.shape().ny, preparation.shape().nx});
  if (const auto reason = preparation.prepare(core::AnyImage::of<float>(frame.view()), tile.data()))
    throw Error(ErrorCode::corrupt_data, "the scan's background cannot be used: " + *reason);
  return tile;
}

}  // namespace farfield::techniques::ptychography
