#pragma once
// The techniques of this build; registry.cpp is generated from the folders of farfield/techniques.

#include <string>
#include <vector>

#include "farfield/technique/technique.hpp"

namespace farfield::apps {

const std::vector<const technique::TechniqueInfo*>& techniques();

/// Throws `not_found` with the nearest name.
const technique::TechniqueInfo& find_technique(const std::string& name);
const technique::Verb& find_verb(const technique::TechniqueInfo& technique, const std::string& name);

}  // namespace farfield::apps
