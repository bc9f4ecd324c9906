#include "farfield/io/ptyd/ptyd.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "farfield/io/arrays.hpp"
#include "farfield/io/hdf5/quantity.hpp"

namespace farfield::io::ptyd {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// Chunks are named 0, 1, 2 ... and listed as text.
std::vector<std::string> chunks_in_order(const hdf5::File& file) {
  std::vector<std::pair<long, std::string>> found;
  for (const auto& name : file.list("/chunks")) {
    long number = 0;
    const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (status == std::errc() && end == name.data() + name.size() && file.has_dataset("/chunks/" + name + "/data"))
      found.emplace_back(number, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [number, name] : found) names.push_back("/chunks/" + name);
  return names;
}

// Lists are arrays, or (older files) groups of scalars "00000", "00001" ...
std::vector<double> list_of_numbers(const hdf5::File& file, const std::string& path) {
  if (const auto d = file.find_dataset(path)) return d->is_text() ? std::vector<double>{} : hdf5::numbers(*d);
  std::vector<double> all;
  for (const auto& name : file.list(path))
    if (const auto d = file.find_dataset(path + "/" + name)) all.push_back(d->number());
  return all;
}

// ptypy keeps "weights": 0 hides a pixel.
void hide(core::Array<std::uint32_t, 2>& mask, const hdf5::Dataset& weights) {
  const auto& s = weights.shape();
  if (weights.rank() < 2 || weights.size() == 0 || weights.is_text()) return;
  const Index ny = s[s.size() - 2], nx = s[s.size() - 1];
  if (mask.empty()) mask = core::Array<std::uint32_t, 2>({ny, nx});
  if (mask.extent(0) != ny || mask.extent(1) != nx)
    throw Error(ErrorCode::corrupt_data, fmt::format("weights of {} x {} pixels, those before had {} x {}", ny, nx,
                                                     mask.extent(0), mask.extent(1)))
        .at(weights.where());
  hdf5::for_each_image(weights, [&](const core::AnyArray& image) {
    const auto values = numbers_of(image, weights.where());
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] == 0) mask.data()[i] = model::pixel_mask::kUser;
  });
}

bool is_number(const std::optional<hdf5::Dataset>& d) { return d && !d->is_text() && d->size() >= 1; }
}  // namespace

bool is_ptyd(const hdf5::File& file) {
  return file.kind("/chunks") == hdf5::Kind::group && file.kind("/meta") == hdf5::Kind::group;
}

ScanLayout read_layout(const hdf5::File& file) {
  ScanLayout layout;
  auto& a = layout.acquisition;
  const auto chunks = chunks_in_order(file);
  if (chunks.empty()) throw Error(ErrorCode::not_found, "there is no chunk with data below /chunks").at(file.name());
  bool numbered = true;
  std::vector<double> indices_of_all;
  for (const auto& chunk : chunks) {
    auto data = file.dataset(chunk + "/data");
    const Index frames = data.rank() >= 3 ? data.shape()[0] : 1;
    layout.frames.push_back(std::move(data));
    const auto positions = list_of_numbers(file, chunk + "/positions");
    if (!positions.empty() && static_cast<Index>(positions.size()) != 2 * frames)
      throw Error(ErrorCode::corrupt_data, fmt::format("{} positions for {} frames: there must be one pair per frame",
                                                       positions.size() / 2, frames))
          .at(chunk + " in " + file.name());
    for (std::size_t i = 0; i + 1 < positions.size(); i += 2) {
      layout.y.push_back(positions[i]);
      layout.x.push_back(positions[i + 1]);
    }
    const auto indices = list_of_numbers(file, chunk + "/indices");
    numbered = numbered && static_cast<Index>(indices.size()) == frames;
    indices_of_all.insert(indices_of_all.end(), indices.begin(), indices.end());
    if (const auto weights = file.find_dataset(chunk + "/weights")) hide(a.detector.pixel_mask, *weights);
  }
  if (numbered) layout.ids = frame_ids(indices_of_all, "/chunks/*/indices in " + file.name());
  if (layout.y.empty()) {
    // Positions of the whole scan, kept apart from the chunks.
    const auto all = list_of_numbers(file, "/common/positions_scan");
    for (std::size_t i = 0; i + 1 < all.size(); i += 2) {
      layout.y.push_back(all[i]);
      layout.x.push_back(all[i + 1]);
    }
  }
  layout.positions_at = "/chunks/*/positions";
  if (!layout.y.empty()) a.scan.unit = model::PositionUnit::metres;
  for (const char* path : {"/common/weight2d", "/meta/weight2d"})
    if (const auto weights = file.find_dataset(path)) hide(a.detector.pixel_mask, *weights);

  auto& d = a.detector;
  if (const auto energy = file.find_dataset("/meta/energy"); is_number(energy))
    a.beam.energy_eV = energy->number() * 1e3;
  if (const auto distance = file.find_dataset("/meta/distance"); is_number(distance)) d.distance_m = distance->number();
  if (const auto psize = file.find_dataset("/meta/psize"); is_number(psize)) {
    const auto v = hdf5::numbers(*psize);
    d.pixel_size_y_m = v.front();
    d.pixel_size_x_m = v.size() > 1 ? v[1] : v.front();
  }
  for (const char* name : {"experimentID", "label"})
    if (const auto text = file.find_dataset(std::string("/meta/") + name); text && text->is_text())
      a.metadata[name] = text->text();
  return layout;
}

}  // namespace farfield::io::ptyd
