#pragma once
// ptypy's prepared scans (.ptyd); see README.md in this folder.

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/stack_source.hpp"

namespace farfield::io::ptyd {

bool is_ptyd(const hdf5::File& file);
ScanLayout read_layout(const hdf5::File& file);

}  // namespace farfield::io::ptyd
