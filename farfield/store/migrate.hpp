#pragma once
// Numbered steps from no tables to today's. Only this room includes it.

#include <string>
#include <vector>

#include "farfield/store/database.hpp"

namespace farfield::store {

/// Throws `internal` for numbers that are not 1, 2, 3 ... or a service without a name.
void check_migrations(const std::string& service, const std::vector<Migration>& migrations);

/// What Database::migrate() says, inside a write.
void apply_migrations(Transaction& transaction, const std::string& service, const std::vector<Migration>& migrations);

}  // namespace farfield::store
