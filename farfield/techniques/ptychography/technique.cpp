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
      .references = {"10.1038/s41598-022-09430-3", "10.1364/OE.26.003108", "10.1364/OPTICA.4.000736",
                     "10.1016/j.ultramic.2009.05.012", "10.1088/1367-2630/14/6/063004",
                     "10.1016/j.ultramic.2008.12.011", "10.1088/0266-5611/21/1/004", "10.1038/nature11806"},
      .verbs = {reconstruct_verb(), inspect_verb(), simulate_verb(), compare_verb(),
                frc_verb(reconstruct_verb().options, reconstruct_verb().analyse)}};
  return info;
}

}  // namespace farfield::techniques::ptychography
