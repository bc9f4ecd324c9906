#include "farfield/plot/ticks.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

namespace farfield::plot {
namespace {

/// The number that a label says.
double parse(std::string label) {
  const auto replace = [&label](const std::string& from, const std::string& to) {
    for (std::size_t at; (at = label.find(from)) != std::string::npos;) label.replace(at, from.size(), to);
  };
  static const char* const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  replace("−", "-");
  const bool power = label.find("10⁻") != std::string::npos || [&] {
    for (const char* r : raised)
      if (label.find(std::string("10") + r) != std::string::npos) return true;
    return false;
  }();
  if (power) {
    const bool alone = label.find("×") == std::string::npos;
    replace("×10", "e");
    if (alone) label.replace(label.find("10"), 2, "1e");
    replace("⁻", "-");
    for (int d = 0; d < 10; ++d) replace(raised[d], std::to_string(d));
  }
  return std::stod(label);
}

TEST(Ticks, LinearAreRoundInsideAndFew) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> exponent(-9, 9), fraction(-1, 1);
  for (int trial = 0; trial < 3000; ++trial) {
    const double size = std::pow(10, exponent(random));
    const double low = size * fraction(random) * (trial % 3), high = low + size * (1.01 + fraction(random));
    const int most = 2 + trial % 9;
    const auto ticks = linear_ticks(low, high, most);
    ASSERT_LE(std::ssize(ticks), most);
    ASSERT_GE(std::ssize(ticks), 1);
    for (std::size_t i = 0; i < ticks.size(); ++i) {
      EXPECT_GE(ticks[i].value, low - 1e-6 * (high - low));
      EXPECT_LE(ticks[i].value, high + 1e-6 * (high - low));
      if (i < 2) continue;
      EXPECT_NEAR(ticks[i].value - ticks[i - 1].value, ticks[1].value - ticks[0].value, 1e-6 * (high - low));
    }
    if (ticks.size() > 1) {
      const double step = ticks[1].value - ticks[0].value;
      EXPECT_NEAR(nice_below(step * (1 + 1e-9)), step, 1e-6 * step) << "a step is 1, 2 or 5 times a power of ten";
    }
  }
}

TEST(Ticks, LabelsSayTheValue) {
  for (const auto& [low, high] :
       {std::pair{0.0, 1.0}, {-3.0, 7.0}, {0.35, 0.42}, {0.0, 120000.0}, {-2e-5, 3e-5}, {1e9, 3e9}})
    for (const Tick& t : linear_ticks(low, high, 6))
      EXPECT_NEAR(parse(t.label), t.value, 1e-6 * (high - low)) << t.label;
  for (const auto& [low, high] : {std::pair{0.3, 4.0}, {1.0, 1e5}, {1e-7, 1e3}, {2.0, 3.0}})
    for (const Tick& t : log_ticks(low, high, 6)) {
      if (t.label.empty()) continue;
      EXPECT_NEAR(parse(t.label), t.value, 1e-6 * t.value) << t.label;
    }
}

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> out;
  for (const Tick& t : ticks)
    if (!t.label.empty()) out.push_back(t.label);
  return out;
}

TEST(Ticks, KnownSets) {
  using List = std::vector<std::string>;
  EXPECT_EQ(labels(linear_ticks(0, 10, 6)), (List{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(labels(linear_ticks(-1, 1, 5)), (List{"−1.0", "−0.5", "0.0", "0.5", "1.0"}));
  EXPECT_EQ(labels(linear_ticks(-2e-5, 2e-5, 3)), (List{"−2×10⁻⁵", "0", "2×10⁻⁵"}));
  EXPECT_EQ(labels(log_ticks(1, 1e5, 8)), (List{"10⁰", "10¹", "10²", "10³", "10⁴", "10⁵"}));
  EXPECT_EQ(labels(log_ticks(0.4, 6, 8)), (List{"0.5", "1", "2", "5"}));
  EXPECT_TRUE(linear_ticks(0, std::nan(""), 5).empty());
  EXPECT_TRUE(log_ticks(-1, 5, 5).empty());
  EXPECT_EQ(linear_ticks(3, 3, 5).size(), 1U);
}

TEST(Ticks, NiceBelow) {
  EXPECT_NEAR(nice_below(1), 1, 1e-12);
  EXPECT_NEAR(nice_below(1.99), 1, 1e-12);
  EXPECT_NEAR(nice_below(0.002), 0.002, 1e-12);
  EXPECT_NEAR(nice_below(7e-9), 5e-9, 1e-18);
  EXPECT_NEAR(nice_below(999), 500, 1e-9);
}

TEST(Ticks, LengthLabels) {
  EXPECT_EQ(length_label(5e-6), "5 µm");
  EXPECT_EQ(length_label(2e-7), "200 nm");
  EXPECT_EQ(length_label(1e-9), "1 nm");
  EXPECT_EQ(length_label(1.5e-3), "1.5 mm");
  EXPECT_EQ(length_label(2), "2 m");
}

}  // namespace
}  // namespace farfield::plot
