#pragma once
// What the program says: the result on stdout, progress and log on stderr; with --json, one object a line on
// stdout (docs/reference/json-lines.md).

#include <cstdio>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "apps/farfield/verb_run.hpp"
#include "farfield/core/clock.hpp"
#include "farfield/core/log.hpp"

namespace farfield::apps {

struct ConsoleOptions {
  bool json = false;
  bool quiet = false;     ///< no progress; errors and warnings stay
  bool terminal = false;  ///< stderr is a terminal: a bar, else a line every 10 s
  bool silent = false;    ///< nothing at all: another rank speaks
};

/// Thread-safe. One per process.
class Console final : public RunObserver {
public:
  Console(const ConsoleOptions& options, const core::Clock& clock, std::FILE* out = stdout, std::FILE* err = stderr)
      : options_(options), clock_(clock), out_(out), err_(err) {}
  ~Console() override { end_progress(); }

  void progress(const technique::Progress& progress) override;
  void rejected(model::FrameId id, const std::string& reason) override;
  void warning(const std::string& message) override;
  void reading(pipeline::Index received, pipeline::Index expected) override;

  void summary(const Summary& summary) override;
  /// On stderr.
  void note(const std::string& text) override;
  void error(const core::Error& error);
  /// A line of log, on stderr.
  void log_line(const std::string& line);

private:
  void json_line(const std::string& object);
  void status(const std::string& text, double part);
  void end_progress();
  std::string bar(const std::string& text, double part) const;

  ConsoleOptions options_;
  const core::Clock& clock_;
  std::FILE *out_, *err_;
  std::recursive_mutex mutex_;
  bool bar_shown_ = false, end_shown_ = false;
  double last_status_s_ = -1e9;
  // For the rate: when and where the iterations of this process began.
  std::optional<std::pair<double, std::int64_t>> first_progress_;
};

/// key=value lines through the console.
std::shared_ptr<core::LogSink> make_log_sink(Console& console, core::LogLevel least);

}  // namespace farfield::apps
