#pragma once
// The tables of this room. Only this room includes it.

#include <vector>

#include "farfield/store/database.hpp"

namespace farfield::services::auth {

const std::vector<store::Migration>& migrations();

}  // namespace farfield::services::auth
