#pragma once
// fsync of a folder, once for all that wait for it: thousands of small files end in the same few folders.

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

class FolderSync {
public:
  explicit FolderSync(const Root& root) : root_(root) {}
  /// Returns when what was done in the folder before the call is on the disk. Nothing happens for a folder that may
  /// be written but not read: it cannot be flushed.
  void sync(const std::string& folder);

private:
  struct Queue {
    std::uint64_t started = 0, finished = 0;
    int waiting = 0;
    bool running = false;
    std::condition_variable changed;
  };
  const Root& root_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Queue>> queues_;
};

}  // namespace farfield::services::transfer
