#pragma once
// Recipes: how one HDF5 layout of a beamline maps to a scan, as data. README.md in this folder documents
// every key; the parser refuses keys that it does not know.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/io/stack_source.hpp"
#include "farfield/model/acquisition.hpp"

namespace farfield::io::recipe {

/// Where a number, an array or a text comes from: a dataset, or a constant.
struct Quantity {
  std::string file{};                 ///< name in [files]; empty: the scan's own file
  std::string path{};
  std::optional<double> value{};      ///< a constant instead of a path
  std::string unit{};                 ///< of the value; empty: the dataset's `units`, then SI
  double scale = 1, offset = 0;       ///< value * scale + offset, before the unit
  bool optional = false;              ///< absent in the file: left out, not an error
};

/// One coordinate of the positions.
struct Axis {
  Quantity quantity{};
  int axis = -1;                      ///< axis of the dataset along which `index` picks; -1: none
  core::Index index = -1;
  int column = -1;                    ///< of a text table
};

struct Positions {
  Axis y{}, x{};
  std::string unit = "m";             ///< a length, or "px"
  bool raster = false;                ///< y and x are the axes of a raster, y slow
  std::string table{};                ///< name in [files] of a text table
  int group_column = -1;              ///< rows with the same number in this column are averaged ...
  core::Index first_group = 0;        ///< ... and belong to frame number - first_group
  std::optional<Quantity> divide_by{};  ///< a length: positions are divided by it and become pixels
};

/// Another file of the same scan.
struct OtherFile {
  std::string name{};                 ///< "{stem}.csv"; {stem}: the scan's name without suffix
  std::string replace{}, with{};      ///< or: the scan's file name with one part replaced
};

struct Recipe {
  std::string name, summary;
  std::vector<std::string> detect;    ///< all of these paths exist: the recipe fits
  std::map<std::string, OtherFile> files;
  Quantity frames{};                  ///< path may hold one "*" in its last part
  FrameTransform transform{};
  model::DcLocation dc = model::DcLocation::centre;
  std::optional<Quantity> energy, wavelength, distance, pixel_size, pixel_size_y, pixel_size_x, saturation, mask, probe,
      object, background;
  bool mask_good_is_zero = true;
  std::optional<Positions> positions;
  std::map<std::string, Quantity> metadata;
};

/// Parses a recipe; `source` names it in errors (`invalid_argument`, with line and nearest key).
Recipe parse(const std::string& text, const std::string& source);

/// A recipe of Farfield's own by its name, or a file. Throws `not_found` with the nearest name.
Recipe load(const std::string& name_or_path);
/// Shipped recipes whose `detect` paths are all in the file, in the order of their names.
std::vector<Recipe> fitting(const hdf5::File& file);

/// Reads a scan as the recipe says. Throws as open_scan().
ScanLayout read_layout(const hdf5::File& file, const Recipe& recipe);

}  // namespace farfield::io::recipe
