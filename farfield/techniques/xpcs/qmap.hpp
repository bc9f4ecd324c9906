#pragma once
// Which pixels are averaged together: the q-map of an XPCS analysis.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/model/acquisition.hpp"

namespace farfield::techniques::xpcs {

using core::Index;

/// Bins along one axis of the map (8-ID: `dim0`, `dim1`), e.g. q and phi.
struct QMapAxis {
  std::string name;  ///< "q", "phi", "x", "y" ...
  std::string unit;  ///< "1/A", "deg", "px" ...
};

/// Pixels belong to static bins (fine: the intensity is uniform within one) and static bins to dynamic bins (coarse:
/// the dynamics are uniform within one). Numbers begin at 1; 0: the pixel is not used.
struct QMap {
  core::Array<std::uint32_t, 2> dynamic_roi_map;  ///< (y, x)
  core::Array<std::uint32_t, 2> static_roi_map;   ///< (y, x); non-zero where dynamic_roi_map is
  core::Array<std::uint8_t, 2> mask;              ///< (y, x), 1: good; empty: all good. `blemish` is in it
  std::vector<QMapAxis> axes;                     ///< none, one or two

  /// Centres of the bins along each axis, and, for each occupied bin in order of its number, its flat index
  /// dim0 * (number of dim1 centres) + dim1. Empty where the file does not say.
  std::vector<double> dynamic_v_list[2], static_v_list[2];
  std::vector<Index> dynamic_index_mapping, static_index_mapping;

  std::optional<double> beam_center_y_px, beam_center_x_px, detector_distance_m, pixel_size_m, energy_eV;

  Index ny() const { return dynamic_roi_map.extent(0); }
  Index nx() const { return dynamic_roi_map.extent(1); }
  Index dynamic_bins() const;  ///< the highest number
  Index static_bins() const;
  /// Value of the first axis (q) for each dynamic bin, NaN where it is not known; length dynamic_bins().
  std::vector<double> q() const;
};

/// A q-map travels as inputs of an acquisition, named as in the 8-ID file: "qmap/dynamic_roi_map", "qmap/mask",
/// "qmap/dynamic_v_list_dim0", "qmap/beam_center_x" ... and its words as metadata: "qmap/map_names" and
/// "qmap/map_units", comma-separated. Whoever reads files puts them there; nothing else is needed to hand one over.
/// Throws `invalid_argument` where the acquisition has no q-map, and what validate() throws.
QMap qmap_from(const model::Acquisition& acquisition);
/// The other way: named arrays as above. Copies.
std::map<std::string, core::AnyArray> to_inputs(const QMap& map);
std::string axis_names(const QMap& map);  ///< "q,phi"
std::string axis_units(const QMap& map);

/// Throws `corrupt_data` for maps of different shapes, a map without a used pixel, bin numbers above the number of
/// pixels, lists that do not match their mapping. `context` names the file.
void validate(const QMap& map, const std::string& context);

/// The map as the arithmetic wants it: the used pixels in order of (static bin, pixel).
struct PixelOrder {
  std::vector<std::uint32_t> pixel;      ///< slot -> y * nx + x
  std::vector<std::uint32_t> slot;       ///< y * nx + x -> slot; kUnused where there is none
  std::vector<Index> first_slot;  ///< static bin s holds slots [first_slot[s - 1], first_slot[s]); size static + 1
  std::vector<std::uint32_t> dynamic_of;  ///< dynamic bin of static bin s at [s - 1]; 0: of none (an empty static bin)
  static constexpr std::uint32_t kUnused = 0xffffffffU;

  Index slots() const { return static_cast<Index>(pixel.size()); }
  Index static_bins() const { return static_cast<Index>(dynamic_of.size()); }
};
/// Drops pixels whose `mask` or detector `pixel_mask` (may be empty) says so. A static bin that reaches into several
/// dynamic bins belongs, with all its pixels, to the one that has most of them (the lower number when equal);
/// `straddling`, where given, is the number of such bins. Throws `corrupt_data` when no pixel is left, and for a mask
/// of another shape.
PixelOrder order_pixels(const QMap& map, core::View<const std::uint32_t, 2> pixel_mask, Index* straddling = nullptr);

}  // namespace farfield::techniques::xpcs
