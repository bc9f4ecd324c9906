#pragma once
// NeXus files: NXmx (DECTRIS and others), NXdata with axes; see README.md in this folder.

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/stack_source.hpp"

namespace farfield::io::nexus {

/// True where a group of class NXentry, or named "entry", holds frames.
bool is_nexus(const hdf5::File& file);
ScanLayout read_layout(const hdf5::File& file);

}  // namespace farfield::io::nexus
