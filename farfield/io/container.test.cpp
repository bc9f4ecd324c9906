#include "farfield/io/container.hpp"

#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using testing::caught;

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto b = std::as_bytes(std::span(text));
  return {b.begin(), b.end()};
}

TEST(Container, KeepsBlocks) {
  const testing::TemporaryFolder folder;
  {
    ContainerWriter writer(folder / "c.ckpt");
    writer.put("object", bytes_of("some bytes"));
    writer.put("empty", {});
    writer.put("a/b c", bytes_of(std::string(100000, 'x')));
    EXPECT_EQ(caught([&] { writer.put("object", {}); }).code, ErrorCode::invalid_argument);
    EXPECT_EQ(caught([&] { writer.put("", {}); }).code, ErrorCode::invalid_argument);
    EXPECT_FALSE(std::filesystem::exists(folder / "c.ckpt"));
    writer.commit();
  }
  const ContainerReader reader(folder / "c.ckpt");
  EXPECT_EQ(reader.names(), (std::vector<std::string>{"object", "empty", "a/b c"}));
  EXPECT_EQ(reader.get("object"), bytes_of("some bytes"));
  EXPECT_EQ(reader.get("empty"), bytes_of(""));
  EXPECT_EQ(reader.get("a/b c").size(), 100000U);
  EXPECT_FALSE(reader.has("probe"));
  const auto missing = caught([&] { reader.get("probe"); });
  EXPECT_EQ(missing.code, ErrorCode::corrupt_data);
  EXPECT_CONTAINS(missing.text, "object");
}

TEST(Container, EveryDamagedByteIsNoticed) {
  const testing::TemporaryFolder folder;
  {
    ContainerWriter writer(folder / "c");
    writer.put("n", bytes_of("0123456789"));
    writer.put("m", bytes_of("abc"));
    writer.commit();
  }
  const auto good = read_file(folder / "c", 1000);
  const auto read_back = [&](const std::vector<std::byte>& bytes) {
    testing::write_plain(folder / "d", bytes);
    const ContainerReader reader(folder / "d");
    for (const auto& name : reader.names()) reader.get(name);
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    if (i >= 12 && i < 16) continue;  // reserved
    auto bad = good;
    bad[i] ^= std::byte{1};
    const auto e = caught([&] { read_back(bad); });
    EXPECT_TRUE(e.code == ErrorCode::corrupt_data || e.code == ErrorCode::unsupported) << i;
  }
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_EQ(caught([&] { read_back({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)}); }).code,
              ErrorCode::corrupt_data)
        << n;
}

}  // namespace
}  // namespace farfield::io
