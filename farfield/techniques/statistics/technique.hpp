#pragma once
// Statistics: mean and variance of every pixel over the frames of a scan.

#include "farfield/technique/technique.hpp"

namespace farfield::techniques::statistics {

/// Verbs `mean` and `simulate`. README.md beside this file has equations, units and limits.
const technique::TechniqueInfo& info();

}  // namespace farfield::techniques::statistics
