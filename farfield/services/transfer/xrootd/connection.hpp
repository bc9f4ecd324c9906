#pragma once
// XrdCl behind functions that throw our errors and never wait for ever.

#ifdef FARFIELD_WITH_XROOTD

#include <XrdCl/XrdClFile.hh>
#include <XrdCl/XrdClFileSystem.hh>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "farfield/services/transfer/xrootd/http_copy.hpp"
#include "farfield/services/transfer/xrootd/xrootd.hpp"

namespace farfield::services::transfer {

/// The exported folder of one server. Thread-safe.
class XRootDConnection {
public:
  explicit XRootDConnection(XRootDPlace place);

  std::string name() const { return place_.origin + "/" + place_.folder; }
  /// "a/b in roots://host//folder", for messages.
  std::string where(const std::string& path) const;

  std::optional<Entry> stat(const std::string& path);
  Listing list(const std::string& path);
  void make_folder(const std::string& path);
  void remove_file(const std::string& path);
  void remove_folder(const std::string& path);
  void rename(const std::string& from, const std::string& to);
  void set_mode(const std::string& path, unsigned mode);
  /// Computed by the server; empty where it does not offer it.
  std::optional<std::uint32_t> adler32(const std::string& path);
  /// For third-party copies; empty where the server makes none.
  std::optional<HttpAddress> address(const std::string& path) const;
  /// Has the server take the file from `source` to `path`. False where it says that it could not, and after three
  /// times of that without being asked again.
  bool copy_from(const HttpAddress& source, const std::string& path, const std::function<void(Index)>& moved,
                 const std::stop_token& stop);
  std::unique_ptr<XrdCl::File> open(const std::string& path, XrdCl::OpenFlags::Flags flags);

  /// Throws for a failed one.
  void check(const XrdCl::XRootDStatus& status, const std::string& path) const;
  /// Fewer bytes only where the file ends.
  Index read(XrdCl::File& file, const std::string& path, Index offset, std::span<std::byte> into) const;
  void write(XrdCl::File& file, const std::string& path, Index offset, std::span<const std::byte> bytes) const;

private:
  /// On the server, with the token.
  std::string full(const std::string& path) const;

  const XRootDPlace place_;
  XrdCl::FileSystem files_;
  std::unique_ptr<net::Client> https_;
  std::atomic<int> refusals_{0};  ///< of copies, in a row
};

inline constexpr std::uint16_t kXRootDPatience_s = 60;  ///< for one call

}  // namespace farfield::services::transfer

#endif
