#include "farfield/services/watch/scan_name.hpp"

#include <fmt/format.h>

#include <charconv>
#include <regex>

#include "farfield/core/error.hpp"

namespace farfield::services::watch {

struct ScanName::Pattern {
  std::regex regex;
};

ScanName::ScanName(const std::string& pattern) {
  const auto refuse = [&](const std::string& why) {
    return core::Error(core::ErrorCode::invalid_argument, fmt::format("scan pattern \"{}\" {}", pattern, why));
  };
  try {
    pattern_ =
        std::make_unique<const Pattern>(Pattern{std::regex(pattern, std::regex::ECMAScript | std::regex::optimize)});
  } catch (const std::regex_error& e) {
    throw refuse(fmt::format("is no regular expression: {}", e.what()));
  }
  if (pattern_->regex.mark_count() != 1)
    throw refuse(fmt::format("has {} groups; exactly one, the number of the scan", pattern_->regex.mark_count()));
}
ScanName::~ScanName() = default;

std::optional<core::Index> ScanName::id(const std::string& name) const {
  std::smatch match;
  if (name.size() > 255 || !std::regex_match(name, match, pattern_->regex)) return std::nullopt;
  const std::string digits = match[1].str();
  core::Index id = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc() || end != digits.data() + digits.size() || id < 0 || digits.size() > 18) return std::nullopt;
  return id;
}

}  // namespace farfield::services::watch
