#include "farfield/io/cxi/layout.hpp"

#include <fmt/format.h>

#include <cmath>

#include "farfield/io/arrays.hpp"
#include "farfield/io/hdf5/quantity.hpp"
#include "farfield/io/positions.hpp"
#include "farfield/io/units.hpp"

namespace farfield::io::cxi {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
using Vector = std::array<double, 3>;

double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// CXI's bit, NeXus' bit. The first pair of a NeXus bit is what is written for it.
struct BitPair {
  std::uint32_t cxi, nexus;
};
constexpr BitPair kBits[] = {
    {1U << 9, model::pixel_mask::kGap},   // missing
    {1U << 3, model::pixel_mask::kDead},  // dead
    {1U << 2, model::pixel_mask::kOver},  // hot
    {1U << 10, model::pixel_mask::kNoisy}, {1U << 7, model::pixel_mask::kUnder},  // bad
    {1U << 0, model::pixel_mask::kUser},   // invalid
    {1U << 1, model::pixel_mask::kOver},   // saturated
};

std::optional<std::string> first_dataset(const hdf5::File& file, std::initializer_list<std::string> paths) {
  for (const auto& path : paths)
    if (file.has_dataset(path)) return path;
  return std::nullopt;
}

Basis read_basis(const hdf5::File& file, const std::string& detector, std::optional<double>& pitch_y,
                 std::optional<double>& pitch_x) {
  Basis basis;
  const auto dataset = file.find_dataset(detector + "/basis_vectors");
  if (!dataset) return basis;
  const auto& shape = dataset->shape();
  const bool rows = shape.size() >= 2 && shape[shape.size() - 2] == 2 && shape.back() == 3;
  const bool columns = shape.size() == 2 && shape[0] == 3 && shape[1] == 2;  // stored transposed by some programs
  if (!rows && !columns)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("basis_vectors has shape ({}), which is not (2, 3)", fmt::join(shape, ", ")))
        .at(dataset->where());
  const auto v = hdf5::numbers(*dataset);
  if (v.size() < 6) throw Error(ErrorCode::corrupt_data, "basis_vectors is empty").at(dataset->where());
  const double unit = [&] {
    const auto factor = metres_per(file.text_attribute(dataset->path(), "units").value_or("m"));
    return factor.value_or(1.0);
  }();
  for (std::size_t i = 0; i < 3; ++i) {
    basis.row[i] = rows ? v[i] : v[2 * i];
    basis.column[i] = rows ? v[3 + i] : v[2 * i + 1];
  }
  const double length_row = std::sqrt(dot(basis.row, basis.row)),
               length_column = std::sqrt(dot(basis.column, basis.column));
  if (!(std::isfinite(length_row) && std::isfinite(length_column) && length_row > 0 && length_column > 0))
    throw Error(ErrorCode::corrupt_data, "basis_vectors must be finite and not zero").at(dataset->where());
  for (std::size_t i = 0; i < 3; ++i) {
    basis.row[i] /= length_row;
    basis.column[i] /= length_column;
  }
  if (std::abs(dot(basis.row, basis.column)) > 0.1)
    throw Error(ErrorCode::corrupt_data, "basis_vectors must be perpendicular").at(dataset->where());
  if (!pitch_y) pitch_y = length_row * unit;
  if (!pitch_x) pitch_x = length_column * unit;
  return basis;
}

void read_positions(const hdf5::File& file, const std::string& entry, const Basis& basis, ScanLayout& layout) {
  const auto path = first_dataset(file, {entry + "/sample_1/geometry_1/translation", entry + "/data_1/translation",
                                         entry + "/instrument_1/sample_1/geometry_1/translation"});
  if (!path) {
    // NXcxi_ptycho: one array per axis of the data, positions of the sample in the image's directions.
    const auto y = file.find_dataset(entry + "/data_1/y"), x = file.find_dataset(entry + "/data_1/x");
    if (!y || !x) return;
    const auto scale = [&](const hdf5::Dataset& d) {
      const std::string unit = file.text_attribute(d.path(), "units").value_or("m");
      if (is_pixel_unit(unit)) return 0.0;
      const auto factor = metres_per(unit);
      if (!factor) throw Error(ErrorCode::corrupt_data, fmt::format("unit \"{}\" is not a length", unit)).at(d.where());
      return *factor;
    };
    auto values_y = hdf5::numbers(*y), values_x = hdf5::numbers(*x);
    const double fy = scale(*y), fx = scale(*x);
    if ((fy == 0) != (fx == 0))
      throw Error(ErrorCode::corrupt_data, "y and x must both be lengths or both pixels").at(y->where());
    Index frames = 1;
    for (std::size_t r = 0; r + 2 < layout.frames.front().shape().size(); ++r)
      if (__builtin_mul_overflow(frames, layout.frames.front().shape()[r], &frames)) frames = -1;
    expand_raster(values_y, values_x, frames);
    if (values_y.size() != values_x.size())
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("{} values of y and {} of x must be as many", values_y.size(), values_x.size()))
          .at(y->where());
    for (std::size_t i = 0; i < values_y.size(); ++i) {
      const Position p = position_of({values_x[i] * (fx == 0 ? 1 : fx), values_y[i] * (fy == 0 ? 1 : fy), 0}, basis);
      layout.y.push_back(p.y);
      layout.x.push_back(p.x);
    }
    layout.acquisition.scan.unit = fy == 0 ? model::PositionUnit::pixels : model::PositionUnit::metres;
    layout.positions_at = y->path();
    return;
  }
  const auto dataset = file.dataset(*path);
  const auto& shape = dataset.shape();
  if (shape.size() < 2 || (shape.back() != 3 && shape.back() != 2))
    throw Error(ErrorCode::corrupt_data,
                fmt::format("translation has shape ({}), which is not (frame, 3)", fmt::join(shape, ", ")))
        .at(dataset.where());
  const std::string unit = file.text_attribute(*path, "units").value_or("m");
  const bool pixels = is_pixel_unit(unit);
  const auto factor = metres_per(unit);
  if (!pixels && !factor)
    throw Error(ErrorCode::corrupt_data, fmt::format("unit \"{}\" is not a length", unit)).at(dataset.where());
  const auto v = hdf5::numbers(dataset);
  const auto width = static_cast<std::size_t>(shape.back());
  for (std::size_t i = 0; i + width <= v.size(); i += width) {
    const Position p = position_of({v[i], v[i + 1], width > 2 ? v[i + 2] : 0}, basis);
    layout.y.push_back(pixels ? p.y : p.y * *factor);
    layout.x.push_back(pixels ? p.x : p.x * *factor);
  }
  layout.acquisition.scan.unit = pixels ? model::PositionUnit::pixels : model::PositionUnit::metres;
  layout.positions_at = *path;
}

void read_mask(const hdf5::File& file, const std::string& detector, model::Detector& d) {
  const auto exact = file.find_dataset(detector + "/pixel_mask");
  const auto cxi_mask = exact ? std::nullopt : file.find_dataset(detector + "/mask");
  if (exact) d.pixel_mask = hdf5::mask(*exact);
  if (cxi_mask) {
    d.pixel_mask = hdf5::mask(*cxi_mask);
    for (auto& m : d.pixel_mask) m = nexus_bits(m);
  }
}

void read_beam(const hdf5::File& file, const std::string& entry, model::Acquisition& a) {
  const std::string instrument = entry + "/instrument_1";
  if (const auto exact = hdf5::number(file, entry + "/farfield/energy_eV")) {
    a.beam.energy_eV = exact;
    return;
  }
  const auto path = first_dataset(file, {instrument + "/source_1/energy", instrument + "/beam_1/energy"});
  if (path) {
    a.beam.energy_eV = hdf5::energy_eV(file, *path, "J");
    // Joules of a photon are around 1e-15. A number like 8800 without a unit is somebody's eV, or keV.
    if (*a.beam.energy_eV > 1e12 && !file.text_attribute(*path, "units"))
      throw Error(
          ErrorCode::corrupt_data,
          fmt::format("photon energy {} without a units attribute is joules in CXI, which is not possible here; "
                      "add units, or read the file with a recipe",
                      *a.beam.energy_eV * model::kJoulePerEv))
          .at(file.dataset(*path).where());
  } else if (const auto wavelength = hdf5::length_m(file, instrument + "/source_1/wavelength");
             wavelength && *wavelength > 0) {
    a.beam.energy_eV = model::kHcEvM / *wavelength;
  }
}

void read_metadata(const hdf5::File& file, const std::string& entry, model::Acquisition& a) {
  a.title = hdf5::text(file, entry + "/title").value_or("");
  const std::pair<const char*, std::string> known[] = {{"start_time", entry + "/start_time"},
                                                       {"experiment", entry + "/experiment_identifier"},
                                                       {"sample", entry + "/sample_1/name"},
                                                       {"beamline", entry + "/instrument_1/name"}};
  for (const auto& [key, path] : known)
    if (const auto value = hdf5::text(file, path)) a.metadata[key] = *value;
  for (const auto& name : file.list(entry + "/farfield/metadata"))
    if (const auto value = hdf5::text(file, entry + "/farfield/metadata/" + name)) a.metadata[name] = *value;
}

void read_inputs(const hdf5::File& file, const std::string& entry, model::Acquisition& a) {
  const std::string instrument = entry + "/instrument_1", detector = instrument + "/detector_1";
  const auto probe =
      first_dataset(file, {instrument + "/source_1/illumination", instrument + "/source_1/data_illumination",
                           detector + "/probe", detector + "/Probe"});
  if (probe) {
    const auto d = file.dataset(*probe);
    a.inputs["probe"] = with_rank<core::cfloat>(d.read(), 3, "probe", "mode, y, x", d.where());
  }
  const auto image = [&](const char* role, std::initializer_list<std::string> paths) {
    if (const auto path = first_dataset(file, paths)) {
      const auto d = file.dataset(*path);
      a.inputs[role] = with_rank<float>(d.read(), 2, role, "y, x", d.where());
    }
  };
  image("background", {detector + "/background"});
  image("dark", {detector + "/data_dark", detector + "/dark"});
  image("flat", {detector + "/data_white", detector + "/flat"});
  // Everything else that Farfield stored, as it was.
  for (const auto& name : file.list(entry + "/farfield/inputs"))
    if (const auto d = file.find_dataset(entry + "/farfield/inputs/" + name)) a.inputs[name] = d->read();
}
}  // namespace

Position position_of(const Vector& t, const Basis& basis) { return {-dot(t, basis.row), -dot(t, basis.column)}; }

Vector translation_of(const Position& p, const Basis& b) {
  Vector t{};
  for (std::size_t i = 0; i < 3; ++i) t[i] = -p.y * b.row[i] - p.x * b.column[i];
  return t;
}

std::uint32_t nexus_bits(std::uint32_t cxi) {
  std::uint32_t out = 0, left = cxi;
  for (const auto& b : kBits)
    if ((cxi & b.cxi) != 0) {
      out |= b.nexus;
      left &= ~b.cxi;
    }
  return left != 0 ? out | model::pixel_mask::kUser : out;
}

std::uint32_t cxi_bits(std::uint32_t nexus) {
  std::uint32_t out = 0, left = nexus;
  for (const auto& b : kBits)
    if ((left & b.nexus) != 0) {
      out |= b.cxi;
      left &= ~b.nexus;
    }
  return left != 0 ? out | 1U : out;
}

bool is_cxi(const hdf5::File& file) { return file.has("/cxi_version") || file.kind("/entry_1") == hdf5::Kind::group; }

std::string scan_entry(const hdf5::File& file) {
  // An NXmx entry may stand beside the CXI entry, which says more.
  const std::vector<std::vector<std::string>> places{{"/data_1/data", "/instrument_1/detector_1/data"}, {"/data/data"}};
  for (const auto& paths : places)
    for (const auto& name : file.list("/"))
      for (const auto& path : paths)
        if (name.starts_with("entry") && file.has_dataset("/" + name + path)) return "/" + name;
  std::string message = "there are no frames: neither /entry_1/data_1/data nor /entry_1/instrument_1/detector_1/data";
  if (file.has("/entry_1/image_1/data")) message += "; this is a result, not a scan";
  throw Error(ErrorCode::not_found, message).at(file.name());
}

ScanLayout read_layout(const hdf5::File& file, const std::string& entry) {
  const std::string detector = entry + "/instrument_1/detector_1";
  ScanLayout layout;
  auto& a = layout.acquisition;
  layout.frames.push_back(
      file.dataset(*first_dataset(file, {entry + "/data_1/data", detector + "/data", entry + "/data/data"})));
  auto& d = a.detector;
  d.distance_m = hdf5::length_m(file, detector + "/distance");
  if (!d.distance_m)
    if (const auto corner = file.find_dataset(detector + "/corner_position"); corner && corner->size() >= 3)
      d.distance_m = std::abs(hdf5::numbers(*corner)[2]);
  d.pixel_size_y_m = hdf5::length_m(file, detector + "/y_pixel_size");
  d.pixel_size_x_m = hdf5::length_m(file, detector + "/x_pixel_size");
  const Basis basis = read_basis(file, detector, d.pixel_size_y_m, d.pixel_size_x_m);
  d.saturation_counts = hdf5::number(file, detector + "/saturation_value");
  const auto shifted = hdf5::number(file, detector + "/is_fft_shifted");
  d.dc = shifted.value_or(0) != 0 ? model::DcLocation::corner : model::DcLocation::centre;
  read_mask(file, detector, d);
  read_beam(file, entry, a);
  read_positions(file, entry, basis, layout);
  read_metadata(file, entry, a);
  read_inputs(file, entry, a);
  if (const auto ids = file.find_dataset(entry + "/farfield/frame_id"))
    layout.ids = frame_ids(hdf5::numbers(*ids), ids->where());
  for (const auto& name : file.list(entry + "/farfield/values"))
    if (const auto values = file.find_dataset(entry + "/farfield/values/" + name))
      layout.values[name] = hdf5::numbers(*values);
  return layout;
}

}  // namespace farfield::io::cxi
