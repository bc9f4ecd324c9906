#pragma once
// XPCS: intensity correlations of speckle.

#include "farfield/technique/technique.hpp"

namespace farfield::techniques::xpcs {

/// README.md beside this file has equations, units and limits of the verbs.
const technique::TechniqueInfo& info();

}  // namespace farfield::techniques::xpcs
