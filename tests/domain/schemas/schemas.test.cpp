// The option schema of every verb of every technique, read by an independent JSON Schema validator.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "apps/farfield/registry.hpp"
#include "farfield/core/options.hpp"

namespace farfield::apps {
namespace {

struct NamedVerb {
  std::string name;
  const technique::Verb* verb;
};

std::vector<NamedVerb> verbs() {
  std::vector<NamedVerb> all;
  for (const auto* technique : techniques())
    for (const auto& verb : technique->verbs) all.push_back({technique->name + "_" + verb.name, &verb});
  return all;
}

class Schemas : public testing::TestWithParam<NamedVerb> {
protected:
  const core::OptionSchema& options_ = GetParam().verb->options;
};
INSTANTIATE_TEST_SUITE_P(Verbs, Schemas, testing::ValuesIn(verbs()), [](const auto& test) {
  std::string name = test.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

TEST_P(Schemas, AcceptTheirOwnDefaults) {
  const auto schema_document = nlohmann::json::parse(options_.json_schema(GetParam().name));
  const auto defaults = nlohmann::json::parse(core::options_to_json(options_.complete({})));
  valijson::Schema schema;
  valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_document), schema);
  valijson::ValidationResults results;
  const bool valid = valijson::Validator(valijson::Validator::kStrongTypes)
                         .validate(schema, valijson::adapters::NlohmannJsonAdapter(defaults), &results);
  EXPECT_TRUE(valid);
  for (valijson::ValidationResults::Error error; results.popError(error);) ADD_FAILURE() << error.description;
}

TEST_P(Schemas, DefaultsPassTheChecksOfTheCommandLine) {
  for (const auto& option : options_.options()) {
    EXPECT_NO_THROW(core::check_option(option, option.fallback)) << option.name;
    EXPECT_EQ(core::parse_option(option, core::to_text(option.fallback)), option.fallback) << option.name;
  }
}

// Names are words with hyphens, as on the command line; ranges are not empty.
TEST_P(Schemas, EveryOptionIsExplained) {
  for (const auto& option : options_.options()) {
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos) << option.name;
    if (option.type == core::OptionType::choice) {
      EXPECT_GE(option.rules.choices.size(), 2U) << option.name;
    }
    EXPECT_LE(option.rules.min, option.rules.max) << option.name;
  }
}

}  // namespace
}  // namespace farfield::apps
