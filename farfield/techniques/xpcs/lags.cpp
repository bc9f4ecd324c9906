#include "farfield/techniques/xpcs/lags.hpp"

namespace farfield::techniques::xpcs {

std::vector<Lag> lags_of(const LagScheme& scheme, Index samples) {
  std::vector<Lag> out;
  for (Index level = 0; level < levels_of(scheme, samples); ++level)
    for (Index i = 0; i < scheme.lags(level); ++i) {
      const Lag lag{level, scheme.first_lag(level) + i};
      if ((samples >> level) - lag.k < 1 || (scheme.max_steps > 0 && lag.steps() > scheme.max_steps)) return out;
      out.push_back(lag);
    }
  return out;
}

Index levels_of(const LagScheme& scheme, Index samples) {
  if (samples < 1) return 0;
  Index levels = 1;
  while (scheme.per_level > 0 && (samples >> levels) >= 1 &&
         (scheme.max_steps == 0 || (scheme.first_lag(levels) << levels) <= scheme.max_steps))
    ++levels;
  return levels;
}

}  // namespace farfield::techniques::xpcs
