#include "farfield/services/transfer/xrootd/receiver.hpp"

#ifdef FARFIELD_WITH_XROOTD

#include <fmt/format.h>

#include <numeric>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/log.hpp"
#include "farfield/services/transfer/agent/wire.hpp"
#include "farfield/services/transfer/local/receiver.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using wire::json;
using XrdCl::OpenFlags;

namespace {

constexpr Index kJournalEvery_bytes = Index{64} << 20, kLargestJournal = Index{64} << 20;

/// Files that this process is writing: the protocol has no lock.
std::mutex claimed_mutex;
std::set<std::string> claimed_files;

}  // namespace

XRootDReceiver::XRootDReceiver(std::shared_ptr<XRootDConnection> server, std::string path,
                               const ReceiveOptions& options)
    : server_(std::move(server)),
      path_(std::move(path)),
      part_(part_path(path_)),
      journal_(journal_path(path_)),
      options_(options) {
  if (options_.chunk_bytes <= 0)
    throw Error(ErrorCode::invalid_argument, fmt::format("chunks of {} bytes", options_.chunk_bytes));
  const auto there = server_->stat(path_);
  if (there && there->kind != EntryKind::file)
    throw Error(ErrorCode::conflict, "not a file, and not replaced by one").at(server_->where(path_));
  // The server would make it, mistakes in names included.
  if (const std::string folder(folder_of(path_)); !folder.empty() && !server_->stat(folder))
    throw Error(ErrorCode::not_found, "there is no folder " + folder).at(server_->where(path_));
  claim();
  try {
    held_.version = options_.version;
    if (server_->stat(part_)) load_journal();
    file_ = server_->open(part_, held_.crc32c.empty() ? OpenFlags::Delete | OpenFlags::Update : OpenFlags::Update);
  } catch (...) {
    const std::lock_guard lock(claimed_mutex);
    claimed_files.erase(server_->where(path_));
    throw;
  }
}

XRootDReceiver::~XRootDReceiver() {
  if (!ended_) try {
      {
        const std::lock_guard lock(mutex_);
        store_journal(lock);
      }
      server_->check(file_->Close(kXRootDPatience_s), part_);
    } catch (const std::exception& e) {  // a later attempt begins anew
      core::log(core::LogLevel::info, "transfer.no_journal", {{"file", server_->where(path_)}, {"error", e.what()}});
    }
  const std::lock_guard lock(claimed_mutex);
  claimed_files.erase(server_->where(path_));
}

void XRootDReceiver::claim() {
  const std::lock_guard lock(claimed_mutex);
  if (!claimed_files.insert(server_->where(path_)).second)
    throw Error(ErrorCode::conflict, "another transfer writes this file").at(server_->where(path_));
}

void XRootDReceiver::load_journal() {
  const auto entry = server_->stat(journal_);
  if (!entry || entry->version.size_bytes > kLargestJournal) return;
  std::vector<std::byte> bytes(static_cast<std::size_t>(entry->version.size_bytes));
  const auto file = server_->open(journal_, OpenFlags::Read);
  bytes.resize(static_cast<std::size_t>(server_->read(*file, journal_, 0, bytes)));
  server_->check(file->Close(kXRootDPatience_s), journal_);
  try {
    const json said = wire::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (wire::integer(said, "chunk_bytes", 1, options_.chunk_bytes) == options_.chunk_bytes) held_ = wire::held(said);
  } catch (const Error&) {  // cut off while it was written: begin anew
    held_ = {options_.version, {}};
  }
}

void XRootDReceiver::store_journal(const std::lock_guard<std::mutex>&) {
  Held held{held_.version, {}};
  for (const auto& [number, piece] : pieces_)
    if (!piece.bad && piece.bytes == options_.chunk_bytes) held.crc32c[number] = piece.crc32c;
  if (held.crc32c.empty()) return;
  server_->check(file_->Sync(kXRootDPatience_s), part_);
  json said = wire::to_json(held);
  said["chunk_bytes"] = options_.chunk_bytes;
  const std::string text = said.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto file = server_->open(journal_, OpenFlags::Delete | OpenFlags::Update);
  server_->write(*file, journal_, 0, std::as_bytes(std::span(text)));
  server_->check(file->Close(kXRootDPatience_s), journal_);
  unjournaled_bytes_ = 0;
}

void XRootDReceiver::put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) {
  if (number < 0 || std::ssize(bytes) > options_.chunk_bytes)
    throw Error(ErrorCode::internal, fmt::format("chunk {} of {} bytes", number, bytes.size())).at(path_);
  server_->write(*file_, part_, number * options_.chunk_bytes, bytes);
  const Piece piece{crc32c, codec::adler32(bytes), std::ssize(bytes), false, codec::crc32c(bytes) != crc32c};
  const std::lock_guard lock(mutex_);
  pieces_[number] = piece;
  verified_bytes_ = -1;
  unjournaled_bytes_ += piece.bytes;
  if (unjournaled_bytes_ >= kJournalEvery_bytes) store_journal(lock);
}

bool XRootDReceiver::pull(Reader& from, Index /*size_bytes*/, const std::function<void(Index)>& moved,
                          const std::stop_token& stop) {
  const auto* source = dynamic_cast<const HttpSource*>(&from);
  if (source == nullptr || options_.sha256 || !server_->address(part_)) return false;
  const auto address = source->address();
  const auto sum = address ? source->adler32() : std::nullopt;  // or nobody could say whether it is the same
  if (!sum) return false;
  const std::lock_guard lock(mutex_);
  // The server opens it for itself, and begins anew.
  server_->check(file_->Close(kXRootDPatience_s), part_);
  const bool done = server_->copy_from(*address, part_, moved, stop);
  file_ = server_->open(part_, done ? OpenFlags::Update : OpenFlags::Delete | OpenFlags::Update);
  pieces_.clear();
  verified_bytes_ = -1;
  if (done) pulled_ = sum;
  return done;
}

void XRootDReceiver::keep(Index number, Index bytes) {
  const auto held = held_.crc32c.find(number);
  if (held == held_.crc32c.end())
    throw Error(ErrorCode::internal, fmt::format("chunk {} is not held", number)).at(path_);
  const std::lock_guard lock(mutex_);
  pieces_[number] = {held->second, 0, bytes, true, false};
  verified_bytes_ = -1;
}

void XRootDReceiver::check_complete(Index chunks) const {
  for (Index number = 0; number < chunks; ++number)
    if (!pieces_.contains(number))
      throw Error(ErrorCode::internal, fmt::format("chunk {} of {} was not written", number, chunks)).at(path_);
}

std::vector<Index> XRootDReceiver::verify(Index size_bytes) {
  const Index chunks = (size_bytes + options_.chunk_bytes - 1) / options_.chunk_bytes;
  const std::lock_guard lock(mutex_);
  if (pulled_) {
    const auto there = server_->stat(part_);
    if (there && there->version.size_bytes == size_bytes && server_->adler32(part_) == pulled_) {
      verified_bytes_ = size_bytes;
      return {};
    }
    pulled_.reset();  // all of it is put in the ordinary way
    std::vector<Index> all(static_cast<std::size_t>(chunks));
    std::iota(all.begin(), all.end(), Index{0});
    return all;
  }
  check_complete(chunks);
  pieces_.erase(pieces_.lower_bound(chunks), pieces_.end());
  // The last chunk may have been longer while the file was still growing; what counts is what is there now.
  server_->check(file_->Truncate(static_cast<std::uint64_t>(size_bytes), kXRootDPatience_s), part_);
  server_->check(file_->Sync(kXRootDPatience_s), part_);
  std::vector<Index> bad;
  std::uint32_t expected = codec::adler32({});
  bool known = !options_.sha256;
  for (const auto& [number, piece] : pieces_) {
    if (piece.bad) bad.push_back(number);
    known = known && !piece.kept;
    expected = codec::adler32_combine(expected, piece.adler32, static_cast<std::uint64_t>(piece.bytes));
  }
  if (!bad.empty()) return bad;
  if (!known || server_->adler32(part_) != expected) bad = read_back(size_bytes);
  if (bad.empty()) verified_bytes_ = size_bytes;
  return bad;
}

std::vector<Index> XRootDReceiver::read_back(Index size_bytes) {
  std::vector<Index> bad;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(options_.chunk_bytes, size_bytes)));
  codec::Sha256 sha256;
  for (const auto& [number, piece] : pieces_) {
    const Index begin = number * options_.chunk_bytes;
    const auto into =
        std::span(buffer).first(static_cast<std::size_t>(std::min(options_.chunk_bytes, size_bytes - begin)));
    const Index got = server_->read(*file_, part_, begin, into);
    if (got != std::ssize(into) || codec::crc32c(into) != piece.crc32c) bad.push_back(number);
    if (options_.sha256) sha256.update(into);
  }
  sha256_ = options_.sha256 ? sha256.hex() : std::string();
  return bad;
}

Digests XRootDReceiver::commit(const Version& source, unsigned mode) {
  const std::lock_guard lock(mutex_);
  if (verified_bytes_ != source.size_bytes)
    throw Error(ErrorCode::internal, "not verified before it was given its name").at(path_);
  Digests digests{source.size_bytes, 0, sha256_, pulled_};
  for (const auto& [number, piece] : pieces_)
    digests.crc32c = codec::crc32c_combine(digests.crc32c, piece.crc32c, static_cast<std::uint64_t>(piece.bytes));
  server_->check(file_->Close(kXRootDPatience_s), part_);
  server_->set_mode(part_, mode);
  server_->rename(part_, path_);
  ended_ = true;
  server_->remove_file(journal_);
  return digests;
}

void XRootDReceiver::abandon() noexcept {
  ended_ = true;
  try {
    server_->check(file_->Close(kXRootDPatience_s), part_);
    server_->remove_file(part_);
    server_->remove_file(journal_);
  } catch (const std::exception& e) {
    core::log(core::LogLevel::info, "transfer.not_removed", {{"file", server_->where(part_)}, {"error", e.what()}});
  }
}

}  // namespace farfield::services::transfer

#endif
