#pragma once
// Options of the program itself, beside those of a technique's verb. Each command takes the schemas that it reads.

#include <string>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/core/options.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::apps {

struct CommonOptions {
  std::int64_t threads = 0;  ///< 0: all that this process may use
  std::int64_t seed = 0;
  bool json = false, quiet = false;
  core::LogLevel log_level = core::LogLevel::warning;

  int thread_count() const;
};
const core::BoundSchema<CommonOptions>& common_schema();

/// How a scan is opened.
struct InputOptions {
  std::string recipe;
  std::vector<double> frame_shape;
};
const core::BoundSchema<InputOptions>& input_schema();

/// What stands beside the frames, for verbs with the input "qmap".
struct MapOptions {
  std::string qmap, metadata;
};
const core::BoundSchema<MapOptions>& map_schema();

/// Throws `invalid_argument` for a frame shape that is not two whole numbers >= 1.
io::OpenOptions open_options(const InputOptions& input, const MapOptions& map, core::ThreadPool* pool);

/// An analysis of frames.
struct AnalysisOptions {
  std::string out;
  std::string resume;
  double checkpoint_every_s = 0;
  double preview_every_s = 0;
  bool iterate_while_reading = false;
  double memory_limit_GiB = 0;
  bool mpi = false;

  /// As given, or what the machine (and the control group of this process) has free.
  double memory_limit_bytes() const;
};
const core::BoundSchema<AnalysisOptions>& analysis_schema();

struct OutOptions {
  std::string out;
};
/// For combine verbs: a folder.
const core::BoundSchema<OutOptions>& out_folder_schema();
/// For simulations: a file.
const core::BoundSchema<OutOptions>& out_file_schema();

}  // namespace farfield::apps
