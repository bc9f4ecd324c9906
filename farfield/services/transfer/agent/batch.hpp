#pragma once
// Many small files in the body of one request: of each a line of JSON ("head") and then its bytes. The agent takes it
// from the network, so whatever is not as it must be is an error.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/services/transfer/agent/wire.hpp"

namespace farfield::services::transfer::wire {

struct FileHead {
  std::string path;  ///< not checked
  Version version;   ///< its size is that of the bytes that follow
  unsigned mode = 0644;
  std::uint32_t crc32c = 0;
};

/// The body. Errors: none.
std::string format_batch(const std::vector<WholeFile>& files);

/// Reads a batch as it arrives, in pieces of any size, keeping one file at a time.
class BatchParser {
public:
  /// Called for each head, before the bytes; false: they are passed over.
  using Begin = std::function<bool(const FileHead& head)>;
  /// Called with all bytes of a file that was not passed over.
  using Whole = std::function<void(const FileHead& head, std::span<const std::byte> bytes)>;
  BatchParser(Begin begin, Whole whole) : begin_(std::move(begin)), whole_(std::move(whole)) {}

  /// Throws `corrupt_data` for what is no batch: a head of more than 32 KiB or without a member, a file of more than
  /// kLargestStored bytes, more than kMostStored files. After that nothing more may be put.
  void put(std::span<const std::byte> bytes);
  /// Throws `corrupt_data` where a head or a file is not all there.
  void end() const;

private:
  void head_done();
  void file_done();

  const Begin begin_;
  const Whole whole_;
  std::string line_;
  FileHead head_;
  std::vector<std::byte> bytes_;
  std::size_t left_ = 0, files_ = 0;
  bool in_file_ = false, passed_over_ = false;
};

/// The answer: of each file its digests or its error, in their order.
json to_json(const std::vector<Stored>& stored);
/// Throws `corrupt_data`, also where it is not about so many files.
std::vector<Stored> stored(const json& object, std::size_t files);

}  // namespace farfield::services::transfer::wire
