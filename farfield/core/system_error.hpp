#pragma once
// errno -> Error, in one place.

#include <string>

#include "farfield/core/error.hpp"

namespace farfield::core {

/// "cannot write /a/b.cxi: No space left on device"; the code follows from `number` (ENOENT: not_found,
/// ENOSPC, EDQUOT, EFBIG: resource_exhausted, all else: io).
Error system_error(int number, const std::string& what);

}  // namespace farfield::core
