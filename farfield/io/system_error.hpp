#pragma once
// errno -> Error, under the name that this room uses.

#include "farfield/core/system_error.hpp"

namespace farfield::io {
using core::system_error;
}  // namespace farfield::io
