#include "farfield/services/flow/timestamp.hpp"

#include <fmt/core.h>

#include <chrono>
#include <cmath>

namespace farfield::services::flow {
namespace {
using namespace std::chrono;

/// `digits` decimal digits at the front of `text`, taken from it; -1 where there are not as many.
int take_number(std::string_view& text, int digits) {
  int value = 0;
  if (text.size() < static_cast<std::size_t>(digits)) return -1;
  for (int i = 0; i < digits; ++i) {
    const char c = text[static_cast<std::size_t>(i)];
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(static_cast<std::size_t>(digits));
  return value;
}
bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}
}  // namespace

std::optional<double> parse_timestamp(std::string_view text) {
  const int y = take_number(text, 4);
  if (y < 0 || !take(text, "-")) return std::nullopt;
  const int m = take_number(text, 2);
  if (m < 0 || !take(text, "-")) return std::nullopt;
  const int d = take_number(text, 2);
  if (d < 0 || !take(text, "Tt ")) return std::nullopt;
  const int hour = take_number(text, 2);
  if (hour < 0 || hour > 23 || !take(text, ":")) return std::nullopt;
  const int minute = take_number(text, 2);
  if (minute < 0 || minute > 59 || !take(text, ":")) return std::nullopt;
  const int second = take_number(text, 2);
  if (second < 0 || second > 60) return std::nullopt;  // 60: a leap second
  double fraction = 0;
  if (take(text, ".")) {
    double unit = 0.1;
    int digit = take_number(text, 1);
    if (digit < 0) return std::nullopt;
    for (; digit >= 0; digit = take_number(text, 1), unit /= 10) fraction += digit * unit;
  }
  int offset_min = 0;
  if (!take(text, "Zz")) {
    const bool west = text.starts_with('-');
    if (!take(text, "+-")) return std::nullopt;
    const int hours = take_number(text, 2);
    if (hours < 0 || hours > 23 || !take(text, ":")) return std::nullopt;
    const int minutes = take_number(text, 2);
    if (minutes < 0 || minutes > 59) return std::nullopt;
    offset_min = (west ? -1 : 1) * (hours * 60 + minutes);
  }
  const year_month_day date{year{y}, month{static_cast<unsigned>(m)}, day{static_cast<unsigned>(d)}};
  if (!text.empty() || !date.ok()) return std::nullopt;
  const auto days = sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400.0 + hour * 3600 + (minute - offset_min) * 60 + second + fraction;
}

std::string format_timestamp(double seconds) {
  const auto micros = static_cast<std::int64_t>(std::floor(seconds * 1e6 + 0.5));
  const sys_time<microseconds> time{microseconds{micros}};
  const auto midnight = floor<days>(time);
  const year_month_day date{midnight};
  const hh_mm_ss clock{time - midnight};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

}  // namespace farfield::services::flow
