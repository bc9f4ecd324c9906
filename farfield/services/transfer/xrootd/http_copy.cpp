#include "farfield/services/transfer/xrootd/http_copy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "farfield/core/error.hpp"
#include "farfield/net/headers.hpp"
#include "farfield/net/url.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

constexpr std::size_t kLongestLine = 64 << 10, kMostStripes = 1024, kLongestReason = 500;

/// "Stripe Index: 3" -> 3 for the name "Stripe Index".
std::optional<Index> number_of(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || !net::equal_ignoring_case(line.substr(0, name.size()), name) ||
      line[name.size()] != ':')
    return std::nullopt;
  const auto number = net::parse_number(net::trimmed(line.substr(name.size() + 1)));
  if (!number || *number > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()))
    throw Error(ErrorCode::corrupt_data, fmt::format("a performance marker says {:?}", line.substr(0, 200)));
  return static_cast<Index>(*number);
}

/// What a server says, for a message: one line of bounded length, and no token that it repeats.
std::string reason_from(std::string_view text) {
  std::string reason(net::trimmed(text.substr(0, std::min(text.find_first_of("\r\n"), kLongestReason))));
  for (const char* secret : {"authz=", "Bearer "})
    if (const auto at = reason.find(secret); at != std::string::npos) reason.resize(at);
  for (char& c : reason)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return reason.empty() ? "no reason given" : reason;
}

}  // namespace

void CopyMarkers::write(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    rest_ += text.substr(0, end);
    text.remove_prefix(end + 1);
    if (rest_.size() <= kLongestLine) line(rest_);
    else break;
    rest_.clear();
  }
  rest_ += text;
  if (rest_.size() > kLongestLine) throw Error(ErrorCode::corrupt_data, "a performance marker without an end");
}

void CopyMarkers::end() { line(std::exchange(rest_, {})); }

void CopyMarkers::line(std::string_view text) {
  text = net::trimmed(text);
  const auto begins = [&](std::string_view word) {
    return net::equal_ignoring_case(text.substr(0, word.size()), word);
  };
  if (const auto stripe = number_of(text, "Stripe Index")) stripe_ = *stripe;
  else if (const auto moved = number_of(text, "Stripe Bytes Transferred")) stripe_bytes_ = *moved;
  else if (begins("Perf Marker")) stripe_ = stripe_bytes_ = 0;
  else if (begins("success")) outcome_ = "";
  else if (begins("failure")) outcome_ = reason_from(text.substr(std::min(text.find(':'), text.size() - 1) + 1));
  else if (net::equal_ignoring_case(text, "End")) {
    if (stripes_.size() >= kMostStripes && !stripes_.contains(stripe_))
      throw Error(ErrorCode::corrupt_data, fmt::format("performance markers of more than {} stripes", kMostStripes));
    Index& known = stripes_[stripe_];
    if (stripe_bytes_ <= known) return;  // they come in any order
    if (stripe_bytes_ - known > std::numeric_limits<Index>::max() - bytes_)
      throw Error(ErrorCode::corrupt_data, "performance markers of more bytes than there are");
    bytes_ += stripe_bytes_ - known;
    known = stripe_bytes_;
    if (moved_) moved_(bytes_);
  }
}

std::optional<std::string> copy_by_http(net::Client& destination, const std::string& target, const std::string& token,
                                        const HttpAddress& source, const std::function<void(Index)>& moved,
                                        const std::stop_token& stop) {
  net::ClientRequest request{.method = "COPY", .target = target};
  request.headers.set("Source", source.url);
  request.headers.set("Credential", "none");  // tokens, and no delegated certificate
  request.headers.set("Overwrite", "T");
  if (!token.empty()) request.headers.set("Authorization", "Bearer " + token);
  if (!source.token.empty()) request.headers.set("TransferHeaderAuthorization", "Bearer " + source.token);
  CopyMarkers markers(moved);
  // A server may repeat what it was sent, in any form.
  const auto without_tokens = [&](std::string text) {
    for (const std::string* secret : {&token, &source.token})
      for (auto at = secret->empty() ? std::string::npos : text.find(*secret); at != std::string::npos;
           at = text.find(*secret, at))
        text.replace(at, secret->size(), "...");
    return reason_from(text);
  };
  const auto response = destination.send(request, markers, stop);
  if (!response.ok()) {
    Error said = net::status_error(response, "COPY");
    const std::string reason = without_tokens(said.message());
    if (said.code() == ErrorCode::unavailable || said.code() == ErrorCode::timeout)
      throw Error(said.code(), reason).at(destination.origin());
    return reason;
  }
  markers.end();
  // 201 Created without a body is how a server says that it was done at once.
  if (!markers.outcome() && response.status == 201) return std::nullopt;
  if (!markers.outcome())
    throw Error(ErrorCode::unavailable, "the answer to COPY ended before the copy did").at(destination.origin());
  if (markers.outcome()->empty()) return std::nullopt;
  return without_tokens(*markers.outcome());
}

std::string url_path(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const auto slash = path.find('/');
    out += net::percent_encode(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    out += '/';
    path.remove_prefix(slash + 1);
  }
  return out;
}

}  // namespace farfield::services::transfer
