// Any bytes as a request or, after a first byte that is odd, as a response; in pieces whose size the second byte
// gives. Then the head that was read is written again and must read the same.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "farfield/net/event_stream.hpp"
#include "farfield/net/range.hpp"
#include "farfield/net/wire.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const bool request = data[0] % 2 == 0;
  const std::size_t piece = std::size_t{data[1]} + 1;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  net::MessageParser parser(request ? net::MessageParser::Kind::request : net::MessageParser::Kind::response, 4096);
  std::string buffer;
  std::size_t fed = 0;
  bool taken = false;
  while (!parser.done()) {
    const auto step = parser.put(buffer);
    if (step.used > buffer.size() || step.body.size() > buffer.size()) std::abort();
    if (step.error) break;
    const bool stuck = step.need_more || step.used == 0;
    buffer.erase(0, step.used);
    if (parser.header_done() && !taken) {
      taken = true;
      if (request) {
        const auto head = parser.take_request();
        if (!head) break;
        for (const auto& segment : head->decoded.segments)
          if (segment == ".." || segment.find('/') != std::string::npos) std::abort();
        const std::string again =
            net::format_request_head(head->method, head->target, "host", head->headers, std::nullopt, false);
        if (again.find('\0') != std::string::npos && input.find('\0') == std::string::npos) std::abort();
        if (const auto* range = head->headers.find("Range")) (void)net::parse_range(*range, 1000);
      } else {
        const auto headers = parser.take_headers();
        if (const auto* range = headers.find("Content-Range")) (void)net::parse_content_range(*range);
      }
    }
    if (stuck && !parser.done()) {
      if (fed == input.size()) {
        (void)parser.put_eof();
        break;
      }
      const std::size_t n = std::min(piece, input.size() - fed);
      buffer += input.substr(fed, n);
      fed += n;
    }
  }
  (void)net::parse_url(input);
  try {
    net::EventParser events([](const net::Event& event) { (void)net::format_event(event); }, 4096);
    for (std::size_t at = 0; at < input.size(); at += piece) events.write(input.substr(at, piece));
  } catch (const core::Error&) {}
  return 0;
}
