#pragma once
// What a task can reach. A thread confines itself; what it starts afterwards, threads and processes, is confined as it
// is, and none can widen it. By Landlock (Linux 5.13 and later, for everybody), else by a mount namespace (root).

#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::compute {

enum class ConfinedBy { nothing, mount_namespace, landlock };
std::string_view name_of(ConfinedBy);

/// The best that this kernel and this user have.
ConfinedBy confinement();

/// Absolute paths of files and folders. By Landlock of Linux 6.12 and later neither signals nor connections to abstract
/// Unix sockets go out to processes that are not confined as this thread is. The system's own (/usr, /etc, /proc,
/// /dev/null ...) can be read always.
struct Reach {
  std::vector<std::string> read{};  ///< and execute
  std::vector<std::string> write{};  ///< read, execute, write, make and remove
  /// Whether Unix sockets can be made. Daemons that believe who connects (munge, and through it the scheduler) are
  /// reached by them, and no rule about files holds for that: programs of users have socketpair() of streams only.
  bool unix_sockets = true;
  auto operator<=>(const Reach&) const = default;
};

/// Confines the calling thread to `reach`. Paths that are not there are left out. Throws `unsupported` where `by` is
/// `nothing`, `io` where the kernel refuses: the thread must then run nothing of anybody's.
void confine_this_thread(const Reach& reach, ConfinedBy by);

}  // namespace farfield::services::compute
