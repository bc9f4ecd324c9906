#include "apps/farfield/steer_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "farfield/core/options.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/toml.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;
using pipeline::Condition;
using pipeline::Rule;

constexpr std::int64_t kLargestFile = 1 << 20, kMostRecords = 1'000'000;
constexpr std::size_t kMostRules = 1000;

const std::vector<std::string> kRuleKeys{"name", "when", "records", "release", "action", "to"};
const std::vector<std::string> kFileKeys{"rule", "to"};

/// Adds file and line to what goes wrong with a node.
template <class F>
auto at_node(const toml::node& node, const std::string& source, F&& f) {
  try {
    return f();
  } catch (Error& e) {
    throw std::move(e.at(fmt::format("{}, line {}", source, node.source().begin.line)));
  }
}

void check_keys(const toml::table& table, const std::vector<std::string>& allowed, const std::string& source) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    at_node(node, source, [&] {
      const auto near = core::nearest_name(name, allowed);
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("unknown key {}{}", name, near ? "; did you mean " + *near + "?" : ""));
    });
  }
}

std::string text_of(const toml::table& table, const char* key, const std::string& source) {
  const auto* node = table.get(key);
  if (node == nullptr) return {};
  return at_node(*node, source, [&] {
    const auto text = node->value_exact<std::string>();
    if (!text || text->empty()) throw Error(ErrorCode::invalid_argument, fmt::format("{} must be a text", key));
    return *text;
  });
}

std::optional<Condition> condition_of(const toml::table& table, const char* key, const std::string& source) {
  const std::string text = text_of(table, key, source);
  if (text.empty()) return std::nullopt;
  return at_node(*table.get(key), source, [&] { return std::optional(Condition(text)); });
}

void check_target(const std::string& target) {
  if (target.starts_with("http://") || target.starts_with("https://")) {
    (void)core::value_or_throw(net::parse_url(target));
    return;
  }
  for (const char* scheme : {"tcp://", "@tcp://", "pub+tcp://", "ipc://", "@ipc://", "pub+ipc://"})
    if (target.starts_with(scheme) && target.size() > std::string_view(scheme).size()) return;
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("target {} must be a webhook (http://..., https://...) or a ZeroMQ endpoint (tcp://host:port, "
                  "@tcp://*:port to listen, pub+tcp://*:port to publish, likewise ipc)",
                  target));
}

std::vector<std::string> targets_of(const toml::table& table, const std::string& source) {
  const auto* node = table.get("to");
  if (node == nullptr) return {};
  return at_node(*node, source, [&] {
    std::vector<std::string> out;
    if (const auto one = node->value_exact<std::string>()) out.push_back(*one);
    else if (const auto* list = node->as_array())
      for (const auto& element : *list) out.push_back(element.value_exact<std::string>().value_or(""));
    if (out.empty()) throw Error(ErrorCode::invalid_argument, "to must be a text or a list of texts");
    for (const auto& target : out) check_target(target);
    return out;
  });
}

}  // namespace

std::vector<Rule> parse_rules(const std::string& text, const std::string& source) {
  const toml::table file = io::parse_toml(text, source, "a file of rules");
  check_keys(file, kFileKeys, source);
  const auto common_targets = targets_of(file, source);
  const auto* list = file.get_as<toml::array>("rule");
  if (list == nullptr || list->empty())
    throw Error(ErrorCode::invalid_argument, "no rule; each begins with a line [[rule]]").at(source);
  if (list->size() > kMostRules)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} rules; at most {} are read", list->size(), kMostRules))
        .at(source);
  std::vector<Rule> rules;
  std::set<std::string> names;
  for (const auto& node : *list)
    at_node(node, source, [&] {
      const auto* table = node.as_table();
      if (table == nullptr) throw Error(ErrorCode::invalid_argument, "rule must be a table, [[rule]]");
    });
  for (const auto& node : *list) {
    const auto& table = *node.as_table();
    check_keys(table, kRuleKeys, source);
    const std::string name = text_of(table, "name", source), action = text_of(table, "action", source);
    const auto when = condition_of(table, "when", source);
    std::int64_t records = 1;
    if (const auto* count = table.get("records"))
      records = at_node(*count, source, [&] {
        const auto n = count->value_exact<std::int64_t>();
        if (!n || *n < 1 || *n > kMostRecords)
          throw Error(ErrorCode::invalid_argument,
                      fmt::format("records must be a whole number, 1 to {}", kMostRecords));
        return *n;
      });
    auto to = targets_of(table, source);
    if (to.empty()) to = common_targets;
    at_node(node, source, [&] {
      for (const auto& [key, missing] : {std::pair("name", name.empty()), {"when", !when}, {"action", action.empty()}})
        if (missing) throw Error(ErrorCode::invalid_argument, fmt::format("a rule without `{}`", key));
      if (!names.insert(name).second)
        throw Error(ErrorCode::invalid_argument, fmt::format("a second rule of the name {}", name));
    });
    rules.push_back({name, *when, records, condition_of(table, "release", source), action, std::move(to)});
  }
  return rules;
}

std::vector<Rule> read_rules(const std::string& path) {
  const auto bytes = io::read_file(path, kLargestFile);
  return parse_rules(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path);
}

}  // namespace farfield::apps
