#include "farfield/techniques/ptychography/refine_intensity.hpp"

#include <algorithm>
#include <cmath>

namespace farfield::techniques::ptychography {

/// Part of the way to each best factor. The model moves during a pass, and a factor that follows it at once takes over
/// its noise (real scans end at a higher cost than without).
constexpr double kStep = 0.3;

void refine_intensity(State& state, std::span<const Index> slots, std::span<const Observation> observations,
                      Sharing& sharing) {
  std::vector<double> sums{0, 0};
  for (const Index slot : slots) {
    const auto s = static_cast<std::size_t>(slot);
    const ModulusSums& o = observations[s].sums;
    if (o.model_intensity > 0) {
      const double best = 0.5 * (o.model_intensity + o.measured_intensity - o.cost) / o.model_intensity;
      state.amplitude[s] *= static_cast<float>(1 + kStep * (std::min(best, 2.0) - 1));
    }
    sums[0] += static_cast<double>(state.amplitude[s]) * static_cast<double>(state.amplitude[s]);
    sums[1] += 1;
  }
  sharing.sum(sums);
  if (!(sums[0] > 0)) return;
  const auto common = static_cast<float>(std::sqrt(sums[0] / sums[1]));
  for (const Index slot : slots) {
    state.amplitude[static_cast<std::size_t>(slot)] /= common;
    state.placements[static_cast<std::size_t>(slot)].oy = -1;  // to be placed by cover()
  }
  for (cfloat& v : state.probe) v *= common;
  for (float& w : state.opr_weights) w *= common;
}

}  // namespace farfield::techniques::ptychography
