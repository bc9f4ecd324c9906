// farfield events report FILE... : where the time of every worker went.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/pipeline/events/weather.hpp"

namespace farfield::apps {
namespace {

namespace events = pipeline::events;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

struct ReportOptions {
  std::string out;
  bool json = false;
};
const core::BoundSchema<ReportOptions>& report_schema() {
  static const auto schema = [] {
    core::BoundSchema<ReportOptions> s;
    s.add("out", &ReportOptions::out, "the plot, .svg or .png: a row for each worker");
    s.add("json", &ReportOptions::json, "one JSON object for each worker");
    return s;
  }();
  return schema;
}

/// The files themselves, and those in folders.
std::vector<fs::path> files_of(const std::vector<std::string>& inputs) {
  std::vector<fs::path> out;
  for (const auto& input : inputs) {
    std::error_code error;
    if (!fs::is_directory(input, error)) {
      out.emplace_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(input))
      if (entry.is_regular_file() && entry.path().filename().string().starts_with("stage_times"))
        found.push_back(entry.path());
    if (found.empty()) throw Error(ErrorCode::not_found, "no stage_times* in the folder").at(input);
    std::sort(found.begin(), found.end());
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

int report(const Arguments& arguments, const Session&) {
  const auto options = report_schema().make(arguments.given);
  const std::string suffix = fs::path(options.out).extension().string();
  if (!options.out.empty() && suffix != ".svg" && suffix != ".png")
    throw Error(ErrorCode::invalid_argument, fmt::format("--out \"{}\" must end in .svg or .png", options.out));
  std::vector<pipeline::StageTimes> files;
  for (const auto& path : files_of(arguments.inputs)) files.push_back(pipeline::read_stage_times(path));
  const auto weather = events::summarise(files);
  for (const auto& worker : weather.workers) {
    if (options.json) {
      nlohmann::ordered_json object{{"message_type", "worker"},
                                    {"worker", worker.name},
                                    {"busy_s", worker.busy_s},
                                    {"span_s", weather.span_s},
                                    {"frames", worker.frames},
                                    {"bad", worker.bad},
                                    {"damaged", worker.damaged},
                                    {"longest_stall_s", worker.longest_stall_s},
                                    {"longest_stall_begin_s", worker.longest_stall_begin_s}};
      for (std::size_t i = 0; i < weather.stages.size(); ++i) object["stages_s"][weather.stages[i]] = worker.stage_s[i];
      fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      continue;
    }
    fmt::print("{}: {:.3g} s of {:.3g} s busy, longest stall {:.3g} s at {:.3g} s; {} frames, {} bad, {} damaged\n",
               worker.name, worker.busy_s, weather.span_s, worker.longest_stall_s, worker.longest_stall_begin_s,
               worker.frames, worker.bad, worker.damaged);
    for (std::size_t i = 0; i < weather.stages.size(); ++i)
      fmt::print("  {:>12} {:.3g} s\n", weather.stages[i], worker.stage_s[i]);
  }
  if (options.out.empty()) return core::kExitOk;
  const auto drawing = events::weather_plot(files, weather);
  if (suffix == ".svg") io::write_atomic(options.out, plot::to_svg(drawing));
  else io::write_atomic(options.out, plot::to_png(drawing));
  return core::kExitOk;
}

}  // namespace

Command events_report_command() {
  return {{"events", "report"},
          "where the time of every worker went, from stage times: stalls and bad frames, as numbers and as a plot",
          {"FILE..."},
          {report_schema()},
          report};
}

}  // namespace farfield::apps
