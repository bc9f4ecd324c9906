// Any bytes as a batch of small files, in pieces whose size the first byte gives. Whatever its pieces are, a batch is
// read the same; files that are told have the size that their head says; what is read is written and read again.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "farfield/codec/checksum.hpp"
#include "farfield/services/transfer/agent/batch.hpp"

using namespace farfield::services::transfer;

namespace {
std::optional<std::vector<WholeFile>> read(std::span<const std::byte> body, std::size_t piece) {
  std::vector<WholeFile> files;
  wire::BatchParser parser(
      [](const wire::FileHead& head) { return head.path != "passed over"; },
      [&](const wire::FileHead& head, std::span<const std::byte> bytes) {
        if (std::ssize(bytes) != head.version.size_bytes || std::ssize(bytes) > kLargestStored) std::abort();
        files.push_back({head.path, head.version, head.mode, {bytes.begin(), bytes.end()}, head.crc32c});
      });
  try {
    for (std::size_t at = 0; at < body.size(); at += piece)
      parser.put(body.subspan(at, std::min(piece, body.size() - at)));
    parser.end();
  } catch (const farfield::core::Error&) {
    return {};
  }
  if (files.size() > kMostStored) std::abort();
  return files;
}

bool same(const std::vector<WholeFile>& a, const std::vector<WholeFile>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const WholeFile& x, const WholeFile& y) {
    return x.path == y.path && x.version == y.version && x.mode == y.mode && x.crc32c == y.crc32c && x.bytes == y.bytes;
  });
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto body = std::as_bytes(std::span(data + 1, size - 1));
  const auto at_once = read(body, body.size() + 1), in_pieces = read(body, std::size_t{data[0]} + 1);
  if (at_once.has_value() != in_pieces.has_value()) std::abort();
  if (!at_once) return 0;
  if (!same(*at_once, *in_pieces)) std::abort();
  const std::string again = wire::format_batch(*at_once);
  const auto read_again = read(std::as_bytes(std::span(again)), again.size() + 1);
  if (!read_again || !same(*at_once, *read_again)) std::abort();
  return 0;
}
