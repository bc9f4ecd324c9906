#include "farfield/services/compute/blocks/block.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {

using core::Error;
using core::ErrorCode;

std::string_view name_of(BlockState state) {
  constexpr std::string_view names[] = {"queued",    "running",   "done",      "failed",
                                        "cancelled", "timed out", "preempted", "lost"};
  return names[static_cast<int>(state)];
}

void validate(const BlockRequest& r) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::invalid_argument, what); };
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (r.name.empty() || r.name.size() > 64 || r.name.find_first_not_of(kName) != std::string::npos ||
      r.name[0] == '.' || r.name[0] == '-')
    refuse(fmt::format("block name \"{}\" must be 1 to 64 letters, digits, '-', '_' or '.'", r.name));
  if (r.command.empty() || r.command[0].empty()) refuse("a block needs a command");
  for (const std::string& argument : r.command)
    if (argument.find('\0') != std::string::npos) refuse("an argument must not hold a zero byte");
  for (const auto& [name, value] : r.environment) {
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    }) && !(name[0] >= '0' && name[0] <= '9');
    if (!plain) refuse(fmt::format("environment variable \"{}\" must be letters, digits and '_'", name));
    if (value.find('\0') != std::string::npos) refuse(fmt::format("value of {} must not hold a zero byte", name));
  }
  if (r.nodes < 1 || r.nodes > 100000) refuse(fmt::format("nodes {} must be 1 to 100000", r.nodes));
  if (r.cores < 0 || r.cores > 100000) refuse(fmt::format("cores {} must be 0 to 100000", r.cores));
  if (r.gpus < 0 || r.gpus > 1024) refuse(fmt::format("gpus {} must be 0 to 1024", r.gpus));
  if (!(r.walltime_s >= 1 && r.walltime_s <= 366 * 86400.0))
    refuse(fmt::format("walltime {} s must be 1 s to 366 days", r.walltime_s));
  std::error_code ignored;
  if (!std::filesystem::path(r.folder).is_absolute() || !std::filesystem::is_directory(r.folder, ignored))
    refuse(fmt::format("folder of a block must be an existing absolute path, got \"{}\"", r.folder));
  // Words of a scheduler go into its script: nothing that could end a line or begin another option.
  constexpr std::string_view kWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:+@";
  for (const auto& [what, word] : {std::pair{"partition", &r.partition}, std::pair{"account", &r.account},
                                   std::pair{"qos", &r.qos}, std::pair{"reservation", &r.reservation}})
    if (word->find_first_not_of(kWord) != std::string::npos)
      refuse(fmt::format("{} \"{}\" must be letters, digits and -_.,:+@", what, *word));
  for (const std::string& line : r.extra)
    if (!line.starts_with("#SBATCH ") || line.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos)
      refuse(fmt::format("extra line \"{}\" must be one line that begins with \"#SBATCH \"", line));
}

}  // namespace farfield::services::compute
