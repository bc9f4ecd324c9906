#include "farfield/services/transfer/filter.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {
namespace {
constexpr std::size_t kLongest = 4095;
constexpr std::size_t kNone = std::string_view::npos;

/// Where to go on after a mismatch: the pattern behind a star, and how far the star has reached.
struct Star {
  std::size_t pattern = kNone, text = 0;
  bool whole_names = false;  ///< `**/` ends at a '/'
};

/// After a mismatch the last `*` takes one character more, and where it must not, the last `**`: never exponential.
bool glob(std::string_view pattern, std::string_view text) {
  Star one, two;
  std::size_t p = 0, t = 0;
  const auto rest = [&] { return pattern.substr(std::min(p, pattern.size())); };
  while (t < text.size()) {
    if (rest().starts_with("**")) {
      const bool whole_names = rest().starts_with("**/") && (t == 0 || text[t - 1] == '/');  // "**/x" is also "x"
      p += whole_names ? 3 : 2;
      two = {p, t, whole_names};
      one = {};
    } else if (rest().starts_with('*')) {
      one = {++p, t};
    } else if (p < pattern.size() && (pattern[p] == text[t] || (pattern[p] == '?' && text[t] != '/'))) {
      ++p;
      ++t;
    } else if (one.pattern != kNone && text[one.text] != '/') {
      p = one.pattern;
      t = ++one.text;
    } else if (two.pattern != kNone) {
      const std::size_t next = two.whole_names ? text.find('/', two.text) : two.text;
      if (next == kNone) return false;
      p = two.pattern;
      t = two.text = next + 1;
      one = {};
    } else {
      return false;
    }
  }
  return rest().find_first_not_of('*') == kNone;
}

bool any(const std::vector<std::string>& patterns, std::string_view path) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const auto& pattern) { return path_matches(pattern, path); });
}
}  // namespace

void check(const Filter& filter) {
  for (const auto* patterns : {&filter.include, &filter.exclude})
    for (const auto& pattern : *patterns)
      if (pattern.empty() || pattern.size() > kLongest)
        throw core::Error(core::ErrorCode::invalid_argument,
                          fmt::format("a filter pattern of {} characters; must be 1 to {}", pattern.size(), kLongest));
}

bool path_matches(std::string_view pattern, std::string_view path) {
  return glob(pattern, pattern.find('/') == kNone ? name_of(path) : path);
}

bool takes_file(const Filter& filter, std::string_view path) {
  return (filter.include.empty() || any(filter.include, path)) && !any(filter.exclude, path);
}

bool takes_folder(const Filter& filter, std::string_view path) { return !any(filter.exclude, path); }

}  // namespace farfield::services::transfer
