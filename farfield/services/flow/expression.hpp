#pragma once
// The expressions of `"name.=": "..."`: Python-like, on the state of a run.
//
//   foo + ' ' + object.member          names are properties of the state; paths stand in back-quotes: `$.a.b`
//   x if is_present('x') else 10       also: and or not, == != < <= > >=, in, not in
//   (n - 1) * 2 / 3 // 4 % 5 ** 6      as in Python: / gives a float, // and % round down
//   [1, 'two'] + list_val              lists and strings join with +, and take [0], [-1], [1:3]
//   pathsplit(p)[1]                    ["/foo/bar", "blech"] of "/foo/bar/blech"; "/~/" is never split
//   is_present('a.b'), getattr('a.b', 10), len(x), str(x), int(x), float(x)
//   True False None (also true false null)
//
// Names that lead nowhere are States.ParameterPathFailure, wrong uses of a function States.IntrinsicFailure, operators
// on values that they do not take States.Runtime.

#include <memory>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow {

class Expression {
public:
  /// `invalid_argument` says what is wrong, and at which character. Nesting is limited to 64.
  static core::Result<Expression> parse(std::string_view text);
  /// Throws FlowException. Strings and lists that an operator makes are limited to 1 MiB and 100,000 elements.
  Json evaluate(const Scope& scope) const;
  const std::string& text() const { return text_; }

  struct Node;

private:
  std::string text_;
  std::shared_ptr<const Node> root_;
};

}  // namespace farfield::services::flow
