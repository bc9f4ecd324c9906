#pragma once
// Between formats, streaming: no scan has to fit into memory.

#include <filesystem>
#include <stop_token>

#include "farfield/io/scan_file.hpp"

namespace farfield::io {

/// Converts a scan or a product; the format of `to` is its suffix. What `from` is, is detected by content.
/// - scan -> .cxi | .npz (tike layout) | .nxs (NXcxi_ptycho) | .ptyd
/// - product -> .cxi | .npz (object, probe, positions, cost) | .tif, .tiff (one file per image:
///   NAME_object_phase.tif, NAME_object_amplitude.tif, NAME_probe_<mode>_amplitude.tif)
/// Throws `unsupported` for another suffix, `invalid_argument` where the target needs what the source does
/// not record (tike's npz: positions in pixels or a geometry to compute them), `cancelled` when stopped,
/// and what open_scan(), read_product() and the writers throw.
void convert(const std::filesystem::path& from, const std::filesystem::path& to, const OpenOptions& options = {},
             std::stop_token stop = {});

}  // namespace farfield::io
