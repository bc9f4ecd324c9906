#pragma once
// The data of events, read in as few calls as their places allow.

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/io/xtc2/reader.hpp"
#include "farfield/pipeline/events/batch.hpp"

namespace farfield::pipeline::events {

struct FetchOptions {
  Index read_bytes = Index{16} << 20;  ///< at most at once, unless one datagram is larger
  Index gap_bytes = Index{64} << 10;   ///< read over such gaps (transitions, events that are not wanted)
  double patience_s = 60;              ///< for data that a growing file does not have yet
};

/// The bytes of a piece, or why there are none.
struct Fetched {
  std::span<const std::byte> bytes;
  std::string fault;
};

class Fetcher {
public:
  Fetcher(const FetchOptions& options, const core::Clock& clock, std::stop_token stop)
      : options_(options), clock_(clock), stop_(std::move(stop)) {}

  /// The pieces of one stream, in order, from the chunk `path`; out[i] is valid until forget(). Memory is taken only
  /// for bytes that the file has. A piece that is missing gives neither bytes nor fault. Throws `cancelled`.
  void fetch(const std::filesystem::path& path, std::span<const Piece> pieces, std::vector<Fetched>& out);
  /// Gives the memory of earlier calls free for reuse.
  void forget() { used_ = 0; }

  Index reads() const { return reads_; }  ///< calls so far
  Index bytes() const { return bytes_; }  ///< read so far, gaps included

private:
  struct File {
    io::xtc2::ReadSome read;
    Index known_bytes = 0;   ///< that are there for sure
    bool given_up = false;   ///< waited in vain once: not again
  };
  std::string open(const std::filesystem::path& path);
  static bool has_byte(const File& file, Index offset);
  bool reaches(const std::filesystem::path& path, Index end);
  std::span<std::byte> room(std::size_t bytes);

  FetchOptions options_;
  const core::Clock& clock_;
  std::stop_token stop_;
  std::map<std::filesystem::path, File> files_;
  std::set<std::filesystem::path> waited_for_;  // in vain
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
  std::vector<std::size_t> sizes_;
  std::size_t used_ = 0;
  Index reads_ = 0, bytes_ = 0;
};

}  // namespace farfield::pipeline::events
