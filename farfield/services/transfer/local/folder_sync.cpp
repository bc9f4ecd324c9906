#include "farfield/services/transfer/local/folder_sync.hpp"

#include <fcntl.h>

#include <cerrno>
#include <optional>

#include "farfield/core/system_error.hpp"

namespace farfield::services::transfer {
namespace {
std::optional<core::Error> flush(const Root& root, const std::string& folder) {
  try {
    const Descriptor file = root.open(folder, O_RDONLY | O_DIRECTORY);
    if (::fsync(file.get()) != 0 && errno != EINVAL)
      return core::system_error(errno, "cannot flush " + root.where(folder));
  } catch (const core::Error& e) {
    if (e.code() != core::ErrorCode::io) return e;  // not readable
  }
  return std::nullopt;
}
}  // namespace

void FolderSync::sync(const std::string& folder) {
  std::unique_lock lock(mutex_);
  auto& slot = queues_[folder];
  if (!slot) slot = std::make_shared<Queue>();
  const auto queue = slot;
  ++queue->waiting;
  // One that runs already may have begun before our change: the next one counts.
  const std::uint64_t wanted = queue->started + 1;
  std::optional<core::Error> error;
  while (queue->finished < wanted) {
    if (queue->running) {
      queue->changed.wait(lock);
      continue;
    }
    queue->running = true;
    const std::uint64_t turn = ++queue->started;
    lock.unlock();
    error = flush(root_, folder);
    lock.lock();
    queue->running = false;
    // After a failure each waiter tries for itself and gets the error itself.
    if (!error) queue->finished = turn;
    queue->changed.notify_all();
    if (error) break;
  }
  if (--queue->waiting == 0) queues_.erase(folder);
  if (error) throw std::move(*error);
}

}  // namespace farfield::services::transfer
