// GPU slots of one node: 168 processes that take and give back one of 8 slots, with the longest wait, beside the floor
// of the same processes that only lock and unlock one byte of a file.
//
//   bench_slots [--processes N] [--times N]

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>

#include "farfield/services/compute/worker/slots.hpp"

namespace {

using Clock = std::chrono::steady_clock;
namespace compute = farfield::services::compute;

struct Shared {
  std::atomic<int> ready;
  std::atomic<bool> go;
  std::atomic<std::int64_t> longest_ns;
};

/// work(times) in each of `processes` processes, all at once; seconds until the last has ended.
template <class Work>
double in_processes(int processes, Shared& shared, Work work) {
  shared.ready = 0;
  shared.go = false;
  for (int p = 0; p < processes; ++p)
    if (::fork() == 0) {
      ++shared.ready;
      while (!shared.go) ::usleep(200);
      work();
      ::_exit(0);
    }
  while (shared.ready < processes) ::usleep(200);
  const auto start = Clock::now();
  shared.go = true;
  while (::wait(nullptr) > 0) {}
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  int processes = 168, times = 30;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string arg = argv[i];
    if (arg == "--processes") processes = std::max(1, std::atoi(argv[i + 1]));
    else if (arg == "--times") times = std::max(1, std::atoi(argv[i + 1]));
  }
  auto* shared =
      static_cast<Shared*>(::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const std::string path = "/dev/shm/farfield-bench-slots-" + std::to_string(::getpid());
  std::filesystem::remove(path);
  const compute::SlotFile file(path, 8);
  const double seconds = in_processes(processes, *shared, [&] {
    for (int k = 0; k < times; ++k) {
      const auto asked = Clock::now();
      const auto lease = file.acquire(1, "bench", asked + std::chrono::minutes(5));
      const std::int64_t waited = std::chrono::nanoseconds(Clock::now() - asked).count();
      for (std::int64_t most = shared->longest_ns; waited > most;)
        if (shared->longest_ns.compare_exchange_weak(most, waited)) break;
    }
  });
  const double floor = in_processes(processes, *shared, [&] {
    const int number = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    for (int k = 0; k < times; ++k)
      for (const short type : {F_WRLCK, F_UNLCK}) {
        struct flock l{};
        l.l_type = type;
        l.l_whence = SEEK_SET;
        l.l_len = 1;
        ::fcntl(number, F_OFD_SETLKW, &l);
      }
  });
  std::filesystem::remove(path);
  const double n = static_cast<double>(processes) * times;
  fmt::print(
      "{} processes, 8 slots: {:.0f} acquired and given back a second, longest wait {:.3f} s; floor (one lock) "
      "{:.0f}/s\n",
      processes, n / seconds, 1e-9 * static_cast<double>(shared->longest_ns), n / floor);
}
