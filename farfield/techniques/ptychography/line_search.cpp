#include "farfield/techniques/ptychography/line_search.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace farfield::techniques::ptychography {
namespace {

struct Point {
  double step, slope;
};

/// The root of the parabola through three points, between the first two, whose slopes have different signs.
double root_between(Point low, Point high, Point third) {
  const double chord = (high.slope - low.slope) / (high.step - low.step);
  const double bend = ((third.slope - high.slope) / (third.step - high.step) - chord) / (third.step - low.step);
  const auto parabola = [&](double t) { return low.slope + (t - low.step) * (chord + bend * (t - high.step)); };
  double from = low.step, to = high.step;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (from + to);
    (parabola(middle) < 0 ? from : to) = middle;
  }
  return from;
}

}  // namespace

double find_root(const std::function<Trials(const Trials&)>& slopes, double slope_at_0, double guess) {
  if (!(slope_at_0 < 0)) return 0;
  std::vector<Point> points{{0, slope_at_0}};  // by step
  Trials trials{0.75 * guess, 1.3 * guess};
  for (int attempt = 0; attempt < 24; ++attempt) {
    const Trials values = slopes(trials);
    for (std::size_t k = 0; k < trials.size(); ++k) points.push_back({trials[k], values[k]});
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.step < b.step; });
    std::size_t high = 1;
    while (high < points.size() && points[high].slope < 0) ++high;
    if (high == points.size()) {
      trials = {3 * points.back().step, 9 * points.back().step};
      continue;
    }
    const Point a = points[high - 1], b = points[high];
    const bool third_above =
        high == 1 || (high + 1 < points.size() && points[high + 1].step - b.step < a.step - points[high - 2].step);
    const double root = root_between(a, b, points[third_above ? high + 1 : high - 2]);
    const double chord = a.step - a.slope * (b.step - a.step) / (b.slope - a.slope);
    if (std::abs(chord - root) <= 0.1 * std::min(root, chord)) return root;
    // No parabola over so wide a range: to both sides of a point between the two.
    const double centre = std::sqrt(std::max(root, 1e-3 * chord) * chord);
    trials = {std::max(0.7 * centre, a.step + 0.1 * (centre - a.step)),
              std::min(1.4 * centre, b.step - 0.1 * (b.step - centre))};
  }
  return points.back().step;
}

}  // namespace farfield::techniques::ptychography
