#pragma once
// Range requests (RFC 9110 section 14), one range of bytes: what resuming a transfer needs.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "farfield/net/message.hpp"

namespace farfield::net {

struct ByteRange {
  std::uint64_t offset = 0, length = 0;
  bool operator==(const ByteRange&) const = default;
};

/// The range that `field` ("bytes=100-199", "bytes=100-", "bytes=-100") selects of `size` bytes. nullopt: ignore it
/// and send everything (another unit, several ranges, malformed). `invalid_argument`: lies outside; answer 416.
core::Result<std::optional<ByteRange>> parse_range(std::string_view field, std::uint64_t size);

/// "bytes 100-199/1000"
std::string content_range(const ByteRange& range, std::uint64_t size);
/// Reads what content_range() writes; nullopt for anything else and for a range that is not inside its size.
struct ContentRange {
  ByteRange range;
  std::uint64_t size = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view field);

/// Answers 200, 206, 304 or 416 to a GET or HEAD of `size` bytes with the entity tag `etag` (quoted; empty: none):
/// Range, If-Range, If-None-Match. `open` is called with the range to send.
Response serve_range(const Request& request, std::uint64_t size, std::string_view etag, std::string_view media_type,
                     const std::function<std::unique_ptr<BodySource>(const ByteRange&)>& open);

/// Part of a file. Owns `descriptor`. A file that ends early is `io`: it was cut while it was read.
std::unique_ptr<BodySource> file_source(int descriptor, const ByteRange& range);
/// A string as a body that streams.
std::unique_ptr<BodySource> string_source(std::string text);

}  // namespace farfield::net
