#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "farfield/core/error.hpp"
#include "farfield/io/arrays.hpp"
#include "farfield/io/hdf5/quantity.hpp"
#include "farfield/io/positions.hpp"
#include "farfield/io/recipe/recipe.hpp"
#include "farfield/io/recipe/shipped.hpp"
#include "farfield/io/units.hpp"

namespace farfield::io::recipe {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::string other_path(const std::string& scan, const OtherFile& other) {
  const std::filesystem::path path(scan);
  std::string name = other.name;
  if (name.empty()) {
    name = path.filename().string();
    const std::size_t at = name.rfind(other.replace);
    if (at == std::string::npos)
      throw Error(ErrorCode::not_found,
                  fmt::format("the name {} does not hold \"{}\", so that the file beside it cannot be found", name,
                              other.replace))
          .at(scan);
    name.replace(at, other.replace.size(), other.with);
  }
  const std::string stem = path.stem().string();
  for (std::size_t at = name.find("{stem}"); at != std::string::npos; at = name.find("{stem}", at + stem.size()))
    name.replace(at, 6, stem);
  return (path.parent_path() / name).string();
}

// The files of one scan, opened when first asked for.
class Files {
public:
  Files(const hdf5::File& scan, const Recipe& recipe) : scan_(&scan), recipe_(&recipe) {}
  std::string path(const std::string& name) const {
    return name.empty() ? scan_->name() : other_path(scan_->name(), recipe_->files.at(name));
  }
  const hdf5::File& get(const std::string& name) {
    if (name.empty()) return *scan_;
    const auto found = open_.find(name);
    return found != open_.end() ? found->second : open_.emplace(name, hdf5::File::open(path(name))).first->second;
  }
  std::optional<hdf5::Dataset> find(const Quantity& q) {
    const auto& file = get(q.file);
    if (q.optional && !file.has(q.path)) return std::nullopt;
    return file.dataset(q.path);
  }

private:
  const hdf5::File* scan_;
  const Recipe* recipe_;
  std::map<std::string, hdf5::File> open_;
};

std::optional<double> scalar(Files& files, const std::optional<Quantity>& q,
                             std::optional<double> (*factor_of)(const std::string&), const std::string& si) {
  if (!q) return std::nullopt;
  double value = 0;
  std::string unit = q->unit;
  if (q->value) {
    value = *q->value;
  } else {
    const auto d = files.find(*q);
    if (!d) return std::nullopt;
    value = d->number();
    if (unit.empty()) unit = files.get(q->file).text_attribute(q->path, "units").value_or("");
  }
  value = value * q->scale + q->offset;
  if (factor_of == nullptr) return value;
  const auto factor = factor_of(unit.empty() ? si : unit);
  if (!factor)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("unit \"{}\" is not one that is known here; give `unit` in the recipe", unit))
        .at(q->path + " in " + files.path(q->file));
  return value * *factor;
}

// Numbers of one coordinate; of several samples per frame the mean is taken.
std::vector<double> coordinate(Files& files, const Axis& a, Index frames) {
  const auto d = files.find(a.quantity);
  if (!d) return {};
  std::vector<double> all = hdf5::numbers(*d);
  const auto& shape = d->shape();
  if (a.axis >= 0) {
    if (a.axis >= d->rank() || a.index >= shape[static_cast<std::size_t>(a.axis)])
      throw Error(ErrorCode::corrupt_data, fmt::format("there is no index {} along axis {} of shape ({})", a.index,
                                                       a.axis, fmt::join(shape, ", ")))
          .at(d->where());
    Index inner = 1;
    for (std::size_t r = static_cast<std::size_t>(a.axis) + 1; r < shape.size(); ++r) inner *= shape[r];
    const Index extent = shape[static_cast<std::size_t>(a.axis)];
    std::vector<double> picked;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (static_cast<Index>(i) / inner % extent == a.index) picked.push_back(all[i]);
    all = std::move(picked);
  }
  const auto n = static_cast<Index>(all.size());
  if (frames > 0 && n > frames && n % frames == 0) {
    const Index samples = n / frames;
    std::vector<double> means(static_cast<std::size_t>(frames), 0);
    for (Index i = 0; i < n; ++i)
      means[static_cast<std::size_t>(i / samples)] += all[static_cast<std::size_t>(i)] / static_cast<double>(samples);
    all = std::move(means);
  }
  for (auto& v : all) v = v * a.quantity.scale + a.quantity.offset;
  return all;
}

void from_table(const std::string& path, const Positions& p, Index frames, ScanLayout& layout) {
  const auto rows = read_table(path);
  const int last = std::max({p.y.column, p.x.column, p.group_column});
  if (rows.empty() || static_cast<int>(rows.front().size()) <= last)
    throw Error(ErrorCode::corrupt_data, fmt::format("the table has {} rows of {} columns; column {} is needed",
                                                     rows.size(), rows.empty() ? 0 : rows.front().size(), last))
        .at(path);
  const auto value = [&](const std::vector<double>& row, const Axis& a) {
    return row[static_cast<std::size_t>(a.column)] * a.quantity.scale + a.quantity.offset;
  };
  if (p.group_column < 0) {
    for (const auto& row : rows) {
      layout.y.push_back(value(row, p.y));
      layout.x.push_back(value(row, p.x));
    }
    return;
  }
  const auto n = static_cast<std::size_t>(std::min<Index>(frames, Index{1} << 28));
  layout.y.assign(n, 0);
  layout.x.assign(n, 0);
  std::vector<Index> count(n, 0);
  for (const auto& row : rows) {
    const double group = row[static_cast<std::size_t>(p.group_column)] - static_cast<double>(p.first_group);
    if (!(group >= 0 && group < static_cast<double>(n)))
      continue;  // triggers before the first and after the last frame
    const auto i = static_cast<std::size_t>(group);
    layout.y[i] += value(row, p.y);
    layout.x[i] += value(row, p.x);
    ++count[i];
  }
  for (std::size_t i = 0; i < n; ++i) {
    // 0 / 0: a frame without a row has no position.
    layout.y[i] /= static_cast<double>(count[i]);
    layout.x[i] /= static_cast<double>(count[i]);
  }
}

void read_positions(Files& files, const Positions& p, Index frames, ScanLayout& layout) {
  if (!p.table.empty()) {
    from_table(files.path(p.table), p, frames, layout);
    layout.positions_at = files.path(p.table);
  } else {
    // A raster's axes are not averaged.
    layout.y = coordinate(files, p.y, p.raster ? 0 : frames);
    layout.x = coordinate(files, p.x, p.raster ? 0 : frames);
    if (p.raster) expand_raster(layout.y, layout.x, frames);
    layout.positions_at = p.y.quantity.path;
  }
  const bool pixels = is_pixel_unit(p.unit);
  double factor = pixels ? 1 : metres_per(p.unit).value();
  layout.acquisition.scan.unit = pixels ? model::PositionUnit::pixels : model::PositionUnit::metres;
  if (const auto pitch = scalar(files, p.divide_by, metres_per, "m")) {
    if (!(std::isfinite(*pitch) && *pitch > 0))
      throw Error(ErrorCode::corrupt_data, fmt::format("pixel size {} m must be > 0", *pitch)).at(p.divide_by->path);
    factor /= *pitch;
    layout.acquisition.scan.unit = model::PositionUnit::pixels;
  }
  for (auto* axis : {&layout.y, &layout.x})
    for (auto& v : *axis) v *= factor;
}

std::vector<hdf5::Dataset> read_frames(Files& files, const Quantity& q) {
  const auto& file = files.get(q.file);
  const std::size_t star = q.path.rfind('*'), slash = q.path.rfind('/');
  std::vector<hdf5::Dataset> found;
  if (star == std::string::npos || (slash != std::string::npos && star < slash)) {
    found.push_back(file.dataset(q.path));
    return found;
  }
  const std::string group = slash == std::string::npos ? "/" : q.path.substr(0, slash),
                    last = q.path.substr(slash == std::string::npos ? 0 : slash + 1);
  const std::string head = last.substr(0, last.find('*')), tail = last.substr(last.find('*') + 1);
  for (const auto& name : file.list(group.empty() ? "/" : group)) {
    if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) continue;
    const std::string path = group + "/" + name;
    if (!file.has(path) && !found.empty()) continue;  // linked files beyond the end of the scan
    found.push_back(file.dataset(path));
  }
  if (found.empty()) throw Error(ErrorCode::not_found, fmt::format("there is no dataset {}", q.path)).at(file.name());
  return found;
}
}  // namespace

ScanLayout read_layout(const hdf5::File& file, const Recipe& r) {
  Files files(file, r);
  ScanLayout layout;
  auto& a = layout.acquisition;
  auto& d = a.detector;
  layout.frames = read_frames(files, r.frames);
  Index frames = 0;
  for (const auto& part : layout.frames) {
    Index n = 1;
    for (std::size_t i = 0; i + 2 < part.shape().size(); ++i)
      if (__builtin_mul_overflow(n, part.shape()[i], &n))
        throw Error(ErrorCode::corrupt_data, "the shape of the frames is not possible").at(part.where());
    frames += n;
  }
  layout.transform = r.transform;
  d.dc = r.dc;
  a.beam.energy_eV = scalar(files, r.energy, electronvolts_per, "eV");
  if (const auto wavelength = scalar(files, r.wavelength, metres_per, "m")) {
    if (!(*wavelength > 0))
      throw Error(ErrorCode::corrupt_data, fmt::format("wavelength {} m must be > 0", *wavelength))
          .at(r.wavelength->path + " in " + file.name());
    a.beam.energy_eV = model::kHcEvM / *wavelength;
  }
  d.distance_m = scalar(files, r.distance, metres_per, "m");
  const auto both = scalar(files, r.pixel_size, metres_per, "m"), y = scalar(files, r.pixel_size_y, metres_per, "m"),
             x = scalar(files, r.pixel_size_x, metres_per, "m");
  d.pixel_size_y_m = y ? y : both;
  d.pixel_size_x_m = x ? x : both;
  d.saturation_counts = scalar(files, r.saturation, nullptr, "");
  if (r.mask)
    if (const auto mask = files.find(*r.mask)) {
      d.pixel_mask = hdf5::mask(*mask);
      if (!r.mask_good_is_zero)
        for (auto& m : d.pixel_mask) m = m == 0 ? model::pixel_mask::kUser : 0;
    }
  const auto input = [&](const char* role, const std::optional<Quantity>& q, int rank, const char* axes) {
    if (!q) return;
    const auto found = files.find(*q);
    if (!found) return;
    const auto array = found->read();
    a.inputs[role] = std::string(role) == "background"
                         ? with_rank<float>(array, rank, role, axes, found->where())
                         : with_rank<core::cfloat>(array, rank, role, axes, found->where());
  };
  input("probe", r.probe, 3, "mode, y, x");
  input("object", r.object, 2, "y, x");
  input("background", r.background, 2, "y, x");
  if (r.positions) read_positions(files, *r.positions, frames, layout);
  for (const auto& [key, q] : r.metadata)
    if (files.get(q.file).has_dataset(q.path)) a.metadata[key] = files.get(q.file).dataset(q.path).text();
  a.metadata["recipe"] = r.name;
  return layout;
}

std::vector<Recipe> fitting(const hdf5::File& file) {
  std::vector<Recipe> found;
  for (const auto& s : shipped()) {
    Recipe r = parse(std::string(s.text), std::string(s.name));
    if (!r.detect.empty() &&
        std::all_of(r.detect.begin(), r.detect.end(), [&](const auto& path) { return file.has(path); }))
      found.push_back(std::move(r));
  }
  return found;
}

}  // namespace farfield::io::recipe
