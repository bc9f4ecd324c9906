#pragma once
// An endpoint's blocks: opened, watched and given back on a thread of their own, since schedulers take their time.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "farfield/services/compute/blocks/block.hpp"
#include "farfield/services/compute/blocks/block_settings.hpp"
#include "farfield/services/compute/endpoint/dispatcher.hpp"
#include "farfield/services/compute/endpoint/endpoint_tables.hpp"

namespace farfield::services::compute {

class BlockKeeper {
public:
  struct Options {
    std::string folder;               ///< of all blocks
    std::string prefix;               ///< of their names
    BlockRequest normal, urgent;      ///< what is asked for; name and folder are filled in
    BlockSettings settings;           ///< the same of its workers; name and secret are filled in
    double poll_s = 1;
  };
  /// Called on the keeper's thread.
  struct Events {
    /// It is in the provider's hands.
    std::function<void(const std::string& block)> submitted{};
    /// The provider will not have it.
    std::function<void(const std::string& block, const std::string& why)> refused{};
    /// It is over, or (`again`) was requeued, so that its workers are gone: with what their journals tell.
    std::function<void(const std::string& block, const BlockStatus&, bool again,
                       const std::map<WorkerId, JournalContent>&)>
        ended{};
  };

  /// `tables` outlives this. Writes the settings of the blocks that are there anew, and watches them.
  BlockKeeper(std::unique_ptr<BlockProvider> provider, EndpointTables& tables, Options options, Events events);
  ~BlockKeeper();
  BlockKeeper(const BlockKeeper&) = delete;
  BlockKeeper& operator=(const BlockKeeper&) = delete;

  /// The name of a new block, which is kept before the provider is asked.
  std::string open(bool urgent);
  /// Asks the provider to end it.
  void cancel(const std::string& block);
  /// Nothing is needed of it any more but its folder.
  void forget(const std::string& block);
  /// Those that were there when this was made, and are not forgotten.
  std::vector<BlockRow> found() const { return found_; }
  /// The secret of its workers; empty for a block that is not there.
  std::string secret(const std::string& block) const;
  std::string folder(const std::string& block) const { return options_.folder + "/" + block; }

private:
  struct State;
  Options options_;
  std::vector<BlockRow> found_;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::compute
