#include "farfield/services/transfer/xrootd/connection.hpp"

#ifdef FARFIELD_WITH_XROOTD

#include <XProtocol/XProtocol.hh>
#include <XrdCl/XrdClDefaultEnv.hh>
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include <fmt/format.h>

#include "farfield/core/log.hpp"
#include "farfield/net/headers.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/transfer/local/receiver.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using XrdCl::Access;
using XrdCl::XRootDStatus;

namespace {

constexpr Index kNanoseconds = 1'000'000'000;
constexpr int kMostRefusals = 3;
constexpr std::uint16_t kChecksumPatience_s = 600;

/// By default XrdCl tries for half an hour before it says that nobody is there.
void set_patience() {
  static std::once_flag once;
  std::call_once(once, [] {
    XrdCl::Env* env = XrdCl::DefaultEnv::GetEnv();
    env->PutInt("ConnectionWindow", 10);
    env->PutInt("ConnectionRetry", 1);
    env->PutInt("StreamErrorWindow", 10);
    env->PutInt("StreamTimeout", kXRootDPatience_s);
    env->PutInt("RequestTimeout", kXRootDPatience_s);
    env->PutInt("TimeoutResolution", 1);
  });
}

ErrorCode code_of(const XRootDStatus& status) {
  if (status.code != XrdCl::errErrorResponse) {
    switch (status.code) {
      case XrdCl::errAuthFailed:
      case XrdCl::errLoginFailed: return ErrorCode::unauthenticated;
      case XrdCl::errOperationExpired:
      case XrdCl::errSocketTimeout: return ErrorCode::timeout;
      case XrdCl::errNotFound: return ErrorCode::not_found;
      case XrdCl::errNotSupported:
      case XrdCl::errQueryNotSupported: return ErrorCode::unsupported;
      case XrdCl::errInvalidArgs: return ErrorCode::invalid_argument;
      default: return ErrorCode::unavailable;  // sockets, TLS, redirections
    }
  }
  switch (status.errNo) {
    case kXR_NotFound: return ErrorCode::not_found;
    case kXR_NotAuthorized: return ErrorCode::forbidden;
    case kXR_AuthFailed: return ErrorCode::unauthenticated;
    case kXR_NoSpace:
    case kXR_overQuota: return ErrorCode::resource_exhausted;
    case kXR_Unsupported: return ErrorCode::unsupported;
    case kXR_ItExists:
    case kXR_FileLocked:
    case kXR_inProgress: return ErrorCode::conflict;
    case kXR_Overloaded:
    case kXR_noserver: return ErrorCode::unavailable;
    default: return ErrorCode::io;
  }
}

Entry entry_from(std::string name, const XrdCl::StatInfo& info) {
  Entry entry;
  entry.name = std::move(name);
  entry.kind = info.TestFlags(XrdCl::StatInfo::IsDir)   ? EntryKind::folder
               : info.TestFlags(XrdCl::StatInfo::Other) ? EntryKind::other
                                                        : EntryKind::file;
  entry.version = {static_cast<Index>(info.GetSize()), static_cast<std::int64_t>(info.GetModTime()) * kNanoseconds,
                   info.GetId()};
  // Servers before version 5 tell no mode.
  if (info.ExtendedFormat())
    entry.mode = static_cast<unsigned>(std::strtoul(info.GetModeAsString().c_str(), nullptr, 8)) & 0777U;
  return entry;
}

}  // namespace

XRootDConnection::XRootDConnection(XRootDPlace place)
    : place_(std::move(place)), files_([&] {
        set_patience();
        return XrdCl::URL(place_.origin);
      }()) {
  const bool known = place_.origin.starts_with("root://") || place_.origin.starts_with("roots://");
  const XrdCl::URL url(place_.origin);
  if (!known || !url.IsValid() || !url.GetPath().empty() || !url.GetParams().empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{:?} must be like roots://xrootd.example.org:1094", place_.origin));
  if (!place_.folder.starts_with('/') || (place_.folder != "/" && checked_path(place_.folder.substr(1)).empty()))
    throw Error(ErrorCode::invalid_argument, fmt::format("the folder {:?} must begin with /", place_.folder));
  if (!place_.https.empty()) https_ = std::make_unique<net::Client>(place_.https, place_.client);
}

std::optional<HttpAddress> XRootDConnection::address(const std::string& path) const {
  if (!https_) return std::nullopt;
  return HttpAddress{place_.https + url_path(place_.folder == "/" ? "/" + path : place_.folder + "/" + path),
                     place_.token ? place_.token() : std::string()};
}

bool XRootDConnection::copy_from(const HttpAddress& source, const std::string& path,
                                 const std::function<void(Index)>& moved, const std::stop_token& stop) {
  if (!https_ || refusals_ >= kMostRefusals) return false;
  const HttpAddress to = *address(path);
  const auto refused = copy_by_http(*https_, to.url.substr(place_.https.size()), to.token, source, moved, stop);
  refusals_ = refused ? refusals_ + 1 : 0;
  if (refused)
    core::log(core::LogLevel::info, "transfer.not_third_party",
              {{"from", source.url}, {"to", where(path)}, {"reason", *refused}});
  return !refused;
}

std::string XRootDConnection::where(const std::string& path) const {
  return fmt::format("{} in {}", path.empty() ? "." : path, name());
}

std::string XRootDConnection::full(const std::string& path) const {
  // What would begin a query or an address of its own is no name here.
  if (path.find_first_of("?&#") != std::string::npos)
    throw Error(ErrorCode::unsupported, fmt::format("XRootD cannot name {:?}: it has ?, & or #", path));
  std::string text = place_.folder == "/" ? "" : place_.folder;
  if (!path.empty()) text += "/" + path;
  if (text.empty()) text = "/";
  if (place_.token) text += "?authz=" + net::percent_encode("Bearer " + place_.token());
  return text;
}

void XRootDConnection::check(const XRootDStatus& status, const std::string& path) const {
  if (status.IsOK()) return;
  std::string why = status.code == XrdCl::errErrorResponse ? status.GetErrorMessage() : status.ToString();
  // What the server says may hold the request, and with it the token.
  if (const auto token = why.find("authz="); token != std::string::npos) why.resize(token);
  throw Error(code_of(status), fmt::format("XRootD: {}", net::trimmed(why))).at(where(path));
}

std::optional<Entry> XRootDConnection::stat(const std::string& path) {
  XrdCl::StatInfo* raw = nullptr;
  const auto status = files_.Stat(full(path), raw, kXRootDPatience_s);
  const std::unique_ptr<XrdCl::StatInfo> info(raw);
  if (!status.IsOK() && code_of(status) == ErrorCode::not_found) return std::nullopt;
  check(status, path);
  return entry_from(std::string(name_of(path)), *info);
}

Listing XRootDConnection::list(const std::string& path) {
  XrdCl::DirectoryList* raw = nullptr;
  const auto status = files_.DirList(full(path), XrdCl::DirListFlags::Stat, raw, kXRootDPatience_s);
  const std::unique_ptr<XrdCl::DirectoryList> found(raw);
  check(status, path);
  Listing listing;
  for (auto at = found->Begin(); at != found->End(); ++at) {
    const std::string& name = (*at)->GetName();
    if (is_part_name(name)) continue;
    try {
      if (checked_path(name) != name || name.find('/') != std::string::npos)
        throw Error(ErrorCode::invalid_argument, "");
      (void)full(name);
    } catch (const Error&) {
      listing.refused.push_back(fmt::format("{:?}", name));
      continue;
    }
    if (const XrdCl::StatInfo* info = (*at)->GetStatInfo()) listing.entries.push_back(entry_from(name, *info));
    else if (auto entry = stat(join(path, name))) listing.entries.push_back(std::move(*entry));
  }
  std::sort(listing.entries.begin(), listing.entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return listing;
}

void XRootDConnection::make_folder(const std::string& path) {
  const auto status = files_.MkDir(full(path), XrdCl::MkDirFlags::MakePath,
                                   Access::UR | Access::UW | Access::UX | Access::GR | Access::GX, kXRootDPatience_s);
  if (status.IsOK()) return;
  const auto there = stat(path);
  if (there && there->kind == EntryKind::folder) return;
  check(status, path);
}

void XRootDConnection::remove_file(const std::string& path) {
  const auto status = files_.Rm(full(path), kXRootDPatience_s);
  if (!status.IsOK() && code_of(status) == ErrorCode::not_found) return;
  check(status, path);
}

void XRootDConnection::remove_folder(const std::string& path) {
  check(files_.RmDir(full(path), kXRootDPatience_s), path);
}

void XRootDConnection::rename(const std::string& from, const std::string& to) {
  check(files_.Mv(full(from), full(to), kXRootDPatience_s), to);
}

void XRootDConnection::set_mode(const std::string& path, unsigned mode) {
  check(files_.ChMod(full(path), static_cast<Access::Mode>(mode & 0777U), kXRootDPatience_s), path);
}

std::optional<std::uint32_t> XRootDConnection::adler32(const std::string& path) {
  XrdCl::Buffer request;
  std::string target = full(path);
  target += target.find('?') == std::string::npos ? "?" : "&";
  request.FromString(target + "cks.type=adler32");
  XrdCl::Buffer* raw = nullptr;
  // The server may have to read the whole file for it.
  const auto status = files_.Query(XrdCl::QueryCode::Checksum, request, raw, kChecksumPatience_s);
  const std::unique_ptr<XrdCl::Buffer> answer(raw);
  if (!status.IsOK()) {
    // A server without checksums says so in one of several ways; whoever cannot read the file finds out elsewhere.
    if (status.code == XrdCl::errErrorResponse) return std::nullopt;
    check(status, path);
  }
  // "adler32 0123abcd", with a NUL behind it.
  const std::string text = answer->ToString();
  const auto blank = text.find(' ');
  if (!text.starts_with("adler32 ")) return std::nullopt;
  const std::string digits = text.substr(blank + 1, 8);
  if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos || digits.empty())
    throw Error(ErrorCode::corrupt_data, "XRootD: an Adler-32 that is none").at(where(path));
  return static_cast<std::uint32_t>(std::stoul(digits, nullptr, 16));
}

std::unique_ptr<XrdCl::File> XRootDConnection::open(const std::string& path, XrdCl::OpenFlags::Flags flags) {
  auto file = std::make_unique<XrdCl::File>();
  check(file->Open(place_.origin + "/" + full(path), flags, Access::UR | Access::UW, kXRootDPatience_s), path);
  return file;
}

Index XRootDConnection::read(XrdCl::File& file, const std::string& path, Index offset,
                             std::span<std::byte> into) const {
  constexpr std::size_t kMost = std::size_t{64} << 20;
  Index done = 0;
  while (done < std::ssize(into)) {
    const auto part = into.subspan(static_cast<std::size_t>(done));
    std::uint32_t got = 0;
    check(file.Read(static_cast<std::uint64_t>(offset + done), static_cast<std::uint32_t>(std::min(part.size(), kMost)),
                    part.data(), got, kXRootDPatience_s),
          path);
    if (got == 0) break;
    done += got;
  }
  return done;
}

void XRootDConnection::write(XrdCl::File& file, const std::string& path, Index offset,
                             std::span<const std::byte> bytes) const {
  constexpr std::size_t kMost = std::size_t{64} << 20;
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kMost));
    check(file.Write(static_cast<std::uint64_t>(offset), static_cast<std::uint32_t>(part.size()), part.data(),
                     kXRootDPatience_s),
          path);
    offset += std::ssize(part);
    bytes = bytes.subspan(part.size());
  }
}

}  // namespace farfield::services::transfer

#endif
