#pragma once
// Whole reads and writes at a place in a file.

#include <cstddef>
#include <span>
#include <string>

#include "farfield/core/view.hpp"

namespace farfield::services::transfer {

/// pread until `into` is full or the file ends; the number of bytes. `where` names the file in errors.
core::Index read_at(int file, core::Index offset, std::span<std::byte> into, const std::string& where);
/// pwrite of all bytes.
void write_at(int file, core::Index offset, std::span<const std::byte> bytes, const std::string& where);

}  // namespace farfield::services::transfer
