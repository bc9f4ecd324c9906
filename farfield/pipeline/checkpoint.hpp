#pragma once
// Checkpoints on disk: the technique's blocks in an io container, with a header that says what they belong to.

#include <filesystem>
#include <map>
#include <string>

#include "farfield/io/container.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::pipeline {

/// What a checkpoint belongs to. Names of `facts`: "version", "instruction_set", "threads", "seed", "options" ...
struct CheckpointHeader {
  std::string technique, verb;
  std::string input_checksum;  ///< "": not known
  std::map<std::string, std::string> facts;
};

/// Saves the technique to `path`, replacing what is there; the old file stays until the new one is complete.
/// Throws `io`, `resource_exhausted`.
void write_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                      const technique::Technique& technique);

/// A checkpoint to restore from.
class CheckpointFile final : public technique::Source {
public:
  /// Throws `not_found`, `io`, `corrupt_data`.
  explicit CheckpointFile(const std::filesystem::path& path);

  const CheckpointHeader& header() const { return header_; }
  /// Throws `conflict` unless technique, verb and, where both are known, the checksum of the input agree.
  void require(const CheckpointHeader& wanted) const;

  std::vector<std::byte> get(std::string_view name) override { return reader_.get(prefixed(name)); }
  bool has(std::string_view name) const override { return reader_.has(prefixed(name)); }

private:
  static std::string prefixed(std::string_view name);
  std::filesystem::path path_;
  io::ContainerReader reader_;
  CheckpointHeader header_;
};

}  // namespace farfield::pipeline
