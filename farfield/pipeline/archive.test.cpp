#include "farfield/pipeline/archive.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/stream/dectris/simplon_testing.hpp"

namespace farfield::pipeline {
namespace {

namespace fs = std::filesystem;
namespace dectris = stream::dectris;

struct ArchiveTest : ::testing::Test {
  ArchiveTest() { fs::create_directories(folder); }
  ~ArchiveTest() override { fs::remove_all(folder); }

  /// Drains a stream into the archive.
  void keep(std::vector<stream::MemoryFeed::Parts> messages, const std::map<std::string, std::string>& notes = {},
            Index queue_bytes = Index{1} << 20) {
    std::optional<Archive> archive;
    dectris::testing::FedSeries source(
        std::move(messages),
        {.tap = [&](auto id, const auto& pixels, const auto& owner) { archive->put(id, pixels, owner); }});
    archive.emplace(path, source.acquisition(), queue_bytes);
    while (source.next({}, [&](const model::FrameBatch& batch) { archive->annotate(batch.values); })) {}
    EXPECT_FALSE(fs::exists(path)) << "before it is complete";
    archive->commit(notes);
    totals = archive->totals();
  }

  fs::path folder = fs::temp_directory_path() / ("farfield_archive_" + std::to_string(::getpid()));
  fs::path path = folder / "raw.h5";
  ArchiveTotals totals;
};

TEST_F(ArchiveTest, TheStreamComesBackFromTheFile) {
  for (const auto compression :
       {dectris::Compression::bitshuffle_lz4, dectris::Compression::lz4, dectris::Compression::none}) {
    const auto expected = dectris::testing::scan(core::DType::u16, 6);
    auto messages = dectris::testing::messages(expected, {.compression = compression});
    messages.insert(messages.begin() + 2, messages[1]);  // a duplicate
    fs::remove(path);
    keep(messages);
    EXPECT_EQ(model::check_source([&] { return io::open_scan(path); }, expected), std::vector<std::string>{});
    EXPECT_EQ(totals.frames, 6);
    EXPECT_EQ(totals.packed_anew, compression == dectris::Compression::bitshuffle_lz4 ? 0 : 6);
  }
}

TEST_F(ArchiveTest, AQueueShorterThanAFrameHoldsTheStreamUpAndLosesNothing) {
  const auto expected = dectris::testing::scan(core::DType::u16, 40);
  keep(dectris::testing::messages(expected, {}), {}, 1);
  EXPECT_EQ(model::check_source([&] { return io::open_scan(path); }, expected), std::vector<std::string>{});
}

TEST_F(ArchiveTest, AnAbortedSeriesLeavesWhatCameAndItsAccount) {
  const auto whole = dectris::testing::scan(core::DType::u16, 6);
  auto messages = dectris::testing::messages(whole, {});
  messages.resize(4);  // start and three images
  keep(messages, {{"frames", "{\"received\": 3}"}, {"series_state", "ended without a word"}});
  const auto scan = io::open_scan(path);
  EXPECT_EQ(scan->acquisition().scan.expected_frames, 3);
  EXPECT_EQ(scan->acquisition().metadata.at("frames"), "{\"received\": 3}");
  EXPECT_EQ(scan->acquisition().metadata.at("series_state"), "ended without a word");
  Index frames = 0;
  while (scan->next({}, [&](const model::FrameBatch& batch) { frames += std::ssize(batch.frames); })) {}
  EXPECT_EQ(frames, 3);
}

TEST_F(ArchiveTest, ProgramsThatKnowOnlyNXmxFindFramesAndGeometry) {
  const auto expected = dectris::testing::scan(core::DType::u16, 3);
  keep(dectris::testing::messages(expected, {}));
  const auto file = io::hdf5::File::open(path);
  EXPECT_EQ(file.dataset("/entry/definition").text(), "NXmx");
  EXPECT_EQ(file.dataset("/entry/data/data").shape(), (std::vector<Index>{3, 50, 70}));
  EXPECT_DOUBLE_EQ(file.dataset("/entry/instrument/beam/incident_energy").number(), 8047.78);
  EXPECT_DOUBLE_EQ(file.dataset("/entry/instrument/detector/distance").number(), 1.93);
  EXPECT_EQ(file.dataset("/entry/data/x").size(), 3);
}

TEST_F(ArchiveTest, WithoutCommitNothingIsLeft) {
  const auto expected = dectris::testing::scan(core::DType::u16, 1);
  { Archive archive(path, expected.acquisition); }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(ArchiveTest, WhatCannotBeWrittenIsSaidAndTheRestStays) {
  const auto expected = dectris::testing::scan(core::DType::u16, 2);
  Archive archive(path, expected.acquisition);
  const auto messages = dectris::testing::messages(expected, {});
  const auto good = dectris::testing::parsed(messages[1]);
  const auto& image = std::get<dectris::SeriesImage>(good.content);
  archive.put(0, image.channels[0].pixels, nullptr);
  const std::vector<std::byte> nonsense(100);
  const dectris::PackedPixels pixels{core::DType::u16, 50, 70, dectris::Compression::bitshuffle_lz4, false, nonsense};
  archive.put(1, pixels, nullptr);
  for (int id = 2; id < 100; ++id) archive.put(id, image.channels[0].pixels, nullptr);  // nobody waits for ever
  EXPECT_THROW(archive.commit(), core::Error);
  EXPECT_EQ(io::open_scan(path)->acquisition().scan.expected_frames, 1);
}

}  // namespace
}  // namespace farfield::pipeline
