#pragma once
// A folder that one process has at a time.

#include <string>

namespace farfield::services::compute {

class FolderLock {
public:
  /// Makes the folder, closed to others. Throws `conflict` if another process has it, `io`.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

private:
  int file_ = -1;
};

}  // namespace farfield::services::compute
