#pragma once

#include "farfield/core/pixel_count.hpp"

namespace farfield::model {

using core::PixelCount;

}  // namespace farfield::model
