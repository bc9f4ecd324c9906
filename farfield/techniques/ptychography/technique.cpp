#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/frc_verb.hpp"
#include "farfield/techniques/ptychography/inspect.hpp"
#include "farfield/techniques/ptychography/reconstruction.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {

const technique::TechniqueInfo& info() {
  static const technique::TechniqueInfo info{
      .name = "ptychography",
      .summary = "images of object and illumination from overlapping diffraction patterns",
      .references = {"10.1038/s41598-022-09430-3"},
      .verbs = {reconstruct_verb(), inspect_verb(), simulate_verb(), compare_verb(),
                frc_verb(reconstruct_verb().options, reconstruct_verb().analyse)}};
  return info;
}

}  // namespace farfield::techniques::ptychography
