#include "farfield/io/xpcs/qmap_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/error.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/product_parts.hpp"
#include "farfield/io/hdf5/quantity.hpp"

namespace farfield::io::xpcs {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr Index kMostBytes = Index{4} << 30;
const std::string kPrefix = "qmap/";

constexpr std::array kImages{"dynamic_roi_map", "static_roi_map", "mask", "blemish"};
constexpr std::array kLists{"dynamic_v_list_dim0", "dynamic_v_list_dim1",   "static_v_list_dim0",
                            "static_v_list_dim1",  "dynamic_index_mapping", "static_index_mapping"};
constexpr std::array kNumbers{"beam_center_y", "beam_center_x", "detector_distance", "pixel_size", "energy"};

std::string group_of(const hdf5::File& file) {
  for (const char* group : {"/qmap", "/xpcs/qmap"})
    if (file.has_dataset(std::string(group) + "/dynamic_roi_map")) return group;
  return {};
}

/// Leading axes of extent 1 dropped until `rank` are left.
core::AnyArray squeezed(core::AnyArray array, std::size_t rank, const std::string& where) {
  auto shape = array.shape();
  while (shape.size() > rank && shape.front() == 1) shape.erase(shape.begin());
  if (rank == 1 && shape.empty()) shape = {1};
  if (shape.size() != rank)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("an array of shape ({}) must have {} axes", fmt::join(array.shape(), ", "), rank))
        .at(where);
  if (shape == array.shape()) return array;
  core::AnyArray out(array.dtype(), shape);
  std::copy_n(static_cast<const std::byte*>(array.data()), array.bytes(), static_cast<std::byte*>(out.data()));
  return out;
}

core::AnyArray one(double value) {
  core::AnyArray array(core::DType::f64, {1});
  *static_cast<double*>(array.data()) = value;
  return array;
}

core::AnyArray list(const std::vector<double>& values) {
  return core::AnyArray(core::View<const double, 1>(values.data(), {static_cast<Index>(values.size())}));
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ",")); }

std::vector<std::string> split(const std::string& words) {
  std::vector<std::string> out{""};
  for (const char c : words) {
    if (c == ',') out.emplace_back();
    else out.back() += c;
  }
  return out;
}

struct Parts {
  std::map<std::string, core::AnyArray> arrays;
  std::string names, units;
};

Parts read_parts(const hdf5::File& file) {
  Parts parts;
  const std::string group = group_of(file);
  const auto image = [&](const std::string& name, const std::string& path) {
    if (const auto d = file.find_dataset(path))
      parts.arrays[kPrefix + name] = squeezed(d->read(kMostBytes), 2, d->where());
  };
  if (group.empty()) {
    image("dynamic_roi_map", "/xpcs/dqmap");
    image("static_roi_map", "/xpcs/sqmap");
    image("mask", "/xpcs/mask");
    return parts;
  }
  for (const char* name : kImages) image(name, group + "/" + name);
  for (const char* name : kLists)
    if (const auto d = file.find_dataset(group + "/" + name))
      parts.arrays[kPrefix + name] = squeezed(d->read(kMostBytes), 1, d->where());
  const auto number = [&](const char* name, std::optional<double> value) {
    if (value && std::isfinite(*value)) parts.arrays[kPrefix + name] = one(*value);
  };
  number("beam_center_y", hdf5::number(file, group + "/beam_center_y"));
  number("beam_center_x", hdf5::number(file, group + "/beam_center_x"));
  number("detector_distance", hdf5::length_m(file, group + "/detector_distance"));
  number("pixel_size", hdf5::length_m(file, group + "/pixel_size"));
  if (const auto eV = hdf5::energy_eV(file, group + "/energy", "keV")) number("energy", *eV / 1000);
  if (const auto d = file.find_dataset(group + "/map_names")) parts.names = joined(d->texts());
  if (const auto d = file.find_dataset(group + "/map_units")) parts.units = joined(d->texts());
  return parts;
}

std::optional<double> number_in(const Parts& parts, const char* name) {
  const auto found = parts.arrays.find(kPrefix + name);
  if (found == parts.arrays.end()) return std::nullopt;
  return *static_cast<const double*>(found->second.data());
}

/// Number of bins of a map. Throws `invalid_argument` for more than it has pixels.
Index bins_of(const core::AnyArray& map, const std::string& where) {
  const auto numbers = map.to<std::uint32_t, 2>();
  const Index bins = numbers.empty() ? 0 : static_cast<Index>(*std::max_element(numbers.begin(), numbers.end()));
  if (bins > numbers.size())
    throw Error(ErrorCode::invalid_argument, fmt::format("bin number {} of a map of {} pixels", bins, numbers.size()))
        .at(where);
  return bins;
}

}  // namespace

bool holds_qmap(const hdf5::File& file) { return !group_of(file).empty() || file.has_dataset("/xpcs/dqmap"); }

void read_qmap(const std::filesystem::path& path, model::Acquisition& acquisition) {
  const auto file = hdf5::File::open(path);
  if (!holds_qmap(file))
    throw Error(ErrorCode::not_found, fmt::format("there is no q-map: neither /qmap/dynamic_roi_map, nor "
                                                  "/xpcs/qmap/dynamic_roi_map, nor /xpcs/dqmap; the file holds {}",
                                                  fmt::join(file.datasets("/", 8), ", ")))
        .at(file.name());
  const Parts parts = read_parts(file);
  for (const auto& [name, array] : parts.arrays) acquisition.inputs[name] = array;
  if (!parts.names.empty()) acquisition.metadata[kPrefix + "map_names"] = parts.names;
  if (!parts.units.empty()) acquisition.metadata[kPrefix + "map_units"] = parts.units;
  auto& d = acquisition.detector;
  if (!d.distance_m) d.distance_m = number_in(parts, "detector_distance");
  if (!d.pixel_size_y_m) d.pixel_size_y_m = number_in(parts, "pixel_size");
  if (!d.pixel_size_x_m) d.pixel_size_x_m = number_in(parts, "pixel_size");
  if (const auto keV = number_in(parts, "energy"); keV && !acquisition.beam.energy_eV)
    acquisition.beam.energy_eV = *keV * 1000;
}

void read_metadata(const std::filesystem::path& path, model::Acquisition& acquisition) {
  const auto file = hdf5::File::open(path);
  const std::string detector = "/entry/instrument/detector_1", old = "/measurement/instrument/detector";
  bool any = false;
  const auto time = [&](const char* key, std::initializer_list<std::string> paths) {
    for (const auto& p : paths) {
      const auto value = hdf5::number(file, p);
      // Results without a known frame time say so by their unit.
      if (!value || file.text_attribute(p, "units") == "frame") continue;
      any = true;
      if (!(*value > 0 && std::isfinite(*value)))
        throw Error(ErrorCode::corrupt_data, fmt::format("a time of {} s must be > 0", *value))
            .at(p + " in " + file.name());
      acquisition.metadata.try_emplace(key, fmt::format("{}", *value));
      return;
    }
  };
  time("frame_time_s", {detector + "/frame_time", old + "/exposure_period"});
  time("count_time_s", {detector + "/count_time", old + "/exposure_time"});
  const auto take = [&](std::optional<double>& into, std::optional<double> value) {
    if (value && std::isfinite(*value)) any = true;
    if (value && std::isfinite(*value) && !into) into = value;
  };
  auto& d = acquisition.detector;
  take(d.distance_m, hdf5::length_m(file, detector + "/distance"));
  take(d.pixel_size_y_m, hdf5::length_m(file, detector + "/y_pixel_size"));
  take(d.pixel_size_x_m, hdf5::length_m(file, detector + "/x_pixel_size"));
  take(acquisition.beam.energy_eV, hdf5::energy_eV(file, "/entry/instrument/incident_beam/incident_energy", "keV"));
  const std::pair<const char*, const char*> words[] = {{"start_time", "/entry/start_time"},
                                                       {"sample", "/entry/sample/name"},
                                                       {"experiment", "/entry/experiment_identifier"}};
  for (const auto& [key, at] : words)
    if (const auto value = hdf5::text(file, at)) {
      any = true;
      acquisition.metadata.try_emplace(key, *value);
    }
  if (!any)
    throw Error(ErrorCode::not_found, fmt::format("there is no metadata of a scan, as {}/frame_time; the file holds {}",
                                                  detector, fmt::join(file.datasets("/", 8), ", ")))
        .at(file.name());
}

void read_qmap_group(const hdf5::File& file, model::Product& product) {
  const Parts parts = read_parts(file);
  for (const auto& [name, array] : parts.arrays) {
    model::Dataset d{name, array};
    d.draw = "none";
    if (array.rank() == 2) d.axes = {"y", "x"};
    product.datasets.push_back(std::move(d));
  }
  if (!parts.names.empty()) product.provenance[kPrefix + "map_names"] = parts.names;
  if (!parts.units.empty()) product.provenance[kPrefix + "map_units"] = parts.units;
}

void write_qmap_group(hdf5::File& file, const std::string& group, const model::Product& product) {
  const auto* dynamic = product.find(kPrefix + "dynamic_roi_map");
  if (dynamic == nullptr || dynamic->data.rank() != 2)
    throw Error(ErrorCode::invalid_argument, "the product has no image qmap/dynamic_roi_map").at(file.name());
  file.make_group(group);
  codec::Sha256 sum;
  const auto write = [&](const std::string& name, const core::AnyArray& array) {
    sum.update({static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.bytes())});
    hdf5::write_dataset(file, group + "/" + name, {name, array});
  };
  const auto given = [&](const std::string& name) -> const core::AnyArray* {
    const auto* d = product.find(kPrefix + name);
    return d == nullptr || d->data.empty() ? nullptr : &d->data;
  };
  const core::AnyArray& bins = dynamic->data;
  const core::AnyArray& fixed = given("static_roi_map") != nullptr ? *given("static_roi_map") : bins;
  write("dynamic_roi_map", core::AnyArray(bins.to<std::uint32_t, 2>()));
  write("static_roi_map", core::AnyArray(fixed.to<std::uint32_t, 2>()));
  const core::Array<std::uint8_t, 2> all({bins.shape()[0], bins.shape()[1]}, 1);
  for (const char* name : {"mask", "blemish"})
    write(name, given(name) != nullptr ? core::AnyArray(given(name)->to<std::uint8_t, 2>()) : core::AnyArray(all));

  for (const auto& [kind, map] : {std::pair{std::string("dynamic"), &bins}, {std::string("static"), &fixed}}) {
    std::vector<double> counted(static_cast<std::size_t>(bins_of(*map, file.name())));
    std::array<Index, 2> points{0, 1};
    for (std::size_t i = 0; i < counted.size(); ++i) counted[i] = static_cast<double>(i + 1);
    const auto* first = given(kind + "_v_list_dim0");
    const auto* second = given(kind + "_v_list_dim1");
    write(kind + "_v_list_dim0", first != nullptr ? *first : list(counted));
    write(kind + "_v_list_dim1", second != nullptr ? *second : list({0}));
    points = {first != nullptr ? first->size() : static_cast<Index>(counted.size()),
              second != nullptr ? second->size() : 1};
    write(kind + "_num_pts", core::AnyArray(core::View<const Index, 1>(points.data(), {2})));
    core::Array<Index, 1> mapping({static_cast<Index>(counted.size())});
    for (Index i = 0; i < mapping.size(); ++i) mapping[i] = i;
    const auto* known = given(kind + "_index_mapping");
    write(kind + "_index_mapping", known != nullptr ? core::AnyArray(known->to<Index, 1>()) : core::AnyArray(mapping));
  }
  for (const char* name : kNumbers) {
    const auto* known = given(name);
    core::AnyArray scalar(core::DType::f64, {});
    *static_cast<double*>(scalar.data()) =
        known != nullptr ? known->to<double, 1>()[0] : std::numeric_limits<double>::quiet_NaN();
    write(name, scalar);
  }
  file.set_attribute(group + "/detector_distance", "units", std::string("m"));
  file.set_attribute(group + "/pixel_size", "units", std::string("m"));
  file.set_attribute(group + "/energy", "units", std::string("keV"));
  const auto words = [&](const char* name, const std::vector<std::string>& fallback) {
    const auto found = product.provenance.find(kPrefix + name);
    auto texts = found == product.provenance.end() || found->second.empty() ? fallback : split(found->second);
    texts.resize(2);
    const std::string line = joined(texts);
    sum.update(std::as_bytes(std::span(line)));
    file.write_texts(group + "/" + name, texts);
  };
  words("map_names", {"bin", "none"});
  words("map_units", {"", ""});
  file.set_attribute(group, "hash", sum.hex());
}

void write_qmap(const std::filesystem::path& path, const model::Product& product) {
  AtomicFile target(path);
  {
    auto file = hdf5::File::create(target.temporary(), path);
    write_qmap_group(file, "/qmap", product);
    file.close();
  }
  target.commit();
}

}  // namespace farfield::io::xpcs
