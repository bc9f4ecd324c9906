#include "farfield/services/compute/endpoint/folder_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

FolderLock::FolderLock(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorCode::io, fmt::format("cannot make {}: {}", folder, error.message()));
  fs::permissions(folder, fs::perms::owner_all, error);
  const std::string path = folder + "/lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) throw core::system_error(errno, "cannot open " + path);
  if (::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(file_);
  throw Error(ErrorCode::conflict, fmt::format("another endpoint has the folder {}", folder));
}

FolderLock::~FolderLock() { ::close(file_); }

}  // namespace farfield::services::compute
