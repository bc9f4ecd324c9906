#include "farfield/io/xtc2/run_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "farfield/core/error.hpp"

namespace farfield::io::xtc2 {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

namespace {
constexpr std::string_view kGrowing = ".inprogress", kSuffix = ".xtc2", kIndex = ".smd";

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// "-r0014" from the end of `text`.
std::optional<int> take_number(std::string_view& text, char letter, std::size_t digits) {
  if (text.size() < digits + 2) return std::nullopt;
  const auto part = text.substr(text.size() - digits - 2);
  int value = 0;
  const auto [end, error] = std::from_chars(part.data() + 2, part.data() + part.size(), value);
  if (part[0] != '-' || part[1] != letter || error != std::errc() || end != part.data() + part.size() || value < 0)
    return std::nullopt;
  text.remove_suffix(part.size());
  return value;
}

std::optional<FileName> try_parse(std::string_view name) {
  FileName out;
  out.growing = take_suffix(name, kGrowing);
  if (!take_suffix(name, kSuffix)) return std::nullopt;
  out.index = take_suffix(name, kIndex);
  const auto chunk = take_number(name, 'c', 3), stream = take_number(name, 's', 3), run = take_number(name, 'r', 4);
  if (!chunk || !stream || !run || name.empty()) return std::nullopt;
  out.chunk = *chunk;
  out.stream = *stream;
  out.run = *run;
  out.experiment = name;
  return out;
}

fs::path growing_path(const fs::path& path) { return path.string() + std::string(kGrowing); }

fs::path without_growing(const fs::path& path) {
  std::string text = path.string();
  if (text.ends_with(kGrowing)) text.resize(text.size() - kGrowing.size());
  return text;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    out.push_back(at->path());
  return out;
}
}  // namespace

FileName parse_file_name(const std::string& name) {
  if (auto parsed = try_parse(name)) return *parsed;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("\"{}\" is not named like EXPERIMENT-r0001-s000-c000.xtc2", name));
}

RunFiles find_run(const fs::path& folder, int run) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw Error(ErrorCode::not_found, "there is no such folder").at(folder.string());
  std::map<int, std::map<int, StreamFiles>> runs;
  std::map<int, std::string> experiments;
  for (const auto& path : files_in(folder)) {
    const auto name = try_parse(path.filename().string());
    if (!name || name->index || name->chunk != 0) continue;
    auto& stream = runs[name->run][name->stream];
    if (const auto [at, fresh] = experiments.emplace(name->run, name->experiment); at->second != name->experiment)
      throw Error(ErrorCode::invalid_argument, fmt::format("run {} is there for two experiments, {} and {}", name->run,
                                                           at->second, name->experiment))
          .at(folder.string());
    stream.stream = name->stream;
    stream.data = without_growing(path);
  }
  if (runs.empty()) throw Error(ErrorCode::not_found, "no xtc2 files of a run").at(folder.string());
  if (run < 0 && runs.size() > 1) {
    std::vector<int> there;
    for (const auto& [number, streams] : runs) there.push_back(number);
    throw Error(ErrorCode::invalid_argument, fmt::format("which run? There are {}", fmt::join(there, ", ")))
        .at(folder.string());
  }
  if (run < 0) run = runs.begin()->first;
  const auto found = runs.find(run);
  if (found == runs.end())
    throw Error(ErrorCode::not_found, fmt::format("no files of run {}", run)).at(folder.string());

  RunFiles out{experiments[run], run, {}};
  for (auto& [number, stream] : found->second) {
    std::string name = stream.data.filename().string();
    name.insert(name.size() - kSuffix.size(), kIndex);
    stream.index = folder / "smalldata" / name;
    if (present_path(stream.index).empty())
      throw Error(ErrorCode::not_found, fmt::format("stream {} has no index; farfield events index makes one", number))
          .at(stream.index.string());
    out.streams.push_back(std::move(stream));
  }
  return out;
}

fs::path present_path(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) return path;
  if (fs::exists(growing_path(path), ignored)) return growing_path(path);
  // Renamed between the two looks: it has its final name now.
  return fs::exists(path, ignored) ? path : fs::path();
}

bool is_growing(const fs::path& path) {
  std::error_code ignored;
  return !fs::exists(path, ignored) && fs::exists(growing_path(path), ignored);
}

}  // namespace farfield::io::xtc2
