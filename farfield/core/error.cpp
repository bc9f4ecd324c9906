#include "farfield/core/error.hpp"

#include <array>

namespace farfield::core {
namespace {
constexpr std::array kTable{
    ErrorTraits{ErrorCode::invalid_argument, "invalid_argument", 2, 400, "ValueError", false},
    ErrorTraits{ErrorCode::not_found, "not_found", 10, 404, "FileNotFoundError", false},
    ErrorTraits{ErrorCode::unsupported, "unsupported", 1, 501, "NotImplementedError", false},
    ErrorTraits{ErrorCode::corrupt_data, "corrupt_data", 13, 422, "ValueError", false},
    ErrorTraits{ErrorCode::io, "io", 1, 500, "OSError", false},
    ErrorTraits{ErrorCode::resource_exhausted, "resource_exhausted", 1, 507, "MemoryError", false},
    ErrorTraits{ErrorCode::timeout, "timeout", 75, 504, "TimeoutError", true},
    ErrorTraits{ErrorCode::cancelled, "cancelled", 130, 499, "KeyboardInterrupt", false},
    ErrorTraits{ErrorCode::unauthenticated, "unauthenticated", 12, 401, "PermissionError", false},
    ErrorTraits{ErrorCode::forbidden, "forbidden", 12, 403, "PermissionError", false},
    ErrorTraits{ErrorCode::conflict, "conflict", 11, 409, "FileExistsError", false},
    ErrorTraits{ErrorCode::unavailable, "unavailable", 75, 503, "ConnectionError", true},
    ErrorTraits{ErrorCode::internal, "internal", 1, 500, "RuntimeError", false},
};
}  // namespace

const ErrorTraits& traits(ErrorCode code) {
  for (const auto& row : kTable)
    if (row.code == code) return row;
  return kTable.back();
}

void Error::compose() {
  text_ = message_;
  if (context_.empty()) return;
  text_ += " (";
  for (std::size_t i = 0; i < context_.size(); ++i) {
    if (i > 0) text_ += ", ";
    text_ += context_[i];
  }
  text_ += ")";
}

}  // namespace farfield::core
