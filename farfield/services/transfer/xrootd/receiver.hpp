#pragma once
// A file as it arrives at an XRootD server: under a hidden name, verified, then renamed.

#ifdef FARFIELD_WITH_XROOTD

#include <map>
#include <mutex>
#include <set>

#include "farfield/services/transfer/xrootd/connection.hpp"

namespace farfield::services::transfer {

class XRootDReceiver final : public Receiver {
public:
  XRootDReceiver(std::shared_ptr<XRootDConnection> server, std::string path, const ReceiveOptions& options);
  ~XRootDReceiver() override;

  const Held& held() const override { return held_; }
  void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) override;
  bool pull(Reader& from, Index size_bytes, const std::function<void(Index)>& moved,
            const std::stop_token& stop) override;
  void keep(Index number, Index bytes) override;
  std::vector<Index> verify(Index size_bytes) override;
  Digests commit(const Version& source, unsigned mode) override;
  void abandon() noexcept override;

private:
  struct Piece {
    std::uint32_t crc32c, adler32;
    Index bytes;
    bool kept, bad;  ///< bad: what was handed over was not what was read
  };
  void claim();
  void load_journal();
  void store_journal(const std::lock_guard<std::mutex>& lock);
  std::vector<Index> read_back(Index size_bytes);
  void check_complete(Index chunks) const;

  const std::shared_ptr<XRootDConnection> server_;
  const std::string path_, part_, journal_;
  const ReceiveOptions options_;
  Held held_;
  std::unique_ptr<XrdCl::File> file_;
  bool claimed_ = false, ended_ = false;
  std::mutex mutex_;  ///< of all below
  std::map<Index, Piece> pieces_;
  Index unjournaled_bytes_ = 0, verified_bytes_ = -1;
  std::string sha256_;
  std::optional<std::uint32_t> pulled_;  ///< the source's Adler-32, while what is there came from it by itself
};

}  // namespace farfield::services::transfer

#endif
