#include "farfield/io/positions.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "farfield/core/error.hpp"
#include "farfield/io/atomic_file.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

void expand_raster(std::vector<double>& y, std::vector<double>& x, Index frames) {
  const auto rows = static_cast<Index>(y.size()), columns = static_cast<Index>(x.size());
  if (rows == 0 || columns == 0 || (rows == frames && columns == frames) || rows > frames || columns > frames ||
      rows * columns != frames)
    return;
  std::vector<double> all_y, all_x;
  all_y.reserve(static_cast<std::size_t>(frames));
  all_x.reserve(static_cast<std::size_t>(frames));
  for (const double row : y)
    for (const double column : x) {
      all_y.push_back(row);
      all_x.push_back(column);
    }
  y = std::move(all_y);
  x = std::move(all_x);
}

std::vector<std::vector<double>> read_table(const std::string& path) {
  const auto bytes = read_file(path, Index{1} << 30);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::vector<double>> rows;
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    std::vector<double> row;
    const char* p = line.c_str();
    for (;;) {
      while (*p == ' ' || *p == '\t' || *p == ',' || *p == ';' || *p == '\r') ++p;
      if (*p == '\0' || *p == '#') break;
      char* after = nullptr;
      const double value = std::strtod(p, &after);
      if (after == p) {
        if (row.empty()) break;  // a heading
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("\"{}\" is not a number (line {})", std::string(p).substr(0, 20), line_number))
            .at(path);
      }
      row.push_back(value);
      p = after;
    }
    if (row.empty()) continue;
    if (!rows.empty() && rows.front().size() != row.size())
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("line {} has {} columns, those before {}", line_number, row.size(), rows.front().size()))
          .at(path);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace farfield::io
