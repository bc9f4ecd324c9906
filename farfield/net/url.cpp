#include "farfield/net/url.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "farfield/net/headers.hpp"

namespace farfield::net {
namespace {
using core::ErrorCode;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

bool visible(char c) { return c > 32 && c < 127; }
}  // namespace

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : fmt::format("[{}]", host);
  return port == (secure ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::origin() const { return fmt::format("{}://{}", secure ? "https" : "http", authority()); }

core::Result<Url> parse_url(std::string_view text) {
  const auto fail = [&](std::string_view why) {
    return core::failure(ErrorCode::invalid_argument, fmt::format("URL {:?} {}", text.substr(0, 200), why));
  };
  Url url;
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return fail("has no scheme (http, https, ws or wss)");
  const std::string_view scheme = text.substr(0, scheme_end);
  if (equal_ignoring_case(scheme, "https") || equal_ignoring_case(scheme, "wss")) {
    url.secure = true;
  } else if (!equal_ignoring_case(scheme, "http") && !equal_ignoring_case(scheme, "ws")) {
    return fail("must begin with http, https, ws or wss");
  }
  if (!std::all_of(text.begin(), text.end(), visible)) return fail("holds blanks or control characters");
  if (text.find('#') != std::string_view::npos) return fail("must not have a fragment");
  std::string_view rest = text.substr(scheme_end + 3);
  const auto authority_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, authority_end);
  rest.remove_prefix(authority_end);
  if (authority.find('@') != std::string_view::npos) return fail("must not hold a user name");
  url.target = rest.empty() || rest.front() != '/' ? "/" + std::string(rest) : std::string(rest);

  std::string_view port;
  if (authority.starts_with('[')) {
    const auto bracket = authority.find(']');
    if (bracket == std::string_view::npos) return fail("has an address without its closing bracket");
    url.host = authority.substr(1, bracket - 1);
    const std::string_view after = authority.substr(bracket + 1);
    if (!after.empty() && after.front() != ':') return fail("has text after its address");
    if (!after.empty()) port = after.substr(1);
  } else {
    const auto colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  if (url.host.empty()) return fail("names no host");
  url.port = url.secure ? 443 : 80;
  if (!port.empty()) {
    const auto number = parse_number(port);
    if (!number || *number < 1 || *number > 65535) return fail("has a port that is not 1 to 65535");
    url.port = static_cast<std::uint16_t>(*number);
  }
  return url;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i] == '+' && plus_is_blank ? ' ' : text[i];
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (unreserved(c)) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

core::Result<QueryFields> parse_query(std::string_view text) {
  constexpr std::size_t kMaxFields = 1000;
  QueryFields fields;
  while (!text.empty()) {
    const auto end = std::min(text.find('&'), text.size());
    const std::string_view field = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (field.empty()) continue;
    if (fields.size() == kMaxFields)
      return core::failure(ErrorCode::invalid_argument, fmt::format("a query of more than {} fields", kMaxFields));
    const auto equals = std::min(field.find('='), field.size());
    auto name = percent_decode(field.substr(0, equals), true);
    auto value = percent_decode(field.substr(std::min(equals + 1, field.size())), true);
    if (!name || !value) return core::failure(ErrorCode::invalid_argument, "a query with a malformed %-escape");
    fields.emplace_back(std::move(*name), std::move(*value));
  }
  return fields;
}

std::string format_query(const QueryFields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out += '&';
    out += percent_encode(name) + '=' + percent_encode(value);
  }
  return out;
}

core::Result<Target> parse_target(std::string_view text) {
  const auto fail = [](std::string why) { return core::failure(ErrorCode::invalid_argument, std::move(why)); };
  if (!text.starts_with('/')) return fail("a request target must begin with \"/\"");
  Target target;
  const auto path_end = std::min(text.find('?'), text.size());
  std::string_view path = text.substr(1, path_end - 1);
  for (bool more = !path.empty(); more;) {
    const auto end = path.find('/');
    auto segment = percent_decode(path.substr(0, end));
    if (!segment) return fail("a path with a malformed %-escape");
    if (*segment == "." || *segment == "..") return fail("a path with a \".\" or \"..\" segment");
    if (segment->find('/') != std::string::npos || segment->find('\0') != std::string::npos)
      return fail("a path with \"/\" or NUL inside a segment");
    target.segments.push_back(std::move(*segment));
    more = end != std::string_view::npos;
    if (more) path.remove_prefix(end + 1);
  }
  if (path_end < text.size()) {
    auto query = parse_query(text.substr(path_end + 1));
    if (!query) return tl::unexpected(query.error());
    target.query = std::move(*query);
  }
  return target;
}

}  // namespace farfield::net
