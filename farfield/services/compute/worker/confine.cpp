#include "farfield/services/compute/worker/confine.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;

// Of kernels later than this system's headers.
constexpr std::uint64_t kRefer = std::uint64_t{1} << 13;     // ABI 2
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;  // ABI 3
constexpr std::uint64_t kScopes = 1U << 0 | 1U << 1;         // ABI 6: abstract Unix sockets, signals
struct Ruleset {
  std::uint64_t files, network, scopes;
};

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kChange = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                  LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                  LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM;
// What is not granted anywhere but still has to be refused.
constexpr std::uint64_t kNever = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
constexpr std::uint64_t kFile =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

/// Programs, libraries, fonts, the clock's zones, what processes ask about themselves and the machine.
constexpr std::array kSystem{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc", "/sys"};
/// Devices that hold nobody's data; GPUs belong to them.
constexpr std::array kDevices{"/dev/null", "/dev/zero",      "/dev/full",       "/dev/random",           "/dev/urandom",
                              "/dev/tty",  "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/kfd",
                              "/dev/dri"};

std::vector<std::string> devices() {
  std::vector<std::string> all(kDevices.begin(), kDevices.end());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("nvidia") && name.find_first_not_of("0123456789", 6) == std::string::npos)
      all.push_back(entry.path().string());
  }
  return all;
}

struct Descriptor {
  explicit Descriptor(int n) : number(n) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number;
};

int landlock_version() {
  return static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

void allow(int ruleset, const std::string& path, std::uint64_t access) {
  const Descriptor beneath(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (beneath.number < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES)) return;
  if (beneath.number < 0) throw core::system_error(errno, "cannot open " + path);
  struct stat what{};
  if (::fstat(beneath.number, &what) != 0) throw core::system_error(errno, "cannot look at " + path);
  landlock_path_beneath_attr rule{};
  rule.allowed_access = S_ISDIR(what.st_mode) ? access : access & kFile;
  rule.parent_fd = beneath.number;
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    throw core::system_error(errno, "cannot confine to " + path);
}

void by_landlock(const Reach& reach) {
  const int version = landlock_version();
  std::uint64_t change = kChange;
  if (version >= 2) change |= kRefer;
  if (version >= 3) change |= kTruncate;
  const Ruleset attributes{kRead | change | kNever, 0, version >= 6 ? kScopes : 0};
  // An older kernel takes no more than it knows.
  const std::size_t known = version >= 6 ? sizeof attributes : sizeof attributes.files;
  const Descriptor ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, known, 0)));
  if (ruleset.number < 0) throw core::system_error(errno, "cannot make a Landlock ruleset");
  for (const char* path : kSystem) allow(ruleset.number, path, kRead);
  for (const std::string& path : devices()) allow(ruleset.number, path, (kRead | change) & kFile);
  for (const std::string& path : reach.read) allow(ruleset.number, path, kRead);
  for (const std::string& path : reach.write) allow(ruleset.number, path, kRead | change);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw core::system_error(errno, "cannot give up privileges");
  if (::syscall(SYS_landlock_restrict_self, ruleset.number, 0) != 0)
    throw core::system_error(errno, "cannot confine the thread");
}

#if defined(__x86_64__)
constexpr std::uint32_t kMachine = AUDIT_ARCH_X86_64, kForeignCalls = 0x40000000;  // of x32
#elif defined(__aarch64__)
constexpr std::uint32_t kMachine = AUDIT_ARCH_AARCH64, kForeignCalls = 0xFFFFFFFF;
#else
#error "the system calls of this machine are not known here"
#endif

/// No Unix sockets, by whatever way they are made: an io_uring makes some without a system call, another machine's
/// calls have other numbers. Needs what was given up before: privileges by way of programs.
void without_unix_sockets() {
  constexpr std::uint32_t refuse = SECCOMP_RET_ERRNO | EACCES, unknown = SECCOMP_RET_ERRNO | ENOSYS;
  constexpr auto at = [](std::size_t offset) { return static_cast<std::uint32_t>(offset); };
  std::array filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, arch))),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kMachine, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, unknown),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, nr))),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kForeignCalls, 1, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, unknown),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socketpair, 6, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      // The lower half of the first argument, which is an int.
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, args))),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, refuse),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      // One of a pair of datagram sockets could be turned to a daemon's.
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, args) + sizeof(std::uint64_t))),
      sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 15),  // without flags
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 1, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_SEQPACKET, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      sock_filter BPF_STMT(BPF_RET | BPF_K, refuse),
  };
  const sock_fprog program{filter.size(), filter.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    throw core::system_error(errno, "cannot refuse Unix sockets");
}

void need(int result, const std::string& what) {
  if (result != 0) throw core::system_error(errno, what);
}

/// Read-only with all that is mounted below it.
void protect(const std::string& target, const std::string& path) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  need(static_cast<int>(
           ::syscall(SYS_mount_setattr, AT_FDCWD, target.c_str(), AT_RECURSIVE, &attributes, sizeof attributes)),
       "cannot protect " + path);
}

/// Makes `path` visible beneath `root`.
void show(const std::string& root, const std::string& path, bool writable) {
  struct stat what{};
  if (::lstat(path.c_str(), &what) != 0) return;
  const std::filesystem::path target = root + path;
  std::error_code error;
  if (S_ISLNK(what.st_mode)) {  // /bin -> usr/bin
    std::filesystem::create_directories(target.parent_path(), error);
    std::filesystem::copy_symlink(path, target, error);
    return;
  }
  if (S_ISDIR(what.st_mode)) {
    std::filesystem::create_directories(target, error);
  } else {
    std::filesystem::create_directories(target.parent_path(), error);
    const Descriptor made(::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  }
  need(::mount(path.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr), "cannot show " + path);
  if (!writable) protect(target, path);
}

/// Root stays root, of files only: with its other powers it would mount what is hidden from it, or look at it through
/// the processes outside (/proc/PID/root), which the kernel refuses to who has less power than they have.
void give_up_capabilities() {
  constexpr std::uint32_t kept = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID;
  for (int one = 0; ::prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; ++one)
    if (one >= 32 || (kept >> one & 1U) == 0)
      need(::prctl(PR_CAPBSET_DROP, one, 0, 0, 0), "cannot give up capabilities");
  need(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "cannot give up capabilities");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> have{};
  need(static_cast<int>(::syscall(SYS_capget, &header, have.data())), "cannot read capabilities");
  have[0] = {have[0].effective & kept, have[0].permitted & kept, 0};
  have[1] = {};
  need(static_cast<int>(::syscall(SYS_capset, &header, have.data())), "cannot give up capabilities");
}

void by_mount_namespace(const Reach& reach) {
  need(::unshare(CLONE_FS | CLONE_NEWNS), "cannot make a mount namespace");
  need(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "cannot make mounts private");
  const std::string root = "/tmp";  // hidden from here on by what is mounted on it
  // Folders are opened before /tmp is covered: they may lie below it.
  std::vector<std::pair<std::string, int>> shown;
  const auto hold = [&](const std::string& path) {
    const int folder = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    if (folder >= 0) shown.emplace_back(path, folder);
    return folder >= 0;
  };
  std::vector<bool> writable;
  for (const std::string& path : reach.read)
    if (hold(path)) writable.push_back(false);
  for (const std::string& path : reach.write)
    if (hold(path)) writable.push_back(true);
  need(::mount("tmpfs", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m"), "cannot mount a root");
  for (const char* path : kSystem) show(root, path, false);
  for (const std::string& path : devices()) show(root, path, true);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto& [path, folder] = shown[i];
    const std::filesystem::path target = root + path;
    std::error_code error;
    std::filesystem::create_directories(target, error);
    need(::mount(fmt::format("/proc/self/fd/{}", folder).c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr),
         "cannot show " + path);
    if (!writable[i]) protect(target, path);
    ::close(folder);
  }
  need(::chdir(root.c_str()), "cannot enter the root");
  need(static_cast<int>(::syscall(SYS_pivot_root, ".", ".")), "cannot change the root");
  need(::umount2(".", MNT_DETACH), "cannot leave the old root");
  need(::chdir("/"), "cannot enter the root");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw core::system_error(errno, "cannot give up privileges");
  give_up_capabilities();
}

}  // namespace

std::string_view name_of(ConfinedBy by) {
  constexpr std::string_view names[] = {"nothing", "mount namespace", "Landlock"};
  return names[static_cast<int>(by)];
}

ConfinedBy confinement() {
  if (landlock_version() >= 1) return ConfinedBy::landlock;
  // Asked for by a thread that ends at once, where it does no harm: being root is not enough in a container.
  static const bool namespaces = [] {
    bool good = false;
    std::thread([&] { good = ::unshare(CLONE_FS | CLONE_NEWNS) == 0; }).join();
    return good;
  }();
  return namespaces ? ConfinedBy::mount_namespace : ConfinedBy::nothing;
}

void confine_this_thread(const Reach& reach, ConfinedBy by) {
  switch (by) {
    case ConfinedBy::landlock: by_landlock(reach); break;
    case ConfinedBy::mount_namespace: by_mount_namespace(reach); break;
    case ConfinedBy::nothing:
      throw Error(ErrorCode::unsupported,
                  "this system can confine nobody: it has no Landlock, and no mount namespaces");
  }
  if (!reach.unix_sockets) without_unix_sockets();
}

}  // namespace farfield::services::compute
