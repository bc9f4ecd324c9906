#include "farfield/net/wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <utility>

#include "farfield/core/error.hpp"

namespace farfield::net {
namespace {
namespace http = boost::beast::http;
using boost::beast::error_code;
using core::ErrorCode;

/// Collects what Beast's parser finds. One of the two base classes is used.
template <bool is_request>
class Collector final : public http::basic_parser<is_request> {
public:
  std::string method, target;
  int status = 0, version = 11;
  Headers headers;
  std::string_view piece;

private:
  using View = boost::beast::string_view;
  static std::string text(View view) { return {view.data(), view.size()}; }

  void on_request_impl(http::verb, View method_text, View target_text, int v, error_code&) override {
    version = v;
    method = text(method_text);
    target = text(target_text);
  }
  void on_response_impl(int code, View, int v, error_code&) override {
    status = code;
    version = v;
  }
  void on_field_impl(http::field, View name, View value, error_code& error) override {
    try {
      headers.add(text(name), text(value));
    } catch (const core::Error&) {
      error = http::error::bad_value;
    }
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(View body, error_code&) override {
    piece = {body.data(), body.size()};
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, View, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View body, error_code&) override {
    piece = {body.data(), body.size()};
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
};

WireError describe(const error_code& error) {
  if (error == http::error::header_limit) return {431, "the header is longer than allowed"};
  if (error == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  return {400, fmt::format("malformed HTTP: {}", error.message())};
}
}  // namespace

struct MessageParser::Impl {
  // Exactly one is there.
  std::unique_ptr<Collector<true>> request;
  std::unique_ptr<Collector<false>> response;

  template <class F>
  auto visit(F f) const {
    return request ? f(*request) : f(*response);
  }
};

MessageParser::MessageParser(Kind kind, core::Index header_bytes) : impl_(std::make_unique<Impl>()) {
  if (kind == Kind::request) impl_->request = std::make_unique<Collector<true>>();
  else impl_->response = std::make_unique<Collector<false>>();
  impl_->visit([&](auto& parser) {
    parser.header_limit(static_cast<std::uint32_t>(std::clamp<core::Index>(header_bytes, 1, 1 << 30)));
    parser.body_limit(boost::none);  // kept by those who take the body
    if (kind == Kind::response_to_head) parser.skip(true);
  });
}
MessageParser::~MessageParser() = default;
MessageParser::MessageParser(MessageParser&&) noexcept = default;

MessageParser::Step MessageParser::put(std::string_view input) {
  try {
    return impl_->visit([&](auto& parser) {
      Step step;
      error_code error;
      parser.piece = {};
      step.used = parser.put(boost::asio::const_buffer(input.data(), input.size()), error);
      step.body = parser.piece;
      if (error == http::error::need_more) step.need_more = true;
      else if (error) step.error = describe(error);
      return step;
    });
  } catch (const core::Error&) {  // an assertion of Beast's; see asio/boost.cpp
    Step step;
    step.error = WireError{400, "malformed HTTP"};
    return step;
  }
}

std::optional<WireError> MessageParser::put_eof() {
  return impl_->visit([](auto& parser) -> std::optional<WireError> {
    // Beast asserts that there is a message to end.
    if (!parser.got_some()) return describe(http::error::end_of_stream);
    error_code error;
    parser.put_eof(error);
    if (error) return describe(error);
    return std::nullopt;
  });
}

bool MessageParser::started() const {
  return impl_->visit([](auto& parser) { return parser.got_some(); });
}
bool MessageParser::header_done() const {
  return impl_->visit([](auto& parser) { return parser.is_header_done(); });
}
bool MessageParser::done() const {
  return impl_->visit([](auto& parser) { return parser.is_done(); });
}
bool MessageParser::keep_alive() const {
  return impl_->visit([](auto& parser) { return parser.keep_alive(); });
}
bool MessageParser::upgrade() const {
  return impl_->visit([](auto& parser) { return parser.upgrade(); });
}
bool MessageParser::http_1_0() const {
  return impl_->visit([](auto& parser) { return parser.version < 11; });
}

std::optional<std::uint64_t> MessageParser::content_length() const {
  return impl_->visit([](auto& parser) -> std::optional<std::uint64_t> {
    if (const auto length = parser.content_length()) return *length;
    return std::nullopt;
  });
}

core::Result<Request> MessageParser::take_request() {
  auto& parser = *impl_->request;
  Request request;
  request.method = std::move(parser.method);
  request.target = std::move(parser.target);
  request.headers = std::move(parser.headers);
  const auto fail = [](std::string why) { return core::failure(ErrorCode::invalid_argument, std::move(why)); };
  const int hosts = request.headers.count("Host");
  if (hosts > 1 || (hosts == 0 && parser.version >= 11))
    return fail(fmt::format("a request has one Host field, this one {}", hosts));
  // Absolute form is for proxies, but every server has to take it (RFC 9112, 3.2.2).
  std::string_view target = request.target;
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const auto url = parse_url(target);
    if (!url) return tl::unexpected(url.error());
    request.target = url->target;
  }
  auto decoded = parse_target(request.target);
  if (!decoded) return tl::unexpected(decoded.error());
  request.decoded = std::move(*decoded);
  return request;
}

int MessageParser::status() const { return impl_->response->status; }
Headers MessageParser::take_headers() { return std::move(impl_->response->headers); }

namespace {
void append_fields(std::string& out, const Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (equal_ignoring_case(name, "Content-Length") || equal_ignoring_case(name, "Transfer-Encoding") ||
        equal_ignoring_case(name, "Connection"))
      continue;
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
  }
}
}  // namespace

std::string format_response_head(int status, const Headers& headers, std::optional<std::uint64_t> length, bool chunked,
                                 bool keep_alive) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  append_fields(out, headers);
  if (chunked) out += "Transfer-Encoding: chunked\r\n";
  else if (length) out += fmt::format("Content-Length: {}\r\n", *length);
  return out += keep_alive ? "\r\n" : "Connection: close\r\n\r\n";
}

std::string format_request_head(std::string_view method, std::string_view target, std::string_view authority,
                                const Headers& headers, std::optional<std::uint64_t> length, bool chunked) {
  std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", method, target, authority);
  append_fields(out, headers);
  if (chunked) out += "Transfer-Encoding: chunked\r\n";
  else if (length) out += fmt::format("Content-Length: {}\r\n", *length);
  return out += "\r\n";
}

std::string format_chunk_head(std::size_t bytes) { return fmt::format("{:x}\r\n", bytes); }

}  // namespace farfield::net
