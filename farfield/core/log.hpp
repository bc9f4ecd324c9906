#pragma once
// Libraries log through a sink as key=value; nothing in a library prints.

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace farfield::core {

enum class LogLevel { debug, info, warning, error };

struct LogField {
  std::string_view key;
  std::string value;
};

struct LogSink {
  virtual ~LogSink() = default;
  /// May be called from any thread; must not throw.
  virtual void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept = 0;
};

/// Installs the process's sink (the composition root does, once); without one, nothing is logged.
void set_log_sink(std::shared_ptr<LogSink> sink);

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace farfield::core
