#pragma once
// HTTP/1.1 messages <-> bytes, without sockets: what server and client share and the fuzzer feeds.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "farfield/core/view.hpp"
#include "farfield/net/message.hpp"

namespace farfield::net {

/// What is wrong with a message, and the status that says so to a client.
struct WireError {
  int status = 400;
  std::string message;
};

/// Takes one message in pieces. Header fields are limited in total; the body is handed on piece by piece, uncopied.
class MessageParser {
public:
  enum class Kind { request, response, response_to_head };
  MessageParser(Kind kind, core::Index header_bytes);
  ~MessageParser();
  MessageParser(MessageParser&&) noexcept;

  struct Step {
    std::size_t used = 0;          ///< bytes of the input that are done with
    std::string_view body;         ///< body bytes in the input, if any
    bool need_more = false;        ///< the rest of the input is no whole element: come again with more behind it
    std::optional<WireError> error;
  };
  Step put(std::string_view input);
  /// The input has ended; an error where the message has not.
  std::optional<WireError> put_eof();

  bool started() const;      ///< at least one byte of the message was seen
  bool header_done() const;
  bool done() const;
  bool keep_alive() const;   ///< the connection can carry another message after this one
  bool upgrade() const;      ///< "Connection: upgrade"
  bool http_1_0() const;     ///< the sender knows no chunks
  /// Bytes of the body as announced; nullopt: in chunks, or until the connection ends.
  std::optional<std::uint64_t> content_length() const;

  /// After header_done(). The request's own checks: one Host, a target that parse_target() takes, no CONNECT.
  core::Result<Request> take_request();
  int status() const;
  Headers take_headers();

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Status line and fields, up to and with the empty line. The framing of the body is decided here alone: fields of
/// that kind among `headers` are left out. Neither `length` nor `chunked`: until the connection ends, or no body.
std::string format_response_head(int status, const Headers& headers, std::optional<std::uint64_t> length, bool chunked,
                                 bool keep_alive);
std::string format_request_head(std::string_view method, std::string_view target, std::string_view authority,
                                const Headers& headers, std::optional<std::uint64_t> length, bool chunked);
/// "1f4\r\n"; the data and "\r\n" follow.
std::string format_chunk_head(std::size_t bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace farfield::net
