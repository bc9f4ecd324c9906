#include "farfield/pipeline/stage_times.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <thread>

#include "farfield/core/error.hpp"

namespace farfield::pipeline {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

struct StageTimesTest : ::testing::Test {
  StageTimesTest() { fs::create_directories(folder); }
  ~StageTimesTest() override { fs::remove_all(folder); }
  ErrorCode reading() const {
    try {
      read_stage_times(path);
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "the file was read";
    return ErrorCode::internal;
  }

  fs::path folder = fs::temp_directory_path() / ("farfield_stage_times_" + std::to_string(::getpid()));
  fs::path path = folder / "worker.ffc";
  core::ManualClock clock;
};

TEST_F(StageTimesTest, ComeBackAsRecordedRelativeToTheBeginning) {
  clock.time_s = 100;
  StageTimesWriter writer(path, 3, "node7", {"decode", "correct", "technique"}, clock);
  writer.record(0, 0, 100.5, 100.75);
  writer.record(7, 2, 101, 103, StageStatus::dropped);
  EXPECT_FALSE(fs::exists(path)) << "appears complete or not at all";
  writer.commit();

  const auto got = read_stage_times(path);
  EXPECT_EQ(got.head.rank, 3);
  EXPECT_EQ(got.head.worker, "node7");
  EXPECT_EQ(got.head.stages, (std::vector<std::string>{"decode", "correct", "technique"}));
  EXPECT_GT(got.head.origin_unix_s, 1.7e9);
  ASSERT_EQ(got.times.size(), 2U);
  EXPECT_EQ(got.times[0].frame, 0);
  EXPECT_EQ(got.times[0].begin_s, 0.5);
  EXPECT_EQ(got.times[0].end_s, 0.75);
  EXPECT_EQ(got.times[1].frame, 7);
  EXPECT_EQ(got.times[1].stage, 2);
  EXPECT_EQ(got.times[1].status, StageStatus::dropped);
}

TEST_F(StageTimesTest, SeveralThreadsLoseNothing) {
  StageTimesWriter writer(path, 0, "", {"a", "b"}, clock);
  constexpr int kFrames = 20000;  // more than one block
  {
    std::jthread other([&] {
      for (int i = 0; i < kFrames; ++i) writer.record(i, 1, i, i + 1);
    });
    for (int i = 0; i < kFrames; ++i) writer.record(i, 0, i, i + 1);
  }
  writer.commit();
  const auto got = read_stage_times(path);
  ASSERT_EQ(got.times.size(), 2U * kFrames);
  std::int64_t next[2] = {0, 0};
  for (const auto& t : got.times) EXPECT_EQ(t.frame, next[t.stage]++);
}

TEST_F(StageTimesTest, WrongStagesAreRefused) {
  EXPECT_THROW(StageTimesWriter(path, 0, "", {}, clock), Error);
  StageTimesWriter writer(path, 0, "", {"a"}, clock);
  EXPECT_THROW(writer.record(0, 1, 0, 1), Error);
}

TEST_F(StageTimesTest, FilesThatContradictThemselvesAreRefused) {
  EXPECT_EQ(reading(), ErrorCode::not_found);
  const auto make = [&](const std::string& head, const StageTime& time) {
    io::ContainerWriter file(path);
    file.put("stage_times", std::as_bytes(std::span(head)));
    file.put("stage_times/0", std::as_bytes(std::span(&time, 1)));
    file.commit();
  };
  const std::string head = R"({"version":1,"rank":0,"worker":"","origin_unix_s":0,"stages":["a"]})";
  make(head, {});
  EXPECT_EQ(read_stage_times(path).times.size(), 1U);
  make(head, {.stage = 1});
  EXPECT_EQ(reading(), ErrorCode::corrupt_data);
  make(head, {.status = static_cast<StageStatus>(9)});
  EXPECT_EQ(reading(), ErrorCode::corrupt_data);
  make(head, {.begin_s = std::numeric_limits<double>::quiet_NaN()});
  EXPECT_EQ(reading(), ErrorCode::corrupt_data);
  make("{}", {});
  EXPECT_EQ(reading(), ErrorCode::corrupt_data);
  make(R"({"version":2})", {});
  EXPECT_EQ(reading(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace farfield::pipeline
