#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/inspect.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {

const technique::TechniqueInfo& info() {
  static const technique::TechniqueInfo info{
      .name = "ptychography",
      .summary = "images of object and illumination from overlapping diffraction patterns",
      .references = {"10.1038/s41598-022-09430-3"},
      .verbs = {inspect_verb(), simulate_verb(), compare_verb()}};
  return info;
}

}  // namespace farfield::techniques::ptychography
