#pragma once
// Where option values come from: flag > environment > configuration file > default.

#include <functional>
#include <optional>
#include <string>

#include "apps/farfield/command.hpp"
#include "apps/farfield/command_line.hpp"

namespace farfield::apps {

/// Reads an environment variable; std::nullopt: not set. Handed in, so that tests need not change theirs.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

/// "probe-modes" -> "FARFIELD_PROBE_MODES"
std::string environment_name(const std::string& option);

/// The values given anywhere, checked. Throws `invalid_argument` (naming the place), `not_found`, `corrupt_data`.
core::OptionValues resolve(const CommandLine& line, const Environment& environment);

/// As a TOML file that --config takes: given values, and the defaults as comments.
std::string to_toml(const Command& command, const core::OptionValues& given);

}  // namespace farfield::apps
