#pragma once
// What an endpoint tells the workers of a block: a file of mode 0600 in the block's folder. Workers read it each time
// they connect, so that an endpoint that was restarted, at another address, is found again.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::compute {

/// Where the files of experiments lie.
struct Roots {
  std::map<std::string, std::string> of{};  ///< by experiment
  std::string prefix{};  ///< of the others: prefix/EXPERIMENT; empty: there are no others
  /// An existing folder, absolute, without symbolic links. Throws `not_found`, `invalid_argument` for a name that is no
  /// experiment's.
  std::string find(const std::string& experiment) const;
};

struct BlockSettings {
  std::string block{};  ///< its name
  std::string link{};  ///< "ws://10.1.2.3:40001/blocks/NAME"
  std::string certificate{};  ///< PEM, of a link by TLS
  std::string secret{};
  int workers = 1;  ///< on each node
  int nodes = 1;
  double walltime_s = 3600;
  double notice_s = 30;  ///< before the walltime is over, workers are asked to leave
  double alone_s = 600;  ///< a worker with nothing to do and no endpoint leaves after so long
  std::string tasks{};  ///< folder of the tasks' own folders
  std::string archives{};  ///< folder of user code, SHA256.tar.zst
  Roots roots{};
  std::vector<std::string> devices{};  ///< GPUs of a node; empty: as CUDA_VISIBLE_DEVICES of the block says
  int slots_per_device = 1;
  std::string slots{};  ///< the slot file of a node
  std::vector<std::string> readable{};  ///< what confined tasks may read besides the system: the install tree
  bool confine = true;  ///< false: verbs run unconfined, commands and code are refused
};

std::string settings_path(const std::string& folder);
/// Throws `not_found`, `io`, `corrupt_data`.
BlockSettings read_settings(const std::string& folder);
void write_settings(const std::string& folder, const BlockSettings& settings);

}  // namespace farfield::services::compute
