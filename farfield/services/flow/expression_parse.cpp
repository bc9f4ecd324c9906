// Recursive descent, one function per level of binding, loosest first.

#include <fmt/core.h>

#include <cctype>
#include <charconv>
#include <optional>

#include "farfield/services/flow/expression_node.hpp"

namespace farfield::services::flow {
namespace {
using core::ErrorCode;
using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;
using Kind = Node::Kind;

constexpr int kDeepest = 64;

struct Token {
  enum class Kind { end, number, string, name, path, symbol } kind = Kind::end;
  std::string text;
  std::size_t at = 0;
};

class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) { advance(); }

  NodePtr whole() {
    NodePtr node = conditional();
    if (token_.kind != Token::Kind::end) refuse(fmt::format("did not expect '{}'", token_.text));
    return node;
  }

private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw core::Error(ErrorCode::invalid_argument, fmt::format("expression: {} at character {}", what, token_.at + 1));
  }

  // --- words
  void advance() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    token_ = {Token::Kind::end, "", at_};
    if (at_ >= text_.size()) return;
    const char c = text_[at_];
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || (c == '.' && digit_at(at_ + 1))) return number();
    if (c == '\'' || c == '"') return string(c);
    if (c == '`') {
      const auto end = text_.find('`', at_ + 1);
      if (end == std::string_view::npos) refuse("expected the closing back-quote");
      token_.kind = Token::Kind::path;
      token_.text = text_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
      return;
    }
    if (is_letter(c)) {
      token_.kind = Token::Kind::name;
      while (at_ < text_.size() && (is_letter(text_[at_]) || digit_at(at_))) token_.text += text_[at_++];
      return;
    }
    token_.kind = Token::Kind::symbol;
    for (const std::string_view symbol : {"**", "//", "==", "!=", "<=", ">="})
      if (text_.substr(at_, 2) == symbol) token_.text = symbol;
    if (token_.text.empty()) token_.text = c;
    at_ += token_.text.size();
  }
  bool digit_at(std::size_t i) const {
    return i < text_.size() && std::isdigit(static_cast<unsigned char>(text_[i])) != 0;
  }
  static bool is_letter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || static_cast<unsigned char>(c) >= 0x80;
  }
  void number() {
    const std::size_t start = at_;
    while (digit_at(at_)) ++at_;
    if (at_ < text_.size() && text_[at_] == '.') ++at_;
    while (digit_at(at_)) ++at_;
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      const std::size_t sign = at_ + 1 < text_.size() && (text_[at_ + 1] == '+' || text_[at_ + 1] == '-') ? 1 : 0;
      if (digit_at(at_ + 1 + sign)) {
        at_ += 1 + sign;
        while (digit_at(at_)) ++at_;
      }
    }
    token_.kind = Token::Kind::number;
    token_.text = text_.substr(start, at_ - start);
  }
  void string(char quote) {
    token_.kind = Token::Kind::string;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size()) {
        c = text_[++at_];
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
      }
      token_.text += c;
    }
    if (at_ >= text_.size()) refuse("expected the closing quote");
    ++at_;
  }

  bool is(std::string_view text) const {
    return (token_.kind == Token::Kind::symbol || token_.kind == Token::Kind::name) && token_.text == text;
  }
  bool take(std::string_view text) {
    if (!is(text)) return false;
    advance();
    return true;
  }
  void expect(std::string_view text) {
    if (!take(text)) refuse(fmt::format("expected {}", text));
  }

  // --- grammar
  struct Deeper {
    explicit Deeper(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepest) parser_.refuse(fmt::format("nested deeper than {}", kDeepest));
    }
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser_;
  };
  static NodePtr make(Kind kind, std::string text, std::vector<NodePtr> of) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->text = std::move(text);
    node->of = std::move(of);
    return node;
  }
  static NodePtr constant(Json value) {
    auto node = std::make_shared<Node>();
    node->value = std::move(value);
    return node;
  }
  // A chain `a + b + c` makes a tree as deep as it is long: its length counts as depth.
  NodePtr chained(NodePtr node, int& length) {
    if (++length > 4 * kDeepest) refuse("too many operators in a row");
    return node;
  }

  NodePtr conditional() {
    const Deeper deeper(*this);
    NodePtr then = disjunction();
    if (!take("if")) return then;
    NodePtr condition = disjunction();
    expect("else");
    NodePtr otherwise = conditional();
    return make(Kind::choose, "", {std::move(then), std::move(condition), std::move(otherwise)});
  }
  NodePtr disjunction() {
    NodePtr left = conjunction();
    for (int length = 0; take("or");) left = chained(make(Kind::logical_or, "or", {left, conjunction()}), length);
    return left;
  }
  NodePtr conjunction() {
    NodePtr left = negation();
    for (int length = 0; take("and");) left = chained(make(Kind::logical_and, "and", {left, negation()}), length);
    return left;
  }
  NodePtr negation() {
    const Deeper deeper(*this);
    if (take("not")) return make(Kind::unary, "not", {negation()});
    return comparison();
  }
  NodePtr comparison() {
    NodePtr left = sum();
    std::optional<std::string> op;
    if (is("==") || is("!=") || is("<") || is("<=") || is(">") || is(">=") || is("in")) {
      op = token_.text;
      advance();
    } else if (take("not")) {
      expect("in");
      op = "not in";
    }
    if (!op) return left;
    NodePtr right = sum();
    if (is("==") || is("!=") || is("<") || is("<=") || is(">") || is(">="))
      refuse("comparisons are not chained; use 'and'");
    return make(Kind::binary, *op, {std::move(left), std::move(right)});
  }
  NodePtr sum() {
    NodePtr left = product();
    for (int length = 0; is("+") || is("-");) {
      const std::string op = token_.text;
      advance();
      left = chained(make(Kind::binary, op, {left, product()}), length);
    }
    return left;
  }
  NodePtr product() {
    NodePtr left = signed_value();
    for (int length = 0; is("*") || is("/") || is("//") || is("%");) {
      const std::string op = token_.text;
      advance();
      left = chained(make(Kind::binary, op, {left, signed_value()}), length);
    }
    return left;
  }
  NodePtr signed_value() {
    const Deeper deeper(*this);
    if (is("-") || is("+")) {
      const std::string op = token_.text;
      advance();
      return make(Kind::unary, op, {signed_value()});
    }
    NodePtr base = suffixed();
    if (take("**")) return make(Kind::binary, "**", {std::move(base), signed_value()});
    return base;
  }
  NodePtr suffixed() {
    NodePtr node = atom();
    for (int length = 0;;) {
      if (take(".")) {
        if (token_.kind != Token::Kind::name) refuse("expected a name after the dot");
        node = chained(make(Kind::member, token_.text, {node}), length);
        advance();
      } else if (take("[")) {
        NodePtr from = is(":") ? nullptr : conditional();
        if (take(":")) {
          NodePtr to = is("]") ? nullptr : conditional();
          node = chained(make(Kind::slice, "", {node, from, to}), length);
        } else {
          node = chained(make(Kind::index, "", {node, from}), length);
        }
        expect("]");
      } else {
        return node;
      }
    }
  }
  NodePtr atom() {
    const Deeper deeper(*this);
    const Token token = token_;
    switch (token.kind) {
      case Token::Kind::number: advance(); return number_value(token);
      case Token::Kind::string: advance(); return constant(token.text);
      case Token::Kind::path: {
        auto path = Path::parse(token.text);
        if (!path) refuse(path.error().message());
        advance();
        auto node = std::make_shared<Node>();
        node->kind = Kind::path;
        node->path = std::move(*path);
        return node;
      }
      case Token::Kind::name: return name(token);
      case Token::Kind::symbol:
        if (take("(")) {
          NodePtr inner = conditional();
          expect(")");
          return inner;
        }
        if (take("[")) return make(Kind::list, "", arguments("]"));
        break;
      case Token::Kind::end: break;
    }
    refuse(token.kind == Token::Kind::end ? "expected a value" : fmt::format("did not expect '{}'", token.text));
  }
  NodePtr number_value(const Token& token) {
    const char *first = token.text.data(), *last = first + token.text.size();
    std::int64_t whole = 0;
    if (const auto [end, error] = std::from_chars(first, last, whole); error == std::errc{} && end == last)
      return constant(whole);
    double real = 0;
    if (const auto [end, error] = std::from_chars(first, last, real); error == std::errc{} && end == last)
      return constant(real);
    refuse(fmt::format("'{}' is not a number", token.text));
  }
  NodePtr name(const Token& token) {
    for (const std::string_view reserved : {"if", "else", "and", "or", "not", "in"})
      if (token.text == reserved) refuse(fmt::format("did not expect '{}'", token.text));
    advance();
    if (token.text == "True" || token.text == "true") return constant(true);
    if (token.text == "False" || token.text == "false") return constant(false);
    if (token.text == "None" || token.text == "null") return constant(nullptr);
    if (!take("(")) return make(Kind::name, token.text, {});
    auto of = arguments(")");
    struct Function {
      std::string_view name;
      std::size_t least, most;
    };
    constexpr Function kFunctions[] = {{"pathsplit", 1, 1}, {"is_present", 1, 1}, {"getattr", 1, 2}, {"len", 1, 1},
                                       {"str", 1, 1},       {"int", 1, 1},        {"float", 1, 1}};
    for (const Function& f : kFunctions)
      if (f.name == token.text) {
        if (of.size() < f.least || of.size() > f.most)
          refuse(fmt::format("{}() takes {} to {} values, not {}", f.name, f.least, f.most, of.size()));
        return make(Kind::call, token.text, std::move(of));
      }
    refuse(fmt::format("there is no function {}()", token.text));
  }
  std::vector<NodePtr> arguments(std::string_view closing) {
    std::vector<NodePtr> of;
    while (!take(closing)) {
      if (!of.empty()) {
        expect(",");
        if (take(closing)) break;
      }
      of.push_back(conditional());
    }
    return of;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Token token_;
  int depth_ = 0;
};
}  // namespace

core::Result<Expression> Expression::parse(std::string_view text) {
  Expression expression;
  expression.text_ = text;
  try {
    expression.root_ = Parser(text).whole();
  } catch (core::Error& e) {
    return tl::unexpected<core::Error>(std::move(e));
  }
  return expression;
}

}  // namespace farfield::services::flow
