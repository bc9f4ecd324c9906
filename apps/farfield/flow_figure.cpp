// The break-down of runs as bars.

#include <fmt/format.h>

#include <algorithm>

#include "apps/farfield/flow_options.hpp"
#include "farfield/plot/curve_plot.hpp"
#include "farfield/plot/drawing.hpp"

namespace farfield::apps {

std::string times_figure(const std::vector<services::flow::RunTimes>& runs) {
  using services::flow::RunTimes;
  struct Part {
    const char* name;
    double RunTimes::* length_s;
  };
  constexpr Part kParts[] = {{"incoming", &RunTimes::incoming_s},
                             {"compute", &RunTimes::compute_s},
                             {"outgoing", &RunTimes::outgoing_s},
                             {"others", &RunTimes::others_s}};
  constexpr double kLeft = 150, kWidth = 420, kTop = 40, kRow = 16, kBar = 11, kFoot = 34;
  const double height = kTop + kRow * static_cast<double>(runs.size()) + kFoot;
  double longest_s = 1e-9;
  for (const RunTimes& run : runs)
    longest_s = std::max(longest_s, run.incoming_s + run.compute_s + run.outgoing_s + run.others_s);

  plot::Drawing drawing(kLeft + kWidth + 70, height);
  double x = kLeft;
  for (std::size_t i = 0; i < std::size(kParts); ++i) {
    drawing.box({x, 14, 10, 10}, plot::palette(i));
    drawing.text({x + 14, 23}, kParts[i].name, {});
    x += 90;
  }
  for (std::size_t row = 0; row < runs.size(); ++row) {
    const RunTimes& run = runs[row];
    const double y = kTop + kRow * static_cast<double>(row);
    plot::TextStyle style;
    style.size = 9;
    style.align = plot::Align::end;
    drawing.text({kLeft - 6, y + 9}, run.label.empty() ? run.run_id.substr(0, 8) : run.label.substr(0, 24), style);
    double at = kLeft;
    for (std::size_t i = 0; i < std::size(kParts); ++i) {
      const double width = kWidth * run.*kParts[i].length_s / longest_s;
      drawing.box({at, y, width, kBar}, plot::palette(i));
      at += width;
    }
    style.align = plot::Align::start;
    drawing.text({at + 4, y + 9}, fmt::format("{:.3g} s", run.total_s), style);
  }
  const double axis = kTop + kRow * static_cast<double>(runs.size()) + 4;
  drawing.line({{kLeft, axis}, {kLeft + kWidth, axis}}, {});
  for (int tick = 0; tick <= 4; ++tick) {
    plot::TextStyle style;
    style.size = 9;
    style.align = plot::Align::middle;
    const double at = kLeft + kWidth * tick / 4;
    drawing.line({{at, axis}, {at, axis + 4}}, {});
    drawing.text({at, axis + 15}, fmt::format("{:.3g}{}", longest_s * tick / 4, tick == 4 ? " s" : ""), style);
  }
  return to_svg(drawing);
}

}  // namespace farfield::apps
