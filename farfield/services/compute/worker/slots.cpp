#include "farfield/services/compute/worker/slots.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;
using core::system_error;
using Clock = std::chrono::steady_clock;

constexpr std::array<char, 8> kMagic{'F', 'F', 'S', 'L', 'O', 'T', 'S', '1'};
/// A dead owner is noticed by who waits, at the latest after this time.
constexpr std::chrono::milliseconds kLook{200};

// The file, byte by byte (native byte order; a node shares it with nobody). Whoever changes it holds the lock of byte
// 0. An entry is in use while its last-written field says so *and* its owner holds the lock of its first byte, which
// the kernel drops when the owner dies. Each change ends with that one store, so that death at any point leaves an
// entry that is free or seen to be dead.
struct Header {
  char magic[8];
  std::uint32_t slots;
  std::uint32_t reserved;
  std::uint64_t next_ticket;
  char padding[40];
};
struct Slot {
  std::atomic<std::uint32_t> taken;
  std::uint32_t pid;
  char owner[40];
  char padding[16];
};
struct Waiter {
  std::atomic<std::uint64_t> ticket;  ///< 0: free
  std::uint32_t pid;
  std::atomic<std::uint32_t> bell;    ///< futex: changes when it may be this one's turn
};
struct File {
  Header header;
  Slot slot[SlotFile::kMostSlots];
  Waiter waiter[SlotFile::kMostWaiting];
};
static_assert(sizeof(Header) == 64 && sizeof(Slot) == 64 && sizeof(Waiter) == 16);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

off_t place_of_slot(int i) { return static_cast<off_t>(sizeof(Header) + sizeof(Slot) * static_cast<std::size_t>(i)); }
off_t place_of_waiter(int i) {
  return static_cast<off_t>(sizeof(Header) + sizeof(Slot) * SlotFile::kMostSlots +
                            sizeof(Waiter) * static_cast<std::size_t>(i));
}

/// The file opened and mapped. Locks belong to the open file description, so each lease and each waiter opens its own.
class Mapped {
public:
  explicit Mapped(const std::string& path) : path_(path) {
    number_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (number_ < 0) throw system_error(errno, "cannot open slot file " + path);
  }
  ~Mapped() {
    if (file_ != nullptr) ::munmap(file_, sizeof(File));
    if (number_ >= 0) ::close(number_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  /// Makes the content if there is none. Under the lock of byte 0.
  void join(int slots) {
    struct stat status{};
    if (::fstat(number_, &status) != 0) throw system_error(errno, "cannot look at slot file " + path_);
    if (!S_ISREG(status.st_mode) || (status.st_size != 0 && status.st_size != sizeof(File)))
      throw Error(ErrorCode::corrupt_data, fmt::format("{} is not a slot file", path_));
    const bool fresh = status.st_size == 0;
    if (fresh && ::ftruncate(number_, sizeof(File)) != 0) throw system_error(errno, "cannot make slot file " + path_);
    void* memory = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, number_, 0);
    if (memory == MAP_FAILED) throw system_error(errno, "cannot map slot file " + path_);
    file_ = static_cast<File*>(memory);
    Header& h = file_->header;
    // Who made the file may have died before the magic: then it is all zero, and made again.
    if (h.slots == 0) {
      h.slots = static_cast<std::uint32_t>(slots);
      h.next_ticket = 1;
      std::memcpy(h.magic, kMagic.data(), kMagic.size());
    }
    if (std::memcmp(h.magic, kMagic.data(), kMagic.size()) != 0)
      throw Error(ErrorCode::corrupt_data, fmt::format("{} is not a slot file", path_));
    if (h.slots != static_cast<std::uint32_t>(slots))
      throw Error(ErrorCode::conflict, fmt::format("slot file {} has {} slots, not {}; remove it when nobody uses it",
                                                   path_, h.slots, slots));
  }

  /// Waits; interrupted calls go on.
  void lock(off_t place) const { set_lock(F_OFD_SETLKW, F_WRLCK, place); }
  void unlock(off_t place) const noexcept {
    struct flock l = record(F_UNLCK, place);
    ::fcntl(number_, F_OFD_SETLK, &l);  // cannot fail for a lock that is held
  }
  /// True if nobody (else) holds the lock of the byte.
  bool is_dead(off_t place) const {
    struct flock l = record(F_WRLCK, place);
    if (::fcntl(number_, F_OFD_GETLK, &l) != 0) throw system_error(errno, "cannot ask for locks of " + path_);
    return l.l_type == F_UNLCK;
  }
  File& file() const { return *file_; }

private:
  static struct flock record(short type, off_t place) {
    struct flock l{};
    l.l_type = type;
    l.l_whence = SEEK_SET;
    l.l_start = place;
    l.l_len = 1;
    return l;
  }
  void set_lock(int command, short type, off_t place) const {
    struct flock l = record(type, place);
    while (::fcntl(number_, command, &l) != 0)
      if (errno != EINTR) throw system_error(errno, "cannot lock " + path_);
  }

  std::string path_;
  int number_ = -1;
  File* file_ = nullptr;
};

/// The lock of byte 0.
class Guard {
public:
  explicit Guard(const Mapped& mapped) : mapped_(mapped) { mapped_.lock(0); }
  ~Guard() { mapped_.unlock(0); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

private:
  const Mapped& mapped_;
};

void wait_for_bell(std::atomic<std::uint32_t>& bell, std::uint32_t heard, std::chrono::nanoseconds time) {
  const timespec limit{static_cast<time_t>(time.count() / 1'000'000'000),
                       static_cast<long>(time.count() % 1'000'000'000)};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&bell), FUTEX_WAIT, heard, &limit, nullptr, 0);
}

/// Under the guard: the waiter with the lowest ticket, -1 for none; dead ones are cleared. `own` is the caller's place:
/// its own lock is the one that it cannot see.
int head_of_queue(const Mapped& m, int own = -1) {
  File& f = m.file();
  for (;;) {
    int head = -1;
    std::uint64_t lowest = 0;
    for (int i = 0; i < SlotFile::kMostWaiting; ++i)
      if (const std::uint64_t t = f.waiter[i].ticket; t != 0 && (head < 0 || t < lowest)) {
        head = i;
        lowest = t;
      }
    if (head < 0 || head == own || !m.is_dead(place_of_waiter(head))) return head;
    f.waiter[head].ticket = 0;
  }
}

void ring_head(const Mapped& m) {
  const int head = head_of_queue(m);
  if (head < 0) return;
  std::atomic<std::uint32_t>& bell = m.file().waiter[head].bell;
  ++bell;
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&bell), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace

struct SlotLease::State {
  State(const std::string& path, int slots) : mapped(path) {
    const Guard guard(mapped);
    mapped.join(slots);
  }
  ~State() {
    if (taken.empty()) return;
    try {
      const Guard guard(mapped);
      for (const int i : taken) {
        mapped.file().slot[i].taken = 0;
        mapped.unlock(place_of_slot(i));
      }
      ring_head(mapped);
    } catch (const Error&) {
      taken.clear();  // closing the file gives the locks up, and with them the slots
    }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Under the guard: slots 0 ... that are free, at most `count`; those of dead owners are freed first.
  std::vector<int> free_slots(int slots, int count) const {
    std::vector<int> found;
    for (int i = 0; i < slots && static_cast<int>(found.size()) < count; ++i) {
      Slot& slot = mapped.file().slot[i];
      if (slot.taken != 0 && mapped.is_dead(place_of_slot(i))) slot.taken = 0;
      if (slot.taken == 0) found.push_back(i);
    }
    return found;
  }
  void take(const std::vector<int>& numbers, std::string_view owner) {
    for (const int i : numbers) {
      Slot& slot = mapped.file().slot[i];
      mapped.lock(place_of_slot(i));
      slot.pid = static_cast<std::uint32_t>(::getpid());
      std::memset(slot.owner, 0, sizeof slot.owner);
      std::memcpy(slot.owner, owner.data(), std::min(owner.size(), sizeof slot.owner - 1));
      slot.taken = 1;
      taken.push_back(i);
    }
  }

  Mapped mapped;
  std::vector<int> taken;
};

SlotLease::SlotLease(std::unique_ptr<State> state) : state_(std::move(state)) {}
SlotLease::SlotLease(SlotLease&&) noexcept = default;
SlotLease& SlotLease::operator=(SlotLease&&) noexcept = default;
SlotLease::~SlotLease() = default;
const std::vector<int>& SlotLease::slots() const { return state_->taken; }

SlotFile::SlotFile(std::string path, int slots) : path_(std::move(path)), slots_(slots) {
  if (slots < 1 || slots > kMostSlots)
    throw Error(ErrorCode::invalid_argument, fmt::format("number of slots {} must be 1 to {}", slots, kMostSlots));
  const SlotLease::State check(path_, slots_);
}

std::optional<SlotLease> SlotFile::acquire(int count, std::string_view owner, Clock::time_point deadline,
                                           const std::stop_token& stop) const {
  if (count < 1 || count > slots_)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} slots asked for, must be 1 to {}", count, slots_));
  auto state = std::make_unique<SlotLease::State>(path_, slots_);
  const Mapped& m = state->mapped;
  int place = -1;
  {
    const Guard guard(m);
    if (head_of_queue(m) < 0) {  // nobody waits: no queueing
      const auto free = state->free_slots(slots_, count);
      if (static_cast<int>(free.size()) == count) {
        state->take(free, owner);
        return SlotLease(std::move(state));
      }
    }
    for (int i = 0; i < kMostWaiting && place < 0; ++i)
      if (m.file().waiter[i].ticket == 0 || m.is_dead(place_of_waiter(i))) place = i;
    if (place < 0)
      throw Error(ErrorCode::resource_exhausted, fmt::format("{} already wait for slots of {}", kMostWaiting, path_));
    m.lock(place_of_waiter(place));
    m.file().waiter[place].pid = static_cast<std::uint32_t>(::getpid());
    m.file().waiter[place].ticket = m.file().header.next_ticket++;
  }
  Waiter& mine = m.file().waiter[place];
  const std::stop_callback wake(stop, [&] {
    ++mine.bell;
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&mine.bell), FUTEX_WAKE, 1, nullptr, nullptr, 0);
  });
  const auto leave = [&] {  // under the guard
    mine.ticket = 0;
    m.unlock(place_of_waiter(place));
  };
  for (;;) {
    const std::uint32_t heard = mine.bell;
    const auto now = Clock::now();
    const bool over = stop.stop_requested() || now >= deadline;
    {
      const Guard guard(m);
      const bool first = head_of_queue(m, place) == place;
      const auto free = first && !over ? state->free_slots(slots_, count) : std::vector<int>{};
      if (static_cast<int>(free.size()) == count) {
        state->take(free, owner);
        leave();
        ring_head(m);  // there may be slots left for the next
        return SlotLease(std::move(state));
      }
      if (over) {
        leave();
        if (first) ring_head(m);
        return std::nullopt;
      }
    }
    wait_for_bell(mine.bell, heard, std::min<std::chrono::nanoseconds>(kLook, deadline - now));
  }
}

std::vector<SlotFile::Holder> SlotFile::list() const {
  const SlotLease::State state(path_, slots_);
  const Guard guard(state.mapped);
  std::vector<Holder> holders;
  for (int i = 0; i < slots_; ++i) {
    const Slot& slot = state.mapped.file().slot[i];
    if (slot.taken == 0 || state.mapped.is_dead(place_of_slot(i))) continue;
    const auto* end = static_cast<const char*>(std::memchr(slot.owner, 0, sizeof slot.owner));
    holders.push_back({i, static_cast<int>(slot.pid),
                       std::string(slot.owner, end != nullptr ? end : slot.owner + sizeof slot.owner)});
  }
  return holders;
}

std::string visible_devices(std::span<const int> slots, std::span<const std::string> devices, int per_device) {
  if (per_device < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("slots per device {} must be >= 1", per_device));
  std::vector<std::string> seen;
  for (const int slot : slots) {
    const int device = slot / per_device;
    if (slot < 0 || device >= static_cast<int>(devices.size()))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("slot {} must be 0 to {}: {} devices with {} slots each", slot,
                              static_cast<int>(devices.size()) * per_device - 1, devices.size(), per_device));
    const std::string& name = devices[static_cast<std::size_t>(device)];
    if (std::find(seen.begin(), seen.end(), name) == seen.end()) seen.push_back(name);
  }
  return fmt::format("{}", fmt::join(seen, ","));
}

}  // namespace farfield::services::compute
