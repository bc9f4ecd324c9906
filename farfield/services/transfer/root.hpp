#pragma once
// A folder that is exported, and the only way to what lies in it. Names come from outside; the kernel resolves them
// beneath the folder (openat2, RESOLVE_BENEATH), so that neither `..` nor a symbolic link nor a race between check and
// use leads out of it.

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "farfield/services/transfer/descriptor.hpp"

namespace farfield::services::transfer {

/// `path` as the rooms of this service write it: relative, parts separated by one '/', "" for the root itself.
/// Throws `invalid_argument` for an absolute path, an empty, `.` or `..` part, a part longer than 255 bytes, a path
/// longer than 4095, text that is not UTF-8 (paths travel in JSON), and control characters. No other change is made:
/// names that look alike but differ in bytes are different names, as they are to the file system.
std::string checked_path(std::string_view path);

/// "a/b" + "c" -> "a/b/c"; an empty side is left out.
std::string join(std::string_view folder, std::string_view name);
/// The path up to the last part ("" for one part), and the last part.
std::string_view folder_of(std::string_view path);
std::string_view name_of(std::string_view path);

/// All functions take paths that checked_path() accepts (they check), may be called from several threads, and name path
/// and root in their errors: `not_found`, `forbidden` (the path leads out of the root), `io`, `resource_exhausted`.
class Root {
public:
  /// Throws `not_found` or `io` where `folder` is not a folder that can be read, `unsupported` on a Linux before 5.6.
  explicit Root(const std::filesystem::path& folder);

  /// Absolute, without symbolic links.
  const std::string& folder() const { return folder_; }
  /// "a/b in /data/2026-1-Garcia-1234", for messages.
  std::string where(std::string_view path) const;

  /// open(2) beneath the root. O_CLOEXEC, O_NOCTTY and O_NONBLOCK (a FIFO must not stop the service) are added.
  Descriptor open(std::string_view path, int flags, mode_t mode = 0) const;
  /// The same; an empty descriptor where nothing of this name exists.
  Descriptor open_if_there(std::string_view path, int flags, mode_t mode = 0) const;

  /// lstat(2): a symbolic link is described, not followed. Empty where nothing of this name exists.
  std::optional<struct stat> stat(std::string_view path) const;

  /// Makes a folder and those above it; existing ones are left as they are.
  void make_folder(std::string_view path, mode_t mode = 0777) const;
  /// Both must be in the same folder.
  void rename(std::string_view from, std::string_view to) const;
  /// A file, a symbolic link or an empty folder; nothing happens where there is none.
  void remove(std::string_view path) const;

private:
  Descriptor parent(std::string_view path) const;
  std::string folder_;
  Descriptor root_;
};

}  // namespace farfield::services::transfer
