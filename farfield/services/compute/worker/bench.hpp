#pragma once
// Where a worker's tasks run: a thread that is confined to one experiment, and given up for a new one when a task of
// another experiment comes.

#include <functional>
#include <memory>
#include <optional>

#include "farfield/services/compute/worker/confine.hpp"

namespace farfield::services::compute {

class Bench {
public:
  explicit Bench(ConfinedBy by);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  /// Runs `work` on a thread confined to `reach` (nothing: unconfined) and waits for it. Rethrows what it, or
  /// confining, throws.
  void run(const std::optional<Reach>& reach, const std::function<void()>& work);

private:
  struct Seat;
  ConfinedBy by_;
  std::unique_ptr<Seat> seat_;
};

}  // namespace farfield::services::compute
