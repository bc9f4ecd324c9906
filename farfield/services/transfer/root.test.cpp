// What an attacker tries to get out of an exported folder, and what a user may name in it.

#include "farfield/services/transfer/root.hpp"

#include <fcntl.h>

#include <atomic>
#include <thread>

#include "farfield/services/transfer/testing.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using namespace std::string_literals;
using testing::caught;

/// outer/secret, outer/root/ (exported) with a file and a folder in it.
class Roots : public ::testing::Test {
protected:
  Roots() : outside_(folder_ / "secret"), inside_(folder_ / "root") {
    testing::write_plain(outside_, "secret");
    testing::write_plain(inside_ / "a.dat", "plain");
    testing::write_plain(inside_ / "sub/b.dat", "deeper");
  }
  std::string read(const Root& root, const std::string& path) {
    const Descriptor file = root.open(path, O_RDONLY);
    char text[64];
    const ssize_t n = ::read(file.get(), text, sizeof text);
    return n < 0 ? "" : std::string(text, static_cast<std::size_t>(n));
  }
  testing::TemporaryFolder folder_;
  fs::path outside_, inside_;
};

TEST(CheckedPath, KeepsWhatUsersWrite) {
  for (const auto* path : {"", "a", "a/b.h5", "scan_0100", "..a", "a..", ".hidden", "a b", "ç/日本/🙂", "-rf", "~",
                           "$HOME", "%2e%2e", "a\\..\\b", "．．", "․․", "a:b", "con", "*"})
    EXPECT_EQ(checked_path(path), path);
  EXPECT_EQ(checked_path("scan100/"), "scan100");
  EXPECT_EQ(checked_path(std::string(255, 'x')), std::string(255, 'x'));
}

TEST(CheckedPath, RefusesWhatLeadsAstray) {
  const std::string many = [] {
    std::string text = "a";
    while (text.size() <= 4095) text += "/a";
    return text;
  }();
  const std::vector<std::string> bad{
      "/",     "/etc/passwd", "//a",      "..",   "../secret", "a/..",  "a/../../secret",
      "a/./b", ".",           "./a",      "a//b", "a//",       "a\0b"s, "\0"s,
      "a\nb",  "a\x7f",       "a\x1b[2J", "../",  "a/../",     many,    std::string(256, 'x')};
  for (const auto& path : bad) EXPECT_EQ(caught([&] { checked_path(path); }).code, ErrorCode::invalid_argument) << path;
}

TEST(CheckedPath, RefusesBytesThatAreNotUtf8) {
  const std::vector<std::string> bad{"\xc0\xae\xc0\xae/secret",      // '.' overlong
                                     "a\xc0\xaf"
                                     "b",                // '/' overlong
                                     "\xe0\x80\xae",
                                     "\xf0\x80\x80\xae",
                                     "\xed\xa0\x80" /* surrogate */,
                                     "\xf4\x90\x80\x80" /* beyond U+10FFFF */,
                                     "\xff",
                                     "\x80",
                                     "a\xe2\x82" /* cut */,
                                     "\xf8\x88\x80\x80\x80"};
  for (const auto& path : bad) {
    const auto e = caught([&] { checked_path(path); });
    EXPECT_EQ(e.code, ErrorCode::invalid_argument);
    EXPECT_NE(e.text.find("not UTF-8"), std::string::npos) << e.text;
    for (const char c : e.text) EXPECT_TRUE(c >= 0x20 && c < 0x7f);  // the message itself is clean
  }
}

TEST_F(Roots, OpenWhatIsInside) {
  const Root root(inside_);
  EXPECT_EQ(read(root, "a.dat"), "plain");
  EXPECT_EQ(read(root, "sub/b.dat"), "deeper");
  EXPECT_FALSE(root.open_if_there("gone", O_RDONLY));
  EXPECT_FALSE(root.open_if_there("gone/file", O_RDONLY));
  EXPECT_EQ(caught([&] { root.open("gone", O_RDONLY); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { root.open("../secret", O_RDONLY); }).code, ErrorCode::invalid_argument);
  EXPECT_EQ(root.stat("a.dat")->st_size, 5);
  EXPECT_TRUE(S_ISDIR(root.stat("")->st_mode));
  EXPECT_FALSE(root.stat("gone"));
}

TEST_F(Roots, NoSymbolicLinkLeadsOut) {
  fs::create_symlink(outside_, inside_ / "absolute");
  fs::create_symlink("../secret", inside_ / "relative");
  fs::create_directory_symlink("..", inside_ / "up");
  fs::create_directory_symlink("/", inside_ / "slash");
  fs::create_symlink("/proc/self/root/etc/passwd", inside_ / "magic");
  fs::create_symlink("relative", inside_ / "twice");
  const Root root(inside_);
  for (const auto* path :
       {"absolute", "relative", "up/secret", "up/root/a.dat", "slash/etc/passwd", "magic", "twice"}) {
    EXPECT_EQ(caught([&] { root.open(path, O_RDONLY); }).code, ErrorCode::forbidden) << path;
    EXPECT_EQ(caught([&] { root.open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666); }).code, ErrorCode::forbidden) << path;
  }
  EXPECT_EQ(caught([&] { root.make_folder("up/new"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { root.make_folder("slash/tmp/new"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { root.remove("up/secret"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { root.rename("up/secret", "up/taken"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { (void)root.stat("up/secret"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(testing::read_plain(outside_), "secret");
  EXPECT_FALSE(fs::exists(folder_ / "new"));
}

TEST_F(Roots, MagicLinksAreRefusedEvenInside) {
  const Root root("/proc/self");
  EXPECT_EQ(caught([&] { root.open("root/etc/passwd", O_RDONLY); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { root.open("cwd", O_RDONLY); }).code, ErrorCode::forbidden);
}

TEST_F(Roots, ASymbolicLinkInsideIsResolvedButDescribedAsOne) {
  fs::create_symlink("sub/b.dat", inside_ / "link");
  fs::create_symlink("loop", inside_ / "loop");
  const Root root(inside_);
  EXPECT_EQ(read(root, "link"), "deeper");
  EXPECT_TRUE(S_ISLNK(root.stat("link")->st_mode));
  EXPECT_EQ(caught([&] { root.open("loop", O_RDONLY); }).code, ErrorCode::forbidden);
  root.remove("link");  // the link, not what it points to
  EXPECT_TRUE(fs::exists(inside_ / "sub/b.dat"));
}

TEST_F(Roots, AFifoDoesNotStopTheService) {
  ASSERT_EQ(::mkfifo((inside_ / "fifo").c_str(), 0600), 0);
  const Root root(inside_);
  EXPECT_TRUE(root.open("fifo", O_RDONLY));  // returns: nobody has to write to it
}

TEST_F(Roots, MakeRenameRemove) {
  const Root root(inside_);
  root.make_folder("x/y/z");
  root.make_folder("x/y/z");
  EXPECT_TRUE(fs::is_directory(inside_ / "x/y/z"));
  EXPECT_THROW(root.make_folder("a.dat"), core::Error);
  EXPECT_THROW(root.make_folder("a.dat/below"), core::Error);
  testing::write_plain(inside_ / "x/part", "1");
  root.rename("x/part", "x/whole");
  EXPECT_EQ(testing::read_plain(inside_ / "x/whole"), "1");
  EXPECT_EQ(caught([&] { root.rename("x/whole", "whole"); }).code, ErrorCode::internal);
  root.remove("x/whole");
  root.remove("x/whole");
  root.remove("x/y/z");
  EXPECT_FALSE(fs::exists(inside_ / "x/y/z"));
  EXPECT_THROW(root.remove("x"), core::Error);  // not empty
  for (const auto* path : {"", "/"}) EXPECT_EQ(caught([&] { root.remove(path); }).code, ErrorCode::invalid_argument);
}

TEST_F(Roots, AFolderExchangedForALinkWhileItIsUsedLeadsNowhereElse) {
  fs::create_directories(folder_ / "elsewhere");
  testing::write_plain(folder_ / "elsewhere/f", "secret");
  testing::write_plain(inside_ / "swap/f", "plain");
  const Root root(inside_);
  std::atomic<bool> stop{false};
  std::thread attacker([&] {
    while (!stop) {
      std::error_code ignored;
      fs::rename(inside_ / "swap", inside_ / "away", ignored);
      fs::create_directory_symlink("../elsewhere", inside_ / "swap", ignored);
      fs::remove(inside_ / "swap", ignored);
      fs::rename(inside_ / "away", inside_ / "swap", ignored);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    try {
      if (const Descriptor file = root.open_if_there("swap/f", O_RDONLY)) {
        char text[8]{};
        ASSERT_EQ(::read(file.get(), text, 7), 5);
        ASSERT_STREQ(text, "plain");
      }
    } catch (const core::Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::forbidden) << e.what();
    }
  }
  stop = true;
  attacker.join();
}

TEST_F(Roots, TheRootMustBeAFolder) {
  EXPECT_EQ(caught([&] { Root root(folder_ / "gone"); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { Root root(outside_); }).code, ErrorCode::io);
}

TEST(Paths, ArePutTogetherAndTakenApart) {
  EXPECT_EQ(join("a", "b"), "a/b");
  EXPECT_EQ(join("", "b"), "b");
  EXPECT_EQ(join("a", ""), "a");
  EXPECT_EQ(folder_of("a/b/c"), "a/b");
  EXPECT_EQ(folder_of("c"), "");
  EXPECT_EQ(name_of("a/b/c"), "c");
  EXPECT_EQ(name_of("c"), "c");
}

}  // namespace
}  // namespace farfield::services::transfer
