#pragma once
// Rules of `farfield steer` from their TOML file (docs/reference/steer-rules.md).

#include <string>
#include <vector>

#include "farfield/pipeline/steering/steering.hpp"

namespace farfield::apps {

/// Throws `not_found`; `invalid_argument` with file and line for what is no rule.
std::vector<pipeline::Rule> read_rules(const std::string& path);
/// `source`: said in errors.
std::vector<pipeline::Rule> parse_rules(const std::string& text, const std::string& source);

}  // namespace farfield::apps
