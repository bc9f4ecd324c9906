#pragma once
// One side of a transfer: a place that holds files under an exported root. Providers know nothing of each other; the
// engine (copy_file.hpp, job.hpp) reads chunks from one and puts them to another. Every provider passes the suite in
// provider_conformance.hpp.
//
// Paths are as checked_path() in root.hpp says, and every function checks them. Functions may be called from several
// threads at once. Errors: `not_found`, `forbidden`, `invalid_argument`, `io`, `resource_exhausted` (full), `conflict`
// (another transfer writes the same file), `unavailable` (a peer that does not answer: worth another attempt).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::services::transfer {

using core::Index;

enum class EntryKind { file, folder, link, other };

/// What must not change while a file is copied, and tells a later attempt that it is still the same file.
struct Version {
  Index size_bytes = 0;
  std::int64_t mtime_ns = 0;  ///< since 1970-01-01 UTC
  std::string tag;            ///< whatever else the provider knows (inode and change time, entity tag)
  bool operator==(const Version&) const = default;
};

struct Entry {
  std::string name;  ///< last part of the path
  EntryKind kind = EntryKind::other;
  Version version;
  unsigned mode = 0644;  ///< permission bits
};

struct Listing {
  std::vector<Entry> entries;        ///< in the order of their names, as bytes
  std::vector<std::string> refused;  ///< names that checked_path() refuses, made readable
};

struct Digests {
  Index size_bytes = 0;
  std::uint32_t crc32c = 0;  ///< 0 where only `adler32` is known
  std::string sha256;  ///< 64 hexadecimal digits; empty unless asked for
  /// Of a file that one XRootD server took from another by itself: they compute no other, and both were asked for it.
  std::optional<std::uint32_t> adler32{};
  bool operator==(const Digests&) const = default;
};

/// A file that is read. Stays the same file when its name is given to another.
class Reader {
public:
  virtual ~Reader() = default;
  /// As it was when it was opened.
  virtual const Entry& entry() const = 0;
  /// As it is now.
  virtual Version version() = 0;
  /// Fills `into` with the bytes from `offset` on; fewer only where the file ends.
  virtual Index read(Index offset, std::span<std::byte> into) = 0;
  /// How much to read at once, at most: as long as it stays in the cache until it was summed, where a call costs
  /// little.
  virtual Index piece_bytes() const { return Index{256} << 10; }
};

/// Chunks that an earlier attempt left, by their number.
struct Held {
  Version version;  ///< of the source they came from
  std::map<Index, std::uint32_t> crc32c;
};

/// A file that is written, unseen until commit(). Destroyed before that, it keeps what is needed to go on later, if
/// that is worth it. put() and keep() may be called from several threads, the others from one.
class Receiver {
public:
  virtual ~Receiver() = default;
  virtual const Held& held() const = 0;
  /// Lets the file system share the blocks of `from` (reflink). After true, put() only notes the checksum.
  virtual bool clone(Reader& /*from*/) { return false; }
  /// Writes chunk `number`, at number * chunk_bytes. `crc32c` is that of the bytes as they were read from the source.
  virtual void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) = 0;
  /// Third party: has the destination read chunk `number` from where `from` reads, so that the bytes do not come this
  /// way. Empty where it cannot; then put() does it. The checksum is that of what arrived there.
  virtual std::optional<std::uint32_t> fetch(Reader& /*from*/, Index /*number*/, Index /*bytes*/) { return {}; }
  /// Third party, for the whole file: has the destination take all of it from where `from` reads; `moved` hears how
  /// many bytes have arrived in all. After true every chunk counts as put, and verify() says whether they are right.
  /// False where it cannot, or where it did not work in a way that another one may.
  virtual bool pull(Reader& /*from*/, Index /*size_bytes*/, const std::function<void(Index)>& /*moved*/,
                    const std::stop_token& /*stop*/) {
    return false;
  }
  /// A held chunk, of which the file shall have so many bytes, stays as it is.
  virtual void keep(Index number, Index bytes) = 0;
  /// Reads every chunk of a file of this size back and returns those whose bytes are not what was put. Cuts off
  /// what is beyond. Throws `internal` where a chunk was neither put nor kept.
  virtual std::vector<Index> verify(Index size_bytes) = 0;
  /// After verify() found nothing: makes the file durable, with mtime and permission bits, and gives it its name.
  virtual Digests commit(const Version& source, unsigned mode) = 0;
  /// Removes all traces.
  virtual void abandon() noexcept = 0;
};

struct ReceiveOptions {
  Version version;  ///< of the source
  Index chunk_bytes = Index{4} << 20;  ///< > 0
  bool growing = false;  ///< the size is not known yet
  bool sha256 = false;  ///< Digests of commit() shall have it
};

/// A file that is wholly in memory, as it was read.
struct WholeFile {
  std::string path;
  Version version;  ///< of the source; its size is that of `bytes`
  unsigned mode = 0644;
  std::vector<std::byte> bytes;
  std::uint32_t crc32c = 0;
};

/// What became of one: stored as by commit(), or why not.
struct Stored {
  Digests digests;
  std::optional<core::Error> error;
};

inline constexpr std::size_t kMostStored = 64;
inline constexpr Index kLargestStored = Index{1} << 20;

class Provider {
public:
  virtual ~Provider() = default;
  /// For messages: "/data/2026-1-Garcia-1234", "https://dtn1.example.org/".
  virtual std::string name() const = 0;
  /// A symbolic link is described as one. Empty where nothing of this name exists.
  virtual std::optional<Entry> stat(const std::string& path) = 0;
  /// What a folder holds, without the files that a Receiver has not committed.
  virtual Listing list(const std::string& path) = 0;
  virtual std::unique_ptr<Reader> open(const std::string& path) = 0;
  /// The folder must exist.
  virtual std::unique_ptr<Receiver> receive(const std::string& path, const ReceiveOptions& options) = 0;
  /// And those above it.
  virtual void make_folder(const std::string& path) = 0;
  /// A file or an empty folder; nothing happens where there is none.
  virtual void remove(const std::string& path) = 0;
  /// Computed where the file is.
  virtual Digests digests(const std::string& path, bool sha256) = 0;
  /// Whether store() spares waiting: where each file by itself would wait for an answer from far away.
  virtual bool stores_many() const { return false; }
  /// Whole files, each as receive(), put(), verify() and commit() would do it, in their order; a file that fails does
  /// not spoil the others. At most kMostStored files of at most kLargestStored bytes. What it throws (a lost
  /// connection) leaves unknown which of them are there: they are to be stored again.
  virtual std::vector<Stored> store(const std::vector<WholeFile>& /*files*/, bool /*sha256*/) {
    throw core::Error(core::ErrorCode::unsupported, name() + " takes files one by one");
  }
};

}  // namespace farfield::services::transfer
