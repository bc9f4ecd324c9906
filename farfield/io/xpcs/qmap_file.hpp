#pragma once
// Q-maps and metadata of XPCS scans as APS 8-ID keeps them; see README.md in this folder.

#include <filesystem>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io::xpcs {

/// Puts the q-map of a file into `acquisition.inputs` as "qmap/<name>" (dynamic_roi_map, static_roi_map, mask, blemish
/// (y, x); dynamic_v_list_dim0 ..., index mappings; beam_center_y, beam_center_x in pixels, detector_distance,
/// pixel_size in m, energy in keV, as arrays of one number) and its words into `metadata` as "qmap/map_names",
/// "qmap/map_units", comma-separated. Distance, pixel size and energy become those of the acquisition where it has
/// none. The file is a q-map file (/qmap) or a result (/xpcs/qmap, or /xpcs/dqmap and /xpcs/sqmap).
/// Throws `not_found` where it holds no map, `corrupt_data` for maps that are no images, `io`.
void read_qmap(const std::filesystem::path& path, model::Acquisition& acquisition);

/// Puts what an 8-ID metadata file (or a result) says of the scan into `acquisition`: energy, distance, pixel size,
/// start_time, sample, experiment; metadata "frame_time_s" and "count_time_s". What is there already stays.
/// Throws `not_found` where the file holds nothing of it, `corrupt_data` for a time that is not > 0, `io`.
void read_metadata(const std::filesystem::path& path, model::Acquisition& acquisition);

/// Writes the datasets "qmap/..." of a product as a q-map file, whole or not at all.
/// Throws `invalid_argument` where the product has no "qmap/dynamic_roi_map"; `io`, `resource_exhausted`.
void write_qmap(const std::filesystem::path& path, const model::Product& product);

/// Within a file that is open. `group`: "/qmap" or "/xpcs/qmap". What the product does not know of bins (their
/// values) is written as their numbers, and of the geometry as NaN: readers of the layout need the entries.
void write_qmap_group(hdf5::File& file, const std::string& group, const model::Product& product);
/// Datasets "qmap/..." and the words (as provenance) of the map in `file`; nothing where it holds none.
void read_qmap_group(const hdf5::File& file, model::Product& product);
bool holds_qmap(const hdf5::File& file);

}  // namespace farfield::io::xpcs
