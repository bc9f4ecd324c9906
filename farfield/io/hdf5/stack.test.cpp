#include "farfield/io/hdf5/stack.hpp"

#include <random>

#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/io/hdf5/filters.hpp"
#include "farfield/io/hdf5/library.hpp"
#include "farfield/io/testing.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::io::hdf5 {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

template <class T>
core::AnyArray noise(std::vector<Index> shape) {
  core::AnyArray a(core::dtype_of<T>, std::move(shape));
  std::mt19937 random(3);
  for (Index i = 0; i < a.size(); ++i) static_cast<T*>(a.data())[i] = static_cast<T>(random() % 200);
  return a;
}

// Frame by frame out of the whole array: what every way of reading has to give.
void expect_frames(const Stack& stack, const core::AnyArray& all, Index step, core::ThreadPool* pool) {
  const Index bytes = stack.frame_bytes();
  ASSERT_EQ(stack.frames() * bytes, all.bytes());
  for (Index first = 0; first < stack.frames(); first += step) {
    const Index n = std::min(step, stack.frames() - first);
    std::vector<std::byte> out(static_cast<std::size_t>(n * bytes), std::byte{0xee});
    EXPECT_TRUE(stack.read(first, n, out.data(), pool).empty());
    EXPECT_EQ(std::memcmp(out.data(), static_cast<const std::byte*>(all.data()) + first * bytes, out.size()), 0)
        << "frames from " << first;
  }
}

struct Layout {
  const char* name;
  Storage storage;
};

TEST(Stack, EveryStorageReadsTheSame) {
  const testing::TemporaryFolder folder;
  const auto all = noise<std::uint32_t>({13, 21, 17});
  const Layout layouts[] = {
      {"contiguous", {}},
      {"chunks", {{4, 21, 17}, {}, {}}},
      {"tiles", {{3, 8, 5}, {}, {}}},
      {"gzip", {{1, 21, 17}, {}, {{kDeflate, {4}}}}},
      {"shuffle_gzip", {{5, 10, 17}, {}, {{kShuffle, {}}, {kDeflate, {1}}}}},
      {"bslz4", {{1, 21, 17}, {}, {bitshuffle_lz4(4)}}},
      {"bslz4_tiles", {{2, 21, 9}, {}, {bitshuffle_lz4(4)}}},
      {"bszstd", {{2, 21, 17}, {}, {{kBitshuffle, {0, 3, 4, 0, 3}}}}},
      {"lz4", {{13, 21, 17}, {}, {{kLz4, {0}}}}},
      {"shuffle_only", {{1, 21, 17}, {}, {{kShuffle, {}}}}},
  };
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    for (const auto& l : layouts)
      file.write(std::string("/") + l.name, all, l.storage);  // through the library and our filters
  }
  const auto file = File::open(folder / "a.h5");
  core::ThreadPool pool(3);
  for (const auto& l : layouts) {
    SCOPED_TRACE(l.name);
    std::vector<Dataset> one;
    one.push_back(file.dataset(std::string("/") + l.name));
    const Stack stack(std::move(one));
    expect_frames(stack, all, 5, nullptr);
    expect_frames(stack, all, 4, &pool);
    EXPECT_TRUE(testing::same(file.dataset(std::string("/") + l.name).read(), all));  // the library's own way
  }
}

template <class T>
void expect_sparse(const Stack& stack, const core::AnyArray& all, const std::vector<std::uint32_t>& mask, Index step,
                   core::ThreadPool* pool) {
  const Index pixels = stack.ny() * stack.nx();
  const auto valid = mask.empty() ? std::vector<std::byte>{} : codec::valid_bits(mask);
  const auto* values = static_cast<const T*>(all.data());
  for (Index first = 0; first < stack.frames(); first += step) {
    std::vector<std::vector<core::PixelCount>> out(static_cast<std::size_t>(std::min(step, stack.frames() - first)),
                                                   {{7, 7}});
    EXPECT_TRUE(stack.read_sparse(first, out, valid, pool).empty());
    for (std::size_t f = 0; f < out.size(); ++f) {
      std::vector<std::pair<Index, Index>> expected, got;
      for (Index p = 0; p < pixels; ++p)
        if (const T v = values[(first + static_cast<Index>(f)) * pixels + p];
            v != 0 && (mask.empty() || mask[static_cast<std::size_t>(p)] == 0))
          expected.emplace_back(p, v);
      for (const auto& e : out[f]) got.emplace_back(e.pixel, e.count);
      EXPECT_EQ(got, expected) << "frame " << first + static_cast<Index>(f);
    }
  }
}

TEST(Stack, SparseFramesAreWhatDenseOnesHold) {
  const testing::TemporaryFolder folder;
  core::AnyArray all(core::DType::u16, {11, 9, 13});
  auto* values = static_cast<std::uint16_t*>(all.data());
  std::mt19937 random(5);
  for (Index i = 0; i < all.size(); ++i)
    values[i] = static_cast<std::uint16_t>(random() % 20 == 0 ? random() % 70000 : 0);
  std::vector<std::uint32_t> mask(9 * 13);
  for (auto& m : mask) m = random() % 4 == 0 ? 1 : 0;
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write("/one", all, {{1, 9, 13}, {}, {bitshuffle_lz4(2)}});
    file.write("/four", all, {{4, 9, 13}, {}, {bitshuffle_lz4(2)}});
    file.write("/zstd", all, {{3, 9, 13}, {}, {{kBitshuffle, {0, 3, 2, 0, 3}}}});
    file.write("/tiles", all, {{1, 9, 7}, {}, {bitshuffle_lz4(2)}});
    file.write("/gzip", all, {{1, 9, 13}, {}, {{kDeflate, {1}}}});
    // Chunks that were never written have the fill value.
    file.create_dataset("/holes", core::DType::u16, {11, 9, 13}, {{1, 9, 13}, {}, {bitshuffle_lz4(2)}});
  }
  const auto file = File::open(folder / "a.h5");
  const auto stack = [&](std::initializer_list<const char*> names) {
    std::vector<Dataset> parts;
    for (const char* name : names) parts.push_back(file.dataset(name));
    return Stack(std::move(parts));
  };
  core::ThreadPool pool(3);
  for (const char* name : {"/one", "/four", "/zstd"}) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(stack({name}).can_read_sparse());
    expect_sparse<std::uint16_t>(stack({name}), all, {}, 5, nullptr);
    expect_sparse<std::uint16_t>(stack({name}), all, mask, 3, &pool);
  }
  core::AnyArray twice(core::DType::u16, {22, 9, 13});
  for (int i = 0; i < 2; ++i)
    std::memcpy(static_cast<std::byte*>(twice.data()) + i * all.bytes(), all.data(),
                static_cast<std::size_t>(all.bytes()));
  expect_sparse<std::uint16_t>(stack({"/four", "/one"}), twice, mask, 7, &pool);
  expect_sparse<std::uint16_t>(stack({"/holes"}), core::AnyArray(core::DType::u16, {11, 9, 13}), {}, 4, nullptr);
  EXPECT_FALSE(stack({"/tiles"}).can_read_sparse());
  EXPECT_FALSE(stack({"/gzip"}).can_read_sparse());
}

TEST(Stack, ADamagedChunkIsABadSparseFrame) {
  const testing::TemporaryFolder folder;
  const auto all = noise<std::uint16_t>({6, 8, 8});
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write("/data", all, {{2, 8, 8}, {}, {bitshuffle_lz4(2)}});
    const std::vector<std::byte> nonsense(40, std::byte{0x5a});
    file.dataset("/data").write_chunk({2, 0, 0}, nonsense);
  }
  const auto file = File::open(folder / "a.h5");
  std::vector<Dataset> parts;
  parts.push_back(file.dataset("/data"));
  const Stack stack(std::move(parts));
  std::vector<std::vector<core::PixelCount>> out(3);
  const auto bad = stack.read_sparse(1, out, {}, nullptr);
  ASSERT_EQ(bad.size(), 2U);
  EXPECT_EQ(bad[0].first, 2);
  EXPECT_EQ(bad[1].first, 3);
  EXPECT_NE(bad[0].second.find("/data"), std::string::npos) << bad[0].second;
  EXPECT_FALSE(out[0].empty());
  EXPECT_TRUE(out[1].empty());
}

TEST(Stack, RastersAreFlattenedAndPartsJoined) {
  const testing::TemporaryFolder folder;
  const auto raster = noise<std::uint16_t>({3, 4, 6, 5}), more = noise<std::uint16_t>({2, 6, 5});
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write("/raster", raster, {{1, 1, 6, 5}, {}, {bitshuffle_lz4(2)}});
    file.write("/blocks", raster, {{2, 2, 6, 5}, {}, {{kDeflate, {1}}}});
    file.write("/more", more);
  }
  const auto file = File::open(folder / "a.h5");
  for (const char* name : {"/raster", "/blocks"}) {
    std::vector<Dataset> parts;
    parts.push_back(file.dataset(name));
    parts.push_back(file.dataset("/more"));
    const Stack stack(std::move(parts));
    ASSERT_EQ(stack.frames(), 14);
    core::AnyArray all(core::DType::u16, {14, 6, 5});
    std::memcpy(all.data(), raster.data(), static_cast<std::size_t>(raster.bytes()));
    std::memcpy(static_cast<std::byte*>(all.data()) + raster.bytes(), more.data(),
                static_cast<std::size_t>(more.bytes()));
    expect_frames(stack, all, 3, nullptr);
    expect_frames(stack, all, 14, nullptr);
  }
}

TEST(Stack, ExternalLinksAreFollowed) {
  const testing::TemporaryFolder folder;
  const auto all = noise<std::uint16_t>({4, 6, 8});
  { File::create(folder / "part.h5", folder / "part.h5").write("/d", all, {{1, 6, 8}, {}, {bitshuffle_lz4(2)}}); }
  {
    auto file = File::create(folder / "master.h5", folder / "master.h5");
    file.link_external("part.h5", "/d", "/linked");
    file.link_external("gone.h5", "/d", "/dangling");
  }
  const auto file = File::open(folder / "master.h5");
  std::vector<Dataset> one;
  one.push_back(file.dataset("/linked"));
  expect_frames(Stack(std::move(one)), all, 3, nullptr);
  EXPECT_FALSE(file.has("/dangling"));
  const auto e = caught([&] { file.dataset("/dangling"); });
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "gone.h5");
}

TEST(Stack, VirtualDatasetsOverCompressedFiles) {
  const testing::TemporaryFolder folder;
  const auto all = noise<std::uint16_t>({4, 6, 8});
  { File::create(folder / "part.h5", folder / "part.h5").write("/d", all, {{1, 6, 8}, {}, {bitshuffle_lz4(2)}}); }
  {
    // Frames 0 and 1 of the view are frames 2 and 3 of the part.
    const Lock lock;
    const Handle file(H5Fcreate((folder / "view.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    const hsize_t view[] = {2, 6, 8}, part[] = {4, 6, 8}, start[] = {2, 0, 0};
    const Handle view_space(H5Screate_simple(3, view, nullptr)), part_space(H5Screate_simple(3, part, nullptr)),
        list(H5Pcreate(H5P_DATASET_CREATE));
    H5Sselect_hyperslab(part_space.get(), H5S_SELECT_SET, start, nullptr, view, nullptr);
    H5Pset_virtual(list.get(), view_space.get(), (folder / "part.h5").c_str(), "/d", part_space.get());
    const Handle d(
        H5Dcreate2(file.get(), "/v", H5T_NATIVE_UINT16, view_space.get(), H5P_DEFAULT, list.get(), H5P_DEFAULT));
    ASSERT_TRUE(d);
  }
  const auto file = File::open(folder / "view.h5");
  std::vector<Dataset> one;
  one.push_back(file.dataset("/v"));
  const Stack stack(std::move(one));
  core::AnyArray last(core::DType::u16, {2, 6, 8});
  std::memcpy(last.data(), static_cast<const std::byte*>(all.data()) + all.bytes() / 2,
              static_cast<std::size_t>(last.bytes()));
  expect_frames(stack, last, 1, nullptr);
}

TEST(Stack, DamagedChunkCostsItsFramesOnly) {
  const testing::TemporaryFolder folder;
  const auto all = noise<std::uint16_t>({6, 16, 16});
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    auto d = file.create_dataset("/d", core::DType::u16, {6, 16, 16}, {{1, 16, 16}, {}, {bitshuffle_lz4(2)}});
    for (Index i = 0; i < 6; ++i) {
      if (i == 4) continue;  // never written: the fill value, 0
      auto bytes = encode_bitshuffle_lz4({static_cast<const std::byte*>(all.data()) + i * 512, 512}, 2);
      if (i == 2) bytes.resize(bytes.size() / 2);
      d.write_chunk({i, 0, 0}, bytes);
    }
  }
  const auto file = File::open(folder / "a.h5");
  std::vector<Dataset> one;
  one.push_back(file.dataset("/d"));
  const Stack stack(std::move(one));
  std::vector<std::byte> out(6 * 512);
  const auto bad = stack.read(0, 6, out.data(), nullptr);
  ASSERT_EQ(bad.size(), 1U);
  EXPECT_EQ(bad[0].first, 2);
  EXPECT_CONTAINS(bad[0].second, "a.h5");
  for (const Index i : {0, 1, 3, 5})
    EXPECT_EQ(std::memcmp(out.data() + i * 512, static_cast<const std::byte*>(all.data()) + i * 512, 512), 0) << i;
  for (const Index i : {2, 4})
    for (Index b = 0; b < 512; ++b) EXPECT_EQ(out[static_cast<std::size_t>(i * 512 + b)], std::byte{0});
}

TEST(Stack, RefusesWhatAreNoFrames) {
  const testing::TemporaryFolder folder;
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write("/line", noise<std::uint16_t>({7}));
    file.write("/a", noise<std::uint16_t>({2, 4, 4}));
    file.write("/b", noise<std::uint16_t>({2, 4, 5}));
    core::AnyArray c(core::DType::c64, {2, 4, 4});
    file.write("/complex", c);
    // A shape that would need petabytes, of a few bytes in the file.
    file.create_dataset("/huge", core::DType::f64, {8, Index{1} << 30, Index{1} << 30},
                        {{1, 64, 64}, {}, {{kDeflate, {1}}}});
    file.write_text("/text", "hello");
  }
  const auto file = File::open(folder / "a.h5");
  const auto stack = [&](std::initializer_list<const char*> names) {
    return caught([&] {
      std::vector<Dataset> parts;
      for (const char* n : names) parts.push_back(file.dataset(n));
      const Stack s(std::move(parts));
    });
  };
  EXPECT_EQ(stack({"/line"}).code, ErrorCode::corrupt_data);
  EXPECT_EQ(stack({"/a", "/b"}).code, ErrorCode::corrupt_data);
  EXPECT_EQ(stack({"/complex"}).code, ErrorCode::unsupported);
  EXPECT_EQ(stack({"/huge"}).code, ErrorCode::corrupt_data);
  EXPECT_EQ(stack({"/text"}).code, ErrorCode::corrupt_data);
  EXPECT_EQ(caught([&] { file.dataset("/huge").read(); }).code,
            ErrorCode::corrupt_data);  // its size in bytes overflows
}

TEST(File, NearestPathIsSuggested) {
  const testing::TemporaryFolder folder;
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write("/entry_1/data_1/data", noise<std::uint16_t>({2, 4, 4}));
    file.make_group("/entry_1/instrument_1");
    file.link("/entry_1", "/entry_1/instrument_1/up");  // a group that holds itself must not hang the search
  }
  const auto file = File::open(folder / "a.h5");
  auto e = caught([&] { file.dataset("/entry_1/data_1/dat"); });
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "did you mean /entry_1/data_1/data");
  e = caught([&] { file.dataset("/entry_1"); });
  EXPECT_CONTAINS(e.text, "is a group");
}

TEST(File, TextOfBothKinds) {
  const testing::TemporaryFolder folder;
  {
    auto file = File::create(folder / "a.h5", folder / "a.h5");
    file.write_text("/text", "Grüße");
    file.write_text("/number", "12.5 mm");
    file.write_number("/n", 3.25);
    file.set_attribute("/n", "units", std::string("mm"));
    file.set_attribute("/n", "axes", std::vector<std::string>{"y", "x", "a longer one"});
  }
  const auto file = File::open(folder / "a.h5");
  EXPECT_EQ(file.dataset("/text").text(), "Grüße");
  EXPECT_EQ(file.dataset("/number").number(), 12.5);
  EXPECT_EQ(caught([&] { file.dataset("/text").number(); }).code, ErrorCode::corrupt_data);
  EXPECT_EQ(file.dataset("/n").number(), 3.25);
  EXPECT_EQ(file.text_attribute("/n", "units"), "mm");
  EXPECT_EQ(file.text_list_attribute("/n", "axes"), (std::vector<std::string>{"y", "x", "a longer one"}));
  EXPECT_FALSE(file.text_attribute("/n", "none"));
}

// Recorded by a detector: decoded sums are equal whichever of its compressions was on, for each pair of files.
TEST(Stack, RecordedEigerFiles) {
  const auto folder = tests::shared_data("stream/eiger_h5");
  FARFIELD_REQUIRE_SHARED(folder);
  int read = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().string().find("_data_0000") == std::string::npos) continue;
    const auto file = File::open(entry.path());
    std::vector<Dataset> one;
    one.push_back(file.dataset("/entry/data/data"));
    const auto library = one[0].read();  // decoded inside the library
    const Stack stack(std::move(one));
    expect_frames(stack, library, 1, nullptr);
    ++read;
  }
  EXPECT_GT(read, 5);
}

}  // namespace
}  // namespace farfield::io::hdf5
