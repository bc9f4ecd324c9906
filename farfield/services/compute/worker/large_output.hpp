#pragma once
// Outputs that are too large for a message stay in a file of the block's folder; the endpoint takes them to the
// service.

#include <cstdint>
#include <optional>
#include <string>

#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

/// In the folder of a block.
std::string large_output_path(const std::string& block_folder, const TaskKey& key);

/// Without spaces. Throws `invalid_argument` for text that is not JSON.
std::string compact_output(std::string output);
/// Of such an output: does not go into a message, or looks like a note.
bool is_large(const std::string& output);
/// Writes it to its file. Returns the note that goes into the message. Throws `io`.
std::string put_aside(const std::string& output, const std::string& block_folder, const TaskKey& key);

/// Size of the file that such a note stands for; nothing for any other output.
std::optional<std::uint64_t> noted_bytes(const std::string& output);

}  // namespace farfield::services::compute
