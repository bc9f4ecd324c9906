#include "farfield/services/transfer/local/file_io.hpp"

#include <unistd.h>

#include <cerrno>

#include "farfield/core/system_error.hpp"

namespace farfield::services::transfer {

using core::Index;

Index read_at(int file, Index offset, std::span<std::byte> into, const std::string& where) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(file, into.data() + done, into.size() - done, offset + static_cast<Index>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw core::system_error(errno, "cannot read " + where);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<Index>(done);
}

void write_at(int file, Index offset, std::span<const std::byte> bytes, const std::string& where) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw core::system_error(errno, "cannot write " + where);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
}

}  // namespace farfield::services::transfer
