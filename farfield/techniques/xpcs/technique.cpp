#include "farfield/techniques/xpcs/technique.hpp"

namespace farfield::techniques::xpcs {

const technique::TechniqueInfo& info() {
  static const technique::TechniqueInfo value{
      .name = "xpcs",
      .summary = "X-ray photon correlation spectroscopy: how fast speckle patterns change",
      .references = {"10.1063/1.1148981"},
      .verbs = {}};
  return value;
}

}  // namespace farfield::techniques::xpcs
