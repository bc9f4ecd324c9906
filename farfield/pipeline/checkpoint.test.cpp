#include "farfield/pipeline/checkpoint.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace farfield::pipeline {
namespace {

namespace fs = std::filesystem;

/// Saves the blocks it is given.
using Blocks = std::map<std::string, std::string>;

struct Saver final : technique::Technique {
  explicit Saver(Blocks b) : blocks(std::move(b)) {}
  void begin(const model::Acquisition&) override {}
  void push(std::span<const model::FrameView>) override {}
  void annotate(model::FrameId, const model::Values&) override {}
  void end_of_scan() override {}
  technique::StepState step(std::stop_token, technique::Observer&) override { return technique::StepState::finished; }
  model::Product snapshot() const override { return {}; }
  void save(technique::Sink& sink) const override {
    for (const auto& [name, text] : blocks) sink.put(name, std::as_bytes(std::span(text)));
    if (fail) throw core::Error(core::ErrorCode::internal, "cannot save");
  }
  void restore(technique::Source&) override {}
  model::Product finish(technique::Observer&) override { return {}; }
  Blocks blocks;
  bool fail = false;
};

struct CheckpointTest : testing::Test {
  CheckpointTest() { fs::create_directories(folder); }
  ~CheckpointTest() override { fs::remove_all(folder); }
  core::ErrorCode conflict_with(const CheckpointHeader& wanted) {
    try {
      CheckpointFile(path).require(wanted);
    } catch (const core::Error& e) {
      EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos);
      return e.code();
    }
    ADD_FAILURE() << "no error";
    return core::ErrorCode::internal;
  }
  fs::path folder = fs::path(testing::TempDir()) / ("farfield_checkpoint_" + std::to_string(getpid()));
  fs::path path = folder / "checkpoint.ffc";
  CheckpointHeader header{"ptychography", "reconstruct", "sha256:ab", {{"seed", "7"}}};
};

TEST_F(CheckpointTest, GivesBlocksAndHeaderBack) {
  // A technique may call a block "header" without spoiling the real one.
  write_checkpoint(path, header, Saver(Blocks{{"header", "mine"}, {"state", std::string("\0\1", 2)}, {"empty", ""}}));
  CheckpointFile file(path);
  EXPECT_EQ(file.header().technique, "ptychography");
  EXPECT_EQ(file.header().facts.at("seed"), "7");
  const auto mine = file.get("header");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mine.data()), mine.size()), "mine");
  EXPECT_EQ(file.get("state").size(), 2U);
  EXPECT_TRUE(file.get("empty").empty());
  EXPECT_TRUE(file.has("state"));
  EXPECT_FALSE(file.has("probe"));
  EXPECT_THROW(file.get("probe"), core::Error);
}

TEST_F(CheckpointTest, RefusesWhatItDoesNotBelongTo) {
  write_checkpoint(path, header, Saver(Blocks{}));
  auto other = header;
  other.verb = "inspect";
  EXPECT_EQ(conflict_with(other), core::ErrorCode::conflict);
  other = header;
  other.input_checksum = "sha256:cd";
  EXPECT_EQ(conflict_with(other), core::ErrorCode::conflict);
  other.input_checksum.clear();  // not known: nothing to compare
  EXPECT_NO_THROW(CheckpointFile(path).require(other));
}

TEST_F(CheckpointTest, TheOldOneStaysUntilTheNewOneIsComplete) {
  write_checkpoint(path, header, Saver(Blocks{{"state", "old"}}));
  Saver broken(Blocks{{"state", "new"}});
  broken.fail = true;
  EXPECT_THROW(write_checkpoint(path, header, broken), core::Error);
  EXPECT_EQ(CheckpointFile(path).get("state").size(), 3U);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1) << "no temporary file is left";
}

TEST_F(CheckpointTest, AHeaderThatCannotBeReadIsCorruptData) {
  io::ContainerWriter writer(path);
  writer.put("header", std::as_bytes(std::span("{\"technique\": 7}", 16)));
  writer.commit();
  try {
    const CheckpointFile file(path);
    FAIL() << "no error";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::corrupt_data);
  }
}

}  // namespace
}  // namespace farfield::pipeline
