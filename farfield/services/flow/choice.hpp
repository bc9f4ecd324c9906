#pragma once
// The rules of a Choice state: every comparison of the Amazon States Language, And, Or, Not.

#include <memory>
#include <string>

#include "farfield/services/flow/json.hpp"
#include "farfield/services/flow/template.hpp"

namespace farfield::services::flow {

class ChoiceRule {
public:
  /// `rule` is an element of Choices (its Next is not looked at).
  static ChoiceRule compile(const Json& rule, const std::string& pointer, const Report& report);
  /// Throws FlowException States.ParameterPathFailure where a path leads nowhere (IsPresent excepted). A comparison of
  /// values of other types is false.
  bool holds(const Scope& scope) const;

  struct Node;

private:
  std::shared_ptr<const Node> root_;
};

/// `*` stands for any characters, `\*` and `\\` for themselves.
bool matches_pattern(std::string_view text, std::string_view pattern);

}  // namespace farfield::services::flow
