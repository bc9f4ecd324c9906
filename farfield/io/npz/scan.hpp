#pragma once
// Scans in tike's layout; see README.md in this folder.

#include <memory>

#include "farfield/io/npz/npy.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io::npz {

/// `checksum`: of the file the archive came from.
std::unique_ptr<model::FrameSource> open_tike(Npz archive, const std::string& checksum, const OpenOptions& options);

}  // namespace farfield::io::npz
