#include "farfield/core/system_error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace farfield::core {

Error system_error(int number, const std::string& what) {
  ErrorCode code = ErrorCode::io;
  if (number == ENOENT) code = ErrorCode::not_found;
  if (number == ENOSPC || number == EDQUOT || number == EFBIG) code = ErrorCode::resource_exhausted;
  return {code, fmt::format("{}: {}", what, std::strerror(number))};
}

}  // namespace farfield::core
