#pragma once
// Messages on disk between a detector that is fast and a consumer that is slow, or dies and comes back.
//
// A folder of segments, each a row of records: header (magic, number of parts, bytes, two CRC-32C), lengths of the
// parts, parts; little-endian. A file says up to where messages are no longer needed. What was appended survives the
// process, not a power failure: records are not flushed to the disk one by one.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "farfield/stream/feed.hpp"

namespace farfield::stream {

struct SpoolOptions {
  Index most_bytes = Index{16} << 30;     ///< on disk
  Index segment_bytes = Index{64} << 20;  ///< a segment that has reached this is followed by another
};

/// First in, first out. For one thread at a time.
class Spool {
public:
  /// Makes the folder where there is none. What an earlier process appended and did not release is unread again; a
  /// record that it did not complete is gone. Throws `conflict` where another process uses the folder,
  /// `invalid_argument`, `io`.
  Spool(std::filesystem::path folder, const SpoolOptions& options = {});
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  /// False: there is no room, nothing was written. Segments that were read and not released make room, oldest first: a
  /// consumer that dies now would miss them, one that lives has them. Throws `io`, `resource_exhausted`.
  bool append(const Envelope& message);
  /// The next unread message; false where there is none. Throws `corrupt_data` for one that is damaged, which is
  /// passed over then.
  bool next(Envelope& message);
  /// All that was read, but for the last `but` messages, is not needed any more.
  void release(std::size_t but = 0);

  Index unread() const { return unread_; }
  Index bytes() const;  ///< on disk
  Index forgotten() const { return forgotten_; }  ///< segments that made room before they were released

private:
  struct Segment {
    std::int64_t number = 0;
    Index bytes = 0;
    int descriptor = -1;
  };
  struct Place {
    std::int64_t segment = 0;
    Index offset = 0;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  std::filesystem::path path_of(std::int64_t segment) const;
  void open_segment(std::int64_t number, bool fresh);
  Index whole_records(Segment& segment);
  void remove_front();
  void remove_released();
  void write_cursor() const;
  Place read_cursor() const;

  std::filesystem::path folder_;
  SpoolOptions options_;
  int lock_ = -1;
  std::deque<Segment> segments_;  // in order of their numbers; the last one is appended to
  Place reading_, released_;
  std::deque<Place> read_;  // where messages that were read and not released begin
  Index unread_ = 0, forgotten_ = 0;
};

/// A feed whose messages go through a spool: taken as fast as they come, handed out as they are asked for. Where the
/// spool is full, the source waits.
class SpoolFeed final : public Feed {
public:
  /// `source` outlives this and is used by its thread only.
  SpoolFeed(Feed& source, std::filesystem::path folder, const SpoolOptions& options = {});
  ~SpoolFeed() override;
  FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) override;
  std::string name() const override { return source_.name(); }

  /// As Spool::release(): when the result of what was read stands.
  void release(std::size_t but = 0);
  Index unread() const;

private:
  void run(std::stop_token stop);

  Feed& source_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  Spool spool_;
  bool ended_ = false;
  std::exception_ptr error_;
  std::jthread thread_;
};

}  // namespace farfield::stream
