#include "farfield/core/log.hpp"

#include <mutex>

namespace farfield::core {
namespace {
std::mutex g_mutex;
std::shared_ptr<LogSink> g_sink;
}  // namespace

void set_log_sink(std::shared_ptr<LogSink> sink) {
  const std::lock_guard lock(g_mutex);
  g_sink = std::move(sink);
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  std::shared_ptr<LogSink> sink;
  {
    const std::lock_guard lock(g_mutex);
    sink = g_sink;
  }
  if (sink) sink->write(level, event, {fields.begin(), fields.size()});
}

}  // namespace farfield::core
