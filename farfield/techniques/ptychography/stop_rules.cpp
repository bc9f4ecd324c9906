#include "farfield/techniques/ptychography/stop_rules.hpp"

#include <algorithm>
#include <numeric>

namespace farfield::techniques::ptychography {

using technique::StepState;

namespace {
/// A computation does not come back from this multiple of its first cost, or of that of no model at all.
constexpr double kDiverged = 100;
}  // namespace

std::int64_t planned_passes(const Options& o, const Course& c) {
  if (!c.scan_ended) return 0;
  return c.live_passes + (c.live_passes > 0 && o.refine_after_scan > 0 ? o.refine_after_scan : o.iterations);
}

std::optional<StepState> verdict(const Options& o, const Course& c) {
  if (c.cost.empty()) return std::nullopt;
  if (!(c.cost.back() <= kDiverged * std::max(c.cost.front(), c.empty_cost))) return StepState::not_converged;
  if (o.time_limit_s > 0 && c.seconds >= o.time_limit_s) return StepState::finished;
  if (!c.scan_ended) return std::nullopt;
  if (c.passes() >= planned_passes(o, c)) return StepState::finished;

  const std::int64_t window = o.convergence_window;
  if (window > 0 && c.passes() - c.live_passes >= 2 * window) {
    const auto mean = [&](std::int64_t from) {
      const auto part = c.cost.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(window));
      return std::accumulate(part.begin(), part.end(), 0.0) / static_cast<double>(window);
    };
    const double before = mean(c.passes() - 2 * window), now = mean(c.passes() - window);
    if (before - now < o.convergence_tolerance * before) return StepState::converged;
  }
  return std::nullopt;
}

}  // namespace farfield::techniques::ptychography
