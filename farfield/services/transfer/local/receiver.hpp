#pragma once
// A file as it arrives on the local file system: written under a hidden name, read back behind the writing, made
// durable, then renamed.

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "farfield/services/transfer/local/background_sha256.hpp"
#include "farfield/services/transfer/local/folder_sync.hpp"
#include "farfield/services/transfer/local/journal.hpp"
#include "farfield/services/transfer/local/local.hpp"

namespace farfield::services::transfer {

/// Names of the unfinished file and of its journal, for the file `path`: the same for every attempt.
std::string part_path(const std::string& path);
std::string journal_path(const std::string& path);
/// Of part_path() and journal_path().
bool is_part_name(std::string_view name);

class LocalReceiver final : public Receiver {
public:
  LocalReceiver(const Root& root, FolderSync& folders, const LocalOptions& local, std::string path,
                const ReceiveOptions& options);
  ~LocalReceiver() override;

  const Held& held() const override;
  bool clone(Reader& from) override;
  void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) override;
  void keep(Index number, Index bytes) override;
  std::vector<Index> verify(Index size_bytes) override;
  Digests commit(const Version& source, unsigned mode) override;
  void abandon() noexcept override;

private:
  struct Piece {
    std::uint32_t crc32c;
    Index bytes;
  };
  void open_part();
  void preallocate();
  void rewind(Index to);
  void check_pieces(std::unique_lock<std::mutex>& lock, std::optional<Index> up_to);
  void read_back_loop();
  void journal_loop();
  void flush_pending(std::unique_lock<std::mutex>& lock);
  void stop_threads() noexcept;

  const Root& root_;
  FolderSync& folders_;
  const LocalOptions local_;
  const std::string path_, part_, where_;
  const ReceiveOptions options_;
  Descriptor file_;
  std::optional<Journal> journal_;
  std::atomic<bool> cloned_{false}, ended_{false};
  std::once_flag preallocated_;

  // Of both threads and their callers:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false, verified_ = false;
  std::exception_ptr error_;
  std::map<Index, Piece> pieces_;  ///< what shall be in the file
  // The pass that reads back, in the order of the chunks:
  Index position_ = 0;             ///< all before it were read
  bool reading_ = false;           ///< the chunk at position_, without the mutex
  std::uint64_t rewinds_ = 0;      ///< of position_, seen by a read that was under way
  std::set<Index> bad_;            ///< those of them that were not what was put
  std::optional<BackgroundSha256> sha256_;  ///< of the chunks before position_; used by the pass only
  bool sha256_stale_ = false;               ///< position_ went back to 0
  // Written, but not yet on the disk and in the journal:
  std::vector<std::pair<Index, std::uint32_t>> pending_;
  Index pending_bytes_ = 0;
  std::thread reader_, keeper_;
};

}  // namespace farfield::services::transfer
