#include "farfield/services/compute/worker/unpack.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "farfield/codec/zstd.hpp"
#include "farfield/core/error.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/compute/command.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;

std::string content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A tar entry as an attacker could write it.
std::string entry(const std::string& name, const std::string& bytes, char type = '0', const std::string& link = "",
                  const std::string& mode = "0000755") {
  std::string h(512, '\0');
  const auto put = [&](std::size_t at, const std::string& text) {
    std::copy(text.begin(), text.end(), h.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, name.substr(0, 100));
  put(100, mode);
  std::ostringstream size;
  size << std::oct << bytes.size();
  put(124, std::string(11 - std::min<std::size_t>(11, size.str().size()), '0') + size.str());
  h[156] = type;
  put(157, link);
  put(257, std::string("ustar\00000", 8));
  unsigned sum = 8 * ' ';
  for (const char c : h) sum += static_cast<unsigned char>(c);
  std::ostringstream octal;
  octal << std::oct << sum;
  put(148, octal.str());
  return h + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
}

class Unpack : public ::testing::Test {
protected:
  std::string archive(const std::string& tar) const {
    const auto frames = codec::zstd_encode(std::as_bytes(std::span(tar)));
    const fs::path path = folder / "a.tar.zst";
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(frames.data()), std::ssize(frames));
    return path.string();
  }
  ErrorCode refused(const std::string& tar, const UnpackLimits& limits = {}) const {
    try {
      unpack(archive(tar + std::string(1024, '\0')), target(), limits);
    } catch (const core::Error& e) {
      EXPECT_FALSE(fs::exists(target())) << "nothing is left behind";
      EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
      return e.code();
    }
    ADD_FAILURE() << "was unpacked";
    return ErrorCode::internal;
  }
  std::string target() const { return (folder / "out").string(); }
  core::testing::TemporaryFolder folder;
};

TEST_F(Unpack, WhatTarWrote) {
  const fs::path source = folder / "source";
  const std::string longest = std::string(120, 'd') + "/" + std::string(150, 'f');
  fs::create_directories(source / "sub" / std::string(120, 'd'));
  std::ofstream(source / "run.sh") << "#!/bin/sh\necho ran\n";
  fs::permissions(source / "run.sh", fs::perms::owner_all);
  std::ofstream(source / "sub" / longest) << "long";
  std::ofstream(source / "sub/data") << std::string(100000, 'x');
  fs::create_symlink("../run.sh", source / "sub/link");
  for (const char* format : {"--format=gnu", "--format=pax", "--format=ustar"}) {
    const std::string path = (folder / "a.tar.zst").string();
    const auto made =
        run_command({"tar", format, "--zstd", "-cf", path, "-C", source.string(), "."}, {}, std::chrono::seconds(60));
    if (made.exit_code != 0 && std::string(format) != "--format=ustar") FARFIELD_SKIP("no tar with zstd: " + made.err);
    if (made.exit_code != 0) continue;  // a name too long for the format
    fs::remove_all(target());
    unpack(path, target());
    EXPECT_EQ(content(folder / "out/sub" / longest), "long") << format;
    EXPECT_EQ(content(folder / "out/sub/data"), std::string(100000, 'x'));
    EXPECT_EQ(run_command({target() + "/sub/link"}, {}, std::chrono::seconds(60)).out, "ran\n");
    EXPECT_EQ(fs::status(folder / "out/sub/data").permissions() & fs::perms::owner_exec, fs::perms::none);
  }
  try {
    unpack(archive(entry("f", "x")), target());
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::conflict);
  }
}

TEST_F(Unpack, NothingLeadsOut) {
  EXPECT_EQ(refused(entry("../up", "x")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("a/../../up", "x")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("/tmp/farfield_absolute", "x")), ErrorCode::corrupt_data);
  EXPECT_FALSE(fs::exists("/tmp/farfield_absolute"));
  EXPECT_EQ(refused(entry("link", "", '2', "/etc")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("link", "", '2', "../..")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("a/link", "", '2', "../../b")), ErrorCode::corrupt_data);
  // Two links that are harmless alone: through the first, the second's ".." is another folder's.
  EXPECT_EQ(refused(entry("a/b/", "", '5') + entry("l", "", '2', "a/b") + entry("m", "", '2', "l/../../..")),
            ErrorCode::corrupt_data);
  // Through a link, the kernel does not go.
  EXPECT_NE(refused(entry("a/", "", '5') + entry("l", "", '2', "a") + entry("l/f", "x")), ErrorCode::internal);
  EXPECT_EQ(refused(entry("hard", "", '1', "/etc/passwd")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("device", "", '3')), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("f", "x") + entry("f", "y")), ErrorCode::corrupt_data);
}

TEST_F(Unpack, DamageAndBombsAreRefused) {
  std::string bad = entry("f", "x");
  bad[0] = 'g';
  EXPECT_EQ(refused(bad), ErrorCode::corrupt_data) << "checksum";
  EXPECT_EQ(refused(entry("many", std::string(5000, 'x')), {.bytes = 4999}), ErrorCode::invalid_argument);
  EXPECT_EQ(refused(entry("a", "") + entry("b", "") + entry("c", ""), {.entries = 2}), ErrorCode::invalid_argument);
  EXPECT_EQ(refused(entry("x", "8 path=a\n", 'x') + entry("f", "")), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(entry("L", std::string(2 << 20, 'n'), 'L') + entry("f", "")), ErrorCode::corrupt_data);
  const std::string whole = entry("f", std::string(3000, 'x'));
  try {
    unpack(archive(whole.substr(0, 1500)), target());
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt_data);
  }
  EXPECT_FALSE(fs::exists(target()));
  std::ofstream(folder / "none") << "this is no archive";
  EXPECT_THROW(unpack((folder / "none").string(), target()), core::Error);
}

}  // namespace
}  // namespace farfield::services::compute
