#include "farfield/services/compute/schema.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#define VALIJSON_USE_EXCEPTIONS 1  // without it valijson ends the program
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
using Adapter = valijson::adapters::NlohmannJsonAdapter;

void refuse_remote_references(const Json& schema) {
  if (schema.is_object() && schema.contains("$ref") && schema["$ref"].is_string() &&
      !schema["$ref"].get_ref<const std::string&>().starts_with('#'))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the input schema refers to {}; only #... is allowed", schema["$ref"].dump()));
  if (schema.is_structured())
    for (const Json& part : schema) refuse_remote_references(part);
}
bool has_patterns(const Json& schema) {
  if (schema.is_object() && (schema.contains("pattern") || schema.contains("patternProperties"))) return true;
  return schema.is_structured() && std::any_of(schema.begin(), schema.end(), has_patterns);
}

std::size_t longest_text(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().size();
  std::size_t longest = 0;
  if (value.is_structured())
    for (const auto& [name, part] : value.items()) longest = std::max({longest, name.size(), longest_text(part)});
  return longest;
}

constexpr std::size_t kLongestMatched = 1000, kLongestSchema = 4 << 20;
}  // namespace

struct InputSchema::State {
  valijson::Schema schema;
  bool patterns = false;
};

InputSchema InputSchema::parse(std::string_view text) {
  const Json document = parse_json(text, "the input schema", ErrorCode::invalid_argument, kLongestSchema);
  if (!document.is_object()) throw Error(ErrorCode::invalid_argument, "the input schema must be an object");
  refuse_remote_references(document);
  auto state = std::make_shared<State>();
  state->patterns = has_patterns(document);
  try {
    valijson::SchemaParser().populateSchema(Adapter(document), state->schema);
  } catch (const std::exception& e) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the input schema is wrong: {}", e.what()));
  }
  InputSchema out;
  out.state_ = std::move(state);
  return out;
}

void InputSchema::check(const Json& input) const {
  // std::regex recurses with the length of the text: a long one would run into the end of the stack.
  if (state_->patterns && longest_text(input) > kLongestMatched)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the input has a text longer than {} bytes, and the schema has patterns", kLongestMatched));
  valijson::ValidationResults results;
  if (valijson::Validator(valijson::Validator::kStrongTypes).validate(state_->schema, Adapter(input), &results)) return;
  std::string text = "the input does not fit the schema:";
  for (valijson::ValidationResults::Error error; results.popError(error);) {
    std::string path;
    for (const std::string& part : error.context) path += part == "<root>" ? "$" : part;
    text += fmt::format("\n{}: {}", path, error.description);
  }
  throw Error(ErrorCode::invalid_argument, text);
}

}  // namespace farfield::services::compute
