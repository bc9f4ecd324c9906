#pragma once
// What one of several servers has gathered, on its way into the result: rows in the order of time, one message after
// the other, each behind its size (u64). Only ranks of one run read what others of it have written.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>

#include "farfield/pipeline/events/batch.hpp"

namespace farfield::pipeline::events {

/// Where server number `place` gathers for a result.
std::filesystem::path part_path(const std::filesystem::path& result, std::size_t place);

class PartWriter {
public:
  /// Throws `io`, also from append() and hand_over().
  explicit PartWriter(std::filesystem::path path);
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;
  /// Removes the file unless it was handed over.
  ~PartWriter();

  void append(const Rows& rows);
  /// All is written; the first server removes it.
  void hand_over();

private:
  void check(const char* what) const;
  std::filesystem::path path_;
  std::ofstream file_;
  bool handed_over_ = false;
};

class PartReader {
public:
  /// Throws `io`, also from next(), and from there `corrupt_data` where the file ends within a message.
  explicit PartReader(std::filesystem::path path);

  /// What comes next; nothing at the end.
  const std::optional<Rows>& head() const { return head_; }
  void next();

private:
  std::filesystem::path path_;
  std::ifstream file_;
  std::uint64_t left_ = 0;
  std::optional<Rows> head_;
};

}  // namespace farfield::pipeline::events
