#pragma once
// The outcome of an analysis: arrays with names, units and axes, numbers, and where they come from.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::model {

/// An array that is made while it is written, because all of it would not fit the memory.
struct RowSource {
  virtual ~RowSource() = default;
  virtual core::DType dtype() const = 0;
  virtual const std::vector<core::Index>& shape() const = 0;
  /// Elements [first, first + count) of the first axis, whole and without gaps, to `out`. One thread at a time; fast
  /// where they are asked for in order.
  virtual void read(core::Index first, core::Index count, void* out) const = 0;
};

struct Dataset {
  std::string name;                ///< "object", "probe", "positions", "cost", "g2" ...
  core::AnyArray data;
  std::string unit{};              ///< "" where it has none
  std::vector<std::string> axes{}; ///< slow -> fast: {"y","x"}, {"mode","y","x"}, {"iteration"} ...
  std::string help{};              ///< one line for a reader of the file
  /// How to draw it, where type and axes do not say enough: "none", "log" (logarithmic scale), "abscissa" (the x
  /// values of the curves over the same axis), "abscissa-log" (the same, on a logarithmic axis), "curves" (one curve
  /// for each index of the second axis), "error" (error bars of the curves of the same axes), "image" (whatever its two
  /// axes are called; the first grows upwards), "valid" (u8, 1 = good: covers the other images of its shape), "weight"
  /// (how much each pixel of the other images of its shape was measured).
  std::string draw{};
  /// In place of `data`, which is then empty: what writes files asks for it piece by piece, all else passes over it.
  std::shared_ptr<const RowSource> rows{};
};

struct Product {
  std::string technique;  ///< "ptychography"
  std::string verb;  ///< "reconstruct"
  std::vector<Dataset> datasets;
  std::map<std::string, double> metrics;  ///< final_cost, iterations ...
  std::map<std::string, std::string> provenance;  ///< options (JSON), version, instruction_set, input, seed ...
  std::optional<double> pixel_size_y_m, pixel_size_x_m;  ///< of real-space images, where known
  std::optional<double> energy_eV;

  const Dataset* find(std::string_view name) const {
    for (const auto& d : datasets)
      if (d.name == name) return &d;
    return nullptr;
  }
};

}  // namespace farfield::model
