#pragma once
// Archives of user code: tar (ustar, pax, GNU names) in Zstandard. Outside bytes: every path is checked, nothing is
// written but below the target.

#include <string>

#include "farfield/core/view.hpp"

namespace farfield::services::compute {

struct UnpackLimits {
  core::Index bytes = core::Index{16} << 30;  ///< of all files, unpacked
  core::Index entries = 1'000'000;
};

/// Unpacks `archive` (".tar.zst") to the folder `target`, which must not exist yet: it appears complete or not at all.
/// Regular files (of their mode only the owner's execute bit counts), folders and symbolic links that stay inside.
/// Throws `corrupt_data` (damaged, an absolute path, "..", a device, a link that leads out), `invalid_argument`
/// (beyond the limits), `conflict` if the target is there, `not_found`, `io`.
void unpack(const std::string& archive, const std::string& target, const UnpackLimits& limits = {});

}  // namespace farfield::services::compute
