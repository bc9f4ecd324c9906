#pragma once
// The tree of an expression; between its parser and its evaluation. Only this room includes it.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "farfield/services/flow/expression.hpp"
#include "farfield/services/flow/path.hpp"

namespace farfield::services::flow {

struct Expression::Node {
  enum class Kind {
    constant,
    name,
    path,
    list,
    member,
    index,
    slice,
    call,
    unary,
    binary,
    logical_and,
    logical_or,
    choose
  };
  Kind kind = Kind::constant;
  Json value;        ///< constant
  std::string text;  ///< name, member, called function, operator
  Path path;         ///< path
  /// Operands in the order of writing; slice: of, from, to (null where left out); choose: then, condition, else.
  std::vector<std::shared_ptr<const Node>> of;
};

}  // namespace farfield::services::flow
