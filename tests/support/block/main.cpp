// farfield_test_block FOLDER: the launcher and the workers of blocks in tests of endpoints. What its functions do is
// told in farfield/services/compute/endpoint/testing_endpoint.hpp.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/worker/launcher.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string content(std::ifstream& file) {
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Runner final : public TaskRunner {
public:
  std::vector<FunctionRecord> verbs() const override { return {}; }

  WorkEnd run(const Work& work, Reporter& reporter, const std::stop_token& cancel,
              const std::stop_token& leave) override {
    const Json arguments = Json::parse(work.arguments);
    const std::string name = work.function.name;
    const auto text = [&](const char* member) { return arguments.value(member, std::string()); };
    const auto wait = [&] {
      // A test that was killed takes no folder away, who cleans up after it does: then nobody says when to end.
      while (fs::exists(work.root) && !fs::exists(work.root + "/" + text("until")) && !cancel.stop_requested() &&
             !leave.stop_requested())
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return cancel.stop_requested() ? Ending::cancelled : leave.stop_requested() ? Ending::interrupted : Ending::done;
    };
    WorkEnd end;
    if (work.function.kind != FunctionKind::verb) {
      std::vector<std::string> command = work.function.command;
      if (work.function.kind == FunctionKind::code) command[0] = work.code + "/" + command[0];
      for (const auto& argument : arguments.items()) command.push_back(argument.value().get<std::string>());
      const CommandResult result = run_command(command, {}, std::chrono::seconds(60));
      end.output = Json{{"exit", result.exit_code}, {"out", result.out}, {"err", result.err}}.dump();
    } else if (name == "echo") {
      end.output = work.arguments;
    } else if (name == "note") {
      std::ofstream(work.root + "/" + text("file"), std::ios::app) << text("text") + "\n" << std::flush;
    } else if (name == "sleep") {
      end.ending = wait();
    } else if (name == "resume") {
      const fs::path checkpoint = fs::path(work.own_folder()) / "checkpoint";
      int begun = 1;
      if (work.resume) std::ifstream(checkpoint) >> begun;
      end.ending = wait();
      if (end.ending == Ending::interrupted) std::ofstream(checkpoint) << begun + 1;
      end.output = Json{{"begun", begun}}.dump();
    } else if (name == "crash") {
      ::kill(::getpid(), SIGKILL);
    } else if (name == "fail") {
      throw core::Error(core::ErrorCode::invalid_argument, text("text"));
    } else if (name == "large") {
      end.output = Json(std::string(arguments.value("bytes", std::size_t{0}), 'x')).dump();
    } else if (name == "show") {
      reporter.progress(0.5, "half");
      reporter.log("a line");
      while (!reporter.watched() && !cancel.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      Preview preview;
      preview.name = "object";
      preview.kind = "png";
      preview.bytes = "picture";
      reporter.preview(preview);
      end.ending = wait();
    } else if (name == "read") {
      const std::string path = text("path");
      std::ifstream file(path);
      end.output = Json(file ? content(file) : "cannot read").dump();
    } else {
      throw core::Error(core::ErrorCode::not_found, "no function " + name);
    }
    return end;
  }
};

int run(const std::string& folder) {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::stop_source term;
  std::thread([signals, term]() mutable {
    int signal = 0;
    ::sigwait(&signals, &signal);
    term.request_stop();
  }).detach();
  return run_in_block(folder, [] { return std::make_unique<Runner>(); }, term.get_token());
}

}  // namespace
}  // namespace farfield::services::compute

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "farfield_test_block FOLDER\n";
    return 2;
  }
  int code = 1;
  try {
    code = farfield::services::compute::run(arguments[1]);
  } catch (const std::exception& e) {
    std::cerr << "farfield_test_block: " << e.what() << std::endl;
  }
  ::_exit(code);  // a thread waits for a signal
}
