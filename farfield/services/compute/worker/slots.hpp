#pragma once
// The GPU slots of one node, shared by processes that know nothing of each other but a file on tmpfs. Who came first is
// served first; a slot whose owner died is free again within a second. docs/reference/slot-file.md has the format.

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace farfield::services::compute {

/// Slots that this process holds; given back when it ends, however it ends.
class SlotLease {
public:
  SlotLease(SlotLease&&) noexcept;
  SlotLease& operator=(SlotLease&&) noexcept;
  ~SlotLease();
  /// Numbers of the slots, ascending.
  const std::vector<int>& slots() const;

private:
  friend class SlotFile;
  struct State;
  explicit SlotLease(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

class SlotFile {
public:
  static constexpr int kMostSlots = 1024;
  static constexpr int kMostWaiting = 4096;

  /// Makes the file (mode 0600) or joins what is there. Throws `invalid_argument` unless 1 <= slots <= kMostSlots,
  /// `conflict` if the file has another number of slots, `corrupt_data` if it is no slot file, `io`.
  SlotFile(std::string path, int slots);

  /// Waits its turn for `count` slots, at most until `deadline`; `owner` (a task's name, cut at 39 bytes) is shown by
  /// list(). Nothing if the time is over or a stop is requested. Throws `invalid_argument` unless 1 <= count <= slots,
  /// `resource_exhausted` when kMostWaiting wait already.
  std::optional<SlotLease> acquire(int count, std::string_view owner, std::chrono::steady_clock::time_point deadline,
                                   const std::stop_token& stop = {}) const;

  struct Holder {
    int slot;
    int pid;  ///< as the holder saw itself
    std::string owner;
  };
  /// Slots that are held now, without those of dead owners.
  std::vector<Holder> list() const;
  int slots() const { return slots_; }

private:
  std::string path_;
  int slots_;
};

/// CUDA_VISIBLE_DEVICES for a task: devices of a node ("0,1,3", or UUIDs) with `per_device` slots each, slot k on
/// device k / per_device. Each device once. Throws `invalid_argument` for a slot that no device has.
std::string visible_devices(std::span<const int> slots, std::span<const std::string> devices, int per_device);

}  // namespace farfield::services::compute
