#pragma once
// Paths into the state of a run: `$`, `.name`, `['any name']`, `[3]`, `[-1]`, and for reading `[*]` and `.*`.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow {

class Path {
public:
  struct Any {};
  using Step = std::variant<std::string, std::int64_t, Any>;

  /// `invalid_argument` says what is wrong, and at which character.
  static core::Result<Path> parse(std::string_view text);

  const std::string& text() const { return text_; }
  const std::vector<Step>& steps() const { return steps_; }
  /// Exactly one place: no `*`. What ResultPath and Variable ask for.
  bool is_reference() const;
  /// Starts with `$._context`.
  bool in_context() const;

  /// The value there, or null pointer; for reference paths.
  const Json* find(const Scope& scope) const;
  /// The value there; with `*` the list of all values (which may be empty). Throws FlowException
  /// States.ParameterPathFailure where a reference leads nowhere.
  Json get(const Scope& scope) const;
  /// Puts `value` there. Objects on the way are made; an index must exist. Throws FlowException
  /// States.ResultPathMatchFailure where something else stands in the way.
  void set(Json& state, Json value) const;
  /// Throws what set() would, without changing anything.
  void check_set(const Json& state) const;

private:
  std::string text_;
  std::vector<Step> steps_;
};

}  // namespace farfield::services::flow
