#include "farfield/pipeline/events/fetch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "farfield/io/xtc2/run_files.hpp"

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;
using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kMostOpenFiles = 256;
}

// Why the file cannot be read; empty: it can. A new chunk is announced before it is made, but not long before.
std::string Fetcher::open(const std::filesystem::path& path) {
  if (files_.contains(path)) return {};
  if (files_.size() >= kMostOpenFiles) files_.clear();
  constexpr double kNewChunk_s = 2;
  const double until_s = clock_.now_s() + std::min(options_.patience_s, kNewChunk_s);
  for (;;) {
    const auto present = xtc2::present_path(path);
    try {
      if (!present.empty()) {
        files_[path].read = xtc2::read_file_some(present);
        return {};
      }
    } catch (const Error& e) {
      files_.erase(path);
      if (e.code() != ErrorCode::not_found) return e.what();  // not found: renamed in between, looked for again
    }
    if (clock_.now_s() > until_s || waited_for_.contains(path)) {
      waited_for_.insert(path);
      return fmt::format("there is no file {}", path.filename().string());
    }
    if (stop_.stop_requested()) throw Error(ErrorCode::cancelled, "interrupted");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Whether the file has a byte at `offset` now. One that cannot be read (a folder, a bad disk) has none.
bool Fetcher::has_byte(const File& file, Index offset) {
  std::byte byte{};
  try {
    return file.read(offset, {&byte, 1}) == 1;
  } catch (const Error&) {
    return false;
  }
}

// Whether the file has its first `end` bytes; waits for them while it grows.
bool Fetcher::reaches(const std::filesystem::path& path, Index end) {
  File& file = files_[path];
  if (end <= file.known_bytes) return true;
  const double until_s = clock_.now_s() + options_.patience_s;
  for (;;) {
    const bool growing = xtc2::is_growing(path);
    if (has_byte(file, end - 1)) {
      file.known_bytes = end;
      return true;
    }
    if (!growing || file.given_up) return false;
    file.given_up = clock_.now_s() > until_s;
    if (stop_.stop_requested()) throw Error(ErrorCode::cancelled, "interrupted");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::span<std::byte> Fetcher::room(std::size_t bytes) {
  if (used_ == buffers_.size()) {
    buffers_.emplace_back();
    sizes_.push_back(0);
  }
  if (sizes_[used_] < bytes) {
    buffers_[used_] = std::make_unique_for_overwrite<std::byte[]>(bytes);
    sizes_[used_] = bytes;
  }
  return {buffers_[used_++].get(), bytes};
}

void Fetcher::fetch(const std::filesystem::path& path, std::span<const Piece> pieces, std::vector<Fetched>& out) {
  out.assign(pieces.size(), {});
  const auto wanted = [&](std::size_t i) { return pieces[i].size != 0 && pieces[i].size != kNoEntry; };
  const auto begin_of = [&](std::size_t i) { return static_cast<Index>(pieces[i].offset); };
  const auto end_of = [&](std::size_t i) { return static_cast<Index>(pieces[i].offset + pieces[i].size); };
  Index farthest = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (wanted(i)) farthest = std::max(farthest, end_of(i));
  const std::string unreadable = farthest > 0 ? open(path) : std::string();
  if (farthest > 0 && unreadable.empty()) {
    // Mostly all of it is there: one question for all pieces.
    File& file = files_[path];
    if (farthest > file.known_bytes && has_byte(file, farthest - 1)) file.known_bytes = farthest;
  }
  std::vector<std::size_t> group;
  for (std::size_t i = 0; i < pieces.size();) {
    if (pieces[i].size == kNoEntry) out[i].fault = "its index entry cannot be";
    if (!wanted(i)) {
      ++i;
      continue;
    }
    if (!unreadable.empty()) {
      out[i++].fault = unreadable;
      continue;
    }
    if (!reaches(path, end_of(i))) {
      out[i++].fault = "its data lie beyond the end of the file";
      continue;
    }
    group.assign(1, i);
    const Index begin = begin_of(i);
    Index end = end_of(i);
    for (++i; i < pieces.size(); ++i) {
      if (pieces[i].size == 0) continue;
      if (!wanted(i) || begin_of(i) < end || begin_of(i) > end + options_.gap_bytes ||
          end_of(i) > begin + options_.read_bytes || !reaches(path, end_of(i)))
        break;
      end = end_of(i);
      group.push_back(i);
    }
    const auto bytes = room(static_cast<std::size_t>(end - begin));
    Index got = 0;
    std::string fault;
    try {
      while (got < end - begin) {
        const Index n = files_[path].read(begin + got, bytes.subspan(static_cast<std::size_t>(got)));
        ++reads_;
        if (n == 0) break;
        got += n;
        bytes_ += n;
      }
    } catch (const Error& e) {
      fault = e.what();
    }
    for (const std::size_t k : group) {
      if (end_of(k) <= begin + got)
        out[k].bytes = bytes.subspan(static_cast<std::size_t>(begin_of(k) - begin), pieces[k].size);
      else out[k].fault = fault.empty() ? "its data lie beyond the end of the file" : fault;
    }
  }
}

}  // namespace farfield::pipeline::events
