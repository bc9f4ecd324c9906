#pragma once
// Small files that appear whole or not at all, readable by their owner only.

#include <cstddef>
#include <string>
#include <string_view>

namespace farfield::services::compute {

/// Replaces `path` atomically and durably; mode 0600. Throws `io`, `resource_exhausted`.
void write_private(const std::string& path, std::string_view text);

/// Throws `not_found`, `io`, `corrupt_data` for more than `longest` bytes.
std::string read_small(const std::string& path, std::size_t longest);

}  // namespace farfield::services::compute
