#pragma once
// Input schemas: JSON Schema (draft 7, as valijson knows it).

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace farfield::services::compute {

class InputSchema {
public:
  /// Throws `invalid_argument` for text that is no schema, and for a `$ref` to somewhere else: nothing is fetched.
  static InputSchema parse(std::string_view text);
  /// Throws `invalid_argument` with every mistake and its path.
  void check(const nlohmann::json& input) const;

private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace farfield::services::compute
