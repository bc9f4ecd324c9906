#include "apps/farfield/run_options.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "farfield/core/thread_pool.hpp"

namespace farfield::apps {
namespace {

constexpr const char* kOutput = "Output";
constexpr const char* kRunning = "Running";

/// The number that follows `key` in a file of "key number" lines; infinity where there is none ("max").
double number_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    try {
      return std::stod(line.substr(key.size()));
    } catch (const std::exception&) {
      break;
    }
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace

int CommonOptions::thread_count() const { return threads > 0 ? static_cast<int>(threads) : core::hardware_threads(); }

double AnalysisOptions::memory_limit_bytes() const {
  if (memory_limit_GiB > 0) return memory_limit_GiB * 0x1p30;
  const double free = number_in("/proc/meminfo", "MemAvailable:") * 1024;
  const double group = number_in("/sys/fs/cgroup/memory.max", "") - number_in("/sys/fs/cgroup/memory.current", "");
  const double limit = group > 0 ? std::min(free, group) : free;
  return limit < std::numeric_limits<double>::infinity() ? limit : 0;
}

const core::BoundSchema<CommonOptions>& common_schema() {
  static const auto schema = [] {
    core::BoundSchema<CommonOptions> s;
    s.add("threads", &CommonOptions::threads, "threads to compute with; 0: all that this process may use",
          {.min = 0, .max = 4096, .group = kRunning});
    s.add("seed", &CommonOptions::seed, "of everything random; the same seed gives the same numbers on one thread",
          {.min = 0, .group = kRunning});
    s.add("json", &CommonOptions::json, "one JSON object a line on stdout (docs/reference/json-lines.md)",
          {.group = kOutput});
    s.add("quiet", &CommonOptions::quiet, "no progress on stderr", {.group = kOutput});
    s.add("log-level", &CommonOptions::log_level, "least severe log line shown on stderr",
          {.choices = {"debug", "info", "warning", "error"}, .group = kOutput});
    return s;
  }();
  return schema;
}

const core::BoundSchema<InputOptions>& input_schema() {
  static const auto schema = [] {
    core::BoundSchema<InputOptions> s;
    s.add("recipe", &InputOptions::recipe,
          "how to read any HDF5 file: a TOML file, or the name of a shipped recipe; without it the format is detected",
          {.group = "Input"});
    s.add(
        "frame-shape", &InputOptions::frame_shape,
        "rows,columns of the frames, for files that do not store it (Rigaku events; 512,1024 unless a q-map says more)",
        {.min = 1, .max = 1 << 20, .unit = "px", .group = "Input"});
    return s;
  }();
  return schema;
}

const core::BoundSchema<MapOptions>& map_schema() {
  static const auto schema = [] {
    core::BoundSchema<MapOptions> s;
    s.add("qmap", &MapOptions::qmap, "q-map file (APS 8-ID), or a result that holds one: which pixels are averaged",
          {.group = "Input"});
    s.add("metadata", &MapOptions::metadata,
          "metadata file of the scan (APS 8-ID NeXus): times, energy and geometry that the scan itself does not store",
          {.group = "Input"});
    return s;
  }();
  return schema;
}

io::OpenOptions open_options(const InputOptions& input, const MapOptions& map, core::ThreadPool* pool) {
  io::OpenOptions options;
  options.recipe = input.recipe;
  options.pool = pool;
  options.qmap = map.qmap;
  options.metadata = map.metadata;
  const auto& shape = input.frame_shape;
  if (shape.empty()) return options;
  if (shape.size() != 2 || shape[0] != std::floor(shape[0]) || shape[1] != std::floor(shape[1]))
    throw core::Error(core::ErrorCode::invalid_argument, "option frame-shape must be two whole numbers, rows,columns");
  options.frame_ny = static_cast<core::Index>(shape[0]);
  options.frame_nx = static_cast<core::Index>(shape[1]);
  return options;
}

const core::BoundSchema<AnalysisOptions>& analysis_schema() {
  static const auto schema = [] {
    using O = AnalysisOptions;
    core::BoundSchema<O> s;
    s.add("out", &O::out, "folder for the result, metrics.json, frames.json and pictures", {.group = kOutput});
    s.add("preview-every", &O::preview_every_s, "write preview_*.png to the folder this often; 0: never",
          {.min = 0, .unit = "s", .group = kOutput});
    s.add("checkpoint-every", &O::checkpoint_every_s,
          "write checkpoint.ffc to the folder this often; 0: only when interrupted",
          {.min = 0, .unit = "s", .group = kRunning});
    s.add("resume", &O::resume, "go on from this checkpoint", {.group = kRunning});
    s.add("iterate-while-reading", &O::iterate_while_reading,
          "begin before the whole scan has been read, as with a live source; the result then depends on how fast "
          "frames come",
          {.group = kRunning});
    s.add("memory-limit", &O::memory_limit_GiB, "refuse what needs more memory; 0: what is free",
          {.min = 0, .unit = "GiB", .group = kRunning});
    s.add("mpi", &O::mpi, "share the work with the other ranks of mpirun", {.group = kRunning});
    return s;
  }();
  return schema;
}

const core::BoundSchema<OutOptions>& out_folder_schema() {
  static const auto schema = [] {
    core::BoundSchema<OutOptions> s;
    s.add("out", &OutOptions::out, "folder for the result, metrics.json and pictures", {.group = kOutput});
    return s;
  }();
  return schema;
}

const core::BoundSchema<OutOptions>& out_file_schema() {
  static const auto schema = [] {
    core::BoundSchema<OutOptions> s;
    s.add("out", &OutOptions::out,
          "file for the scan: .cxi, .imm (compressed) or .bin (events of a Rigaku detector); the truth goes beside it "
          "(.truth.cxi)",
          {.group = kOutput});
    return s;
  }();
  return schema;
}

}  // namespace farfield::apps
