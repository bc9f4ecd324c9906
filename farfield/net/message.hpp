#pragma once
// Requests and responses as handlers see them. Bodies are strings where they are small, and otherwise stream
// through BodySource (bytes out) and Upload (bytes in), so that memory stays bounded whatever their size.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/net/headers.hpp"
#include "farfield/net/url.hpp"

namespace farfield::net {

class EventStream;

/// Where the bytes of a body come from. Used by one thread at a time.
struct BodySource {
  virtual ~BodySource() = default;
  /// Fills the front of `into`; returns how many bytes, 0 at the end. May throw core::Error: the message is then cut
  /// off and its connection closed, which tells the receiver.
  virtual std::size_t read(std::span<std::byte> into) = 0;
};

/// Where the bytes of a received body go. Used by one thread at a time.
struct BodySink {
  virtual ~BodySink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
};

struct Request {
  std::string method;  ///< "GET"
  std::string target;  ///< as sent: "/scans/scan%20100?limit=5"
  Target decoded;
  Headers headers;
  std::string body;    ///< empty for an upload, whose bytes go to its sink
  std::map<std::string, std::string> parameters;  ///< of the route: {id} -> "scan 100"
  std::string route;   ///< the pattern that matched: "/scans/{id}"
  std::string client;  ///< address of the peer
  bool secure = false; ///< came over TLS

  /// A path parameter; `internal` if the route has none of that name.
  const std::string& parameter(const std::string& name) const;
  /// A query field; null: not given. The first one counts.
  const std::string* query(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  std::unique_ptr<BodySource> source;     ///< in place of `body`
  std::optional<std::uint64_t> length;    ///< of `source` in bytes; unknown: sent in chunks
  std::shared_ptr<EventStream> events;    ///< in place of `body`: server-sent events until it is closed

  static Response text(int status, std::string text);
  static Response of(int status, std::string_view media_type, std::string body);
  static Response stream(std::string_view media_type, std::unique_ptr<BodySource> source,
                         std::optional<std::uint64_t> length = {});
  static Response event_stream(std::shared_ptr<EventStream> events);
};

/// Receives the body of one upload, then answers. write() and finish() may block (a disk) and throw core::Error,
/// which becomes the response; destroyed without finish(), the upload was broken off.
struct Upload : BodySink {
  virtual Response finish() = 0;
};

/// "text/plain" and the error's message, with the status of docs/reference/errors.md.
Response plain_error(const core::Error& error);

}  // namespace farfield::net
