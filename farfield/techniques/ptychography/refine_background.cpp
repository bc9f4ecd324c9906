#include "farfield/techniques/ptychography/refine_background.hpp"

#include <algorithm>
#include <cmath>

namespace farfield::techniques::ptychography {

void begin_background(State& state, const Patterns& patterns, std::span<const Index> slots, std::span<Workspace> workspaces,
                      bool wanted, Sharing& sharing) {
  for (Workspace& w : workspaces) {
    w.background_gradient = {};
    if (wanted) w.background_gradient = core::Array<float, 2>({state.shape.ny, state.shape.nx});
  }
  if (!wanted || !state.background.empty()) return;
  // It doubles at most from pass to pass where it is too small, but falls slowly where the signal hides it.
  constexpr double kStart = 0.01;
  const auto n = static_cast<std::size_t>(state.shape.size());
  std::vector<double> mean(n + 1);
  for (const Index slot : slots)
    core::visit_dtype(patterns.dtype(), [&](auto zero) {
      if constexpr (std::is_arithmetic_v<decltype(zero)>) {
        const auto* counts = static_cast<const decltype(zero)*>(patterns.counts(slot));
        for (std::size_t i = 0; i < n; ++i) mean[i] += static_cast<double>(counts[i]);
      }
    });
  mean[n] = static_cast<double>(slots.size());
  sharing.sum(mean);
  state.background = core::Array<float, 2>({state.shape.ny, state.shape.nx});
  if (mean[n] > 0)
    for (std::size_t i = 0; i < n; ++i) state.background.data()[i] = static_cast<float>(kStart * mean[i] / mean[n]);
}

void refine_background(State& state, std::span<Workspace> workspaces, Index patterns, Likelihood likelihood, Sharing& sharing) {
  const auto n = static_cast<std::size_t>(state.shape.size());
  std::vector<double> sums(n + 1);
  for (const Workspace& w : workspaces)
    for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(w.background_gradient.data()[i]);
  sums[n] = static_cast<double>(patterns);
  sharing.sum(sums);
  if (!(sums[n] > 0)) return;
  const double power = likelihood == Likelihood::amplitude ? 2 : 1;
  for (std::size_t i = 0; i < n; ++i) {
    const double ratio = std::max(0.0, 1 + sums[i] / sums[n]);  // the accumulators hold q - 1
    state.background.data()[i] *= static_cast<float>(std::clamp(std::pow(ratio, power), 0.5, 2.0));
  }
}

}  // namespace farfield::techniques::ptychography
