#include "farfield/io/foreign_product.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"
#include "farfield/io/arrays.hpp"
#include "farfield/io/cxi/layout.hpp"
#include "farfield/io/cxi/product.hpp"
#include "farfield/io/hdf5/quantity.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
bool is_complex(const hdf5::Dataset& d) {
  return !d.is_text() && (d.dtype() == core::DType::c64 || d.dtype() == core::DType::c128);
}

model::Dataset object_of(const core::AnyArray& array, const std::string& where) {
  return {"object",
          with_rank<core::cfloat>(array, 2, "object", "y, x", where),
          "",
          {"y", "x"},
          "complex transmission of the object"};
}
model::Dataset probe_of(const core::AnyArray& array, const std::string& where) {
  return {
      "probe", with_rank<core::cfloat>(array, 3, "probe", "mode, y, x", where), "", {"mode", "y", "x"}, "illumination"};
}

model::Dataset positions_of(const std::vector<double>& y, const std::vector<double>& x, const std::string& unit) {
  core::Array<double, 2> pairs({static_cast<Index>(y.size()), 2});
  for (std::size_t i = 0; i < y.size(); ++i) {
    pairs(static_cast<Index>(i), 0) = y[i];
    pairs(static_cast<Index>(i), 1) = x[i];
  }
  return {"positions", core::AnyArray(pairs), unit, {"frame", "yx"}, "window on the object, (y, x)"};
}

model::Product foreign(const std::string& file) {
  model::Product p;
  p.technique = "ptychography";
  p.provenance["input"] = file;
  return p;
}

// The first of the paths that holds complex numbers, turned by `make`.
bool add_first(model::Product& p, const hdf5::File& file, std::initializer_list<std::string> paths,
               model::Dataset (*make)(const core::AnyArray&, const std::string&)) {
  for (const auto& path : paths)
    if (const auto d = file.find_dataset(path); d && is_complex(*d)) {
      p.datasets.push_back(make(d->read(), d->where()));
      return true;
    }
  return false;
}

// ptypy: content/obj/<storage>/data (layer, y, x), content/probe/<storage>/data (mode, y, x).
void read_ptyr(const hdf5::File& file, model::Product& p) {
  const auto first = [&](const std::string& group) {
    const auto names = file.list(group);
    return names.empty() ? std::string() : group + "/" + names.front();
  };
  const std::string object = first("/content/obj"), probe = first("/content/probe");
  if (!object.empty()) add_first(p, file, {object + "/data"}, object_of);
  if (!probe.empty()) add_first(p, file, {probe + "/data"}, probe_of);
  if (const auto psize = file.find_dataset(object + "/_psize"); psize && psize->size() >= 1) {
    const auto v = hdf5::numbers(*psize);
    p.pixel_size_y_m = v.front();
    p.pixel_size_x_m = v.size() > 1 ? v[1] : v.front();
  }
  if (const auto energy = file.find_dataset(object + "/_energy")) p.energy_eV = energy->number() * 1e3;
}

// CXI: images are objects, but ptychodus puts its probe first.
void read_cxi(const hdf5::File& file, const std::string& entry, model::Product& p) {
  const bool probe_first = file.kind(entry + "/ptychodus") == hdf5::Kind::group;
  const std::string object = entry + (probe_first ? "/image_2/data" : "/image_1/data");
  add_first(p, file, {object, entry + "/object/data", entry + "/object/obj"}, object_of);
  add_first(
      p, file,
      {entry + "/instrument_1/source_1/illumination", entry + "/probe/data", entry + "/instrument_1/detector_1/probe"},
      probe_of);
  if (const auto t = file.find_dataset(entry + "/sample_1/geometry_1/translation");
      t && t->rank() == 2 && t->shape()[1] == 3) {
    const auto v = hdf5::numbers(*t);
    std::vector<double> y, x;
    for (std::size_t i = 0; i + 2 < v.size(); i += 3) {
      const auto at = cxi::position_of({v[i], v[i + 1], v[i + 2]}, {});
      y.push_back(at.y);
      x.push_back(at.x);
    }
    p.datasets.push_back(
        positions_of(y, x, file.text_attribute(t->path(), "units").value_or("m") == "pixel" ? "px" : "m"));
  }
  p.energy_eV = hdf5::energy_eV(file, entry + "/instrument_1/source_1/energy", "J");
}
}  // namespace

model::Product read_npz_product(const npz::Npz& archive) {
  model::Product p = foreign(archive.name());
  for (const char* name : {"object", "psi"})
    if (archive.has(name) && p.find("object") == nullptr)
      p.datasets.push_back(object_of(archive.read(name), fmt::format("{} in {}", name, archive.name())));
  if (archive.has("probe")) p.datasets.push_back(probe_of(archive.read("probe"), "probe in " + archive.name()));
  for (const char* name : {"positions", "scan"}) {
    if (!archive.has(name) || p.find("positions") != nullptr) continue;
    const std::string where = fmt::format("{} in {}", name, archive.name());
    const auto pairs = with_rank<double>(archive.read(name), 2, name, "frame, 2", where);
    if (pairs.shape()[1] != 2)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("{} has shape ({}), which is not (frame, 2)", name, fmt::join(pairs.shape(), ", ")))
          .at(where);
    p.datasets.push_back({"positions", pairs, "px", {"frame", "yx"}, "window on the object, (y, x)"});
  }
  if (p.find("object") == nullptr && p.find("probe") == nullptr)
    throw Error(ErrorCode::unsupported,
                fmt::format("there is neither an object nor a probe; there are: {}", fmt::join(archive.arrays(), ", ")))
        .at(archive.name());
  return p;
}

model::Product read_hdf5_product(const hdf5::File& file) {
  model::Product p = foreign(file.name());
  if (const std::string truth = "/entry_1/farfield/truth"; file.kind(truth) == hdf5::Kind::group)
    return cxi::read_parts(file, truth);
  if (file.kind("/content/obj") || file.kind("/content/probe")) {
    read_ptyr(file, p);
  } else {
    for (const auto& name : file.list("/"))
      if (name.starts_with("entry") && p.datasets.empty()) read_cxi(file, "/" + name, p);
    if (p.find("object") == nullptr) add_first(p, file, {"/object", "/object/data", "/obj"}, object_of);
    if (p.find("probe") == nullptr) add_first(p, file, {"/probe", "/probe/data"}, probe_of);
  }
  if (p.find("object") == nullptr && p.find("probe") == nullptr)
    throw Error(ErrorCode::unsupported,
                fmt::format("this file holds no ptychography result that is known; it holds: {}",
                            fmt::join(file.datasets("/", 8), ", ")))
        .at(file.name());
  return p;
}

}  // namespace farfield::io
