// farfield serve

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/service.hpp"

namespace farfield::apps {

Command serve_command() {
  return {{"serve"},
          "the service host: users and tokens, the REST interface",
          {},
          {serve_schema()},
          [](const Arguments& arguments, const Session& session) {
            constexpr double kGrace_s = 10;
            const auto options = serve_schema().make(arguments.given);
            Console console({.terminal = ::isatty(2) == 1}, session.clock);
            core::set_log_sink(make_log_sink(console, options.log_level));
            Service service(options);
            console.note(fmt::format("listening at {}, known as {}", service.origin(), service.issuer()));
            if (!service.made_certificate().empty())
              console.note(fmt::format("clients have to trust {}", service.made_certificate().string()));
            if (!service.first_password().empty())
              console.note(fmt::format("first administrator: admin, with the password in {}",
                                       service.first_password().string()));
            std::mutex mutex;
            std::condition_variable_any stopped;
            std::unique_lock lock(mutex);
            stopped.wait(lock, session.stop, [] { return false; });
            service.stop(kGrace_s);
            core::set_log_sink(nullptr);
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
