#include "farfield/services/flow/template.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>
#include <vector>

#include "farfield/services/flow/expression.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/path.hpp"

namespace farfield::services::flow {

struct Template::Node {
  struct Object {
    std::vector<std::pair<std::string, std::shared_ptr<const Node>>> members;
    std::vector<std::string> hidden;
  };
  struct List {
    std::vector<std::shared_ptr<const Node>> elements;
  };
  std::variant<Json, Path, Expression, Object, List> is;
};

namespace {
using NodePtr = std::shared_ptr<const Template::Node>;
constexpr std::string_view kPrivate = "__Private_Parameters";

NodePtr compile_node(const Json& value, const std::string& pointer, const Report& report);

NodePtr compile_member(std::string& name, const Json& value, const std::string& pointer, const Report& report) {
  const bool path = name.ends_with(".$"), expression = name.ends_with(".=");
  if (!path && !expression) return compile_node(value, pointer, report);
  name.resize(name.size() - 2);
  auto node = std::make_shared<Template::Node>();
  if (!value.is_string()) {
    report(pointer, fmt::format("{} must be a string, not {}", path ? "a path" : "an expression", value.type_name()));
  } else if (path) {
    auto parsed = Path::parse(value.get_ref<const std::string&>());
    if (parsed) node->is = std::move(*parsed);
    else report(pointer, parsed.error().message());
  } else {
    auto parsed = Expression::parse(value.get_ref<const std::string&>());
    if (parsed) node->is = std::move(*parsed);
    else report(pointer, parsed.error().message());
  }
  return node;
}

NodePtr compile_node(const Json& value, const std::string& pointer, const Report& report) {
  auto node = std::make_shared<Template::Node>();
  if (value.is_object()) {
    Template::Node::Object object;
    for (const auto& [key, member] : value.items()) {
      const std::string at = pointer + "/" + pointer_part(key);
      if (key == kPrivate) {
        if (!member.is_array() ||
            !std::all_of(member.begin(), member.end(), [](const Json& v) { return v.is_string(); })) {
          report(at, "must be a list of parameter names");
          continue;
        }
        for (const Json& hidden : member) {
          auto name = hidden.get<std::string>();
          if (name.ends_with(".$") || name.ends_with(".=")) name.resize(name.size() - 2);
          if (!value.contains(name) && !value.contains(name + ".$") && !value.contains(name + ".="))
            report(at, fmt::format("there is no parameter '{}' here", name));
          object.hidden.push_back(std::move(name));
        }
        continue;
      }
      std::string name = key;
      NodePtr compiled = compile_member(name, member, at, report);
      for (const auto& [other, ignored] : object.members)
        if (other == name) report(at, fmt::format("'{}' is given twice", name));
      object.members.emplace_back(std::move(name), std::move(compiled));
    }
    node->is = std::move(object);
  } else if (value.is_array()) {
    Template::Node::List list;
    for (std::size_t i = 0; i < value.size(); ++i)
      list.elements.push_back(compile_node(value[i], fmt::format("{}/{}", pointer, i), report));
    node->is = std::move(list);
  } else {
    node->is = value;
  }
  return node;
}

template <class Leaf>
Json build(const Template::Node& node, const Leaf& leaf) {
  if (const auto* object = std::get_if<Template::Node::Object>(&node.is)) {
    Json out = Json::object();
    for (const auto& [name, member] : object->members) out[name] = build(*member, leaf);
    return out;
  }
  if (const auto* list = std::get_if<Template::Node::List>(&node.is)) {
    Json out = Json::array();
    for (const auto& element : list->elements) out.push_back(build(*element, leaf));
    return out;
  }
  return leaf(node);
}

Json shown(const Template::Node& node, const Json& value) {
  if (const auto* object = std::get_if<Template::Node::Object>(&node.is); object != nullptr && value.is_object()) {
    Json out = Json::object();
    for (const auto& [name, member] : object->members)
      if (value.contains(name) && std::find(object->hidden.begin(), object->hidden.end(), name) == object->hidden.end())
        out[name] = shown(*member, value[name]);
    return out;
  }
  if (const auto* list = std::get_if<Template::Node::List>(&node.is);
      list != nullptr && value.is_array() && value.size() == list->elements.size()) {
    Json out = Json::array();
    for (std::size_t i = 0; i < value.size(); ++i) out.push_back(shown(*list->elements[i], value[i]));
    return out;
  }
  return without_private_state(value);
}
}  // namespace

Template Template::compile(const Json& parameters, const std::string& pointer, const Report& report) {
  Template out;
  out.root_ = compile_node(parameters, pointer, report);
  return out;
}

Json Template::evaluate(const Scope& scope) const {
  return build(*root_, [&](const Node& node) -> Json {
    if (const auto* path = std::get_if<Path>(&node.is)) return path->get(scope);
    if (const auto* expression = std::get_if<Expression>(&node.is)) return expression->evaluate(scope);
    return std::get<Json>(node.is);
  });
}

Json Template::constants() const {
  return build(*root_, [&](const Node& node) -> Json {
    const auto* constant = std::get_if<Json>(&node.is);
    return constant != nullptr ? *constant : Json();
  });
}

Json Template::without_private(const Json& value) const { return shown(*root_, value); }

Json without_private_state(const Json& state) {
  if (state.is_object()) {
    Json out = Json::object();
    for (const auto& [name, member] : state.items())
      if (!name.starts_with("_private")) out[name] = without_private_state(member);
    return out;
  }
  if (state.is_array()) {
    Json out = Json::array();
    for (const Json& element : state) out.push_back(without_private_state(element));
    return out;
  }
  return state;
}

}  // namespace farfield::services::flow
