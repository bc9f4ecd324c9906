#pragma once
// The "weather plot": where the time of every worker went, a row each; stalls are gaps, bad frames are marked.

#include <string>
#include <vector>

#include "farfield/pipeline/stage_times.hpp"
#include "farfield/plot/drawing.hpp"

namespace farfield::pipeline::events {

using core::Index;

/// What one worker did, in numbers.
struct WorkerWeather {
  std::string name;                   ///< "rank 3 (host)"
  std::vector<double> stage_s;        ///< by stage
  double begin_s = 0, end_s = 0;      ///< of its records, on the axis of all
  double busy_s = 0;                  ///< of that, with some record
  double longest_stall_s = 0, longest_stall_begin_s = 0;
  Index frames = 0, bad = 0, damaged = 0;  ///< records of the stage that has most of them
};

struct Weather {
  std::vector<std::string> stages;    ///< of all files, in order of appearance
  double span_s = 0;                  ///< from the first begin to the last end
  std::vector<WorkerWeather> workers; ///< by rank
};

/// Puts the files of one run on one axis. Throws `invalid_argument` where there is none, or no record in any.
Weather summarise(const std::vector<StageTimes>& files);
/// A row per worker, in `columns` steps of time: the height of a colour is the share of the step that its stage took.
/// Below it grey where frames ended, across the row red where one was bad, yellow where one was damaged; the longest
/// stall of a worker has its length written to it.
plot::Drawing weather_plot(const std::vector<StageTimes>& files, const Weather& weather, Index columns = 600);

}  // namespace farfield::pipeline::events
