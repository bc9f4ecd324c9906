#include "farfield/pipeline/events/weather.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "farfield/core/error.hpp"
#include "farfield/plot/curve_plot.hpp"

namespace farfield::pipeline::events {

using core::Error;
using core::ErrorCode;

namespace {

/// Where a file's time 0 lies on the axis of all, and its stages among those of all.
struct Place {
  const StageTimes* file;
  double shift_s;
  std::vector<std::size_t> stage;
};

std::vector<Place> places_of(const std::vector<StageTimes>& files, std::vector<std::string>& stages) {
  double first_s = INFINITY;
  for (const auto& file : files)
    for (const auto& t : file.times) first_s = std::min(first_s, file.head.origin_unix_s + t.begin_s);
  if (!std::isfinite(first_s)) throw Error(ErrorCode::invalid_argument, "there are no stage times to plot");
  std::vector<Place> places;
  for (const auto& file : files) {
    Place place{&file, file.head.origin_unix_s - first_s, {}};
    for (const auto& name : file.head.stages) {
      const auto found = std::find(stages.begin(), stages.end(), name);
      place.stage.push_back(static_cast<std::size_t>(found - stages.begin()));
      if (found == stages.end()) stages.push_back(name);
    }
    places.push_back(std::move(place));
  }
  // By rank, then as given: the files stand in one vector.
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.file->head.rank != b.file->head.rank ? a.file->head.rank < b.file->head.rank : a.file < b.file;
  });
  return places;
}

WorkerWeather weather_of(const Place& place, std::size_t stages) {
  const auto& head = place.file->head;
  WorkerWeather out;
  out.name =
      head.worker.empty() ? fmt::format("rank {}", head.rank) : fmt::format("rank {} ({})", head.rank, head.worker);
  out.stage_s.assign(stages, 0);
  std::vector<std::pair<double, double>> spans;
  std::vector<Index> records(stages, 0);
  for (const auto& t : place.file->times) {
    const std::size_t stage = place.stage[t.stage];
    out.stage_s[stage] += std::max(0.0, t.end_s - t.begin_s);
    ++records[stage];
    spans.emplace_back(t.begin_s + place.shift_s, std::max(t.begin_s, t.end_s) + place.shift_s);
  }
  if (spans.empty()) return out;
  const auto main_stage = static_cast<std::size_t>(std::max_element(records.begin(), records.end()) - records.begin());
  for (const auto& t : place.file->times) {
    if (place.stage[t.stage] != main_stage) continue;
    ++out.frames;
    if (t.status == StageStatus::dropped) ++out.bad;
    if (t.status == StageStatus::damaged) ++out.damaged;
  }
  std::sort(spans.begin(), spans.end());
  out.begin_s = spans.front().first;
  double until_s = out.begin_s;
  for (const auto& [begin, end] : spans) {
    if (begin - until_s > out.longest_stall_s) {
      out.longest_stall_s = begin - until_s;
      out.longest_stall_begin_s = until_s;
    }
    out.busy_s += std::max(0.0, end - std::max(begin, until_s));
    until_s = std::max(until_s, end);
  }
  out.end_s = until_s;
  return out;
}

/// What happened in each step of time of one row.
struct Steps {
  std::vector<std::vector<double>> share;  ///< (stage, step), of the step
  std::vector<std::uint8_t> bad, damaged;
};

Steps steps_of(const Place& place, std::size_t stages, double span_s, std::size_t columns) {
  Steps out{std::vector(stages, std::vector<double>(columns, 0.0)), std::vector<std::uint8_t>(columns, 0),
            std::vector<std::uint8_t>(columns, 0)};
  const double step_s = span_s / static_cast<double>(columns);
  const auto step_at = [&](double s) {
    return static_cast<std::size_t>(std::clamp(s / step_s, 0.0, static_cast<double>(columns - 1)));
  };
  for (const auto& t : place.file->times) {
    const double begin = t.begin_s + place.shift_s, end = std::max(begin, t.end_s + place.shift_s);
    const std::size_t first = step_at(begin), last = step_at(end);
    auto& share = out.share[place.stage[t.stage]];
    for (std::size_t i = first; i <= last; ++i) {
      const double from = static_cast<double>(i) * step_s;
      share[i] += std::max(0.0, std::min(end, from + step_s) - std::max(begin, from)) / step_s;
    }
    if (t.status == StageStatus::dropped) out.bad[last] = 1;
    if (t.status == StageStatus::damaged) out.damaged[last] = 1;
  }
  return out;
}

constexpr plot::Colour kBad{204, 20, 20}, kDamaged{240, 180, 0};
}  // namespace

Weather summarise(const std::vector<StageTimes>& files) {
  Weather out;
  const auto places = places_of(files, out.stages);
  for (const auto& place : places) out.workers.push_back(weather_of(place, out.stages.size()));
  for (const auto& worker : out.workers) out.span_s = std::max(out.span_s, worker.end_s);
  out.span_s = std::max(out.span_s, 1e-9);
  return out;
}

plot::Drawing weather_plot(const std::vector<StageTimes>& files, const Weather& weather, Index columns) {
  if (columns < 1) throw Error(ErrorCode::invalid_argument, fmt::format("{} columns; at least 1", columns));
  std::vector<std::string> stages;
  const auto places = places_of(files, stages);
  constexpr double kLeft = 130, kRight = 150, kTop = 40, kRow = 26, kBar = 18, kMark = 4, kFoot = 40, kWidth = 600;
  const double height = kTop + kRow * static_cast<double>(places.size()) + kFoot;
  plot::Drawing drawing(kLeft + kWidth + kRight, height);
  plot::TextStyle small;
  small.size = 9;

  double x = kLeft;
  const auto legend = [&](plot::Colour colour, const std::string& name) {
    drawing.box({x, 14, 10, 10}, colour);
    drawing.text({x + 14, 23}, name, small);
    x += 30 + 6 * static_cast<double>(name.size());
  };
  for (std::size_t i = 0; i < stages.size(); ++i) legend(plot::palette(i), stages[i]);
  legend(kBad, "bad");
  legend(kDamaged, "damaged");

  const auto count = static_cast<std::size_t>(columns);
  const double wide = kWidth / static_cast<double>(columns);
  for (std::size_t row = 0; row < places.size(); ++row) {
    const WorkerWeather& worker = weather.workers.at(row);
    const double top = kTop + kRow * static_cast<double>(row), foot = top + kBar;
    const auto steps = steps_of(places[row], stages.size(), weather.span_s, count);
    drawing.box({kLeft, top, kWidth, kBar}, {245, 245, 245});
    // Neighbours that look the same become one box.
    std::vector<double> stacked(count, 0.0);
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      for (std::size_t i = 0; i < count;) {
        const double share = std::min(steps.share[stage][i], 1 - stacked[i]);
        std::size_t end = i + 1;
        while (end < count && stacked[end] == stacked[i] &&
               std::min(steps.share[stage][end], 1 - stacked[end]) == share)
          ++end;
        if (share > 0)
          drawing.box({kLeft + wide * static_cast<double>(i), foot - kBar * (stacked[i] + share),
                       wide * static_cast<double>(end - i), kBar * share},
                      plot::palette(stage));
        for (; i < end; ++i) stacked[i] += std::max(share, 0.0);
      }
    }
    for (std::size_t i = 0; i < count; ++i)
      if (steps.bad[i] != 0 || steps.damaged[i] != 0)
        drawing.box({kLeft + wide * static_cast<double>(i), foot, std::max(wide, 1.5), kMark},
                    steps.bad[i] != 0 ? kBad : kDamaged);
    plot::TextStyle label = small;
    label.align = plot::Align::end;
    drawing.text({kLeft - 6, top + 12}, worker.name.substr(0, 24), label);
    drawing.text(
        {kLeft + kWidth + 6, top + 12},
        fmt::format("{:.0f} % busy, {} bad of {}", 100 * worker.busy_s / weather.span_s, worker.bad, worker.frames),
        small);
  }
  const double axis = kTop + kRow * static_cast<double>(places.size()) + 4;
  drawing.line({{kLeft, axis}, {kLeft + kWidth, axis}}, {});
  for (int tick = 0; tick <= 5; ++tick) {
    plot::TextStyle style = small;
    style.align = plot::Align::middle;
    const double at = kLeft + kWidth * tick / 5;
    drawing.line({{at, axis}, {at, axis + 4}}, {});
    drawing.text({at, axis + 15}, fmt::format("{:.3g}{}", weather.span_s * tick / 5, tick == 5 ? " s" : ""), style);
  }
  return drawing;
}

}  // namespace farfield::pipeline::events
