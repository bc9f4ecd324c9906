#pragma once
// Blocks of the indices become batches of events.

#include <deque>
#include <vector>

#include "farfield/pipeline/events/batch.hpp"
#include "farfield/pipeline/events/filter.hpp"
#include "farfield/pipeline/events/join.hpp"
#include "farfield/pipeline/events/run_state.hpp"

namespace farfield::pipeline::events {

struct BuildOptions {
  Filter filter;
  bool complete = false;
  Index batch_events = 1000;
  Index batch_bytes = Index{64} << 20;
};

class EventBuilder {
public:
  EventBuilder(BuildOptions options, const std::vector<std::filesystem::path>& data)
      : options_(std::move(options)), run_(data) {}

  void apply(const TransitionRecord& record) { run_.apply(record); }
  /// Joins and filters a block; every transition before it has been applied. At least one batch, without transitions,
  /// which account for every event of the block. `number` and `after`: see IndexBlock.
  std::vector<Batch> build(std::uint64_t number, std::optional<EventTime> after,
                           std::span<const std::span<const std::byte>> bytes);

private:
  BuildOptions options_;
  RunState run_;
  EventTable table_;
};

}  // namespace farfield::pipeline::events
