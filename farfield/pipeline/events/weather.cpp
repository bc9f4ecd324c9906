#include "farfield/pipeline/events/weather.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "farfield/core/error.hpp"
#include "farfield/plot/curve_plot.hpp"
#include "farfield/plot/ticks.hpp"

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
  std::vector<std::uint8_t> seen, bad, damaged;  ///< a record ended
};

Steps steps_of(const Place& place, std::size_t stages, double span_s, std::size_t columns) {
  const std::vector<std::uint8_t> none(columns, 0);
  Steps out{std::vector(stages, std::vector<double>(columns, 0.0)), none, none, none};
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
    out.seen[last] = 1;
    if (t.status == StageStatus::dropped) out.bad[last] = 1;
    if (t.status == StageStatus::damaged) out.damaged[last] = 1;
  }
  return out;
}

constexpr plot::Colour kBad{204, 20, 20}, kDamaged{240, 180, 0}, kBack{246, 246, 244}, kSeen{96, 104, 112},
    kQuiet{130, 130, 130};
constexpr double kLeft = 130, kRight = 170, kTop = 62, kFoot = 44, kWidth = 640;

/// Heights in a row, which grow small where workers are many.
struct RowSizes {
  double row, bar, rug;
  std::size_t labelled;  ///< every so many rows have room for a text
};
RowSizes row_sizes(std::size_t rows) {
  constexpr double kMost = 34, kLeast = 3, kAll = 1400, kText = 10;
  const double row = std::clamp(kAll / static_cast<double>(rows), kLeast, kMost);
  return {row, 0.62 * row, 0.16 * row, static_cast<std::size_t>(std::ceil(kText / row))};
}

std::string short_seconds(double s) { return s >= 1 ? fmt::format("{:.3g} s", s) : fmt::format("{:.3g} ms", 1000 * s); }

/// The longest time in which nothing happened, where it is worth a word.
void draw_stall(plot::Drawing& drawing, const WorkerWeather& worker, double span_s, double top, const RowSizes& sizes) {
  const double begin = kLeft + kWidth * worker.longest_stall_begin_s / span_s,
               end = begin + kWidth * worker.longest_stall_s / span_s, middle = top + 0.5 * sizes.bar;
  constexpr double kWorth = 12, kWord = 60, kCap = 3;
  if (end - begin < kWorth || sizes.labelled > 1) return;
  const plot::LineStyle style{kQuiet, 0.8, {}};
  const bool word = end - begin >= kWord;
  const double room = word ? 25 : 0, centre = 0.5 * (begin + end);
  drawing.line({{begin + 1.5, middle}, {centre - room, middle}}, style);
  drawing.line({{centre + room, middle}, {end - 1.5, middle}}, style);
  for (const double x : {begin + 1.5, end - 1.5}) drawing.line({{x, middle - kCap}, {x, middle + kCap}}, style);
  plot::TextStyle text{.size = 8, .colour = kQuiet, .align = plot::Align::middle};
  if (word) drawing.text({centre, middle + 3}, short_seconds(worker.longest_stall_s), text);
}
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
  const auto sizes = row_sizes(places.size());
  const double axis = kTop + sizes.row * static_cast<double>(places.size());
  plot::Drawing drawing(kLeft + kWidth + kRight, axis + kFoot);
  plot::TextStyle small;
  small.size = 9;

  Index frames = 0, bad = 0, damaged = 0;
  for (const auto& worker : weather.workers) {
    frames += worker.frames;
    bad += worker.bad;
    damaged += worker.damaged;
  }
  drawing.text({kLeft, 22},
               fmt::format("{} workers, {} frames in {}: {} bad, {} damaged", weather.workers.size(), frames,
                           short_seconds(weather.span_s), bad, damaged),
               {.size = 11, .bold = true});
  double x = kLeft;
  const auto legend = [&](plot::Colour colour, const std::string& name, double width, double height) {
    drawing.box({x + 0.5 * (10 - width), 45 - height, width, height}, colour);
    drawing.text({x + 14, 44}, name, small);
    x += 30 + 5.5 * static_cast<double>(name.size());
  };
  for (std::size_t i = 0; i < stages.size(); ++i) legend(plot::palette(i), stages[i], 10, 10);
  legend(kSeen, "frames ended", 10, 4);
  legend(kDamaged, "damaged", 3, 13);
  legend(kBad, "bad", 3, 13);
  const auto ticks = plot::linear_ticks(0, weather.span_s, 7);

  const auto count = static_cast<std::size_t>(columns);
  const double wide = kWidth / static_cast<double>(columns);
  for (std::size_t row = 0; row < places.size(); ++row) {
    const WorkerWeather& worker = weather.workers.at(row);
    const double top = kTop + sizes.row * static_cast<double>(row), foot = top + sizes.bar;
    const auto steps = steps_of(places[row], stages.size(), weather.span_s, count);
    drawing.box({kLeft, top, kWidth, sizes.bar}, kBack);
    for (const auto& tick : ticks) {
      if (tick.label.empty()) continue;
      const double at = kLeft + kWidth * tick.value / weather.span_s;
      drawing.line({{at, top}, {at, foot}}, {plot::kFaint, 0.6, {}});
    }
    draw_stall(drawing, worker, weather.span_s, top, sizes);
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
          drawing.box({kLeft + wide * static_cast<double>(i), foot - sizes.bar * (stacked[i] + share),
                       wide * static_cast<double>(end - i), sizes.bar * share},
                      plot::palette(stage));
        for (; i < end; ++i) stacked[i] += std::max(share, 0.0);
      }
    }
    // Below the bar, when frames ended: what takes too short a time to be seen in the bar still leaves its trace.
    for (std::size_t i = 0; i < count;) {
      std::size_t end = i;
      while (end < count && steps.seen[end] != 0) ++end;
      if (end > i)
        drawing.box({kLeft + wide * static_cast<double>(i), foot + 1, wide * static_cast<double>(end - i), sizes.rug},
                    kSeen);
      i = std::max(end, i + 1);
    }
    // Bad frames cross the row; they come last, so that none is hidden.
    for (const auto& [marks, colour] : {std::pair(&steps.damaged, kDamaged), std::pair(&steps.bad, kBad)})
      for (std::size_t i = 0; i < count; ++i)
        if ((*marks)[i] != 0)
          drawing.box({kLeft + wide * static_cast<double>(i), top - 1, std::max(wide, 1.8), sizes.bar + sizes.rug + 3},
                      colour);
    if (row % sizes.labelled != 0) continue;
    plot::TextStyle label = small;
    label.align = plot::Align::end;
    const double base = top + 0.5 * sizes.bar + 3;
    drawing.text({kLeft - 8, base}, worker.name.substr(0, 24), label);
    const double busy = 100 * worker.busy_s / weather.span_s;
    drawing.text(
        {kLeft + kWidth + 8, base},
        fmt::format("{} % busy, {} bad of {}", busy >= 10 ? fmt::format("{:.0f}", busy) : fmt::format("{:.2g}", busy),
                    worker.bad, worker.frames),
        small);
  }
  drawing.line({{kLeft, axis}, {kLeft + kWidth, axis}}, {});
  plot::TextStyle centred = small;
  centred.align = plot::Align::middle;
  for (const auto& tick : ticks) {
    const double at = kLeft + kWidth * tick.value / weather.span_s;
    drawing.line({{at, axis}, {at, axis + (tick.label.empty() ? 2 : 4)}}, {});
    if (!tick.label.empty()) drawing.text({at, axis + 15}, tick.label, centred);
  }
  drawing.text({kLeft + kWidth / 2, axis + 32}, "time / s", centred);
  return drawing;
}

}  // namespace farfield::pipeline::events
