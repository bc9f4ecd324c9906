#pragma once
// The identity of a scan, worked out while the scan is analysed: nobody waits for a pass over the whole file first.

#include <filesystem>
#include <future>
#include <string>
#include <thread>

namespace farfield::io {

class LateChecksum {
public:
  /// Begins on a thread of its own. `path`: of a file.
  explicit LateChecksum(std::filesystem::path path);
  /// Gives up what is not done yet.
  ~LateChecksum();
  LateChecksum(const LateChecksum&) = delete;
  LateChecksum& operator=(const LateChecksum&) = delete;

  /// "sha256:..." as of OpenOptions::checksum; waits for it. Throws what reading the file throws (`not_found`, `io`).
  const std::string& get() const { return sum_.get(); }

private:
  std::shared_future<std::string> sum_;
  std::jthread thread_;
};

}  // namespace farfield::io
