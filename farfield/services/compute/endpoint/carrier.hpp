#pragma once
// What an endpoint fetches from its service, brings there, and clears away, on a thread of its own: archives of user
// code, large outputs, folders of tasks that have ended.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "farfield/net/tls.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

struct CarrierOptions {
  std::string service;  ///< origin
  std::function<std::string()> token{};
  net::TlsTrust trust{};
  std::string folder;   ///< of the endpoint
};

/// Thread-safe. Callbacks come on its thread; what was not begun when it ends is dropped.
class Carrier {
public:
  explicit Carrier(CarrierOptions options);
  ~Carrier();
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

  /// `sha256`: 64 hexadecimal digits; false for anything else.
  bool has_archive(const std::string& sha256) const;
  /// `problem` is empty once the archive is there; `systems`: another try may help.
  void fetch_archive(const std::string& sha256, std::function<void(const std::string& problem, bool systems)> done);
  /// Tries until the service has it. `reference` is the output to be told; else `problem` says why it can never be.
  void put_output(const std::string& block_folder, const TaskKey& key,
                  std::function<void(const std::string& reference, const std::string& problem)> done);
  void remove_output(const std::string& block_folder, const TaskKey& key);
  /// Folders of tasks: experiment, task. Most are not there.
  void remove_tasks(std::vector<std::pair<std::string, std::string>> tasks);
  /// What lies in the endpoint's folder and was not touched for long; whether it is needed all the same, and may go,
  /// is for who knows what is held.
  struct Old {
    std::vector<std::string> blocks, archives;  ///< names, SHA-256
    std::vector<std::pair<std::string, std::string>> tasks;  ///< experiment, task
  };
  void look_for_old(double age_s, std::function<void(Old)> found);
  /// These cannot be found any more when it returns, and are removed after it.
  void remove(const Old& old);

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::compute
