#pragma once
// --archive: the raw frames of each series that a live run follows, whatever becomes of its analysis.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "apps/farfield/console.hpp"
#include "farfield/pipeline/archive.hpp"
#include "farfield/stream/dectris/series.hpp"

namespace farfield::apps {

class LiveArchive {
public:
  /// `target`: a file, a folder (there is one, or it ends with a slash), or "" for none. With `several` series each has
  /// a file of its own, NAME_000.h5.
  LiveArchive(std::string target, bool several) : target_(std::move(target)), several_(several) {}

  /// Throws `io` where nothing can be written, before any frame comes.
  void check() const;
  /// For stream::dectris::SeriesOptions.
  decltype(stream::dectris::SeriesOptions::tap) tap();
  /// Throws as pipeline::Archive.
  void begin(const stream::dectris::Series& series, std::int64_t number, std::stop_token stop);
  void annotate(std::span<const std::pair<model::FrameId, model::Values>> values);
  void note(const std::string& name, const std::string& text);
  /// Takes what the analysis has left of the series, and completes the file. Errors are said. Returns an exit code.
  int finish(stream::dectris::Series& series, std::stop_token stop, Console& console);

private:
  std::filesystem::path path_of(const stream::dectris::Series& series, std::int64_t number) const;

  std::string target_;
  bool several_;
  std::map<std::string, std::string> notes_;
  std::optional<pipeline::Archive> archive_;
};

}  // namespace farfield::apps
