// The bodies of Asio and Beast, compiled once.

#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>

#include <fmt/format.h>

#include "farfield/core/error.hpp"

// Malformed chunks can make Beast 1.81's parser assert (and, where assertions are off, read beyond its input). What an
// assertion stops here ends one connection, not the process.
namespace boost {
void assertion_failed(char const* expression, char const* function, char const* /*file*/, long line) {
  throw farfield::core::Error(farfield::core::ErrorCode::internal,
                              fmt::format("assertion {} of {}, line {}", expression, function, line));
}
void assertion_failed_msg(char const* expression, char const* /*message*/, char const* function, char const* file,
                          long line) {
  assertion_failed(expression, function, file, line);
}
}  // namespace boost
