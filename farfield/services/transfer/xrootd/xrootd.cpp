#include "farfield/services/transfer/xrootd/xrootd.hpp"

#include <fmt/format.h>

#include "farfield/codec/checksum.hpp"
#include "farfield/services/transfer/root.hpp"
#include "farfield/services/transfer/xrootd/receiver.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

#ifdef FARFIELD_WITH_XROOTD

namespace {

using Shared = std::shared_ptr<XRootDConnection>;

class XRootDReader final : public Reader, public HttpSource {
public:
  XRootDReader(Shared server, std::string path) : server_(std::move(server)), path_(std::move(path)) {
    const auto entry = server_->stat(path_);
    if (!entry) throw Error(ErrorCode::not_found, "no such file").at(server_->where(path_));
    if (entry->kind != EntryKind::file)
      throw Error(ErrorCode::unsupported, "not a regular file").at(server_->where(path_));
    entry_ = *entry;
    file_ = server_->open(path_, XrdCl::OpenFlags::Read);
  }
  ~XRootDReader() override { (void)file_->Close(kXRootDPatience_s).IsOK(); }

  const Entry& entry() const override { return entry_; }
  Index piece_bytes() const override { return Index{4} << 20; }  // a round trip each
  Version version() override {
    const auto now = server_->stat(path_);
    if (!now) throw Error(ErrorCode::conflict, "the file is gone").at(server_->where(path_));
    return now->version;
  }
  Index read(Index offset, std::span<std::byte> into) override { return server_->read(*file_, path_, offset, into); }
  std::optional<HttpAddress> address() const override { return server_->address(path_); }
  std::optional<std::uint32_t> adler32() const override { return server_->adler32(path_); }

private:
  const Shared server_;
  const std::string path_;
  Entry entry_;
  std::unique_ptr<XrdCl::File> file_;
};

class XRootDProvider final : public Provider {
public:
  explicit XRootDProvider(XRootDPlace place) : server_(std::make_shared<XRootDConnection>(std::move(place))) {}

  std::string name() const override { return server_->name(); }
  std::optional<Entry> stat(const std::string& path) override { return server_->stat(checked_path(path)); }
  Listing list(const std::string& path) override { return server_->list(checked_path(path)); }
  std::unique_ptr<Reader> open(const std::string& path) override {
    return std::make_unique<XRootDReader>(server_, checked_path(path));
  }
  std::unique_ptr<Receiver> receive(const std::string& path, const ReceiveOptions& options) override {
    std::string file = checked_path(path);
    if (file.empty()) throw Error(ErrorCode::invalid_argument, name() + " is a folder, not a file");
    return std::make_unique<XRootDReceiver>(server_, std::move(file), options);
  }
  void make_folder(const std::string& path) override { server_->make_folder(checked_path(path)); }
  void remove(const std::string& path) override {
    const std::string checked = checked_path(path);
    const auto entry = server_->stat(checked);
    if (!entry) return;
    if (entry->kind == EntryKind::folder) server_->remove_folder(checked);
    else server_->remove_file(checked);
  }
  Digests digests(const std::string& path, bool sha256) override {
    const auto reader = open(path);
    Digests digests;
    codec::Sha256 sum;
    std::vector<std::byte> buffer(static_cast<std::size_t>(reader->piece_bytes()));
    for (Index got = 0; (got = reader->read(digests.size_bytes, buffer)) > 0; digests.size_bytes += got) {
      const auto bytes = std::span(buffer).first(static_cast<std::size_t>(got));
      digests.crc32c = codec::crc32c(bytes, digests.crc32c);
      if (sha256) sum.update(bytes);
    }
    if (sha256) digests.sha256 = sum.hex();
    return digests;
  }

private:
  const Shared server_;
};

}  // namespace

std::unique_ptr<Provider> xrootd_provider(XRootDPlace place) {
  return std::make_unique<XRootDProvider>(std::move(place));
}

#else

std::unique_ptr<Provider> xrootd_provider(XRootDPlace place) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: built without XRootD (FARFIELD_WITH_XROOTD)", place.origin));
}

#endif

}  // namespace farfield::services::transfer
