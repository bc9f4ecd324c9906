#include "apps/farfield/interrupt.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "farfield/core/error.hpp"

namespace farfield::apps {
namespace {

[[noreturn]] void fail(const char* what) {
  throw core::Error(core::ErrorCode::internal, std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

Interrupt::Interrupt() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) fail("pthread_sigmask");
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
  end_ = eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || end_ < 0) fail("signalfd");
  thread_ = std::thread([this] {
    for (;;) {
      pollfd watched[2] = {{signals_, POLLIN, 0}, {end_, POLLIN, 0}};
      if (poll(watched, 2, -1) < 0 && errno != EINTR) return;
      if ((watched[1].revents & POLLIN) != 0) return;
      if ((watched[0].revents & POLLIN) == 0) continue;
      signalfd_siginfo info;
      if (read(signals_, &info, sizeof info) != sizeof info) continue;
      if (source_.stop_requested()) _exit(core::traits(core::ErrorCode::cancelled).exit_code);
      source_.request_stop();
    }
  });
}

Interrupt::~Interrupt() {
  const std::uint64_t one = 1;
  if (write(end_, &one, sizeof one) == sizeof one) thread_.join();
  else thread_.detach();
  close(signals_);
  close(end_);
}

}  // namespace farfield::apps
