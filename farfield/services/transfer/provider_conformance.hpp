#pragma once
// What every provider must do, whatever lies behind it. A test program includes this once and instantiates
// ProviderConformance; what a protocol cannot do, a Case says.

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/copy_file.hpp"
#include "farfield/services/transfer/provider.hpp"
#include "farfield/services/transfer/testing.hpp"

namespace farfield::services::transfer::conformance {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

inline constexpr Index kChunk = 4096;
using Servers = std::vector<std::unique_ptr<net::Server>>;

struct Case {
  std::string name;
  /// A provider of what lies in a folder of this machine, so that the test can look behind it. Journals every two
  /// chunks.
  std::function<std::unique_ptr<Provider>(const fs::path& root, Servers& servers)> make;
  bool sets_times = true;  ///< files get the modification time of their source
  bool knows_links = true;  ///< symbolic links are told apart, and do not lead out
  /// For a real server: where the folders must lie, why there is none (else empty), and what makes a file of ours its
  /// own.
  std::function<fs::path()> inside{};
  std::function<std::string()> why_not{};
  std::function<void(const fs::path&)> hand_over{};
};

class ProviderConformance : public ::testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    if (const std::string why = GetParam().why_not ? GetParam().why_not() : std::string(); !why.empty())
      FARFIELD_SKIP(why);
    for (const auto& folder : {folder_.path(), from_, to_}) {
      fs::create_directories(folder);
      fs::permissions(folder, fs::perms::all);  // a server may run as somebody else
    }
    source_ = GetParam().make(from_, servers_);
    destination_ = GetParam().make(to_, servers_);
  }
  /// Some providers send small files in one piece, and hear of errors with the last call.
  static void write_small(Provider& provider, const std::string& path) {
    const std::string content = "x";
    const auto receiver = provider.receive(path, {{1, 0, ""}, kChunk, false, false});
    put(*receiver, content, 0);
    ASSERT_TRUE(receiver->verify(1).empty());
    receiver->commit({1, 0, ""}, 0600);
  }
  ReceiveOptions options(const std::string& content) const {
    return {{std::ssize(content), 1'700'000'000'123'456'789, "tag"}, kChunk, false, true};
  }
  static std::span<const std::byte> chunk(const std::string& content, Index number) {
    const auto begin = static_cast<std::size_t>(number * kChunk);
    return std::as_bytes(std::span(content)).subspan(begin, std::min(content.size() - begin, std::size_t{kChunk}));
  }
  static void put(Receiver& receiver, const std::string& content, Index number) {
    receiver.put(number, chunk(content, number), codec::crc32c(chunk(content, number)));
  }
  /// All names in the destination's folder, hidden ones too.
  std::set<std::string> names_behind() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(to_)) names.insert(fs::relative(entry.path(), to_));
    return names;
  }

  core::testing::TemporaryFolder folder_{GetParam().inside ? GetParam().inside() : fs::path()};
  const fs::path from_ = folder_ / "from", to_ = folder_ / "to";
  Servers servers_;
  std::unique_ptr<Provider> source_, destination_;
};

TEST_P(ProviderConformance, CopiesFilesOfEverySize) {
  for (const Index bytes : {Index{0}, Index{1}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk, 10 * kChunk + 17}) {
    SCOPED_TRACE(bytes);
    const std::string content = testing::random_text(static_cast<std::size_t>(bytes), 7);
    testing::write_plain(from_ / "f.dat", content);
    ASSERT_EQ(::chmod((from_ / "f.dat").c_str(), 0640), 0);
    if (GetParam().hand_over) GetParam().hand_over(from_ / "f.dat");
    const timespec times[2]{{0, UTIME_OMIT}, {1'600'000'000, 250'000'000}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (from_ / "f.dat").c_str(), times, 0), 0);
    CopyOptions options;
    options.chunk_bytes = kChunk;
    options.streams = 3;
    options.sha256 = true;
    const auto result = copy_file(*source_, "f.dat", *destination_, "g.dat", options, {});
    EXPECT_EQ(testing::read_plain(to_ / "g.dat"), content);
    EXPECT_EQ(result.digests.size_bytes, bytes);
    EXPECT_EQ(result.digests.crc32c, codec::crc32c(std::as_bytes(std::span(content))));
    EXPECT_EQ(result.digests.sha256, codec::sha256_hex(std::as_bytes(std::span(content))));
    EXPECT_EQ(destination_->digests("g.dat", true), result.digests);
    EXPECT_EQ(result.bytes_moved, bytes);
    const auto entry = destination_->stat("g.dat");
    EXPECT_EQ(entry->kind, EntryKind::file);
    EXPECT_EQ(entry->version.size_bytes, bytes);
    if (GetParam().sets_times) {
      EXPECT_EQ(entry->version.mtime_ns, 1'600'000'000'250'000'000);
    }
    EXPECT_EQ(entry->mode, 0640U);
    EXPECT_EQ(names_behind(), (std::set<std::string>{"g.dat"}));
  }
}

TEST_P(ProviderConformance, ListsAFolder) {
  testing::write_plain(from_ / "scan/b.h5", "12345");
  testing::write_plain(from_ / "scan/a.h5", "");
  fs::create_directory(from_ / "scan/sub");
  fs::create_symlink("a.h5", from_ / "scan/link");
  ASSERT_EQ(::mkfifo((from_ / "scan/pipe").c_str(), 0600), 0);
  testing::write_plain(from_ / "scan" / "not\xff utf8", "");
  const auto listing = source_->list("scan");
  std::map<std::string, EntryKind> kinds;
  std::vector<std::string> names;
  for (const auto& entry : listing.entries) {
    kinds[entry.name] = entry.kind;
    names.push_back(entry.name);
  }
  const EntryKind link = GetParam().knows_links ? EntryKind::link : EntryKind::file;
  EXPECT_EQ(names, (std::vector<std::string>{"a.h5", "b.h5", "link", "pipe", "sub"}));
  EXPECT_EQ(kinds, (std::map<std::string, EntryKind>{{"a.h5", EntryKind::file},
                                                     {"b.h5", EntryKind::file},
                                                     {"link", link},
                                                     {"pipe", EntryKind::other},
                                                     {"sub", EntryKind::folder}}));
  EXPECT_EQ(listing.entries[1].version.size_bytes, 5);
  EXPECT_EQ(listing.entries[1].version, source_->open("scan/b.h5")->entry().version);
  EXPECT_EQ(listing.entries[1].version, source_->stat("scan/b.h5")->version);
  ASSERT_EQ(listing.refused.size(), 1U);
  EXPECT_EQ(source_->list("").entries.at(0).name, "scan");
  EXPECT_EQ(source_->stat("scan/link")->kind, link);
  EXPECT_FALSE(source_->stat("gone"));
  EXPECT_EQ(caught([&] { source_->list("gone"); }).code, ErrorCode::not_found);
}

TEST_P(ProviderConformance, OpensRegularFilesOnly) {
  ASSERT_EQ(::mkfifo((from_ / "pipe").c_str(), 0600), 0);
  fs::create_directory(from_ / "sub");
  EXPECT_EQ(caught([&] { source_->open("pipe"); }).code, ErrorCode::unsupported);
  EXPECT_EQ(caught([&] { source_->open("sub"); }).code, ErrorCode::unsupported);
  const auto e = caught([&] { source_->open("gone"); });
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_NE(e.text.find("gone"), std::string::npos);
}

TEST_P(ProviderConformance, ReadsAnywhere) {
  const std::string content = testing::random_text(10000, 3);
  testing::write_plain(from_ / "f", content);
  const auto reader = source_->open("f");
  std::string part(100, '\0');
  const auto into = std::as_writable_bytes(std::span(part));
  EXPECT_EQ(reader->read(5000, into), 100);
  EXPECT_EQ(part, content.substr(5000, 100));
  EXPECT_EQ(reader->read(9950, into), 50);
  EXPECT_EQ(part.substr(0, 50), content.substr(9950));
  EXPECT_EQ(reader->read(10000, into), 0);
  EXPECT_EQ(reader->read(1 << 30, into), 0);
}

TEST_P(ProviderConformance, NoticesThatASourceChanged) {
  testing::write_plain(from_ / "f", "12345");
  const auto reader = source_->open("f");
  EXPECT_EQ(reader->version(), reader->entry().version);
  std::ofstream(from_ / "f", std::ios::app) << "6";
  EXPECT_NE(reader->version(), reader->entry().version);
}

TEST_P(ProviderConformance, StaysInsideItsRoot) {
  testing::write_plain(folder_ / "secret", "secret");
  fs::create_symlink("../secret", from_ / "link");
  fs::create_directory_symlink("..", to_ / "up");
  for (const auto* path : {"../secret", "/etc/passwd", "a/../../secret", "a\nb", "\xff"}) {
    EXPECT_EQ(caught([&] { (void)source_->stat(path); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->list(path); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->open(path); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->digests(path, false); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->make_folder(path); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->remove(path); }).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(caught([&] { source_->receive(path, options("x")); }).code, ErrorCode::invalid_argument) << path;
  }
  if (!GetParam().knows_links) return;
  EXPECT_EQ(caught([&] { source_->open("link"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { source_->digests("link", false); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { write_small(*destination_, "up/new"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { destination_->make_folder("up/new"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { destination_->remove("up/secret"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(testing::read_plain(folder_ / "secret"), "secret");
}

TEST_P(ProviderConformance, AFileIsWholeOrNotThere) {
  const std::string content = testing::random_text(3 * kChunk, 1);
  testing::write_plain(to_ / "f", "old");
  const auto receiver = destination_->receive("f", options(content));
  for (const Index number : {2, 0, 1}) {
    put(*receiver, content, number);
    EXPECT_EQ(testing::read_plain(to_ / "f"), "old");
  }
  EXPECT_EQ(destination_->list("").entries.size(), 1U);
  EXPECT_TRUE(receiver->verify(3 * kChunk).empty());
  EXPECT_EQ(testing::read_plain(to_ / "f"), "old");
  receiver->commit(options(content).version, 0600);
  EXPECT_EQ(testing::read_plain(to_ / "f"), content);
}

TEST_P(ProviderConformance, FindsAndRepairsDamagedChunks) {
  const std::string content = testing::random_text(5 * kChunk + 5, 2);
  const auto receiver = destination_->receive("f", options(content));
  for (Index number = 0; number < 6; ++number)
    receiver->put(number, chunk(content, number), codec::crc32c(chunk(content, number)) ^ (number % 2 == 1 ? 1U : 0U));
  EXPECT_EQ(receiver->verify(std::ssize(content)), (std::vector<Index>{1, 3, 5}));
  for (const Index number : {1, 3, 5}) put(*receiver, content, number);
  EXPECT_TRUE(receiver->verify(std::ssize(content)).empty());
  EXPECT_EQ(receiver->commit(options(content).version, 0600).sha256,
            codec::sha256_hex(std::as_bytes(std::span(content))));
  EXPECT_EQ(testing::read_plain(to_ / "f"), content);
}

TEST_P(ProviderConformance, AMissingChunkIsAnError) {
  const std::string content = testing::random_text(3 * kChunk, 1);
  const auto receiver = destination_->receive("f", options(content));
  put(*receiver, content, 0);
  put(*receiver, content, 2);
  EXPECT_EQ(caught([&] { receiver->commit(options(content).version, 0600); }).code, ErrorCode::internal);
  EXPECT_EQ(caught([&] { receiver->verify(3 * kChunk); }).code, ErrorCode::internal);
  EXPECT_FALSE(destination_->stat("f"));
}

TEST_P(ProviderConformance, WritesWhatComesLast) {  // a source that was still being written
  std::string content = testing::random_text(4 * kChunk, 1);
  const auto receiver = destination_->receive("f", {{kChunk, 0, "growing"}, kChunk, true, true});
  for (const Index number : {0, 1, 2, 3}) put(*receiver, content, number);
  content = content.substr(0, 3 * kChunk + 100);  // the last chunk shrank, an early one changed
  content[kChunk] = static_cast<char>(content[kChunk] + 1);
  put(*receiver, content, 1);
  put(*receiver, content, 3);
  EXPECT_TRUE(receiver->verify(std::ssize(content)).empty());
  const auto digests = receiver->commit(options(content).version, 0600);
  EXPECT_EQ(testing::read_plain(to_ / "f"), content);
  EXPECT_EQ(digests.sha256, codec::sha256_hex(std::as_bytes(std::span(content))));
  EXPECT_EQ(digests.crc32c, codec::crc32c(std::as_bytes(std::span(content))));
}

TEST_P(ProviderConformance, GoesOnAfterAnInterruption) {
  const std::string content = testing::random_text(9 * kChunk, 4);
  {
    const auto receiver = destination_->receive("f", options(content));
    EXPECT_TRUE(receiver->held().crc32c.empty());
    for (const Index number : {0, 1, 4, 5}) put(*receiver, content, number);
  }
  EXPECT_FALSE(destination_->stat("f"));
  EXPECT_TRUE(destination_->list("").entries.empty());
  auto now = options(content);
  now.version.tag = "another";
  const auto receiver = destination_->receive("f", now);
  const Held held = receiver->held();
  EXPECT_EQ(held.version, options(content).version);  // that of the first attempt, so that the caller can judge
  std::map<Index, std::uint32_t> expected;
  for (const Index number : {0, 1, 4, 5}) expected[number] = codec::crc32c(chunk(content, number));
  EXPECT_EQ(held.crc32c, expected);
  for (Index number = 0; number < 9; ++number)
    if (held.crc32c.contains(number)) receiver->keep(number, kChunk);
    else put(*receiver, content, number);
  EXPECT_TRUE(receiver->verify(9 * kChunk).empty());
  receiver->commit(now.version, 0600);
  EXPECT_EQ(testing::read_plain(to_ / "f"), content);
  EXPECT_EQ(names_behind(), (std::set<std::string>{"f"}));
}

TEST_P(ProviderConformance, HeldChunksAreReadBackToo) {
  const std::string content = testing::random_text(9 * kChunk, 4);
  {
    const auto receiver = destination_->receive("f", options(content));
    for (const Index number : {0, 1, 2, 3}) put(*receiver, content, number);
  }
  for (const auto& entry : fs::directory_iterator(to_))  // a disk that forgot what it was given
    if (entry.path().extension() == ".part") fs::resize_file(entry.path(), 2 * kChunk + 1);
  const auto receiver = destination_->receive("f", options(content));
  for (const Index number : {0, 1, 2, 3}) receiver->keep(number, kChunk);
  for (const Index number : {4, 5, 6, 7, 8}) put(*receiver, content, number);
  EXPECT_EQ(receiver->verify(9 * kChunk), (std::vector<Index>{2, 3}));
}

TEST_P(ProviderConformance, AnotherChunkSizeBeginsAnew) {
  const std::string content = testing::random_text(9 * kChunk, 4);
  {
    const auto receiver = destination_->receive("f", options(content));
    for (const Index number : {0, 1, 2, 3}) put(*receiver, content, number);
  }
  auto other = options(content);
  other.chunk_bytes = 2 * kChunk;
  EXPECT_TRUE(destination_->receive("f", other)->held().crc32c.empty());
}

TEST_P(ProviderConformance, AbandonedFilesLeaveNoTrace) {
  const std::string content = testing::random_text(9 * kChunk, 4);
  const auto receiver = destination_->receive("f", options(content));
  for (const Index number : {0, 1, 2, 3}) put(*receiver, content, number);
  receiver->abandon();
  EXPECT_EQ(names_behind(), std::set<std::string>{});
}

TEST_P(ProviderConformance, OneWritesAFileAtATime) {
  const std::string content = testing::random_text(2 * kChunk, 1);
  auto first = destination_->receive("f", options(content));
  EXPECT_EQ(caught([&] { destination_->receive("f", options(content)); }).code, ErrorCode::conflict);
  const auto other = destination_->receive("g", options(content));
  first.reset();
  EXPECT_TRUE(destination_->receive("f", options(content)));
}

TEST_P(ProviderConformance, MakesAndRemoves) {
  destination_->make_folder("a/b/c");
  destination_->make_folder("a/b/c");
  destination_->make_folder("");
  EXPECT_TRUE(fs::is_directory(to_ / "a/b/c"));
  testing::write_plain(to_ / "a/f", "x");
  destination_->remove("a/f");
  destination_->remove("a/f");
  destination_->remove("a/b/c");
  EXPECT_EQ(names_behind(), (std::set<std::string>{"a", "a/b"}));
  EXPECT_THROW(destination_->remove("a"), core::Error);
  testing::write_plain(to_ / "file", "x");
  EXPECT_THROW(destination_->make_folder("file/below"), core::Error);
  EXPECT_EQ(caught([&] { write_small(*destination_, "no/folder"); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { destination_->receive("", options("x")); }).code, ErrorCode::invalid_argument);
}

TEST_P(ProviderConformance, AFolderIsNotOverwrittenByAFile) {
  destination_->make_folder("f/sub");
  testing::write_plain(from_ / "f", "content");
  EXPECT_THROW(copy_file(*source_, "f", *destination_, "f", {}, {}), core::Error);
  EXPECT_EQ(names_behind(), (std::set<std::string>{"f", "f/sub"}));
}

TEST_P(ProviderConformance, NamesAsLongAsTheyMayBe) {
  const std::string name(255, 'n');
  testing::write_plain(from_ / name, "content");
  copy_file(*source_, name, *destination_, name, {}, {});
  EXPECT_EQ(testing::read_plain(to_ / name), "content");
}

}  // namespace farfield::services::transfer::conformance
