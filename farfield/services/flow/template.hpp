#pragma once
// `Parameters`: constants, `"name.$": "$.path"`, `"name.=": "expression"`, nested to any depth; and which of them
// `__Private_Parameters` hides.

#include <functional>
#include <memory>
#include <string>

#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow {

/// Called for each mistake with the path (JSON pointer) of the member and what is wrong.
using Report = std::function<void(const std::string& pointer, const std::string& what)>;

class Template {
public:
  /// `pointer` is where `parameters` stands in the definition.
  static Template compile(const Json& parameters, const std::string& pointer, const Report& report);

  /// The values. Throws FlowException.
  Json evaluate(const Scope& scope) const;
  /// `value`, as evaluate() gave it, without what is private.
  Json without_private(const Json& value) const;
  /// The value where it is known without a run: null in the place of paths and expressions.
  Json constants() const;

  struct Node;

private:
  std::shared_ptr<const Node> root_;
};

/// `state` without members whose name starts with `_private`, at any depth.
Json without_private_state(const Json& state);

}  // namespace farfield::services::flow
