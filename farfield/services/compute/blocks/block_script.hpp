#pragma once
// The job script of a block and what it leaves in the block's folder: NAME.sh itself, NAME.out (output of everything),
// NAME.pid (the process that runs the script) and, last, NAME.exit (the exit code). For providers only.

#include <optional>
#include <string>
#include <vector>

#include "farfield/services/compute/blocks/block.hpp"

namespace farfield::services::compute {

struct BlockFiles {
  std::string base;  ///< folder/NAME
  std::string script() const { return base + ".sh"; }
  std::string output() const { return base + ".out"; }
  std::string pid() const { return base + ".pid"; }
  std::string exit() const { return base + ".exit"; }
};
BlockFiles files_of(const BlockRequest&);

/// Writes the script, durably. `header` are lines after the first, `launcher` words before the command. TERM that the
/// script gets is passed on to the command, whose exit code is noted; 124 when it ended badly after `walltime_s` (0:
/// somebody else keeps the time). Throws `conflict` if the script is there already.
void write_script(const BlockRequest&, const std::vector<std::string>& header, const std::vector<std::string>& launcher,
                  double walltime_s = 0);

/// Content of NAME.exit or NAME.pid, once it is there.
std::optional<int> read_number(const std::string& path);

/// `first` + ":" + base, and its parts: throws `not_found` for a text that is none.
struct BlockId {
  std::string first, base;
};
BlockId parse_id(const std::string& id);

}  // namespace farfield::services::compute
