#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/late_checksum.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/io/stack_source.hpp"
#include "farfield/io/testing.hpp"
#include "farfield/io/tiff.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

TEST(AtomicFile, AppearsAtCommitOnly) {
  const testing::TemporaryFolder folder;
  {
    AtomicFile file(folder / "a.txt");
    file.write("half");
    EXPECT_FALSE(std::filesystem::exists(folder / "a.txt"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  write_atomic(folder / "a.txt", "old");
  write_atomic(folder / "a.txt", "new and longer");
  const auto bytes = read_file(folder / "a.txt", 100);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "new and longer");
  EXPECT_EQ(caught([&] { read_file(folder / "a.txt", 5); }).code, ErrorCode::resource_exhausted);
}

TEST(AtomicFile, RefusalsNameThePath) {
  const testing::TemporaryFolder folder;
  auto e = caught([&] { write_atomic(folder / "no/such/folder.txt", "x"); });
  EXPECT_EQ(e.code, ErrorCode::io);
  EXPECT_CONTAINS(e.text, "no/such/folder.txt");
  std::filesystem::create_directory(folder / "d");
  e = caught([&] { write_atomic(folder / "d", "x"); });
  EXPECT_EQ(e.code, ErrorCode::io);
  EXPECT_CONTAINS(e.text, "folder");
}

// A limit on the size of files stands in for a full disk: the same path through every writer.
class SmallDisk {
public:
  explicit SmallDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

private:
  rlimit before_{};
};

TEST(FullDisk, NoWriterLeavesAPartialFile) {
  const testing::TemporaryFolder folder;
  {
    const SmallDisk disk(20000);
    auto e = caught([&] { write_atomic(folder / "a.bin", std::string(100000, 'x')); });
    EXPECT_EQ(e.code, ErrorCode::resource_exhausted);
    EXPECT_CONTAINS(e.text, "a.bin");
    core::Array<float, 2> image({200, 200}, 1.5F);
    e = caught([&] { write_tiff(folder / "b.tif", image); });
    EXPECT_EQ(e.code, ErrorCode::resource_exhausted);
    model::Product p;
    core::Array<double, 1> noise({10000});
    for (Index i = 0; i < 10000; ++i) noise(i) = std::sin(static_cast<double>(i));
    p.datasets.push_back({"noise", core::AnyArray(noise)});
    e = caught([&] { write_product(folder / "c.cxi", p); });
    EXPECT_EQ(e.code, ErrorCode::resource_exhausted) << e.text;
    EXPECT_CONTAINS(e.text, "c.cxi");
    e = caught([&] {
      model::Acquisition a;
      a.detector.ny = a.detector.nx = 100;
      ScanWriter writer(folder / "d.cxi", a, 10);
      core::Array<std::uint16_t, 2> frame({100, 100});
      for (Index i = 0; i < 10; ++i) {
        for (auto& v : frame) v = static_cast<std::uint16_t>(std::rand());
        const model::FrameView view[] = {{i, core::AnyImage::of(core::View<const std::uint16_t, 2>(frame))}};
        writer.append(view, {});
      }
      writer.commit();
    });
    EXPECT_EQ(e.code, ErrorCode::resource_exhausted) << e.text;
    EXPECT_CONTAINS(e.text, "d.cxi");
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Tiff, KeepsFloats) {
  const testing::TemporaryFolder folder;
  core::Array<float, 2> image({37, 53});
  for (Index i = 0; i < image.size(); ++i) image.data()[i] = -1e-7F * static_cast<float>(i) + 3;
  // Strided: every second column of a wider image.
  const core::View<const float, 2> half(image.data(), {37, 26}, {53, 2});
  write_tiff(folder / "a.tif", half);
  const auto back = read_tiff(folder / "a.tif");
  ASSERT_EQ(back.extents(), (std::array<Index, 2>{37, 26}));
  for (Index y = 0; y < 37; ++y)
    for (Index x = 0; x < 26; ++x) EXPECT_EQ(back(y, x), half(y, x));
  write_atomic(folder / "b.tif", "II*no tiff");
  EXPECT_EQ(caught([&] { read_tiff(folder / "b.tif"); }).code, ErrorCode::corrupt_data);
  EXPECT_EQ(caught([&] { read_tiff(folder / "c.tif"); }).code, ErrorCode::not_found);
}

TEST(Checksum, OfAKnownFile) {
  const testing::TemporaryFolder folder;
  write_atomic(folder / "abc", "abc");  // FIPS 180-4, first example
  EXPECT_EQ(file_checksum(folder / "abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(LateChecksum(folder / "abc").get(), file_checksum(folder / "abc"));
}

TEST(Checksum, LateOnesFailWhenAskedAndStopWhenNobodyAsks) {
  const testing::TemporaryFolder folder;
  const LateChecksum none(folder / "none");  // must not end the program
  EXPECT_EQ(caught([&] { none.get(); }).code, ErrorCode::not_found);
  write_atomic(folder / "long", std::string(5 << 20, 'x'));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(caught([&] { file_checksum(folder / "long", stop.get_token()); }).code, ErrorCode::cancelled);
}

}  // namespace
}  // namespace farfield::io
