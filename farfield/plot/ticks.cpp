#include "farfield/plot/ticks.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace farfield::plot {
namespace {

std::string superscript(int n) {
  static constexpr std::array<const char*, 10> digits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = n < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(n))) text += digits[static_cast<std::size_t>(c - '0')];
  return text;
}

std::string with_minus(std::string text) {  // the minus sign is as wide as the plus; the hyphen is not
  if (!text.empty() && text[0] == '-') text.replace(0, 1, "−");
  return text;
}

/// Exponent of ten and mantissa of a positive number; a mantissa that rounds up to 10 belongs to the next exponent.
struct Scientific {
  double mantissa;
  int exponent;
};
Scientific scientific(double value) {
  int exponent = static_cast<int>(std::floor(std::log10(value) + 1e-12));
  return {value / std::pow(10.0, exponent), exponent};
}

std::string significant(double value) {  // at most 4 digits, no trailing zeros
  return with_minus(fmt::format("{:.4g}", value));
}
}  // namespace

double nice_below(double most) {
  const auto [mantissa, exponent] = scientific(most);
  const double steps = mantissa >= 5 * (1 - 1e-12) ? 5 : mantissa >= 2 * (1 - 1e-12) ? 2 : 1;
  return steps * std::pow(10.0, exponent);
}

std::string number_label(double value, int decimals) {
  const double size = std::abs(value);
  if (size == 0 && decimals > 4) return "0";  // its neighbours are powers of ten
  if (size >= 99999.5 || (size > 0 && size < 0.00099995)) {
    const auto [mantissa, exponent] = scientific(size);
    const std::string sign = value < 0 ? "−" : "";
    const std::string digits = significant(mantissa);
    return sign + (digits == "1" ? "10" : digits + "×10") + superscript(exponent);
  }
  return with_minus(fmt::format("{:.{}f}", value == 0 ? 0.0 : value, std::max(0, decimals)));
}

std::vector<Tick> linear_ticks(double low, double high, int most) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) return {};
  if (low == high) return {{low, significant(low)}};
  most = std::max(most, 2);
  // From a step that is surely too fine, coarser until there are few enough.
  double step = nice_below((high - low) / (2 * most));
  const auto first = [&] { return std::ceil(low / step - 1e-9); };
  const auto last = [&] { return std::floor(high / step + 1e-9); };
  while (last() - first() + 1 > most) {
    const double mantissa = scientific(step).mantissa;
    step *= mantissa > 1.5 && mantissa < 3 ? 2.5 : 2;
  }
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  std::vector<Tick> ticks;
  for (double k = first(); k <= last(); ++k) {
    const double value = k * step;
    ticks.push_back({value, number_label(std::abs(value) < 1e-9 * step ? 0 : value, decimals)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high, int most) {
  if (!(low > 0) || !std::isfinite(high) || low > high) return {};
  if (high / low < 3) {
    std::vector<Tick> ticks = linear_ticks(low, high, most);
    std::erase_if(ticks, [](const Tick& t) { return t.value <= 0; });
    return ticks;
  }
  const double decades = std::log10(high / low);
  const int first = static_cast<int>(std::floor(std::log10(low))),
            last = static_cast<int>(std::floor(std::log10(high)));
  const int every =
      std::max(1, static_cast<int>(std::ceil((last - first + 1) / static_cast<double>(std::max(most, 2)))));
  const bool plain = first >= -2 && last <= 3;  // all labels of an axis in the same manner
  std::vector<Tick> ticks;
  for (int exponent = first; exponent <= last; ++exponent)
    for (int k = 1; k <= 9; ++k) {
      const double value = k * std::pow(10.0, exponent);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      const bool labelled = k == 1 ? (exponent - first) % every == 0 : decades < 3 && (k == 2 || k == 5);
      if (k > 1 && every > 1) continue;
      std::string label;
      if (labelled)
        label = plain ? number_label(value, std::max(0, -exponent))
                      : (k == 1 ? "10" : std::to_string(k) + "×10") + superscript(exponent);
      ticks.push_back({value, label});
    }
  return ticks;
}

std::string length_label(double length_m) {
  static constexpr std::pair<double, const char*> units[] = {
      {1, "m"}, {1e-3, "mm"}, {1e-6, "µm"}, {1e-9, "nm"}, {1e-12, "pm"}};
  for (const auto& [size, name] : units)
    if (length_m >= size * (1 - 1e-9)) return significant(length_m / size) + " " + name;
  return number_label(length_m, 0) + " m";
}

}  // namespace farfield::plot
