#pragma once
// For tests: a service as it is shipped, where the administrator has logged in, and commands as they are typed.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/credentials.hpp"
#include "apps/farfield/service.hpp"
#include "apps/farfield/settings.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/auth/access.hpp"

namespace farfield::apps::testing {

/// The experiment 2026-1-Garcia-1 is the administrator's.
class ServiceTest : public ::testing::Test {
protected:
  static constexpr const char* kExperiment = "2026-1-Garcia-1";

  ServiceTest() {
    options.folder = folder / "service";
    options.port = 0;
    options.issuer = "https://farfield.test";
    options.requests_per_s = 0;
    service = std::make_unique<Service>(options);
    services::auth::Issuer& issuer = service->access().issuer();
    issuer.directory().create_experiment(kExperiment, "user:admin");
    ::setenv("XDG_CONFIG_HOME", (folder / "config").c_str(), 1);
    const auto device = issuer.begin_device("farfield-cli", "farfield");
    issuer.decide_device(device.user_code, "user:admin", true);
    const auto tokens = issuer.device_tokens("farfield-cli", device.device_code);
    Credentials(credentials_folder())
        .keep({service->origin(), service->made_certificate()}, tokens.access, tokens.refresh, tokens.expires_in_s);
  }
  ~ServiceTest() override { ::unsetenv("XDG_CONFIG_HOME"); }

  struct Outcome {
    int code = 0;
    std::string out;  ///< on stdout
  };
  static Outcome run(const std::vector<std::string>& words) {
    const core::SteadyClock clock;
    const std::vector<Command> commands = all_commands();
    const auto line = parse_command_line(commands, words);
    Outcome outcome;
    ::testing::internal::CaptureStdout();
    try {
      outcome.code = line.command->run(
          {line.inputs, resolve(line, [](const std::string&) { return std::optional<std::string>(); })},
          {{}, clock, {}});
    } catch (const core::Error& e) {
      outcome.code = core::traits(e.code()).exit_code;
    }
    outcome.out = ::testing::internal::GetCapturedStdout();
    return outcome;
  }
  static int exit_code(core::ErrorCode code) { return core::traits(code).exit_code; }

  core::testing::TemporaryFolder folder;
  ServeOptions options;
  std::unique_ptr<Service> service;
};

}  // namespace farfield::apps::testing
