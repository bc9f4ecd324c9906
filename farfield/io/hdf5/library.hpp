#pragma once
// Private to this folder: the library itself, its lock and its errors.

#include <hdf5.h>

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/core/error.hpp"
#include "farfield/io/hdf5/file.hpp"

namespace farfield::io::hdf5 {

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

/// Held around every call into the library (which has one global state). Recursive: wrappers call wrappers.
class Lock {
public:
  Lock();

private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// An Error with the innermost reason that the library recorded. A full disk becomes `resource_exhausted`,
/// any other refusal of the operating system `io`, all else `code`.
core::Error library_error(core::ErrorCode code, const std::string& what);

/// Takes an id, or throws library_error.
Handle own(std::int64_t id, core::ErrorCode code, const std::string& what);

/// Native type of an element in memory; complex numbers are pairs {r, i} as h5py has them.
Handle memory_type(core::DType type);

std::string place(const std::string& object, const std::string& file);

/// Reads a string of either kind through `read(memory type, buffer)`.
std::string read_string(hid_t type, hid_t space, const std::string& where,
                        const std::function<herr_t(hid_t, void*)>& read);
/// All strings (at most 10000 of at most 64 KiB); empty for what is no string.
std::vector<std::string> read_strings(hid_t type, hid_t space, const std::string& where,
                                      const std::function<herr_t(hid_t, void*)>& read);
/// A fixed-length UTF-8 string type that holds `text`.
Handle string_type(std::size_t bytes);

}  // namespace farfield::io::hdf5
