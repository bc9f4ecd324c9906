#include "farfield/services/flow/expression.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "farfield/services/flow/expression_node.hpp"

namespace farfield::services::flow {
namespace {
using Node = Expression::Node;
using Kind = Node::Kind;

constexpr std::size_t kLongestText = 1 << 20, kLongestList = 100000;

[[noreturn]] void fail(std::string_view name, std::string cause) {
  throw FlowException{std::string(name), std::move(cause)};
}

bool truth(const Json& v) {
  if (v.is_boolean()) return v.get<bool>();
  if (v.is_number()) return v.get<double>() != 0;
  if (v.is_string()) return !v.get_ref<const std::string&>().empty();
  return !v.is_null() && !v.empty();
}

bool whole(const Json& v) { return v.is_number_integer() || v.is_boolean(); }
bool numeric(const Json& v) { return v.is_number() || v.is_boolean(); }
double real(const Json& v) { return v.is_boolean() ? static_cast<double>(v.get<bool>()) : v.get<double>(); }
std::int64_t integer(const Json& v) {
  if (v.is_boolean()) return static_cast<std::int64_t>(v.get<bool>());
  if (v.is_number_unsigned() && v.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    fail(kRuntime, fmt::format("{} is out of range", v.get<std::uint64_t>()));
  return v.get<std::int64_t>();
}

Json finite(double v) {
  if (!std::isfinite(v)) fail(kRuntime, "the result is not a finite number");
  return v;
}

Json of_integers(const std::string& op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &out);
  else if (op == "-") overflow = __builtin_sub_overflow(a, b, &out);
  else if (op == "*") overflow = __builtin_mul_overflow(a, b, &out);
  else if (op == "**") {
    if (b < 0) return finite(std::pow(static_cast<double>(a), static_cast<double>(b)));
    out = 1;
    for (std::int64_t base = a; b > 0 && !overflow; b >>= 1) {
      if ((b & 1) != 0) overflow = __builtin_mul_overflow(out, base, &out);
      if (b > 1) overflow = __builtin_mul_overflow(base, base, &base) || overflow;
    }
  } else {
    if (b == 0) fail(kRuntime, "division by zero");
    if (a == INT64_MIN && b == -1) overflow = op == "//";  // and the remainder is 0
    else {
      const bool down = a % b != 0 && (a < 0) != (b < 0);
      out = op == "//" ? a / b - (down ? 1 : 0) : a % b + (down ? b : 0);
    }
  }
  if (overflow) fail(kRuntime, fmt::format("{} {} {} is out of range", a, op, b));
  return out;
}

Json of_reals(const std::string& op, double a, double b) {
  if (op == "+") return finite(a + b);
  if (op == "-") return finite(a - b);
  if (op == "*") return finite(a * b);
  if (op == "**") return finite(std::pow(a, b));
  if (b == 0) fail(kRuntime, "division by zero");
  if (op == "/") return finite(a / b);
  if (op == "//") return finite(std::floor(a / b));
  return finite(a - b * std::floor(a / b));
}

bool contains(const Json& list, const Json& value) {
  if (list.is_string() && value.is_string())
    return list.get_ref<const std::string&>().find(value.get_ref<const std::string&>()) != std::string::npos;
  if (list.is_object() && value.is_string()) return list.contains(value.get_ref<const std::string&>());
  if (!list.is_array())
    fail(kRuntime, fmt::format("'in' asks a list, a string or an object, not {}", list.type_name()));
  return std::find(list.begin(), list.end(), value) != list.end();
}

Json binary(const std::string& op, const Json& a, const Json& b) {
  if (op == "==") return a == b;
  if (op == "!=") return a != b;
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  if (op[0] == '<' || op[0] == '>') {
    if (!((numeric(a) && numeric(b)) || (a.is_string() && b.is_string())))
      fail(kRuntime, fmt::format("{} and {} cannot be ordered", a.type_name(), b.type_name()));
    const bool less = a.is_string() ? a < b : real(a) < real(b), same = a.is_string() ? a == b : real(a) == real(b);
    if (op == "<") return less;
    if (op == "<=") return less || same;
    return op == ">" ? !less && !same : !less;
  }
  if (numeric(a) && numeric(b)) {
    if (op != "/" && whole(a) && whole(b)) return of_integers(op, integer(a), integer(b));
    return of_reals(op, real(a), real(b));
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    const auto &left = a.get_ref<const std::string&>(), &right = b.get_ref<const std::string&>();
    if (left.size() + right.size() > kLongestText)
      fail(kRuntime, fmt::format("text is longer than {} bytes", kLongestText));
    return left + right;
  }
  if (op == "+" && a.is_array() && b.is_array()) {
    if (a.size() + b.size() > kLongestList) fail(kRuntime, fmt::format("list is longer than {}", kLongestList));
    Json joined = a;
    joined.insert(joined.end(), b.begin(), b.end());
    return joined;
  }
  fail(kRuntime, fmt::format("'{}' does not take {} and {}", op, a.type_name(), b.type_name()));
}

/// Characters are code points, so that no piece of text is broken inside one. `starts` has one more entry: the end.
std::vector<std::size_t> character_starts(const std::string& text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}
std::string characters(const std::string& text, std::size_t from, std::size_t to) {
  const auto starts = character_starts(text);
  return text.substr(starts[from], starts[to] - starts[from]);
}
std::size_t length(const std::string& text) { return character_starts(text).size() - 1; }

/// Index as in Python, negative from the end; nothing where out of range.
std::optional<std::size_t> position(const Json& index, std::size_t size) {
  if (!whole(index)) fail(kRuntime, fmt::format("an index must be an integer, not {}", index.type_name()));
  const std::int64_t given = integer(index);
  const std::int64_t i = given < 0 ? given + static_cast<std::int64_t>(size) : given;
  if (i < 0 || i >= static_cast<std::int64_t>(size)) return std::nullopt;
  return static_cast<std::size_t>(i);
}

/// 'a.b[0]' as the name in is_present() and getattr(): a path without its "$.".
const Json* lookup(const Scope& scope, const Json& name) {
  if (!name.is_string()) fail(kIntrinsicFailure, "the name must be a string");
  std::string text = name.get<std::string>();
  if (!text.starts_with('$')) text.insert(0, text.starts_with('[') ? "$" : "$.");
  const auto path = Path::parse(text);
  if (!path || !path->is_reference())
    fail(kIntrinsicFailure, fmt::format("'{}' is not a name", name.get<std::string>()));
  return path->find(scope);
}

Json pathsplit(const Json& v) {
  if (!v.is_string()) fail(kIntrinsicFailure, fmt::format("pathsplit() takes a string, not {}", v.type_name()));
  const auto& path = v.get_ref<const std::string&>();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return Json::array({"", path});
  // The home "/~/" and the root "/" stay whole.
  const std::size_t head = path.starts_with("/~/") && slash == 2 ? 3 : std::max<std::size_t>(slash, 1);
  return Json::array({path.substr(0, head), path.substr(slash + 1)});
}

Json convert(const std::string& function, const Json& v) {
  if (function == "len") {
    if (v.is_string()) return length(v.get_ref<const std::string&>());
    if (v.is_structured()) return v.size();
  } else if (function == "str") {
    if (v.is_string()) return v;
    if (v.is_number() || v.is_boolean() || v.is_null())
      return v.is_null() ? "None" : v.is_boolean() ? (v.get<bool>() ? "True" : "False") : v.dump();
    return v.dump();
  } else if (numeric(v)) {
    if (function == "float") return real(v);
    if (whole(v)) return integer(v);
    if (std::abs(real(v)) < 9.2e18) return static_cast<std::int64_t>(real(v));
  } else if (v.is_string()) {
    const auto& text = v.get_ref<const std::string&>();
    const char *first = text.data(), *last = first + text.size();
    std::int64_t i = 0;
    double d = 0;
    if (function == "int") {
      if (const auto [end, error] = std::from_chars(first, last, i); error == std::errc{} && end == last) return i;
    } else if (const auto [end, error] = std::from_chars(first, last, d); error == std::errc{} && end == last) {
      return finite(d);
    }
  }
  fail(kIntrinsicFailure, fmt::format("{}() does not take {}", function, v.is_structured() ? v.type_name() : v.dump()));
}

Json evaluate(const Node& node, const Scope& scope);

/// The value of a chain of names without a copy of what holds it; null where the node is something else.
const Json* locate(const Node& node, const Scope& scope) {
  if (node.kind == Kind::name) {
    if (node.text == "_context") return &scope.context;
    if (scope.state.is_object())
      if (const auto found = scope.state.find(node.text); found != scope.state.end()) return &*found;
    fail(kParameterPathFailure, fmt::format("the state has no '{}'", node.text));
  }
  if (node.kind == Kind::path && node.path.is_reference()) return node.path.find(scope);
  if (node.kind != Kind::member) return nullptr;
  const Json* of = locate(*node.of[0], scope);
  if (of == nullptr) return nullptr;
  if (of->is_object())
    if (const auto found = of->find(node.text); found != of->end()) return &*found;
  fail(kParameterPathFailure, fmt::format("{} has no '{}'", of->type_name(), node.text));
}

/// A value that is held elsewhere, or here.
class Operand {
public:
  Operand(const Node& node, const Scope& scope) : found_(locate(node, scope)) {
    if (found_ == nullptr) made_ = evaluate(node, scope);
  }
  const Json& operator*() const { return found_ != nullptr ? *found_ : made_; }

private:
  const Json* found_;
  Json made_;
};

Json slice(const Node& node, const Scope& scope) {
  const Operand operand(*node.of[0], scope);
  const Json& of = *operand;
  if (!of.is_array() && !of.is_string()) fail(kRuntime, fmt::format("{} has no slices", of.type_name()));
  const auto size = static_cast<std::int64_t>(of.is_array() ? of.size() : length(of.get_ref<const std::string&>()));
  const auto bound = [&](const std::shared_ptr<const Node>& at, std::int64_t fallback) {
    if (at == nullptr) return fallback;
    const Json v = evaluate(*at, scope);
    if (!whole(v)) fail(kRuntime, "the ends of a slice must be integers");
    const std::int64_t given = integer(v);
    return std::clamp<std::int64_t>(given < 0 ? std::max(given, -size) + size : given, 0, size);
  };
  const std::int64_t from = bound(node.of[1], 0), to = std::max(from, bound(node.of[2], size));
  if (of.is_string())
    return characters(of.get_ref<const std::string&>(), static_cast<std::size_t>(from), static_cast<std::size_t>(to));
  Json part = Json::array();
  for (std::int64_t i = from; i < to; ++i) part.push_back(of[static_cast<std::size_t>(i)]);
  return part;
}

Json element(const Node& node, const Scope& scope) {
  const Operand operand(*node.of[0], scope);
  const Json& of = *operand;
  const Json index = evaluate(*node.of[1], scope);
  if (of.is_object() && index.is_string()) {
    if (const auto found = of.find(index.get_ref<const std::string&>()); found != of.end()) return *found;
  } else if (of.is_array()) {
    if (const auto i = position(index, of.size())) return of[*i];
  } else if (of.is_string()) {
    const auto& text = of.get_ref<const std::string&>();
    if (const auto i = position(index, length(text))) return characters(text, *i, *i + 1);
  } else {
    fail(kRuntime, fmt::format("{} has no elements", of.type_name()));
  }
  fail(kParameterPathFailure, fmt::format("{} has no element {}", of.type_name(), index.dump()));
}

Json call(const Node& node, const Scope& scope) {
  const Json first = evaluate(*node.of[0], scope);
  if (node.text == "is_present") return lookup(scope, first) != nullptr;
  if (node.text == "getattr") {
    if (const Json* found = lookup(scope, first)) return *found;
    return node.of.size() > 1 ? evaluate(*node.of[1], scope) : Json();
  }
  return node.text == "pathsplit" ? pathsplit(first) : convert(node.text, first);
}

Json evaluate(const Node& node, const Scope& scope) {
  switch (node.kind) {
    case Kind::constant: return node.value;
    case Kind::path: return node.path.get(scope);
    case Kind::name:
    case Kind::member: {
      if (const Json* found = locate(node, scope)) return *found;
      const Json of = evaluate(*node.of[0], scope);
      if (!of.is_object() || !of.contains(node.text))
        fail(kParameterPathFailure, fmt::format("{} has no '{}'", of.type_name(), node.text));
      return of[node.text];
    }
    case Kind::index: return element(node, scope);
    case Kind::slice: return slice(node, scope);
    case Kind::list: {
      Json list = Json::array();
      for (const auto& one : node.of) list.push_back(evaluate(*one, scope));
      return list;
    }
    case Kind::call: return call(node, scope);
    case Kind::unary: {
      const Json v = evaluate(*node.of[0], scope);
      if (node.text == "not") return !truth(v);
      if (!numeric(v)) fail(kRuntime, fmt::format("'{}' does not take {}", node.text, v.type_name()));
      return binary(node.text, Json(0), v);
    }
    case Kind::binary: return binary(node.text, evaluate(*node.of[0], scope), evaluate(*node.of[1], scope));
    case Kind::logical_and: {
      Json left = evaluate(*node.of[0], scope);
      return truth(left) ? evaluate(*node.of[1], scope) : left;
    }
    case Kind::logical_or: {
      Json left = evaluate(*node.of[0], scope);
      return truth(left) ? left : evaluate(*node.of[1], scope);
    }
    case Kind::choose: return evaluate(truth(evaluate(*node.of[1], scope)) ? *node.of[0] : *node.of[2], scope);
  }
  return {};
}
}  // namespace

Json Expression::evaluate(const Scope& scope) const { return flow::evaluate(*root_, scope); }

}  // namespace farfield::services::flow
