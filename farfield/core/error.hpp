#pragma once
// Errors: one table decides exit code, HTTP status, Python exception and whether to try again.
// Thrown at API edges; Result<T> where failure is a normal outcome (time-out, bad frame).

#include <exception>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace farfield::core {

enum class ErrorCode {
  invalid_argument,   ///< a value that the caller chose is not allowed
  not_found,          ///< a file, dataset or name does not exist
  unsupported,        ///< well-formed, but not something this program can do
  corrupt_data,       ///< input that is damaged or contradicts itself
  io,                 ///< the operating system refused to read or write
  resource_exhausted, ///< memory or disk would not suffice
  timeout,
  cancelled,
  unauthenticated,
  forbidden,
  conflict,           ///< already exists, or was changed by somebody else
  unavailable,        ///< a peer is not reachable now
  internal,           ///< a bug in Farfield
};

/// What a code means outside: the one table for every interface.
struct ErrorTraits {
  ErrorCode code;
  std::string_view name;
  int exit_code;
  int http_status;
  std::string_view python_exception;
  bool retryable;
};
const ErrorTraits& traits(ErrorCode code);

/// Exit codes that are not errors of their own.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitPartial = 3;
inline constexpr int kExitNotConverged = 4;

/// `message` says what, which value, and what was allowed; each `context` says where, innermost first.
class Error : public std::exception {
public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) { compose(); }

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::vector<std::string>& context() const { return context_; }
  /// Adds where it happened, e.g. "/entry/data in scan_0042.h5".
  Error& at(std::string where) & {
    context_.push_back(std::move(where));
    compose();
    return *this;
  }
  Error&& at(std::string where) && {
    at(std::move(where));
    return std::move(*this);
  }
  /// message (context, context ...)
  const char* what() const noexcept override { return text_.c_str(); }

private:
  void compose();
  ErrorCode code_;
  std::string message_;
  std::vector<std::string> context_;
  std::string text_;
};

template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> failure(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}

/// The value, or the error thrown.
template <class T>
T value_or_throw(Result<T> result) {
  if (!result) throw std::move(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace farfield::core
