#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/core/cpu.hpp"
#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"

namespace farfield::core {
namespace {

TEST(Cpu, TakesTheBestLevelUnlessALowerOneIsWanted) {
  EXPECT_EQ(choose_isa(Isa::v4, ""), Isa::v4);
  EXPECT_EQ(choose_isa(Isa::v4, "v2"), Isa::v2);
  EXPECT_EQ(choose_isa(Isa::v3, "v3"), Isa::v3);
}

TEST(Cpu, RefusesMoreThanTheMachineHasAndOtherWords) {
  EXPECT_THROW(choose_isa(Isa::v3, "v4"), Error);
  for (const char* word : {"3", "avx2", "V3", "x86-64-v2 "}) EXPECT_THROW(choose_isa(Isa::v4, word), Error) << word;
}

TEST(Cpu, NamesTheLevels) {
  EXPECT_EQ(name(Isa::v2), "x86-64-v2");
  EXPECT_EQ(name(Isa::v4), "x86-64-v4");
  EXPECT_NE(name(isa()), "unknown");
}

struct Lines final : LogSink {
  void write(LogLevel, std::string_view event, std::span<const LogField> fields) noexcept override {
    std::string line(event);
    for (const auto& f : fields) line += " " + std::string(f.key) + "=" + f.value;
    lines.push_back(line);
  }
  std::vector<std::string> lines;
};

TEST(Log, ReachesTheInstalledSinkOnly) {
  log(LogLevel::info, "before");
  const auto sink = std::make_shared<Lines>();
  set_log_sink(sink);
  log(LogLevel::warning, "frame dropped", {{"frame", "12"}, {"reason", "queue full"}});
  set_log_sink(nullptr);
  log(LogLevel::info, "after");
  EXPECT_EQ(sink->lines, std::vector<std::string>{"frame dropped frame=12 reason=queue full"});
}

TEST(Clock, SteadyTimeDoesNotGoBackAndManualTimeIsAsSet) {
  const SteadyClock steady;
  const double first = steady.now_s();
  EXPECT_GE(steady.now_s(), first);
  ManualClock manual;
  manual.time_s = 2.5;
  EXPECT_EQ(manual.now_s(), 2.5);
}

}  // namespace
}  // namespace farfield::core
