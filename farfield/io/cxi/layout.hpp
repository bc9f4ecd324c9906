#pragma once
// Paths and conventions of CXI 1.6 files (Maia, Nature Methods 9, 854 (2012), doi:10.1038/nmeth.2110);
// README.md in this folder says how they are read and written.

#include <array>
#include <cstdint>
#include <string>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/stack_source.hpp"

namespace farfield::io::cxi {

inline constexpr std::int32_t kVersion = 160;

/// Directions in which row and column index of the detector grow, in the laboratory system of CXI (z along
/// the beam, y up, right-handed: x points left for who looks along the beam). Unit vectors.
struct Basis {
  std::array<double, 3> row{0, -1, 0}, column{-1, 0, 0};
};

/// Window position on the object of a sample that was moved by `translation` (m): the window moves the other
/// way, and the object's axes are those of the detector: position = -translation . direction.
struct Position {
  double y = 0, x = 0;
};
Position position_of(const std::array<double, 3>& translation, const Basis& basis);
/// The translation in the plane of the two directions that has this position (basis: orthonormal).
std::array<double, 3> translation_of(const Position& position, const Basis& basis);

/// Bits of a CXI mask <-> bits of a NeXus pixel_mask.
std::uint32_t nexus_bits(std::uint32_t cxi);
std::uint32_t cxi_bits(std::uint32_t nexus);

/// True for a file with a CXI entry (cxi_version, or entry_1).
bool is_cxi(const hdf5::File& file);
/// Reads entry `entry` ("/entry_1"); frames may be absent in none. Throws as open_scan().
ScanLayout read_layout(const hdf5::File& file, const std::string& entry);
/// The first entry that has frames; throws `not_found`.
std::string scan_entry(const hdf5::File& file);

}  // namespace farfield::io::cxi
