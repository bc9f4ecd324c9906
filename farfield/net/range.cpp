#include "farfield/net/range.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "farfield/core/system_error.hpp"

namespace farfield::net {
namespace {
using core::ErrorCode;

class FileSource final : public BodySource {
public:
  FileSource(int descriptor, const ByteRange& range) : descriptor_(descriptor), at_(range.offset), left_(range.length) {
    ::posix_fadvise(descriptor_, static_cast<off_t>(range.offset), static_cast<off_t>(range.length),
                    POSIX_FADV_SEQUENTIAL);
  }
  ~FileSource() override { ::close(descriptor_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::size_t read(std::span<std::byte> into) override {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
    if (wanted == 0) return 0;
    ssize_t n = 0;
    do n = ::pread(descriptor_, into.data(), wanted, static_cast<off_t>(at_));
    while (n < 0 && errno == EINTR);
    if (n < 0) throw core::system_error(errno, "cannot read a file");
    if (n == 0) throw core::Error(ErrorCode::io, fmt::format("a file ended {} bytes early", left_));
    at_ += static_cast<std::uint64_t>(n);
    left_ -= static_cast<std::uint64_t>(n);
    return static_cast<std::size_t>(n);
  }

private:
  int descriptor_;
  std::uint64_t at_, left_;
};

class StringSource final : public BodySource {
public:
  explicit StringSource(std::string text) : text_(std::move(text)) {}
  std::size_t read(std::span<std::byte> into) override {
    const std::size_t n = std::min(into.size(), text_.size() - at_);
    if (n > 0) std::memcpy(into.data(), text_.data() + at_, n);
    at_ += n;
    return n;
  }

private:
  std::string text_;
  std::size_t at_ = 0;
};
}  // namespace

core::Result<std::optional<ByteRange>> parse_range(std::string_view field, std::uint64_t size) {
  using Range = std::optional<ByteRange>;
  const auto equals = field.find('=');
  if (equals == std::string_view::npos || !equal_ignoring_case(trimmed(field.substr(0, equals)), "bytes"))
    return Range();
  const std::string_view range = trimmed(field.substr(equals + 1));
  const auto dash = range.find('-');
  if (range.find(',') != std::string_view::npos || dash == std::string_view::npos) return Range();
  const auto first = parse_number(range.substr(0, dash)), last = parse_number(range.substr(dash + 1));
  const auto outside = [&] {
    return core::failure(ErrorCode::invalid_argument, fmt::format("range {} lies outside of {} bytes", range, size));
  };
  if (dash == 0) {  // the last bytes
    if (!last) return Range();
    if (*last == 0 || size == 0) return outside();
    const std::uint64_t length = std::min(*last, size);
    return Range(ByteRange{size - length, length});
  }
  if (!first || (!last && dash + 1 < range.size())) return Range();
  if (last && *last < *first) return Range();
  if (*first >= size) return outside();
  const std::uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return Range(ByteRange{*first, end - *first + 1});
}

std::string content_range(const ByteRange& range, std::uint64_t size) {
  return fmt::format("bytes {}-{}/{}", range.offset, range.offset + range.length - 1, size);
}

std::optional<ContentRange> parse_content_range(std::string_view field) {
  constexpr std::string_view kUnit = "bytes ";
  const auto dash = field.find('-'), slash = field.find('/');
  if (!field.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return std::nullopt;
  const auto first = parse_number(field.substr(kUnit.size(), dash - kUnit.size()));
  const auto last = parse_number(field.substr(dash + 1, slash - dash - 1));
  const auto size = parse_number(field.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{{*first, *last - *first + 1}, *size};
}

Response serve_range(const Request& request, std::uint64_t size, std::string_view etag, std::string_view media_type,
                     const std::function<std::unique_ptr<BodySource>(const ByteRange&)>& open) {
  const auto tagged = [&](Response response) {
    if (!etag.empty()) response.headers.add("ETag", std::string(etag));
    response.headers.add("Accept-Ranges", "bytes");
    return response;
  };
  const std::string* known = request.headers.find("If-None-Match");
  if (known != nullptr && !etag.empty() && *known == etag) {
    Response response;
    response.status = 304;
    return tagged(std::move(response));
  }
  const std::string* field = request.headers.find("Range");
  const std::string* only_if = request.headers.find("If-Range");
  std::optional<ByteRange> range;
  // A range of something that has changed since would be spliced into the wrong file.
  if (field != nullptr && (only_if == nullptr || (!etag.empty() && *only_if == etag))) {
    const auto parsed = parse_range(*field, size);
    if (!parsed) {
      Response response = Response::text(416, parsed.error().message() + "\n");
      response.headers.add("Content-Range", fmt::format("bytes */{}", size));
      return tagged(std::move(response));
    }
    range = *parsed;
  }
  const ByteRange sent = range.value_or(ByteRange{0, size});
  Response response = Response::stream(media_type, open(sent), sent.length);
  if (range) {
    response.status = 206;
    response.headers.add("Content-Range", content_range(sent, size));
  }
  return tagged(std::move(response));
}

std::unique_ptr<BodySource> file_source(int descriptor, const ByteRange& range) {
  return std::make_unique<FileSource>(descriptor, range);
}

std::unique_ptr<BodySource> string_source(std::string text) { return std::make_unique<StringSource>(std::move(text)); }

}  // namespace farfield::net
