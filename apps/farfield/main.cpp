// The composition root: signals, commands, errors. Everything else is handed in from here.

#include <fmt/format.h>
#include <signal.h>

#include <new>

#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/endpoint_start.hpp"
#include "apps/farfield/interrupt.hpp"
#include "apps/farfield/settings.hpp"
#include "apps/farfield/version.hpp"
#include "farfield/core/clock.hpp"

namespace {

using namespace farfield;

int run(const std::vector<std::string>& arguments) {
  const apps::Interrupt interrupt;
  // In blocks of an endpoint, which starts it itself: no command for people.
  if (arguments.size() == 2 && arguments[0] == "worker") return apps::run_worker(arguments[1], interrupt.token());
  const core::SteadyClock clock;
  const auto commands = apps::all_commands();
  const auto line = apps::parse_command_line(commands, arguments);
  if (line.command == nullptr) {
    fmt::print("{}", line.text);
    return core::kExitOk;
  }
  const apps::Arguments resolved{line.inputs, apps::resolve(line, apps::process_environment())};
  if (line.print_config) {
    fmt::print("{}", apps::to_toml(*line.command, resolved.given));
    return core::kExitOk;
  }
  std::vector<std::string> typed{"farfield"};
  typed.insert(typed.end(), arguments.begin(), arguments.end());
  return line.command->run(resolved, {interrupt.token(), clock, typed});
}

int fail(const core::Error& error) {
  fmt::print(stderr, "farfield: {}\n", error.what());
  return core::traits(error.code()).exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // `farfield ... | head` ends in an error of write(), not in a kill
  signal(SIGXFSZ, SIG_IGN);  // so does a file that grows beyond a limit
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments == std::vector<std::string>{"--version"}) {
      fmt::print("{}", apps::version_text());
      return core::kExitOk;
    }
    return run(arguments);
  } catch (const core::Error& e) {
    return fail(e);
  } catch (const std::bad_alloc&) {
    return fail(core::Error(core::ErrorCode::resource_exhausted, "not enough memory"));
  } catch (const std::exception& e) {
    return fail(core::Error(core::ErrorCode::internal, e.what()));
  }
}
