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

/// `output` as it goes into a message: itself, or a note of the file that was written. Throws `invalid_argument` for
/// text that is not JSON, `io`.
std::string inline_output(std::string output, const std::string& block_folder, const TaskKey& key);

/// Size of the file that such a note stands for; nothing for any other output.
std::optional<std::uint64_t> noted_bytes(const std::string& output);

}  // namespace farfield::services::compute
