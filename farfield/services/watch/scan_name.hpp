#pragma once
// Which names are scans, and their numbers.

#include <memory>
#include <optional>
#include <string>

#include "farfield/core/view.hpp"

namespace farfield::services::watch {

/// scan100, flyscan100 and scan_0100 are all scan 100.
inline constexpr const char* kScanPattern = "(?:fly)?scan_?([0-9]+)";

class ScanName {
public:
  /// A regular expression (ECMAScript) for the whole name, with exactly one group: the number. Throws
  /// `invalid_argument`.
  explicit ScanName(const std::string& pattern = kScanPattern);
  ~ScanName();
  /// The number; none for other names, and for numbers of more than 18 digits.
  std::optional<core::Index> id(const std::string& name) const;

private:
  struct Pattern;
  std::unique_ptr<const Pattern> pattern_;
};

}  // namespace farfield::services::watch
