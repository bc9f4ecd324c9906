#include "farfield/io/hdf5/quantity.hpp"

#include <fmt/format.h>

#include "farfield/core/error.hpp"
#include "farfield/io/arrays.hpp"
#include "farfield/io/units.hpp"

namespace farfield::io::hdf5 {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::optional<double> with_unit(const File& file, const std::string& path, const std::string& fallback,
                                std::optional<double> (*factor_of)(const std::string&), const char* kind) {
  const auto dataset = file.find_dataset(path);
  if (!dataset) return std::nullopt;
  const std::string unit = file.text_attribute(path, "units").value_or(fallback);
  const auto factor = factor_of(unit.empty() ? fallback : unit);
  if (!factor)
    throw Error(ErrorCode::corrupt_data, fmt::format("unit \"{}\" is not {}", unit, kind)).at(dataset->where());
  return dataset->number() * *factor;
}
}  // namespace

std::optional<double> length_m(const File& file, const std::string& path, const std::string& fallback) {
  return with_unit(file, path, fallback, metres_per, "a length (m, mm, um, nm ...)");
}

std::optional<double> energy_eV(const File& file, const std::string& path, const std::string& fallback) {
  return with_unit(file, path, fallback, electronvolts_per, "an energy (eV, keV, J)");
}

std::optional<double> number(const File& file, const std::string& path) {
  const auto dataset = file.find_dataset(path);
  return dataset ? std::optional(dataset->number()) : std::nullopt;
}

std::optional<std::string> text(const File& file, const std::string& path) {
  const auto dataset = file.find_dataset(path);
  return dataset ? std::optional(dataset->text()) : std::nullopt;
}

std::vector<double> numbers(const Dataset& dataset) {
  return numbers_of(dataset.read(Index{1} << 30), dataset.where());
}

void for_each_image(const Dataset& dataset, const std::function<void(const core::AnyArray&)>& f) {
  const auto& shape = dataset.shape();
  if (dataset.rank() < 2)
    throw Error(ErrorCode::corrupt_data, fmt::format("an array of shape ({}) is not (y, x)", fmt::join(shape, ", ")))
        .at(dataset.where());
  const Index ny = shape[shape.size() - 2], nx = shape[shape.size() - 1];
  const core::DType type = dataset.dtype();
  Index bytes = core::item_size(type);
  if (__builtin_mul_overflow(bytes, ny, &bytes) || __builtin_mul_overflow(bytes, nx, &bytes) ||
      bytes > (Index{1} << 30))
    throw Error(ErrorCode::corrupt_data, fmt::format("an image of {} x {} pixels is not possible", ny, nx))
        .at(dataset.where());
  core::AnyArray one(type, {ny, nx});
  std::vector<Index> start(shape.size(), 0), box(shape.size(), 1);
  box[shape.size() - 2] = ny;
  box[shape.size() - 1] = nx;
  for (Index i = 0, n = bytes > 0 ? dataset.size() / (ny * nx) : 0; i < n; ++i) {
    Index rest = i;
    for (std::size_t r = shape.size() - 2; r-- > 0; rest /= shape[r]) start[r] = rest % shape[r];
    dataset.read_box(start, box, one.data());
    f(one);
  }
}

core::Array<std::uint32_t, 2> mask(const Dataset& dataset) {
  core::Array<std::uint32_t, 2> all;
  for_each_image(dataset, [&](const core::AnyArray& image) {
    const auto m = mask_of(image, dataset.where());
    if (all.empty()) all = core::Array<std::uint32_t, 2>(m.extents());
    for (Index p = 0; p < all.size(); ++p) all.data()[p] |= m.data()[p];
  });
  return all;
}

}  // namespace farfield::io::hdf5
