#pragma once
// RFC 3339 times, as Wait and the Timestamp... comparisons of Choice take them: "2026-03-14T01:59:00.5Z", "+02:00".

#include <optional>
#include <string>
#include <string_view>

namespace farfield::services::flow {

/// Seconds since 1970-01-01T00:00:00Z, or nothing where the text is no such time.
std::optional<double> parse_timestamp(std::string_view text);
/// "2026-03-14T01:59:00.500000Z"; `seconds` between the years 1 and 9999.
std::string format_timestamp(double seconds);

}  // namespace farfield::services::flow
