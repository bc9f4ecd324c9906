#include "apps/farfield/console.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::apps {
namespace {

/// What a console wrote on its two streams.
struct Captured {
  std::FILE *out = std::tmpfile(), *err = std::tmpfile();
  ~Captured() {
    std::fclose(out);
    std::fclose(err);
  }
  static std::string text(std::FILE* file) {
    std::string all;
    std::rewind(file);
    for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) all += static_cast<char>(c);
    return all;
  }
};

technique::Progress at(std::int64_t iteration) {
  return {iteration, 64, 0.5 * static_cast<double>(iteration), {{"cost", 1.5}, {"r_factor", NAN}}};
}

TEST(Console, JsonIsOneObjectALineAndNothingElseOnStdout) {
  Captured io;
  core::ManualClock clock;
  {
    Console console({.json = true, .terminal = true}, clock, io.out, io.err);
    console.reading(1, 2);
    console.progress(at(1));
    console.warning("doubtful \"geometry\"\n");
    console.summary(
        {"converged", 3.5, {{"final_cost", 0.25}, {"bad", INFINITY}}, pipeline::FrameTotals{}, {"out/result.cxi"}});
    console.error(core::Error(core::ErrorCode::conflict, "exists").at("here"));
  }
  std::istringstream lines(Captured::text(io.out));
  std::vector<nlohmann::json> objects;
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(objects.size(), 4U);
  EXPECT_EQ(
      objects[0],
      nlohmann::json::parse(
          R"({"message_type":"iteration","iteration":1,"iterations":64,"cost":1.5,"r_factor":null,"seconds":0.5})"));
  EXPECT_EQ(objects[1].at("message_type"), "warning");
  EXPECT_EQ(objects[2].at("message_type"), "summary");
  EXPECT_EQ(objects[2].at("metrics").at("final_cost"), 0.25);
  EXPECT_TRUE(objects[2].at("metrics").at("bad").is_null());
  EXPECT_EQ(objects[2].at("files")[0], "out/result.cxi");
  EXPECT_EQ(objects[3].at("code"), "conflict");
  EXPECT_EQ(objects[3].at("exit_code"), 11);
}

TEST(Console, OnATerminalABarWithRateAndTimeLeft) {
  Captured io;
  core::ManualClock clock;
  Console console({.terminal = true}, clock, io.out, io.err);
  console.progress(at(1));
  clock.time_s = 3.5;
  console.progress(at(8));  // 7 iterations in 3.5 s: 2 a second, 56 left
  const auto text = Captured::text(io.err);
  EXPECT_NE(text.find("[===                     ] 8/64  cost 1.5"), std::string::npos) << text;
  EXPECT_NE(text.find("2 it/s  0:28 left"), std::string::npos) << text;
  EXPECT_EQ(Captured::text(io.out), "");
}

TEST(Console, ElsewhereALineEveryTenSeconds) {
  Captured io;
  core::ManualClock clock;
  Console console({}, clock, io.out, io.err);
  for (int i = 1; i <= 50; ++i) {
    clock.time_s = i;
    console.progress(at(i));
  }
  const auto text = Captured::text(io.err);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);  // at 1, 11, 21, 31 and 41 s
}

TEST(Console, QuietKeepsWarningsAndTheResult) {
  Captured io;
  core::ManualClock clock;
  Console console({.quiet = true}, clock, io.out, io.err);
  console.progress(at(1));
  console.note("by the way");
  console.warning("careful");
  console.summary({"finished", 1, {{"final_cost", 0.25}}, pipeline::FrameTotals{}, {}});
  EXPECT_EQ(Captured::text(io.err), "farfield: warning: careful\n");
  EXPECT_EQ(Captured::text(io.out), "final_cost               0.25\n");
}

TEST(Console, LogLinesAreKeyValue) {
  Captured io;
  core::ManualClock clock;
  Console console({}, clock, io.out, io.err);
  const auto sink = make_log_sink(console, core::LogLevel::info);
  const core::LogField fields[] = {{"frame", "7"}, {"reason", "bad \"chunk\"\nhere"}};
  sink->write(core::LogLevel::debug, "hidden", {});
  sink->write(core::LogLevel::info, "frame_dropped", fields);
  EXPECT_EQ(Captured::text(io.err), "level=info event=frame_dropped frame=7 reason=\"bad \\\"chunk\\\"\\nhere\"\n");
}

}  // namespace
}  // namespace farfield::apps
