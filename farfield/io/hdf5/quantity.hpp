#pragma once
// Numbers with units, masks and arrays out of HDF5 datasets.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/io/hdf5/file.hpp"

namespace farfield::io::hdf5 {

/// A length in metres; the `units` attribute decides, `fallback` where there is none. Nothing where there is
/// no such dataset. Throws `corrupt_data` for a unit that is not a length or a value that is not a number.
std::optional<double> length_m(const File& file, const std::string& path, const std::string& fallback = "m");
/// An energy in eV, likewise.
std::optional<double> energy_eV(const File& file, const std::string& path, const std::string& fallback);
/// A number as it stands, whatever its unit.
std::optional<double> number(const File& file, const std::string& path);
std::optional<std::string> text(const File& file, const std::string& path);
/// Whole dataset as doubles (at most 1 GiB).
std::vector<double> numbers(const Dataset& dataset);
/// Calls f with each image(y, x) of a dataset of rank >= 2, one in memory at a time.
void for_each_image(const Dataset& dataset, const std::function<void(const core::AnyArray&)>& f);
/// mask(y, x), 0 = good; a mask per frame is read frame by frame and joined: bad in one, bad in all.
core::Array<std::uint32_t, 2> mask(const Dataset& dataset);

}  // namespace farfield::io::hdf5
