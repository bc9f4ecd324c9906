#include "apps/farfield/console.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::apps {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kBarPeriod_s = 0.1, kLinePeriod_s = 10;
constexpr int kBarWidth = 24;

/// JSON has no infinities.
Json number(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }

Json numbers(const std::map<std::string, double>& values) {
  Json out = Json::object();
  for (const auto& [name, v] : values) out[name] = number(v);
  return out;
}

std::string dump(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(seconds));
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

/// Quoted where a value would not be one word.
std::string log_value(const std::string& value) {
  if (!value.empty() && value.find_first_of(" \t\r\n\"=") == std::string::npos) return value;
  std::string quoted = "\"";
  for (const char c : value) quoted += c == '"' ? "\\\"" : c == '\n' ? "\\n" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

void Console::json_line(const std::string& object) {
  fmt::print(out_, "{}\n", object);
  std::fflush(out_);
}

void Console::progress(const technique::Progress& p) {
  const std::lock_guard lock(mutex_);
  if (options_.silent) return;
  const double now = clock_.now_s();
  if (!first_progress_) first_progress_.emplace(now, p.iteration);
  if (options_.json) {
    Json line{{"message_type", "iteration"}, {"iteration", p.iteration}};
    if (p.iterations > 0) line["iterations"] = p.iterations;
    for (const auto& [name, v] : p.values) line[name] = number(v);
    line["seconds"] = number(p.seconds);
    json_line(dump(line));
  }
  std::string text =
      p.iterations > 0 ? fmt::format("{}/{}", p.iteration, p.iterations) : fmt::format("{}", p.iteration);
  for (const auto& [name, v] : p.values) text += fmt::format("  {} {:.5g}", name, v);
  const double elapsed = now - first_progress_->first;
  const auto done = p.iteration - first_progress_->second;
  if (elapsed > 0 && done > 0) {
    const double rate = static_cast<double>(done) / elapsed;
    text += fmt::format("  {:.3g} it/s", rate);
    if (p.iterations > p.iteration)
      text += fmt::format("  {} left", duration(static_cast<double>(p.iterations - p.iteration) / rate));
  }
  status(text, p.iterations > 0 ? static_cast<double>(p.iteration) / static_cast<double>(p.iterations) : -1);
}

void Console::reading(pipeline::Index received, pipeline::Index expected) {
  const std::lock_guard lock(mutex_);
  if (first_progress_) return;  // live: the iterations are what matters
  status(expected > 0 ? fmt::format("{}/{} frames read", received, expected) : fmt::format("{} frames read", received),
         expected > 0 ? static_cast<double>(received) / static_cast<double>(expected) : -1);
}

void Console::status(const std::string& text, double part) {
  if (options_.quiet || options_.silent) return;
  const double now = clock_.now_s();
  const bool last = part >= 1 && !end_shown_;
  end_shown_ = part >= 1;
  if (options_.terminal) {
    if (now - last_status_s_ < kBarPeriod_s && !last) return;
    fmt::print(err_, "\r{}\x1b[K", bar(text, part));
    bar_shown_ = true;
  } else {
    if (now - last_status_s_ < kLinePeriod_s && !last) return;
    fmt::print(err_, "{}\n", text);
  }
  std::fflush(err_);
  last_status_s_ = now;
}

std::string Console::bar(const std::string& text, double part) const {
  if (part < 0) return text;
  const int full = static_cast<int>(std::min(part, 1.0) * kBarWidth);
  return fmt::format("[{:=<{}}{: <{}}] {}", "", full, "", kBarWidth - full, text);
}

void Console::end_progress() {
  if (!bar_shown_) return;
  fmt::print(err_, "\n");
  std::fflush(err_);
  bar_shown_ = false;
}

void Console::rejected(model::FrameId id, const std::string& reason) {
  core::log(core::LogLevel::info, "frame_dropped", {{"frame", std::to_string(id)}, {"reason", reason}});
}

void Console::warning(const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (options_.silent) return;
  end_progress();
  if (options_.json) json_line(dump({{"message_type", "warning"}, {"message", message}}));
  fmt::print(err_, "farfield: warning: {}\n", message);
}

void Console::note(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (options_.silent || options_.quiet) return;
  end_progress();
  fmt::print(err_, "{}\n", text);
}

void Console::log_line(const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (options_.silent) return;
  end_progress();
  fmt::print(err_, "{}\n", line);
}

void Console::error(const core::Error& error) {
  const std::lock_guard lock(mutex_);
  end_progress();
  const auto& traits = core::traits(error.code());
  if (options_.json && !options_.silent)
    json_line(dump({{"message_type", "error"},
                    {"code", traits.name},
                    {"exit_code", traits.exit_code},
                    {"message", error.message()},
                    {"context", error.context()},
                    {"retryable", traits.retryable}}));
  fmt::print(err_, "farfield: {}\n", error.what());  // also from a silent rank: nobody else knows
}

void Console::summary(const Summary& s) {
  const std::lock_guard lock(mutex_);
  if (options_.silent) return;
  end_progress();
  if (options_.json) {
    Json line{{"message_type", "summary"},
              {"state", s.state},
              {"seconds", number(s.seconds)},
              {"metrics", numbers(s.metrics)}};
    if (s.frames) line["frames"] = Json::parse(pipeline::to_json(*s.frames));
    line["files"] = Json::array();
    for (const auto& file : s.files) line["files"].push_back(file.string());
    json_line(dump(line));
    return;
  }
  if (s.frames && !options_.quiet) fmt::print(err_, "{}\n", pipeline::to_text(*s.frames));
  if (!options_.quiet) fmt::print(err_, "{} after {:.1f} s\n", s.state, s.seconds);
  for (const auto& [name, v] : s.metrics) fmt::print(out_, "{:<24} {:.8g}\n", name, v);
  for (const auto& file : s.files) fmt::print(out_, "{}\n", file.string());
  std::fflush(out_);
}

namespace {

struct ConsoleLog final : core::LogSink {
  ConsoleLog(Console& c, core::LogLevel l) : console(c), least(l) {}
  void write(core::LogLevel level, std::string_view event, std::span<const core::LogField> fields) noexcept override {
    if (level < least) return;
    static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
    try {
      std::string line =
          fmt::format("level={} event={}", kNames[static_cast<int>(level)], log_value(std::string(event)));
      for (const auto& field : fields) line += fmt::format(" {}={}", field.key, log_value(field.value));
      console.log_line(line);
    } catch (...) {  // a log line is not worth a crash
    }
  }
  Console& console;
  core::LogLevel least;
};

}  // namespace

std::shared_ptr<core::LogSink> make_log_sink(Console& console, core::LogLevel least) {
  return std::make_shared<ConsoleLog>(console, least);
}

}  // namespace farfield::apps
