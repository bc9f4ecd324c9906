#include "farfield/io/nexus/nexus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "farfield/io/cxi/layout.hpp"
#include "farfield/io/hdf5/quantity.hpp"
#include "farfield/io/positions.hpp"
#include "farfield/io/units.hpp"

namespace farfield::io::nexus {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
using Vector = std::array<double, 3>;

std::string class_of(const hdf5::File& file, const std::string& path) {
  return file.text_attribute(path, "NX_class").value_or("");
}

/// The first group of a class directly below `parent`, or one that is named so.
std::optional<std::string> child(const hdf5::File& file, const std::string& parent, const std::string& nx_class,
                                 const std::string& name) {
  const std::string base = parent == "/" ? "" : parent;
  for (const auto& n : file.list(parent))
    if (class_of(file, base + "/" + n) == nx_class && file.kind(base + "/" + n) == hdf5::Kind::group)
      return base + "/" + n;
  if (file.kind(base + "/" + name) == hdf5::Kind::group) return base + "/" + name;
  return std::nullopt;
}

std::optional<std::string> first_dataset(const hdf5::File& file, const std::string& group,
                                         std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (file.has_dataset(group + "/" + name)) return group + "/" + name;
  return std::nullopt;
}

struct Found {
  std::string entry, instrument, detector, data;
};

// Names of frame datasets: the signal, or data_000001, data_000002 ... (links of a DECTRIS master file).
std::vector<std::string> frames_in(const hdf5::File& file, const std::string& group) {
  std::vector<std::string> paths;
  const auto signal = file.text_attribute(group, "signal");
  for (const std::string& name : {signal.value_or(""), std::string("data")})
    if (!name.empty() && file.has_dataset(group + "/" + name) && file.dataset(group + "/" + name).rank() >= 3)
      return {group + "/" + name};
  for (const auto& name : file.list(group))
    if (name.starts_with("data_") && name.find_first_not_of("0123456789", 5) == std::string::npos)
      paths.push_back(group + "/" + name);
  return paths;  // sorted by name
}

std::optional<Found> find(const hdf5::File& file) {
  for (const auto& name : file.list("/")) {
    const std::string entry = "/" + name;
    const std::string nx = class_of(file, entry);
    if (nx != "NXentry" && !name.starts_with("entry")) continue;
    Found f{entry, child(file, entry, "NXinstrument", "instrument").value_or(entry + "/instrument"), "", ""};
    f.detector = child(file, f.instrument, "NXdetector", "detector").value_or(f.instrument + "/detector");
    const auto preferred = file.text_attribute(entry, "default");
    std::vector<std::string> groups;
    if (preferred) groups.push_back(entry + "/" + *preferred);
    for (const auto& n : file.list(entry))
      if (class_of(file, entry + "/" + n) == "NXdata") groups.push_back(entry + "/" + n);
    groups.push_back(entry + "/data");
    groups.push_back(f.detector);
    for (const auto& g : groups)
      if (file.kind(g) == hdf5::Kind::group && !frames_in(file, g).empty()) {
        f.data = g;
        return f;
      }
  }
  return std::nullopt;
}

std::optional<Vector> vector_attribute(const hdf5::File& file, const std::string& path) {
  const auto v = file.number_list_attribute(path, "vector");
  if (v.size() != 3) return std::nullopt;
  const double length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
  if (!(std::isfinite(length) && length > 0))
    throw Error(ErrorCode::corrupt_data, "attribute vector must be finite and not zero")
        .at(path + " in " + file.name());
  return Vector{v[0] / length, v[1] / length, v[2] / length};
}

cxi::Basis read_basis(const hdf5::File& file, const std::string& detector) {
  cxi::Basis basis;
  const auto module = child(file, detector, "NXdetector_module", "module");
  if (!module) return basis;
  // The vector points from pixel to pixel; its value is the length and may carry the sign.
  const auto direction = [&](const char* name, Vector& out) {
    const std::string path = *module + "/" + name;
    const auto d = file.find_dataset(path);
    const auto v = d ? vector_attribute(file, path) : std::nullopt;
    if (!v) return;
    const double sign = !d->is_text() && d->size() > 0 && d->number() < 0 ? -1 : 1;
    for (std::size_t i = 0; i < 3; ++i) out[i] = sign * (*v)[i];
  };
  direction("slow_pixel_direction", basis.row);
  direction("fast_pixel_direction", basis.column);
  return basis;
}

double length_factor(const hdf5::File& file, const hdf5::Dataset& d) {
  const std::string unit = file.text_attribute(d.path(), "units").value_or("m");
  const auto factor = metres_per(unit);
  if (!factor)
    throw Error(ErrorCode::corrupt_data, fmt::format("unit \"{}\" is not a length (m, mm, um, nm ...)", unit))
        .at(d.where());
  return *factor;
}

// Translations of the sample stage, each along its vector.
bool positions_from_sample(const hdf5::File& file, const Found& f, const cxi::Basis& basis, Index frames,
                           ScanLayout& layout) {
  const auto sample = child(file, f.entry, "NXsample", "sample");
  if (!sample) return false;
  const auto chain = child(file, *sample, "NXtransformations", "transformations");
  if (!chain) return false;
  std::vector<Vector> t;
  for (const auto& name : file.list(*chain)) {
    const std::string path = *chain + "/" + name;
    if (file.text_attribute(path, "transformation_type").value_or("") != "translation") continue;
    const auto d = file.find_dataset(path);
    if (!d || d->size() != frames) continue;
    const auto v = vector_attribute(file, path);
    if (!v) throw Error(ErrorCode::corrupt_data, "a translation needs the attribute vector").at(d->where());
    const auto values = hdf5::numbers(*d);
    const double factor = length_factor(file, *d);
    t.resize(values.size());
    for (std::size_t i = 0; i < t.size(); ++i)
      for (std::size_t r = 0; r < 3; ++r) t[i][r] += values[i] * factor * (*v)[r];
  }
  if (t.empty()) return false;
  for (const auto& one : t) {
    const auto p = cxi::position_of(one, basis);
    layout.y.push_back(p.y);
    layout.x.push_back(p.x);
  }
  layout.positions_at = *chain;
  return true;
}

// x and y beside the frames, in the laboratory's directions (y up, x left along the beam) as in NXcxi_ptycho.
bool positions_from_data(const hdf5::File& file, const Found& f, const cxi::Basis& basis, Index frames,
                         ScanLayout& layout) {
  const auto x_path = first_dataset(file, f.data, {"x", "sample_x", "x_set"}),
             y_path = first_dataset(file, f.data, {"y", "sample_y", "y_set"});
  if (!x_path || !y_path) return false;
  const auto dx = file.dataset(*x_path), dy = file.dataset(*y_path);
  auto x = hdf5::numbers(dx), y = hdf5::numbers(dy);
  expand_raster(y, x, frames);
  if (x.size() != y.size())
    throw Error(ErrorCode::corrupt_data, fmt::format("{} values of y and {} of x must be as many", y.size(), x.size()))
        .at(dy.where());
  const double fx = length_factor(file, dx), fy = length_factor(file, dy);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto p = cxi::position_of({x[i] * fx, y[i] * fy, 0}, basis);
    layout.y.push_back(p.y);
    layout.x.push_back(p.x);
  }
  layout.positions_at = *y_path;
  return true;
}

void read_beam(const hdf5::File& file, const Found& f, model::Acquisition& a) {
  for (const auto& beam :
       {child(file, f.instrument, "NXbeam", "beam"), child(file, f.entry + "/sample", "NXbeam", "beam"),
        child(file, f.instrument, "NXmonochromator", "monochromator")}) {
    if (!beam || a.beam.energy_eV) continue;
    if (const auto path = first_dataset(file, *beam, {"incident_energy", "energy"}))
      a.beam.energy_eV = hdf5::energy_eV(file, *path, "eV");
    if (const auto path = first_dataset(file, *beam, {"incident_wavelength", "wavelength"});
        path && !a.beam.energy_eV) {
      // NeXus requires units; DECTRIS' early files leave them out and mean Å.
      const auto wavelength = hdf5::length_m(file, *path, "angstrom");
      if (wavelength && *wavelength > 0) a.beam.energy_eV = model::kHcEvM / *wavelength;
    }
  }
  const std::string specific = f.detector + "/detectorSpecific/photon_energy";
  if (!a.beam.energy_eV) a.beam.energy_eV = hdf5::energy_eV(file, specific, "eV");
}
}  // namespace

bool is_nexus(const hdf5::File& file) { return find(file).has_value(); }

ScanLayout read_layout(const hdf5::File& file) {
  const auto f = find(file);
  if (!f) throw Error(ErrorCode::not_found, "no NXentry of the file holds frames").at(file.name());
  ScanLayout layout;
  auto& a = layout.acquisition;
  Index frames = 0;
  for (const auto& path : frames_in(file, f->data)) {
    // DECTRIS links more files than a short scan fills; those that were never written are left out.
    if (!file.has(path) && !layout.frames.empty()) continue;
    auto d = file.dataset(path);
    Index n = 1;
    for (std::size_t r = 0; r + 2 < d.shape().size(); ++r)
      if (__builtin_mul_overflow(n, d.shape()[r], &n))
        throw Error(ErrorCode::corrupt_data, "the shape of the frames is not possible").at(d.where());
    frames += n;
    layout.frames.push_back(std::move(d));
  }
  auto& d = a.detector;
  const auto length = [&](std::initializer_list<const char*> names) -> std::optional<double> {
    const auto path = first_dataset(file, f->detector, names);
    return path ? hdf5::length_m(file, *path) : std::nullopt;
  };
  d.distance_m = length({"distance", "detector_distance"});
  d.pixel_size_y_m = length({"y_pixel_size"});
  d.pixel_size_x_m = length({"x_pixel_size"});
  d.saturation_counts = hdf5::number(file, f->detector + "/saturation_value");
  if (const auto mask = first_dataset(file, f->detector, {"pixel_mask", "detectorSpecific/pixel_mask"}))
    d.pixel_mask = hdf5::mask(file.dataset(*mask));
  read_beam(file, *f, a);
  const cxi::Basis basis = read_basis(file, f->detector);
  if (frames > 0 &&
      (positions_from_sample(file, *f, basis, frames, layout) || positions_from_data(file, *f, basis, frames, layout)))
    a.scan.unit = model::PositionUnit::metres;
  a.title = hdf5::text(file, f->entry + "/title").value_or("");
  const std::pair<const char*, const char*> known[] = {{"start_time", "/start_time"},
                                                       {"experiment", "/experiment_identifier"},
                                                       {"sample", "/sample/name"},
                                                       {"beamline", "/instrument/name"}};
  for (const auto& [key, path] : known)
    if (const auto value = hdf5::text(file, f->entry + path)) a.metadata[key] = *value;
  return layout;
}

}  // namespace farfield::io::nexus
