#pragma once
// What the service keeps in files: archives of user code under the SHA-256 of their bytes, and outputs too large for a
// message. A file is there whole or not at all.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

constexpr long long kLargestArchive = 4LL << 30, kLargestOutput = 64LL << 30;  ///< bytes

/// Throws `io`.
void make_folders(const std::string& folder);

bool is_sha256(std::string_view text);  ///< 64 hexadecimal digits, lower case
std::string archive_path(const std::string& folder, const std::string& sha256);
bool has_archive(const std::string& folder, const std::string& sha256);
/// The same; and it counts as used now.
bool use_archive(const std::string& folder, const std::string& sha256);
/// Removes those that were neither received nor used for so long, but for `kept`. Returns what went.
std::vector<std::string> remove_archives(const std::string& folder, double unused_s, const std::set<std::string>& kept);

std::string output_path(const std::string& folder, const TaskKey& key);
/// {"$ref": "/api/v1/tasks/ID/output", "bytes": N}
std::string reference_to_output(const std::string& task, long long bytes);
/// The bytes, where `output` is such a reference of this task.
std::optional<long long> output_reference(const std::string& output, const std::string& task);
/// Size in bytes; nothing if it is not there.
std::optional<long long> output_size(const std::string& folder, const TaskKey& key);
/// Throws `not_found`, `io`.
std::string read_output(const std::string& folder, const TaskKey& key);

/// Removes outputs that came so long ago and whose task is not `known` any more. Returns the tasks.
std::vector<std::string> remove_outputs(const std::string& folder, double age_s,
                                        const std::function<bool(const std::string& task)>& known);

/// A file on its way in. Used by one thread at a time. Destroyed before commit(), nothing of it stays.
class IncomingFile {
public:
  /// Throws `io`.
  IncomingFile(const std::string& folder, long long most_bytes);
  ~IncomingFile();
  IncomingFile(const IncomingFile&) = delete;
  IncomingFile& operator=(const IncomingFile&) = delete;

  /// Throws `invalid_argument` beyond `most_bytes`, `resource_exhausted` (disk full), `io`.
  void write(std::span<const std::byte> bytes);
  long long size() const;
  /// SHA-256 of what was written, in hexadecimal digits.
  std::string sha256() const;
  /// Flushes to the disk and gives it its name, durably. Throws `resource_exhausted`, `io`.
  void commit(const std::string& path);

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::compute
