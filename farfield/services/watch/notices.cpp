#include "farfield/services/watch/notices.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "farfield/core/system_error.hpp"

namespace farfield::services::watch {
namespace {
constexpr std::uint32_t kEvents = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ONLYDIR;

Notices::Notice::Kind kind_of(std::uint32_t mask) {
  using Kind = Notices::Notice::Kind;
  if ((mask & IN_Q_OVERFLOW) != 0) return Kind::overflow;
  if ((mask & IN_CREATE) != 0) return Kind::appeared;
  if ((mask & IN_MOVED_TO) != 0) return Kind::arrived;
  if ((mask & IN_CLOSE_WRITE) != 0) return Kind::closed;
  return Kind::gone;
}
}  // namespace

Notices::Notices()
    : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (inotify_ >= 0 && wake_ >= 0) return;
  const int number = errno;
  if (inotify_ >= 0) ::close(inotify_);
  if (wake_ >= 0) ::close(wake_);
  throw core::Error(core::ErrorCode::resource_exhausted, core::system_error(number, "cannot watch folders").message());
}

Notices::~Notices() {
  ::close(inotify_);
  ::close(wake_);
}

int Notices::add(const std::string& folder) { return ::inotify_add_watch(inotify_, folder.c_str(), kEvents); }

void Notices::remove(int folder) { ::inotify_rm_watch(inotify_, folder); }

void Notices::wait(double seconds, const std::function<void(const Notice&)>& hear) {
  std::array<pollfd, 2> ready{pollfd{inotify_, POLLIN, 0}, pollfd{wake_, POLLIN, 0}};
  const int timeout_ms = static_cast<int>(std::ceil(1e3 * std::clamp(seconds, 0.0, 3600.0)));
  if (::poll(ready.data(), ready.size(), timeout_ms) <= 0) return;
  std::uint64_t count = 0;
  (void)!::read(wake_, &count, sizeof count);
  alignas(inotify_event) std::array<char, 64 << 10> buffer;
  for (;;) {
    const ssize_t n = ::read(inotify_, buffer.data(), buffer.size());
    if (n <= 0) return;  // EAGAIN: all were read
    for (ssize_t at = 0; at + static_cast<ssize_t>(sizeof(inotify_event)) <= n;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      if ((event.mask & IN_IGNORED) == 0)
        hear({event.wd, event.len > 0 ? std::string(name) : std::string(), (event.mask & IN_ISDIR) != 0,
              kind_of(event.mask)});
      at += static_cast<ssize_t>(sizeof event) + event.len;
    }
  }
}

void Notices::wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
}

}  // namespace farfield::services::watch
