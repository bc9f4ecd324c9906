#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/cxi/layout.hpp"
#include "farfield/io/cxi/product.hpp"
#include "farfield/io/hdf5/filters.hpp"
#include "farfield/io/hdf5/product_parts.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
const std::string kEntry = "/entry_1", kDetector = "/entry_1/instrument_1/detector_1",
                  kSource = "/entry_1/instrument_1/source_1", kGeometry = "/entry_1/sample_1/geometry_1";
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

core::AnyArray column(const std::vector<double>& numbers) {
  return core::AnyArray(core::View<const double, 1>(numbers.data(), {static_cast<Index>(numbers.size())}));
}

hdf5::Dataset make_frames(hdf5::File& file, const model::Detector& d) {
  const Index item = core::item_size(d.dtype);
  return file.create_dataset(kDetector + "/data", d.dtype, {0, d.ny, d.nx},
                             {{1, d.ny, d.nx}, {-1, d.ny, d.nx}, {hdf5::bitshuffle_lz4(item)}});
}
}  // namespace

struct ScanWriter::State {
  State(const std::filesystem::path& path, const model::Acquisition& acquisition)
      : target(path),
        file(hdf5::File::create(target.temporary(), path)),
        frames(make_frames(file, acquisition.detector)),
        detector{acquisition.detector.ny, acquisition.detector.nx, acquisition.detector.dtype},
        energy_eV(acquisition.beam.energy_eV),
        metadata(acquisition.metadata),
        unit(acquisition.scan.unit) {}

  AtomicFile target;
  hdf5::File file;
  hdf5::Dataset frames;
  struct {
    Index ny, nx;
    core::DType dtype;
  } detector;
  std::optional<double> energy_eV;
  std::map<std::string, std::string> metadata;  // written at the end
  model::PositionUnit unit;
  cxi::Basis basis;
  std::vector<model::FrameId> ids;                              // in the order of the file
  std::unordered_map<model::FrameId, model::Values> values;
  std::vector<std::byte> packed;                                // rows of a frame without gaps
  bool nxmx = false, committed = false;
};

namespace {
void write_acquisition(hdf5::File& file, const model::Acquisition& a, const cxi::Basis& basis) {
  const auto& d = a.detector;
  core::AnyArray version(core::DType::i32, {});
  *static_cast<std::int32_t*>(version.data()) = cxi::kVersion;
  file.write("/cxi_version", version);
  file.make_group(kEntry + "/data_1");
  file.set_attribute(kEntry, "NX_class", std::string("NXentry"));
  file.set_attribute(kEntry + "/data_1", "NX_class", std::string("NXdata"));
  file.set_attribute(kEntry + "/data_1", "signal", std::string("data"));
  file.write_text(kEntry + "/definition", "NXcxi_ptycho");
  file.set_attribute(kEntry + "/instrument_1", "NX_class", std::string("NXinstrument"));
  file.set_attribute(kDetector, "NX_class", std::string("NXdetector"));
  file.link(kDetector + "/data", kEntry + "/data_1/data");
  if (!a.title.empty()) file.write_text(kEntry + "/title", a.title);

  const auto quantity = [&](const std::string& path, const std::optional<double>& value, const char* unit) {
    if (!value) return;
    file.write_number(path, *value);
    file.set_attribute(path, "units", std::string(unit));
  };
  if (a.beam.energy_eV) {
    quantity(kSource + "/energy", *a.beam.energy_eV * model::kJoulePerEv, "J");
    file.make_group(kEntry + "/instrument_1/beam_1");
    file.set_attribute(kEntry + "/instrument_1/beam_1", "NX_class", std::string("NXbeam"));
    file.link(kSource + "/energy", kEntry + "/instrument_1/beam_1/energy");
    // Joules and back may differ in the last bit.
    file.write_number(kEntry + "/farfield/energy_eV", *a.beam.energy_eV);
  }
  quantity(kDetector + "/distance", d.distance_m, "m");
  quantity(kDetector + "/y_pixel_size", d.pixel_size_y_m, "m");
  quantity(kDetector + "/x_pixel_size", d.pixel_size_x_m, "m");
  quantity(kDetector + "/saturation_value", d.saturation_counts, "counts");
  if (d.pixel_size_y_m && d.pixel_size_x_m) {
    core::Array<double, 2> vectors({2, 3});
    for (Index i = 0; i < 3; ++i) {
      vectors(0, i) = basis.row[static_cast<std::size_t>(i)] * *d.pixel_size_y_m;
      vectors(1, i) = basis.column[static_cast<std::size_t>(i)] * *d.pixel_size_x_m;
    }
    file.write(kDetector + "/basis_vectors", core::AnyArray(vectors));
    file.set_attribute(kDetector + "/basis_vectors", "units", std::string("m"));
  }
  core::AnyArray shifted(core::DType::i32, {});
  *static_cast<std::int32_t*>(shifted.data()) = d.dc == model::DcLocation::corner ? 1 : 0;
  file.write(kDetector + "/is_fft_shifted", shifted);
  if (!d.pixel_mask.empty()) {
    core::Array<std::uint32_t, 2> mask = d.pixel_mask.clone();
    for (auto& m : mask) m = cxi::cxi_bits(m);
    hdf5::write_dataset(file, kDetector + "/mask", {"mask", core::AnyArray(mask)});
    hdf5::write_dataset(file, kDetector + "/pixel_mask", {"pixel_mask", core::AnyArray(d.pixel_mask)});
  }
  for (const auto& [role, array] : a.inputs) {
    hdf5::check_name(role, "input");
    if (role == "probe") hdf5::write_dataset(file, kSource + "/illumination", {role, array});
    else hdf5::write_dataset(file, kEntry + "/farfield/inputs/" + role, {role, array});
  }
}

void write_metadata(hdf5::File& file, const std::map<std::string, std::string>& metadata) {
  for (const auto& [name, value] : metadata) {
    std::string key = name;
    std::replace(key.begin(), key.end(), '/', '_');
    hdf5::check_name(key, "metadata");
    file.write_text(kEntry + "/farfield/metadata/" + key, value);
  }
  const auto standard = [&](const char* key, const std::string& path) {
    if (const auto found = metadata.find(key); found != metadata.end()) file.write_text(path, found->second);
  };
  standard("start_time", kEntry + "/start_time");
  standard("experiment", kEntry + "/experiment_identifier");
  standard("sample", kEntry + "/sample_1/name");
  standard("beamline", kEntry + "/instrument_1/name");
}
}  // namespace

ScanWriter::ScanWriter(std::filesystem::path path, const model::Acquisition& a, Index expected_frames) {
  const auto& d = a.detector;
  if (d.ny < 1 || d.nx < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("frames of {} x {} pixels must be at least 1 x 1", d.ny, d.nx))
        .at(path.string());
  if (d.dtype == core::DType::c64 || d.dtype == core::DType::c128)
    throw Error(ErrorCode::invalid_argument, "frames must be counts, not complex numbers").at(path.string());
  Index bytes = core::item_size(d.dtype);
  if (__builtin_mul_overflow(bytes, d.ny, &bytes) || __builtin_mul_overflow(bytes, d.nx, &bytes) ||
      bytes > (Index{1} << 30))
    throw Error(ErrorCode::invalid_argument, fmt::format("frames of {} x {} pixels are too large", d.ny, d.nx))
        .at(path.string());
  state_ = std::make_unique<State>(path, a);
  if (expected_frames > 0) state_->ids.reserve(static_cast<std::size_t>(std::min<Index>(expected_frames, 1 << 24)));
  write_acquisition(state_->file, a, state_->basis);
}

ScanWriter::~ScanWriter() = default;

void ScanWriter::append(std::span<const model::FrameView> frames,
                        std::span<const std::pair<model::FrameId, model::Values>> values) {
  State& s = *state_;
  const auto& d = s.detector;
  const Index item = core::item_size(d.dtype), first = static_cast<Index>(s.ids.size());
  for (const auto& f : frames)
    if (f.image.ny != d.ny || f.image.nx != d.nx || f.image.dtype != d.dtype)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("frame {} of {} x {} {} must be {} x {} {}", f.id, f.image.ny, f.image.nx,
                              core::name(f.image.dtype), d.ny, d.nx, core::name(d.dtype)))
          .at(s.file.name());
  for (const auto& [id, v] : values)
    for (const auto& [name, number] : v) {
      hdf5::check_name(name, "value");
      const bool metres = name == "y_m" || name == "x_m", pixels = name == "y_px" || name == "x_px";
      if (s.unit == model::PositionUnit::unknown && metres) s.unit = model::PositionUnit::metres;
      if (s.unit == model::PositionUnit::unknown && pixels) s.unit = model::PositionUnit::pixels;
      if ((metres && s.unit != model::PositionUnit::metres) || (pixels && s.unit != model::PositionUnit::pixels))
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("position {} of frame {}: a scan has positions in metres or in pixels, not both", name, id))
            .at(s.file.name());
      s.values[id][name] = number;
    }
  if (frames.empty()) return;
  s.frames.resize({first + static_cast<Index>(frames.size()), d.ny, d.nx});
  for (const auto& f : frames) {
    const auto* rows = static_cast<const std::byte*>(f.image.data);
    const std::size_t row = static_cast<std::size_t>(d.nx * item);
    std::span<const std::byte> bytes(rows, static_cast<std::size_t>(d.ny) * row);
    if (f.image.row_stride != d.nx) {
      s.packed.resize(bytes.size());
      for (Index y = 0; y < d.ny; ++y)
        std::copy_n(rows + y * f.image.row_stride * item, row, s.packed.begin() + y * static_cast<Index>(row));
      bytes = s.packed;
    }
    s.frames.write_chunk({static_cast<Index>(s.ids.size()), 0, 0}, hdf5::encode_bitshuffle_lz4(bytes, item));
    s.ids.push_back(f.id);
  }
}

void ScanWriter::append_packed(model::FrameId id, std::span<const std::byte> chunk) {
  State& s = *state_;
  const auto& d = s.detector;
  const Index item = core::item_size(d.dtype);
  if (const auto opened = codec::open_bitshuffle(chunk, {item, codec::BlockCompression::lz4}, d.ny * d.nx * item);
      !opened)
    throw Error(ErrorCode::invalid_argument, fmt::format("frame {}: {}", id, opened.error().what())).at(s.file.name());
  const auto at = static_cast<Index>(s.ids.size());
  s.frames.resize({at + 1, d.ny, d.nx});
  s.frames.write_chunk({at, 0, 0}, chunk);
  s.ids.push_back(id);
}

void ScanWriter::note(const std::string& name, const std::string& text) {
  hdf5::check_name(name, "metadata");
  state_->metadata[name] = text;
}

void ScanWriter::add_nxmx() {
  State& s = *state_;
  const std::string entry = "/entry", instrument = entry + "/instrument", detector = instrument + "/detector",
                    data = entry + "/data";
  const auto group = [&](const std::string& path, const char* nx_class) {
    s.file.make_group(path);
    s.file.set_attribute(path, "NX_class", std::string(nx_class));
  };
  group(entry, "NXentry");
  group(instrument, "NXinstrument");
  group(detector, "NXdetector");
  group(data, "NXdata");
  s.file.write_text(entry + "/definition", "NXmx");
  s.file.set_attribute(entry, "default", std::string("data"));
  s.file.set_attribute(data, "signal", std::string("data"));
  s.file.link(kDetector + "/data", data + "/data");
  for (const char* name : {"/data", "/distance", "/y_pixel_size", "/x_pixel_size", "/saturation_value", "/pixel_mask"})
    if (s.file.has_dataset(kDetector + name)) s.file.link(kDetector + name, detector + name);
  if (s.energy_eV) {
    group(instrument + "/beam", "NXbeam");
    s.file.write_number(instrument + "/beam/incident_energy", *s.energy_eV);
    s.file.set_attribute(instrument + "/beam/incident_energy", "units", std::string("eV"));
  }
  s.nxmx = true;
}

void ScanWriter::set_truth(const model::Product& truth) {
  cxi::write_parts(state_->file, kEntry + "/farfield/truth", truth);
}

void ScanWriter::set(const std::string& name, const model::Dataset& dataset) {
  if (name.empty() || name.front() == '/' || name.back() == '/' || name.find("//") != std::string::npos)
    throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" is not a path below entry_1/farfield", name))
        .at(state_->file.name());
  hdf5::write_dataset(state_->file, kEntry + "/farfield/" + name, dataset);
}

void ScanWriter::commit() {
  State& s = *state_;
  if (s.committed) throw Error(ErrorCode::internal, "scan committed twice").at(s.file.name());
  const auto n = static_cast<Index>(s.ids.size());
  std::map<std::string, std::vector<double>> columns;
  std::unordered_map<model::FrameId, Index> seen;
  bool in_order = true;
  for (Index i = 0; i < n; ++i) {
    const model::FrameId id = s.ids[static_cast<std::size_t>(i)];
    if (!seen.emplace(id, i).second)
      throw Error(ErrorCode::conflict, fmt::format("frame {} was given twice", id)).at(s.file.name());
    in_order = in_order && id == i;
    const auto found = s.values.find(id);
    if (found == s.values.end()) continue;
    for (const auto& [name, number] : found->second) {
      auto& numbers = columns[name];
      if (numbers.empty()) numbers.assign(static_cast<std::size_t>(n), kUnknown);
      numbers[static_cast<std::size_t>(i)] = number;
    }
  }
  const bool metres = s.unit == model::PositionUnit::metres;
  const auto y = columns.extract(metres ? "y_m" : "y_px"), x = columns.extract(metres ? "x_m" : "x_px");
  if (y && x) {
    core::Array<double, 2> translation({n, 3});
    for (Index i = 0; i < n; ++i) {
      const auto t = cxi::translation_of(
          {y.mapped()[static_cast<std::size_t>(i)], x.mapped()[static_cast<std::size_t>(i)]}, s.basis);
      for (Index r = 0; r < 3; ++r) translation(i, r) = t[static_cast<std::size_t>(r)];
    }
    s.file.write(kGeometry + "/translation", core::AnyArray(translation));
    s.file.set_attribute(kGeometry + "/translation", "units", std::string(metres ? "m" : "pixel"));
    s.file.link(kGeometry + "/translation", kEntry + "/data_1/translation");
    // NXcxi_ptycho has one array per axis.
    for (const auto& [name, column_of] : {std::pair{"/data_1/x", Index{0}}, std::pair{"/data_1/y", Index{1}}}) {
      core::Array<double, 1> numbers({n});
      for (Index i = 0; i < n; ++i) numbers(i) = translation(i, column_of);
      s.file.write(kEntry + name, core::AnyArray(numbers));
      s.file.set_attribute(kEntry + name, "units", std::string(metres ? "m" : "pixel"));
    }
    s.file.set_attribute(kEntry + "/data_1", "axes", std::vector<std::string>{"x", ".", "."});
    if (s.nxmx)
      for (const char* axis : {"/x", "/y"}) s.file.link(kEntry + "/data_1" + axis, "/entry/data" + std::string(axis));
  }
  for (const auto& [name, numbers] : columns) s.file.write(kEntry + "/farfield/values/" + name, column(numbers));
  if (!in_order) {
    core::Array<std::int64_t, 1> ids({n});
    std::copy(s.ids.begin(), s.ids.end(), ids.begin());
    s.file.write(kEntry + "/farfield/frame_id", core::AnyArray(ids));
  }
  write_metadata(s.file, s.metadata);
  s.frames = hdf5::Dataset();
  s.file.close();
  s.target.commit();
  s.committed = true;
}

}  // namespace farfield::io
