#include "farfield/io/cxi/product.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "farfield/core/error.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/cxi/layout.hpp"
#include "farfield/io/hdf5/product_parts.hpp"
#include "farfield/io/hdf5/quantity.hpp"

namespace farfield::io::cxi {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
const std::string kEntry = "/entry_1", kOurs = "/entry_1/farfield", kImage = "/entry_1/image_1",
                  kInstrument = "/entry_1/instrument_1", kGeometry = "/entry_1/sample_1/geometry_1",
                  kProcess = "/entry_1/process_1";

bool is_complex(const model::Dataset* d) {
  return d != nullptr && (d->data.dtype() == core::DType::c64 || d->data.dtype() == core::DType::c128);
}

// What other programs look for, as links to our datasets where the array is the same.
void write_standard(hdf5::File& file, const model::Product& p) {
  core::AnyArray version(core::DType::i32, {}), unshifted(core::DType::i32, {});
  *static_cast<std::int32_t*>(version.data()) = kVersion;
  file.write("/cxi_version", version);
  file.make_group(kEntry);
  file.set_attribute(kEntry, "NX_class", std::string("NXentry"));
  const auto provenance = [&](const char* key) {
    const auto found = p.provenance.find(key);
    return found == p.provenance.end() ? std::string() : found->second;
  };
  if (const auto title = provenance("title"); !title.empty()) file.write_text(kEntry + "/title", title);
  file.make_group(kProcess);
  file.set_attribute(kProcess, "NX_class", std::string("NXprocess"));
  file.write_text(kProcess + "/program", "farfield");
  if (const auto text = provenance("version"); !text.empty()) file.write_text(kProcess + "/version", text);
  if (!p.verb.empty()) file.write_text(kProcess + "/command", p.technique + " " + p.verb);
  if (p.energy_eV) {
    file.write_number(kInstrument + "/source_1/energy", *p.energy_eV * model::kJoulePerEv);
    file.set_attribute(kInstrument + "/source_1/energy", "units", std::string("J"));
    file.set_attribute(kInstrument, "NX_class", std::string("NXinstrument"));
  }
  if (const auto* object = p.find("object"); is_complex(object)) {
    file.make_group(kImage);
    file.link(kOurs + "/datasets/object", kImage + "/data");
    file.write_text(kImage + "/data_space", "real");
    file.write(kImage + "/is_fft_shifted", unshifted);
    file.link(kProcess, kImage + "/process_1");
    if (p.pixel_size_y_m && p.pixel_size_x_m && object->data.rank() >= 2) {
      // image_size: extents of the picture in the laboratory, x then y.
      const auto& shape = object->data.shape();
      core::Array<double, 1> size({3});
      size(0) = *p.pixel_size_x_m * static_cast<double>(shape[shape.size() - 1]);
      size(1) = *p.pixel_size_y_m * static_cast<double>(shape[shape.size() - 2]);
      file.write(kImage + "/image_size", core::AnyArray(size));
    }
  }
  if (is_complex(p.find("probe"))) {
    file.make_group(kInstrument + "/source_1");
    file.link(kOurs + "/datasets/probe", kInstrument + "/source_1/illumination");
  }
  const auto* positions = p.find("positions");
  const bool pairs =
      positions != nullptr && positions->data.rank() == 2 && positions->data.shape()[1] == 2 && !is_complex(positions);
  if (pairs && (positions->unit == "m" || positions->unit == "px" || positions->unit == "pixel")) {
    const auto v = positions->data.to<double, 2>();
    core::Array<double, 2> translation({v.extent(0), 3});
    for (Index i = 0; i < v.extent(0); ++i) {
      const auto t = translation_of({v(i, 0), v(i, 1)}, {});
      for (Index r = 0; r < 3; ++r) translation(i, r) = t[static_cast<std::size_t>(r)];
    }
    file.write(kGeometry + "/translation", core::AnyArray(translation));
    file.set_attribute(kGeometry + "/translation", "units", std::string(positions->unit == "m" ? "m" : "pixel"));
  }
}
}  // namespace

void write_parts(hdf5::File& file, const std::string& group, const model::Product& p) {
  file.write_text(group + "/technique", p.technique);
  file.write_text(group + "/verb", p.verb);
  file.make_group(group + "/datasets");
  double order = 0;
  for (const auto& d : p.datasets) {
    hdf5::check_name(d.name, "dataset");
    if (std::count_if(p.datasets.begin(), p.datasets.end(), [&](const auto& other) { return other.name == d.name; }) >
        1)
      throw Error(ErrorCode::invalid_argument, fmt::format("there are two datasets \"{}\"", d.name)).at(file.name());
    const std::string at = group + "/datasets/" + d.name;
    hdf5::write_dataset(file, at, d);
    file.set_attribute(at, "order", order++);
  }
  for (const auto& [name, value] : p.metrics) {
    hdf5::check_name(name, "metric");
    file.write_number(group + "/metrics/" + name, value);
  }
  for (const auto& [name, value] : p.provenance) {
    hdf5::check_name(name, "provenance");
    file.write_text(group + "/provenance/" + name, value);
  }
  if (p.pixel_size_y_m) file.write_number(group + "/pixel_size_y_m", *p.pixel_size_y_m);
  if (p.pixel_size_x_m) file.write_number(group + "/pixel_size_x_m", *p.pixel_size_x_m);
  if (p.energy_eV) file.write_number(group + "/energy_eV", *p.energy_eV);
}

model::Product read_parts(const hdf5::File& file, const std::string& group) {
  model::Product p;
  p.technique = hdf5::text(file, group + "/technique").value_or("");
  p.verb = hdf5::text(file, group + "/verb").value_or("");
  std::vector<std::pair<double, model::Dataset>> found;
  for (const auto& name : file.list(group + "/datasets")) {
    const std::string at = group + "/datasets/" + name;
    found.emplace_back(file.number_attribute(at, "order").value_or(1e9), hdf5::read_dataset(file, at, name));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second.name) < std::tie(b.first, b.second.name);
  });
  for (auto& [order, dataset] : found) p.datasets.push_back(std::move(dataset));
  for (const auto& name : file.list(group + "/metrics"))
    p.metrics[name] = file.dataset(group + "/metrics/" + name).number();
  for (const auto& name : file.list(group + "/provenance"))
    p.provenance[name] = file.dataset(group + "/provenance/" + name).text();
  p.pixel_size_y_m = hdf5::number(file, group + "/pixel_size_y_m");
  p.pixel_size_x_m = hdf5::number(file, group + "/pixel_size_x_m");
  p.energy_eV = hdf5::number(file, group + "/energy_eV");
  return p;
}

void write_product(const std::filesystem::path& path, const model::Product& p) {
  AtomicFile target(path);
  {
    auto file = hdf5::File::create(target.temporary(), path);
    write_parts(file, kOurs, p);
    write_standard(file, p);
    file.close();
  }
  target.commit();
}

bool is_product(const hdf5::File& file) {
  return file.has_dataset(kOurs + "/technique") && file.kind(kOurs + "/datasets") == hdf5::Kind::group;
}

model::Product read_product(const hdf5::File& file) { return read_parts(file, kOurs); }

}  // namespace farfield::io::cxi
