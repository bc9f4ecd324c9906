#pragma once
// Runs one caller's function on a connection. Only this room includes it.

#include <exception>
#include <functional>

#include "farfield/store/database.hpp"

namespace farfield::store {

/// change(transaction), where a statement that failed fails the change, also where the change caught the error:
/// PostgreSQL refuses further statements then, and SQLite shall not differ.
void run_change(Connection& connection, const Database::Change& change);

}  // namespace farfield::store
