#include "farfield/services/compute/endpoint/scaling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {

void validate(const Scaling& s) {
  const auto refuse = [](const std::string& what) { throw core::Error(core::ErrorCode::invalid_argument, what); };
  if (s.max_blocks < 1 || s.max_blocks > 10000) refuse(fmt::format("max-blocks {} must be 1 to 10000", s.max_blocks));
  if (s.min_blocks < 0 || s.min_blocks > s.max_blocks)
    refuse(fmt::format("min-blocks {} must be 0 to max-blocks, {}", s.min_blocks, s.max_blocks));
  if (s.init_blocks < 0 || s.init_blocks > s.max_blocks)
    refuse(fmt::format("init-blocks {} must be 0 to max-blocks, {}", s.init_blocks, s.max_blocks));
  if (s.max_urgent_blocks < 0 || s.max_urgent_blocks > 10000)
    refuse(fmt::format("max-urgent-blocks {} must be 0 to 10000", s.max_urgent_blocks));
  if (s.nodes_per_block < 1 || s.nodes_per_block > 10000)
    refuse(fmt::format("nodes-per-block {} must be 1 to 10000", s.nodes_per_block));
  if (s.workers_per_node < 1 || s.workers_per_node > 1024)
    refuse(fmt::format("workers-per-node {} must be 1 to 1024", s.workers_per_node));
  if (!(s.walltime_s >= 1)) refuse(fmt::format("walltime {} s must be at least 1 s", s.walltime_s));
  if (!(s.idle_s >= 0)) refuse(fmt::format("idle time {} s must not be negative", s.idle_s));
}

ScalingDecision decide(const Scaling& s, std::span<const BlockLoad> blocks, double queued, double queued_urgent,
                       double now_s) {
  const double per_block = static_cast<double>(s.nodes_per_block) * s.workers_per_node;
  int normal = 0, urgent = 0;   // that can take tasks
  int normal_all = 0, urgent_all = 0;
  double busy = 0;
  for (const BlockLoad& b : blocks) {
    (b.urgent ? urgent_all : normal_all) += 1;
    if (b.leaving) continue;
    (b.urgent ? urgent : normal) += 1;
    if (!b.urgent) busy += b.busy;
  }
  const auto blocks_for = [&](double workers) {
    return static_cast<int>(std::min(std::ceil(workers / per_block), 1e6));
  };

  ScalingDecision d;
  // Where there are urgent blocks, urgent tasks grow those; workers of normal blocks take them, too, when idle.
  const bool own = s.max_urgent_blocks > 0;
  const double queued_normal = own ? queued - queued_urgent : queued;
  const int wanted = std::clamp(blocks_for(busy + queued_normal), s.min_blocks, s.max_blocks);
  // A block that is leaving still holds its place: max_blocks is what the scheduler sees.
  d.start = std::clamp(wanted - normal, 0, std::max(0, s.max_blocks - normal_all));
  if (own) {
    const int wanted_urgent = std::min(blocks_for(queued_urgent), s.max_urgent_blocks);
    d.start_urgent = std::clamp(wanted_urgent - urgent, 0, std::max(0, s.max_urgent_blocks - urgent_all));
  }

  std::vector<const BlockLoad*> idle;
  for (const BlockLoad& b : blocks)
    if (!b.leaving && b.busy == 0 && b.idle_since_s > 0 && now_s - b.idle_since_s >= s.idle_s) idle.push_back(&b);
  std::sort(idle.begin(), idle.end(),
            [](const BlockLoad* a, const BlockLoad* b) { return a->idle_since_s < b->idle_since_s; });
  for (const BlockLoad* b : idle) {
    if (b->urgent) {
      if (queued_urgent <= 0) d.leave.push_back(b->name);
    } else if (normal > wanted) {
      --normal;
      d.leave.push_back(b->name);
    }
  }
  return d;
}

}  // namespace farfield::services::compute
