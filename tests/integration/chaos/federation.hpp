#pragma once
// A facility in one folder: service, a beamline's agent and watcher, a cluster's agent and endpoint, each a process of
// its own as installed there, and a bad network between them. Set up as an administrator and a user do it: by the
// program and the REST interface.

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "farfield/net/client.hpp"
#include "tests/integration/chaos/account.hpp"
#include "tests/integration/chaos/sites.hpp"
#include "tests/integration/chaos/supervisor.hpp"
#include "tests/integration/relay/relay.hpp"

namespace farfield::chaos {

struct FacilityOptions {
  std::filesystem::path program;   ///< farfield
  std::string database{};          ///< of the service; empty: SQLite in its folder
  std::uint64_t seed = 1;          ///< of the network
  const Sites* sites = nullptr;    ///< beamline and cluster are there; null: all is on this machine's loopback
};

class Facility {
public:
  static constexpr const char* kExperiment = "2026-1-Chaos-1";

  /// Starts the service and waits for it; users, experiment and identities are made and the user is logged in. Throws
  /// std::runtime_error with what went wrong.
  Facility(std::filesystem::path folder, const FacilityOptions& options);
  ~Facility();

  /// The agents, and waits until the service knows their places.
  void start_agents();
  /// The cluster's endpoint, with `options` of `farfield endpoint start` besides those that every one needs.
  void start_endpoint(const std::vector<std::string>& options, const std::map<std::string, std::string>& environment);
  /// The beamline's watcher: a run of `flow` for each scan that holds a file named "complete". `input`: see --input.
  void start_watch(const std::filesystem::path& flow, const nlohmann::json& input);

  Supervisor& supervisor() { return *supervisor_; }
  /// Between each side and the service, and between the service and each agent.
  std::vector<testing_network::Relay*> networks();

  /// The experiment's folder at a side: "beamline" or "cluster".
  std::filesystem::path root(const std::string& side) const { return folder_ / side / kExperiment; }
  const std::filesystem::path& folder() const { return folder_; }

  struct Answer {
    int exit_code = -1;
    std::string out, err;
  };
  /// The program as the user runs it, at most `limit`.
  Answer farfield(const std::vector<std::string>& arguments, std::chrono::seconds limit = std::chrono::seconds(60));
  /// A call of the REST interface as the user (or the administrator), again for a while where the service is away.
  nlohmann::json call(const std::string& method, const std::string& target, const nlohmann::json& body = {},
                      bool as_administrator = false);

  /// Runs `what` often, tending the programs, until it says true or the time is over: whether it did.
  bool becomes(const std::function<bool()>& what, std::chrono::seconds limit);

private:
  struct Person {
    std::string name, password;
    std::filesystem::path config;
  };
  std::map<std::string, std::string> environment(const Person& person) const;
  Answer run(const std::vector<std::string>& arguments, const Person& person, std::chrono::seconds limit,
             const std::function<void(const Answer&)>& watch = {});
  void log_in(const Person& person);
  std::string token(const Person& person);
  std::filesystem::path identity(const std::string& name, const std::vector<std::string>& scopes);
  std::vector<std::string> service_options(const std::string& side, const std::string& identity) const;
  static std::vector<std::string> joined(std::vector<std::string> words, const std::vector<std::string>& more);
  void start(const std::string& name, const std::string& side, std::vector<std::string> arguments, const Person& person,
             const std::map<std::string, std::string>& more = {});

  std::filesystem::path folder_;
  FacilityOptions options_;
  Person admin_, user_;
  struct Side {
    std::string service;  ///< URL of the service, seen from there
    std::string address = "127.0.0.1";
    std::uint16_t agent_port = 0;
    std::unique_ptr<testing_network::Relay> to_service, to_agent;
  };
  std::uint16_t service_port_ = 0;
  std::unique_ptr<Supervisor> supervisor_;
  std::map<std::string, Side> sides_;
};

}  // namespace farfield::chaos
