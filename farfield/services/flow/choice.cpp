#include "farfield/services/flow/choice.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/path.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::services::flow {
namespace {
enum class Operand { text, number, boolean, timestamp, pattern, kind };
enum class Order {
  equal,
  less,
  greater,
  less_equal,
  greater_equal,
  matches,
  is_null,
  is_present,
  is_number,
  is_text,
  is_boolean,
  is_timestamp
};

struct Comparison {
  std::string_view name;
  Operand operand;
  Order order;
};

// Those of the first four kinds have a ...Path form, too.
constexpr Comparison kComparisons[] = {
    {"StringEquals", Operand::text, Order::equal},
    {"StringLessThan", Operand::text, Order::less},
    {"StringGreaterThan", Operand::text, Order::greater},
    {"StringLessThanEquals", Operand::text, Order::less_equal},
    {"StringGreaterThanEquals", Operand::text, Order::greater_equal},
    {"NumericEquals", Operand::number, Order::equal},
    {"NumericLessThan", Operand::number, Order::less},
    {"NumericGreaterThan", Operand::number, Order::greater},
    {"NumericLessThanEquals", Operand::number, Order::less_equal},
    {"NumericGreaterThanEquals", Operand::number, Order::greater_equal},
    {"BooleanEquals", Operand::boolean, Order::equal},
    {"TimestampEquals", Operand::timestamp, Order::equal},
    {"TimestampLessThan", Operand::timestamp, Order::less},
    {"TimestampGreaterThan", Operand::timestamp, Order::greater},
    {"TimestampLessThanEquals", Operand::timestamp, Order::less_equal},
    {"TimestampGreaterThanEquals", Operand::timestamp, Order::greater_equal},
    {"StringMatches", Operand::pattern, Order::matches},
    {"IsNull", Operand::kind, Order::is_null},
    {"IsPresent", Operand::kind, Order::is_present},
    {"IsNumeric", Operand::kind, Order::is_number},
    {"IsString", Operand::kind, Order::is_text},
    {"IsBoolean", Operand::kind, Order::is_boolean},
    {"IsTimestamp", Operand::kind, Order::is_timestamp},
};

std::optional<double> time_of(const Json& v) {
  return v.is_string() ? parse_timestamp(v.get_ref<const std::string&>()) : std::nullopt;
}

/// What is expected of the constant on the right, or null where it is fine.
const char* wrong_constant(Operand operand, const Json& v) {
  switch (operand) {
    case Operand::text:
    case Operand::pattern: return v.is_string() ? nullptr : "a string";
    case Operand::number: return v.is_number() ? nullptr : "a number";
    case Operand::boolean:
    case Operand::kind: return v.is_boolean() ? nullptr : "true or false";
    case Operand::timestamp: return time_of(v) ? nullptr : "a time as 2026-03-14T01:59:00Z";
  }
  return nullptr;
}

template <class T>
bool ordered(Order order, const T& a, const T& b) {
  switch (order) {
    case Order::equal: return a == b;
    case Order::less: return a < b;
    case Order::greater: return b < a;
    case Order::less_equal: return !(b < a);
    case Order::greater_equal: return !(a < b);
    default: return false;
  }
}

bool compare(const Comparison& comparison, const Json& left, const Json& right) {
  switch (comparison.operand) {
    case Operand::text:
      return left.is_string() && right.is_string() &&
             ordered(comparison.order, left.get_ref<const std::string&>(), right.get_ref<const std::string&>());
    case Operand::number:
      // Json compares integers exactly and mixed numbers as doubles.
      return left.is_number() && right.is_number() && ordered(comparison.order, left, right);
    case Operand::boolean: return left.is_boolean() && left == right;
    case Operand::timestamp: {
      const auto a = time_of(left), b = time_of(right);
      return a && b && ordered(comparison.order, *a, *b);
    }
    case Operand::pattern:
      return left.is_string() &&
             matches_pattern(left.get_ref<const std::string&>(), right.get_ref<const std::string&>());
    case Operand::kind: break;
  }
  return false;
}

bool is_kind(Order order, const Json* v) {
  if (order == Order::is_present) return v != nullptr;
  if (v == nullptr) return false;
  switch (order) {
    case Order::is_null: return v->is_null();
    case Order::is_number: return v->is_number();
    case Order::is_text: return v->is_string();
    case Order::is_boolean: return v->is_boolean();
    case Order::is_timestamp: return time_of(*v).has_value();
    default: return false;
  }
}

std::optional<Path> reference(const Json& value, const std::string& pointer, const Report& report) {
  if (!value.is_string()) {
    report(pointer, fmt::format("a path must be a string, not {}", value.type_name()));
    return std::nullopt;
  }
  auto path = Path::parse(value.get_ref<const std::string&>());
  if (!path) report(pointer, path.error().message());
  else if (!path->is_reference())
    report(pointer, fmt::format("path '{}' must name one place, without *", path->text()));
  else return std::move(*path);
  return std::nullopt;
}
}  // namespace

struct ChoiceRule::Node {
  enum class Kind { comparison, all, any, none } kind = Kind::comparison;
  std::vector<std::shared_ptr<const Node>> of;
  Path variable;
  const Comparison* comparison = nullptr;
  Json constant;
  std::optional<Path> right;
};

namespace {
using Node = ChoiceRule::Node;

std::shared_ptr<const Node> compile_node(const Json& rule, const std::string& pointer, const Report& report) {
  auto node = std::make_shared<Node>();
  if (!rule.is_object()) {
    report(pointer, fmt::format("a rule must be an object, not {}", rule.type_name()));
    return node;
  }
  int operators = 0;
  for (const auto& [name, value] : rule.items()) {
    const std::string at = pointer + "/" + pointer_part(name);
    if (name == "Next" || name == "Comment") continue;
    if (name == "Variable") {
      if (auto path = reference(value, at, report)) node->variable = std::move(*path);
      continue;
    }
    ++operators;
    if (name == "And" || name == "Or") {
      node->kind = name == "And" ? Node::Kind::all : Node::Kind::any;
      if (!value.is_array() || value.empty()) report(at, "must be a list of at least one rule");
      else
        for (std::size_t i = 0; i < value.size(); ++i)
          node->of.push_back(compile_node(value[i], fmt::format("{}/{}", at, i), report));
      continue;
    }
    if (name == "Not") {
      node->kind = Node::Kind::none;
      node->of.push_back(compile_node(value, at, report));
      continue;
    }
    for (const Comparison& comparison : kComparisons) {
      const bool has_path = comparison.operand != Operand::pattern && comparison.operand != Operand::kind;
      if (name == comparison.name) {
        node->comparison = &comparison;
        node->constant = value;
        if (const char* wanted = wrong_constant(comparison.operand, value))
          report(at, fmt::format("expected {}", wanted));
      } else if (has_path && name == std::string(comparison.name) + "Path") {
        node->comparison = &comparison;
        node->right = reference(value, at, report);
      }
    }
    if (node->comparison == nullptr) report(at, fmt::format("'{}' is not a comparison", name));
  }
  if (operators != 1) report(pointer, fmt::format("a rule has one comparison, And, Or or Not, not {}", operators));
  if (node->kind == Node::Kind::comparison && !rule.contains("Variable")) report(pointer, "Variable is missing");
  if (node->kind != Node::Kind::comparison && rule.contains("Variable"))
    report(pointer, "Variable does not go with And, Or, Not");
  return node;
}

bool holds_node(const Node& node, const Scope& scope) {
  switch (node.kind) {
    case Node::Kind::all:
      for (const auto& one : node.of)
        if (!holds_node(*one, scope)) return false;
      return true;
    case Node::Kind::any:
      for (const auto& one : node.of)
        if (holds_node(*one, scope)) return true;
      return false;
    case Node::Kind::none: return !holds_node(*node.of[0], scope);
    case Node::Kind::comparison: break;
  }
  const Json* left = node.variable.find(scope);
  if (node.comparison->operand == Operand::kind) {
    if (left == nullptr && node.comparison->order != Order::is_present)
      throw FlowException{std::string(kParameterPathFailure), fmt::format("nothing at {}", node.variable.text())};
    return is_kind(node.comparison->order, left) == node.constant.get<bool>();
  }
  if (left == nullptr)
    throw FlowException{std::string(kParameterPathFailure), fmt::format("nothing at {}", node.variable.text())};
  return compare(*node.comparison, *left, node.right ? node.right->get(scope) : node.constant);
}
}  // namespace

ChoiceRule ChoiceRule::compile(const Json& rule, const std::string& pointer, const Report& report) {
  ChoiceRule out;
  out.root_ = compile_node(rule, pointer, report);
  return out;
}

bool ChoiceRule::holds(const Scope& scope) const { return holds_node(*root_, scope); }

// Greedy with one step back per `*`: linear in practice, quadratic at worst.
bool matches_pattern(std::string_view text, std::string_view pattern) {
  std::size_t t = 0, p = 0, star = std::string_view::npos, from = 0;
  while (t < text.size() || p < pattern.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = t;
      continue;
    }
    if (p < pattern.size() && t < text.size()) {
      const std::size_t escaped = pattern[p] == '\\' && p + 1 < pattern.size() ? 1 : 0;
      if (pattern[p + escaped] == text[t]) {
        p += 1 + escaped;
        ++t;
        continue;
      }
    }
    if (star == std::string_view::npos || from >= text.size()) return false;
    p = star + 1;
    t = ++from;
  }
  return true;
}

}  // namespace farfield::services::flow
