#include "farfield/services/compute/blocks/block_settings.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/json.hpp"
#include "farfield/services/compute/small_file.hpp"

namespace farfield::services::compute {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kLongest = std::size_t{1} << 20;
}

std::string Roots::find(const std::string& experiment) const {
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (experiment.empty() || experiment.size() > 128 || experiment[0] == '.' ||
      experiment.find_first_not_of(kName) != std::string::npos)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("experiment \"{}\" must be 1 to 128 letters, digits, '-', '_' or '.', not beginning with "
                            "'.'",
                            experiment));
  const auto known = of.find(experiment);
  std::filesystem::path folder;
  if (known != of.end()) folder = known->second;
  else if (!prefix.empty()) folder = std::filesystem::path(prefix) / experiment;
  std::error_code error;
  if (!folder.empty()) folder = std::filesystem::canonical(folder, error);
  if (folder.empty() || error || !std::filesystem::is_directory(folder, error))
    throw Error(ErrorCode::not_found, fmt::format("this endpoint has no folder for experiment {}", experiment));
  return folder.string();
}

std::string settings_path(const std::string& folder) { return folder + "/block.json"; }

BlockSettings read_settings(const std::string& folder) {
  const std::string path = settings_path(folder);
  const Json json = parse_json(read_small(path, kLongest), path, ErrorCode::corrupt_data, kLongest);
  BlockSettings s;
  Members m(json, path, ErrorCode::corrupt_data);
  m.text("block", s.block, 64);
  m.text("link", s.link, 4096);
  m.text("certificate", s.certificate, 4096);
  m.text("secret", s.secret, 256);
  m.integer("workers", s.workers, 1, 10000);
  m.integer("nodes", s.nodes, 1, 100000);
  m.real("walltime_s", s.walltime_s, 1, 366 * 86400.0);
  m.real("notice_s", s.notice_s, 0, 86400);
  m.real("alone_s", s.alone_s, 0, 366 * 86400.0);
  m.text("tasks", s.tasks, 4096);
  m.text("archives", s.archives, 4096);
  m.text("prefix", s.roots.prefix, 4096);
  m.texts("devices", s.devices, 1024, 256);
  m.integer("slots_per_device", s.slots_per_device, 1, 1024);
  m.text("slots", s.slots, 4096);
  m.texts("readable", s.readable, 1000, 4096);
  m.truth("confine", s.confine);
  if (const Json* roots = m.find("roots")) {
    if (!roots->is_object()) m.refuse("roots", "an object");
    for (const auto& [experiment, root] : roots->items()) {
      if (!root.is_string()) m.refuse("roots", "an object of folders");
      s.roots.of[experiment] = root.get<std::string>();
    }
  }
  m.end();
  return s;
}

void write_settings(const std::string& folder, const BlockSettings& s) {
  const Json json{{"block", s.block},           {"link", s.link},         {"certificate", s.certificate},
                  {"secret", s.secret},         {"workers", s.workers},   {"nodes", s.nodes},
                  {"walltime_s", s.walltime_s}, {"notice_s", s.notice_s}, {"alone_s", s.alone_s},
                  {"tasks", s.tasks},           {"archives", s.archives}, {"prefix", s.roots.prefix},
                  {"roots", s.roots.of},        {"devices", s.devices},   {"slots_per_device", s.slots_per_device},
                  {"slots", s.slots},           {"readable", s.readable}, {"confine", s.confine}};
  write_private(settings_path(folder), to_text(json) + "\n");
}

}  // namespace farfield::services::compute
