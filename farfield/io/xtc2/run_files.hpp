#pragma once
// The files of a run in a folder: EXPERIMENT-rRRRR-sSSS-cCCC.xtc2, one stream per node, and their indices in
// smalldata/ as *.smd.xtc2. While a file is written its name ends in .inprogress.

#include <filesystem>
#include <string>
#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::io::xtc2 {

/// The parts of a file name.
struct FileName {
  std::string experiment;
  int run = 0, stream = 0, chunk = 0;
  bool index = false, growing = false;
};
/// Throws `invalid_argument` for a name that is not one of these.
FileName parse_file_name(const std::string& name);

struct StreamFiles {
  int stream = 0;
  std::filesystem::path index, data;  ///< the index, and the first chunk of the data; without .inprogress
};

struct RunFiles {
  std::string experiment;
  int run = 0;
  std::vector<StreamFiles> streams;  ///< by number
};

/// `run` < 0: the only one there is. Throws `not_found` for no such run, or a stream without index or data,
/// `invalid_argument` for several runs to choose from.
RunFiles find_run(const std::filesystem::path& folder, int run = -1);

/// The path under which a file is now: as given, or with .inprogress while it is written; empty where there is neither.
std::filesystem::path present_path(const std::filesystem::path& path);
/// True while the file is written, as its name says.
bool is_growing(const std::filesystem::path& path);

}  // namespace farfield::io::xtc2
