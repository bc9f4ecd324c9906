// farfield agent start

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "apps/farfield/agent.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"

namespace farfield::apps {

Command agent_start_command() {
  return {{"agent", "start"},
          "the data side: exports folders over HTTPS to those who show a token of the service",
          {},
          {agent_schema()},
          [](const Arguments& arguments, const Session& session) {
            constexpr double kGrace_s = 10;
            const auto options = agent_schema().make(arguments.given);
            Console console({.terminal = ::isatty(2) == 1}, session.clock);
            core::set_log_sink(make_log_sink(console, options.log_level));
            Agent agent(options);
            console.note(fmt::format("listening at {}, known as {}", agent.origin(), agent.url()));
            std::mutex mutex;
            std::condition_variable_any stopped;
            std::unique_lock lock(mutex);
            stopped.wait(lock, session.stop, [] { return false; });
            agent.stop(kGrace_s);
            core::set_log_sink(nullptr);
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
