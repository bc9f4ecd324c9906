#include "farfield/pipeline/events/weather.hpp"

#include <gtest/gtest.h>

namespace farfield::pipeline::events {
namespace {

TEST(Weather, ShowsStallsAndBadFrames) {
  StageTimes first, second;
  first.head = {1, "b", 1000, {"fetch", "reduce"}};
  second.head = {0, "a", 1001, {"reduce"}};  // its clock began a second later
  for (int i = 0; i < 10; ++i) {
    const double begin = i < 5 ? i : i + 5;  // five seconds of nothing
    first.times.push_back({i, begin, begin + 1, 1, i == 3 ? StageStatus::dropped : StageStatus::ok, 0});
  }
  second.times.push_back({0, 1, 3, 0, StageStatus::damaged, 0});
  const auto weather = summarise({first, second});
  ASSERT_EQ(weather.workers.size(), 2U);
  EXPECT_EQ(weather.workers[0].name, "rank 0 (a)");
  EXPECT_EQ(weather.workers[0].begin_s, 2);
  EXPECT_EQ(weather.workers[0].damaged, 1);
  EXPECT_EQ(weather.workers[1].longest_stall_s, 5);
  EXPECT_EQ(weather.workers[1].longest_stall_begin_s, 5);
  EXPECT_EQ(weather.workers[1].busy_s, 10);
  EXPECT_EQ(weather.workers[1].bad, 1);
  EXPECT_EQ(weather.span_s, 15);
  const auto svg = plot::to_svg(weather_plot({first, second}, weather, 30));
  EXPECT_NE(svg.find("rank 1 (b)"), std::string::npos);
  EXPECT_NE(svg.find("67 % busy, 1 bad of 10"), std::string::npos) << svg;
  EXPECT_NE(svg.find(">5 s<"), std::string::npos) << svg;  // the stall, in its gap
  EXPECT_NE(svg.find("2 workers, 11 frames in 15 s: 1 bad, 1 damaged"), std::string::npos) << svg;
  // Many workers stay one picture.
  const std::vector<StageTimes> many(400, first);
  EXPECT_LT(weather_plot(many, summarise(many)).height(), 2000);
  EXPECT_THROW(summarise({}), core::Error);
}

}  // namespace
}  // namespace farfield::pipeline::events
