#include "farfield/services/compute/small_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {

void write_private(const std::string& path, std::string_view text) {
  const std::string temporary = fmt::format("{}.{}.part", path, ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) throw core::system_error(errno, "cannot write " + temporary);
  bool good = true;
  while (good && !text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
    else good = n < 0 && errno == EINTR;
  }
  good = good && ::fsync(file) == 0;
  const int problem = errno;
  ::close(file);
  if (good && std::rename(temporary.c_str(), path.c_str()) == 0) return;
  const int why = good ? errno : problem;
  ::unlink(temporary.c_str());
  throw core::system_error(why, "cannot write " + path);
}

std::string read_small(const std::string& path, std::size_t longest) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw core::system_error(errno, "cannot read " + path);
  std::string text;
  std::array<char, 65536> buffer;
  ssize_t n = 0;
  int problem = 0;
  while (text.size() <= longest) {
    n = ::read(file, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) problem = errno;
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(file);
  if (problem != 0) throw core::system_error(problem, "cannot read " + path);
  if (text.size() > longest)
    throw core::Error(core::ErrorCode::corrupt_data, fmt::format("{} has more than {} bytes", path, longest));
  return text;
}

}  // namespace farfield::services::compute
