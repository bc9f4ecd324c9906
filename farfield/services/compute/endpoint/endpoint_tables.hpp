#pragma once
// What an endpoint keeps on disk: its blocks, and which worker was handed which task.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/endpoint/dispatcher.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::compute {

struct BlockRow {
  std::string name;
  std::string id{};  ///< of the provider; empty: it was to be submitted
  bool urgent = false;
  std::string secret{};
};

/// Thread-safe. Throws what Database throws.
class EndpointTables {
public:
  /// "endpoint.db" in the folder. `outlive_machine`: blocks may, so that every change waits for the disk; else it has
  /// to survive this process only.
  explicit EndpointTables(const std::string& folder, bool outlive_machine = true);

  std::vector<BlockRow> blocks() const;
  void keep(const BlockRow& block);
  void forget_block(const std::string& name);

  std::vector<Handover> handovers() const;
  /// Does not wait: `done` is called on the database's thread, in the order of the calls.
  void change(std::vector<Handover> kept, std::vector<TaskKey> forgotten, std::function<void(core::Result<void>)> done);

private:
  std::unique_ptr<store::Database> database_;
};

}  // namespace farfield::services::compute
