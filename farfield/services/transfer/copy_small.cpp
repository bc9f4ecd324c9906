#include "farfield/services/transfer/copy_small.hpp"

#include <algorithm>
#include <utility>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/log.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

/// The whole file, of one version. Empty where it is no longer what was listed; copy_file() sees to it.
std::optional<WholeFile> read_whole(Provider& from, const SmallFile& small) {
  const auto reader = from.open(small.source);
  const Entry& entry = reader->entry();
  if (entry.version.size_bytes != small.size_bytes) return {};
  WholeFile file{small.destination, entry.version, entry.mode, {}, 0};
  file.bytes.resize(static_cast<std::size_t>(small.size_bytes));
  const auto piece = static_cast<std::size_t>(reader->piece_bytes());
  for (std::size_t done = 0; done < file.bytes.size();) {
    const auto into = std::span(file.bytes).subspan(done, std::min(piece, file.bytes.size() - done));
    const Index got = reader->read(static_cast<Index>(done), into);
    if (got <= 0) return {};
    file.crc32c = codec::crc32c(into.first(static_cast<std::size_t>(got)), file.crc32c);
    done += static_cast<std::size_t>(got);
  }
  if (reader->version() != entry.version) return {};
  return file;
}

}  // namespace

bool goes_together(Index size_bytes, const CopyOptions& options) {
  return size_bytes <= std::min(kLargestStored, options.chunk_bytes);
}

std::vector<std::optional<CopyResult>> copy_small(Provider& from, const std::vector<SmallFile>& files, Provider& to,
                                                  const CopyOptions& options, const CopyContext& context) {
  std::vector<std::optional<CopyResult>> results(files.size());
  std::vector<WholeFile> whole;
  std::vector<std::size_t> numbers;  // of `whole`, in `files`
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (context.stop.stop_requested() ||
        (context.limit != nullptr && !context.limit->wait(files[i].size_bytes, context.stop)))
      throw Error(ErrorCode::cancelled, "the transfer was stopped");
    try {
      auto file = read_whole(from, files[i]);
      if (!file) continue;
      whole.push_back(std::move(*file));
      numbers.push_back(i);
    } catch (const Error& e) {
      if (core::traits(e.code()).retryable) break;  // a source that is away; else it is about this file alone
    }
  }
  if (whole.empty()) return results;
  std::vector<Stored> stored;
  try {
    stored = to.store(whole, options.sha256);
  } catch (const Error& e) {
    core::log(core::LogLevel::info, "transfer.small_files_one_by_one",
              {{"to", to.name()}, {"files", std::to_string(whole.size())}, {"reason", e.what()}});
    return results;
  }
  for (std::size_t i = 0; i < stored.size() && i < whole.size(); ++i) {
    const WholeFile& file = whole[i];
    const Digests& there = stored[i].digests;
    if (stored[i].error || there.crc32c != file.crc32c || there.size_bytes != file.version.size_bytes) continue;
    if (context.moved != nullptr) *context.moved += file.version.size_bytes;
    CopyResult& result = results[numbers[i]].emplace();
    result.source = file.version;
    result.digests = there;
    result.bytes_moved = file.version.size_bytes;
  }
  return results;
}

}  // namespace farfield::services::transfer
