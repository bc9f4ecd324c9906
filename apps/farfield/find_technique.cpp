#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/farfield/registry.hpp"

namespace farfield::apps {
namespace {

[[noreturn]] void unknown(const char* what, const std::string& name, const std::vector<std::string>& known) {
  const auto near = core::nearest_name(name, known);
  throw core::Error(
      core::ErrorCode::not_found,
      fmt::format("no {} {}; {}", what, name,
                  near ? "did you mean " + *near + "?" : fmt::format("there are: {}", fmt::join(known, ", "))));
}

}  // namespace

const technique::TechniqueInfo& find_technique(const std::string& name) {
  std::vector<std::string> known;
  for (const auto* t : techniques()) {
    if (t->name == name) return *t;
    known.push_back(t->name);
  }
  unknown("technique", name, known);
}

const technique::Verb& find_verb(const technique::TechniqueInfo& technique, const std::string& name) {
  if (const auto* verb = technique.find(name)) return *verb;
  std::vector<std::string> known;
  for (const auto& v : technique.verbs) known.push_back(v.name);
  unknown(("verb of " + technique.name).c_str(), name, known);
}

}  // namespace farfield::apps
