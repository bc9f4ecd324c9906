#pragma once
// URLs (RFC 3986): origins of services, request targets, query strings. Everything here takes untrusted text.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::net {

/// http://host:port/target. The host is without brackets; the target begins with "/".
struct Url {
  bool secure = false;  ///< https or wss
  std::string host;
  std::uint16_t port = 0;
  std::string target = "/";

  /// "https://host:8443"; the port is left out where it is the scheme's own.
  std::string origin() const;
  /// "host:8443" as in the header field Host.
  std::string authority() const;
};

/// http, https, ws and wss; no user names, no fragments. `invalid_argument` says what is wrong.
core::Result<Url> parse_url(std::string_view text);

/// "%41" -> "A". nullopt for a malformed escape. `plus_is_blank`: as in forms and queries.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank = false);
/// Everything but unreserved characters escaped: safe as one path segment and as a query value.
std::string percent_encode(std::string_view text);

using QueryFields = std::vector<std::pair<std::string, std::string>>;
/// "a=1&b=%20" as in a query or in application/x-www-form-urlencoded. `invalid_argument`: malformed escapes, more
/// than 1,000 fields.
core::Result<QueryFields> parse_query(std::string_view text);
std::string format_query(const QueryFields& fields);

/// A request target in origin form, decoded.
struct Target {
  std::vector<std::string> segments;  ///< of the path; "/a/b" and "/a/b/" are {"a", "b"} and {"a", "b", ""}
  QueryFields query;
};
/// `invalid_argument` for a target that does not begin with "/", malformed escapes, "." or ".." as a segment, and
/// NUL or "/" inside a segment: no handler ever sees a path that leads elsewhere than it says.
core::Result<Target> parse_target(std::string_view text);

}  // namespace farfield::net
