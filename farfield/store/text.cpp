#include <fmt/core.h>

#include "farfield/store/connection.hpp"

namespace farfield::store {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
void check_text(std::string_view text) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto refuse = [&](std::size_t at, const char* what) {
    throw core::Error(core::ErrorCode::invalid_argument, fmt::format("text holds {} at byte {}", what, at));
  };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = byte(i);
    if (first == 0) refuse(i, "a NUL");
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    unsigned point = first & (0x7fU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xc0U) != 0x80) refuse(i, "a byte that is not UTF-8");
      point = point << 6 | (byte(i + k) & 0x3fU);
    }
    constexpr unsigned kLeast[] = {0x80, 0x800, 0x10000};
    if (first < 0xc2 || first > 0xf4 || point < kLeast[length - 2] || point > 0x10ffff ||
        (point >= 0xd800 && point < 0xe000))
      refuse(i, "a byte that is not UTF-8");
    i += length;
  }
}

}  // namespace farfield::store
