#pragma once
// Ptychography results of other programs, as far as they can be compared with ours.

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/npz/npy.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io {

/// tike and others: object (or psi), probe, scan.
model::Product read_npz_product(const npz::Npz& archive);
/// CXI images, PyNX, ptypy's .ptyr, plain HDF5 with `object` and `probe`, and the truth inside a simulated
/// scan. Throws `unsupported` where none of them is found.
model::Product read_hdf5_product(const hdf5::File& file);

}  // namespace farfield::io
