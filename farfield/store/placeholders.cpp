#include "farfield/store/placeholders.hpp"

namespace farfield::store {

std::string numbered_placeholders(std::string_view sql) {
  std::string out;
  int number = 0;
  for (std::size_t i = 0; i < sql.size();) {
    const char c = sql[i];
    std::size_t end = i + 1;
    if (c == '\'' || c == '"') end = sql.find(c, i + 1);  // a doubled quote is two strings side by side
    else if (sql.substr(i, 2) == "--") end = sql.find('\n', i);
    else if (sql.substr(i, 2) == "/*") end = sql.find("*/", i + 2);
    else if (c == '?') {
      out += '$' + std::to_string(++number);
      ++i;
      continue;
    } else {
      out += c;
      ++i;
      continue;
    }
    end = end == std::string_view::npos ? sql.size() : end + (c == '/' ? 2 : 1);
    out += sql.substr(i, end - i);
    i = end;
  }
  return out;
}

}  // namespace farfield::store
