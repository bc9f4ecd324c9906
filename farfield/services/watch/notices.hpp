#pragma once
// What the kernel tells about folders (inotify).

#include <functional>
#include <string>

namespace farfield::services::watch {

/// One thread uses it, but for wake().
class Notices {
public:
  struct Notice {
    int folder = -1;     ///< what add() gave
    std::string name;    ///< in that folder; empty: the folder itself
    bool is_folder = false;
    enum class Kind {
      appeared,  ///< made, and then open for writing if it is a file
      arrived,   ///< moved here, whole
      closed,    ///< a file that was open for writing
      gone,      ///< removed or moved away
      overflow,  ///< notices were lost: look at everything
    } kind = Kind::overflow;
  };

  /// Throws `resource_exhausted` where the system gives no more of these.
  Notices();
  ~Notices();
  Notices(const Notices&) = delete;
  Notices& operator=(const Notices&) = delete;

  /// Its number; the same for a folder that was added before. -1 where it cannot be watched (it is gone, the system's
  /// limit is reached): then only looking helps.
  int add(const std::string& folder);
  void remove(int folder);
  /// Waits at most so long for notices, or for wake(); calls `hear` for each.
  void wait(double seconds, const std::function<void(const Notice&)>& hear);
  /// From any thread: wait() returns.
  void wake();

private:
  int inotify_ = -1, wake_ = -1;
};

}  // namespace farfield::services::watch
