// An expression from outside, evaluated on a small state.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "farfield/services/flow/expression.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::services::flow;
  static const Json state = Json::parse(R"({"a": 1, "b": [1, "x", {"c": 2.5}], "s": "text", "o": {"k": null}})");
  static const Json context = Json::object();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Text in a definition has passed the JSON parser: it is UTF-8.
  if (!Json::accept(Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::ignore))) return 0;
  const auto expression = Expression::parse(text);
  if (!expression) return 0;
  try {
    (void)expression->evaluate({state, context});
  } catch (const FlowException&) {
    return 0;
  }
  return 0;
}
