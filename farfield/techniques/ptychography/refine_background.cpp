#include "farfield/techniques/ptychography/refine_background.hpp"

#include <algorithm>
#include <cmath>

namespace farfield::techniques::ptychography {

/// Patterns on which the curvature is measured: it only sets the length of the step.
constexpr std::size_t kCurvatureSample = 256;

void begin_background(State& state, const Patterns& patterns, std::span<const Index> slots,
                      std::span<Workspace> workspaces, bool wanted, Sharing& sharing) {
  for (Workspace& w : workspaces) {
    w.background_gradient = {};
    if (wanted) w.background_gradient = core::Array<float, 2>({state.shape.ny, state.shape.nx});
  }
  if (!wanted || !state.background.empty()) return;
  // From above it falls fast where it is too large; from 0 it would rise only as probe and object give way.
  constexpr double kStart = 0.3;
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

void refine_background(State& state, const Patterns& patterns, std::span<const Index> slots,
                       std::span<Workspace> workspaces, Likelihood likelihood, Sharing& sharing) {
  const auto n = static_cast<std::size_t>(state.shape.size());
  // First the sums of the gradient, then those of the curvature, then the numbers of patterns in both.
  std::vector<double> sums(2 * n + 2);
  for (const Workspace& w : workspaces)
    for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(w.background_gradient.data()[i]);
  sums[2 * n] = static_cast<double>(slots.size());
  const std::size_t stride = (slots.size() + kCurvatureSample - 1) / kCurvatureSample;
  for (std::size_t at = 0; at < slots.size(); at += stride) {
    core::visit_dtype(patterns.dtype(), [&](auto zero) {
      if constexpr (std::is_arithmetic_v<decltype(zero)>) {
        const auto* counts = static_cast<const decltype(zero)*>(patterns.counts(slots[at]));
        const float* background = state.background.data();
        for (std::size_t i = 0; i < n; ++i)
          sums[n + i] += static_cast<double>(1.0F / std::max({static_cast<float>(counts[i]), background[i], 1e-30F}));
      }
    });
    sums[2 * n + 1] += 1;
  }
  sharing.sum(sums);
  if (!(sums[2 * n] > 0)) return;
  const double order = likelihood == Likelihood::amplitude ? 2 : 1;
  for (std::size_t i = 0; i < n; ++i) {
    float& b = state.background.data()[i];
    const double gradient = sums[i] / sums[2 * n], curvature = sums[n + i] / (order * sums[2 * n + 1]),
                 old = static_cast<double>(b);
    b = static_cast<float>(std::clamp(old + gradient / curvature, 0.5 * old, 2 * old));
  }
}

}  // namespace farfield::techniques::ptychography
