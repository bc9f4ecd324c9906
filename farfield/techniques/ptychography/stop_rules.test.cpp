#include "farfield/techniques/ptychography/stop_rules.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace farfield::techniques::ptychography {
namespace {

using technique::StepState;

struct Case {
  Options options{};
  std::vector<double> cost;
  bool ended = true;
  std::int64_t live = 0;
  double seconds = 0, empty_cost = 0;
  Course course() const { return {ended, cost, live, seconds, empty_cost}; }
  std::optional<StepState> ask() const { return verdict(options, course()); }
};

TEST(StopRules, IterationsCountPassesAfterTheScan) {
  Case c;
  c.options.iterations = 3;
  c.cost = {5, 4};
  EXPECT_EQ(c.ask(), std::nullopt);
  c.cost = {5, 4, 3};
  EXPECT_EQ(c.ask(), StepState::finished);
  c.live = 2;
  EXPECT_EQ(c.ask(), std::nullopt);
  EXPECT_EQ(planned_passes(c.options, c.course()), 5);
  c.options.refine_after_scan = 1;
  EXPECT_EQ(planned_passes(c.options, c.course()), 3);
  EXPECT_EQ(c.ask(), StepState::finished);
}

TEST(StopRules, WhileTheScanIsComingThereIsNoEnd) {
  Case c;
  c.options.iterations = 1;
  c.ended = false;
  c.cost = {5, 4, 3};
  c.live = 3;
  EXPECT_EQ(c.ask(), std::nullopt);
  EXPECT_EQ(planned_passes(c.options, c.course()), 0);
}

TEST(StopRules, TimeEndsItAfterTheFirstPass) {
  Case c;
  c.options.time_limit_s = 10;
  c.seconds = 11;
  EXPECT_EQ(c.ask(), std::nullopt);
  c.cost = {5};
  EXPECT_EQ(c.ask(), StepState::finished);
  c.seconds = 9;
  EXPECT_EQ(c.ask(), std::nullopt);
}

TEST(StopRules, ConvergenceComparesWindowsOfPassesAfterTheScan) {
  Case c;
  c.options.convergence_window = 2;
  c.options.convergence_tolerance = 0.01;
  c.cost = {10, 8, 7.99, 7.98};  // windows: 9, 7.985
  EXPECT_EQ(c.ask(), std::nullopt);
  c.cost = {8, 8, 7.99, 7.98};  // a fall of 0.2 %
  EXPECT_EQ(c.ask(), StepState::converged);
  c.live = 1;
  EXPECT_EQ(c.ask(), std::nullopt);
  c.options.convergence_window = 0;
  c.live = 0;
  EXPECT_EQ(c.ask(), std::nullopt);
}

TEST(StopRules, ACostThatIsNoNumberOrVeryHighIsDivergence) {
  Case c;
  for (const double last : {std::nan(""), HUGE_VAL, 501.0}) {
    c.cost = {5, 4, last};
    EXPECT_EQ(c.ask(), StepState::not_converged) << last;
  }
  c.cost = {5, 4, 499};
  EXPECT_EQ(c.ask(), std::nullopt);
  // From a perfect start on data without noise, rounding is a rise by any factor.
  c.empty_cost = 30;
  c.cost = {1e-12, 1e-7};
  EXPECT_EQ(c.ask(), std::nullopt);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
