#include "farfield/services/transfer/agent/batch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace farfield::services::transfer::wire {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kLongestHead = 32 << 10;  // a path of 4095 bytes, all of them escaped

FileHead file_head(const json& said) {
  FileHead head{text(said, "path"), version(member(said, "version")),
                static_cast<unsigned>(integer(said, "mode", 0, 0777)),
                static_cast<std::uint32_t>(integer(said, "crc32c", 0, std::numeric_limits<std::uint32_t>::max()))};
  if (head.version.size_bytes > kLargestStored)
    throw Error(ErrorCode::corrupt_data, fmt::format("a file of {} bytes among small ones; at most {}",
                                                     head.version.size_bytes, kLargestStored));
  return head;
}
}  // namespace

std::string format_batch(const std::vector<WholeFile>& files) {
  std::string body;
  std::size_t bytes = 0;
  for (const WholeFile& file : files) bytes += file.bytes.size() + 512;
  body.reserve(bytes);
  for (const WholeFile& file : files) {
    json head{
        {"path", file.path}, {"version", to_json(file.version)}, {"mode", file.mode & 0777U}, {"crc32c", file.crc32c}};
    head["version"]["size_bytes"] = file.bytes.size();
    body += head.dump();
    body += '\n';
    body.append(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  }
  return body;
}

void BatchParser::put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    std::size_t taken = 0;
    if (in_file_) {
      taken = std::min(left_, bytes.size());
      if (!passed_over_) bytes_.insert(bytes_.end(), bytes.begin(), bytes.begin() + static_cast<Index>(taken));
      left_ -= taken;
      if (left_ == 0) file_done();
    } else {
      const std::string_view seen(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      const auto newline = seen.find('\n');
      const auto part = seen.substr(0, newline);
      if (part.size() > kLongestHead - line_.size())
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("the head of file {} is longer than {} bytes", files_, kLongestHead));
      line_ += part;
      taken = part.size();
      if (newline != std::string_view::npos) {
        ++taken;
        head_done();
      }
    }
    bytes = bytes.subspan(taken);
  }
}

void BatchParser::head_done() {
  if (++files_ > kMostStored)
    throw Error(ErrorCode::corrupt_data, fmt::format("more than {} files in one request", kMostStored));
  head_ = file_head(parse(std::exchange(line_, {})));
  in_file_ = true;
  bytes_.clear();
  left_ = static_cast<std::size_t>(head_.version.size_bytes);
  passed_over_ = !begin_(head_);
  if (left_ == 0) file_done();
}

void BatchParser::file_done() {
  in_file_ = false;
  if (!passed_over_) whole_(head_, bytes_);
}

void BatchParser::end() const {
  if (in_file_ || !line_.empty())
    throw Error(ErrorCode::corrupt_data, fmt::format("the request ends within file {}", files_));
}

json to_json(const std::vector<Stored>& stored) {
  json files = json::array();
  for (const Stored& one : stored)
    files.push_back(one.error ? to_json(*one.error) : json{{"digests", to_json(one.digests)}});
  return {{"files", std::move(files)}};
}

std::vector<Stored> stored(const json& object, std::size_t files) {
  const json& said = member(object, "files");
  if (!said.is_array() || said.size() != files)
    throw Error(ErrorCode::corrupt_data, fmt::format("\"files\" must be an array of {}", files));
  std::vector<Stored> all;
  for (const json& one : said) {
    if (one.is_object() && one.contains("error")) all.push_back({{}, error(one.dump(), 500)});
    else all.push_back({digests(member(one, "digests")), {}});
  }
  return all;
}

}  // namespace farfield::services::transfer::wire
