#include "farfield/pipeline/steering/condition.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace farfield::pipeline {

using core::Error;
using core::ErrorCode;

namespace {

constexpr std::size_t kLongestCondition = 4096;
constexpr int kDeepest = 32;
constexpr std::int64_t kTrendRecords = 5, kLongestTrend = 10'000;
constexpr double kTrendPercent = 1;

struct Unit {
  const char* name;
  char kind;  ///< l: length, t: time, p: pixels, r: ratio
  double size;
};
constexpr Unit kUnits[] = {{"m", 'l', 1},      {"mm", 'l', 1e-3}, {"um", 'l', 1e-6}, {"nm", 'l', 1e-9},
                           {"pm", 'l', 1e-12}, {"A", 'l', 1e-10}, {"s", 't', 1},     {"ms", 't', 1e-3},
                           {"us", 't', 1e-6},  {"ns", 't', 1e-9}, {"px", 'p', 1},    {"%", 'r', 0.01}};

const Unit* find_unit(std::string_view name) {
  for (const Unit& unit : kUnits)
    if (name == unit.name) return &unit;
  return nullptr;
}

/// The unit that a value's name ends in.
const Unit* unit_of(std::string_view name) {
  const auto at = name.rfind('_');
  return at == std::string_view::npos ? nullptr : find_unit(name.substr(at + 1));
}

enum class Kind { any, all, negation, last, compare, trend };
enum class Compare { less, less_equal, greater, greater_equal, equal, not_equal };
constexpr std::array<const char*, 6> kCompare{"<", "<=", ">", ">=", "==", "!="};

bool compared(double a, Compare how, double b) {
  switch (how) {
    case Compare::less: return a < b;
    case Compare::less_equal: return a <= b;
    case Compare::greater: return a > b;
    case Compare::greater_equal: return a >= b;
    case Compare::equal: return a == b;
    case Compare::not_equal: return a != b;
  }
  return false;
}

}  // namespace

struct Condition::Node {
  Kind kind = Kind::last;
  std::vector<Node> parts{};
  std::string name{};
  Compare compare = Compare::less;
  double number = 0;
  std::string unit{};
  bool rising = false;  ///< the trend that is not there
  double percent = kTrendPercent;
  std::int64_t records = kTrendRecords;

  std::vector<std::string> names() const {
    std::vector<std::string> out{name};
    if (name == "resolution") out.emplace_back("resolution_half_bit");
    return out;
  }

  /// The value in the unit that the condition is written in, and the name under which it was found.
  std::optional<std::pair<double, std::string>> value(const QualityRecord& record) const {
    const Unit* wanted = find_unit(unit);
    const auto found = [&](const std::string& full, double v) -> std::optional<std::pair<double, std::string>> {
      if (!std::isfinite(v)) return std::nullopt;
      const Unit* own = unit_of(full);
      if (wanted == nullptr) return std::pair(v, full);
      if (wanted->kind == 'r') return std::pair(v / wanted->size, full);
      if (own == nullptr || own->kind != wanted->kind) return std::nullopt;
      return std::pair(v * own->size / wanted->size, full);
    };
    for (const std::string& base : names()) {
      if (const auto it = record.values.find(base); it != record.values.end())
        if (auto v = found(it->first, it->second)) return v;
      for (const Unit& u : kUnits)
        if (const auto it = record.values.find(fmt::format("{}_{}", base, u.name)); it != record.values.end())
          if (auto v = found(it->first, it->second)) return v;
    }
    return std::nullopt;
  }

  bool holds(QualityHistory history, std::string* why) const {
    const auto say = [&](const std::string& text) {
      if (why == nullptr) return;
      if (!why->empty()) why->append("; ");
      why->append(text);
    };
    switch (kind) {
      case Kind::any: {
        for (const Node& part : parts)
          if (std::string own; part.holds(history, &own)) {
            say(own);
            return true;
          }
        return false;
      }
      case Kind::all: {
        std::string all;
        for (const Node& part : parts) {
          if (!part.holds(history, &all)) return false;
        }
        say(all);
        return true;
      }
      case Kind::negation:
        if (parts[0].holds(history, nullptr)) return false;
        say(parts[0].kind == Kind::last ? "the scan goes on" : "the opposite does not hold");
        return true;
      case Kind::last:
        if (!history.back().last) return false;
        say("the scan is over");
        return true;
      case Kind::compare: {
        const auto v = value(history.back());
        if (!v || !compared(v->first, compare, number)) return false;
        say(fmt::format("{} = {:.4g} {} {:.6g}{}{}", v->second, v->first, kCompare[static_cast<std::size_t>(compare)],
                        number, unit.empty() || unit == "%" ? "" : " ", unit));
        return true;
      }
      case Kind::trend: return is_stuck(history, say);
    }
    return false;
  }

  template <class Say>
  bool is_stuck(QualityHistory history, const Say& say) const {
    if (!value(history.back())) return false;
    double recent = std::numeric_limits<double>::infinity(), before = recent;  // of sign * value
    const double sign = rising ? -1 : 1;
    std::int64_t seen = 0;
    std::string full;
    for (auto it = history.rbegin(); it != history.rend(); ++it)
      if (const auto v = value(*it)) {
        if (full.empty()) full = v->second;
        auto& best = seen++ < records ? recent : before;
        best = std::min(best, sign * v->first);
      }
    if (seen <= records) return false;  // too early to tell
    if (recent < before - percent / 100 * std::abs(before)) return false;
    say(fmt::format("{} was {:.4g} at best in the last {} records, {:.4g} before: not {} by {:.4g} %", full,
                    sign * recent, records, sign * before, rising ? "rising" : "falling", percent));
    return true;
  }
};

namespace {

using Node = Condition::Node;

class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) {}

  Node all() {
    auto node = any(0);
    skip();
    if (at_ != text_.size()) fail("`and`, `or` or the end");
    return node;
  }

private:
  Node any(int depth) {
    if (depth > kDeepest) throw Error(ErrorCode::invalid_argument, fmt::format("nested deeper than {}", kDeepest));
    Node node{Kind::any, {}};
    do {
      Node conjunction{Kind::all, {}};
      do conjunction.parts.push_back(factor(depth));
      while (word("and"));
      node.parts.push_back(conjunction.parts.size() == 1 ? std::move(conjunction.parts[0]) : std::move(conjunction));
    } while (word("or"));
    return node.parts.size() == 1 ? std::move(node.parts[0]) : std::move(node);
  }

  Node factor(int depth) {
    if (word("not")) {
      if (depth > kDeepest) throw Error(ErrorCode::invalid_argument, fmt::format("nested deeper than {}", kDeepest));
      Node node{Kind::negation, {}};
      node.parts.push_back(factor(depth + 1));
      return node;
    }
    if (symbol("(")) {
      auto node = any(depth + 1);
      if (!symbol(")")) fail("`)`");
      return node;
    }
    if (word("last")) return {Kind::last, {}};
    const auto name = next_word();
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0 || is_keyword(name))
      fail("the name of a value, `not`, `last` or `(`");
    at_ += name.size();
    Node node{Kind::compare, {}};
    node.name = name;
    if (word("not")) {
      node.kind = Kind::trend;
      trend(node);
    } else {
      comparison(node);
    }
    return node;
  }

  void comparison(Node& node) {
    // Longer ones first.
    for (const auto how : {Compare::less_equal, Compare::greater_equal, Compare::equal, Compare::not_equal,
                           Compare::less, Compare::greater})
      if (symbol(kCompare[static_cast<std::size_t>(how)])) {
        node.compare = how;
        node.number = number();
        skip();
        if (symbol("%")) node.unit = std::string("%");
        else if (const auto unit = next_word(); !unit.empty() && !is_keyword(unit)) {
          if (find_unit(unit) == nullptr) fail("a unit (m mm um nm pm A s ms us ns px %), `and`, `or` or the end");
          node.unit = unit;
          at_ += unit.size();
        }
        return;
      }
    fail("< <= > >= == != or `not improving`");
  }

  void trend(Node& node) {
    if (word("rising")) node.rising = true;
    else if (!word("improving") && !word("falling")) fail("`improving`, `falling` or `rising`");
    if (word("by")) {
      node.percent = number();
      if (!symbol("%")) fail("`%`");
      if (!(node.percent >= 0 && node.percent <= 100)) fail_here("a percentage must be 0 to 100");
    }
    if (word("in")) {
      const double n = number();
      if (!(n >= 1 && n <= static_cast<double>(kLongestTrend) && n == std::floor(n)))
        fail_here(fmt::format("a whole number of records, 1 to {}, is needed", kLongestTrend));
      node.records = static_cast<std::int64_t>(n);
      (void)word("records");
    }
  }

  double number() {
    skip();
    double out = 0;
    const auto* begin = text_.data() + at_;
    const auto result = std::from_chars(begin, text_.data() + text_.size(), out);
    if (result.ec != std::errc{} || !std::isfinite(out)) fail("a number");
    at_ += static_cast<std::size_t>(result.ptr - begin);
    return out;
  }

  static bool is_keyword(std::string_view w) {
    for (const char* k : {"and", "or", "not", "last", "by", "in", "improving", "falling", "rising", "records"})
      if (w == k) return true;
    return false;
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  std::string next_word() {
    skip();
    std::size_t end = at_;
    while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) != 0 || text_[end] == '_' ||
                                  text_[end] == '.' || text_[end] == '-'))
      ++end;
    return std::string(text_.substr(at_, end - at_));
  }
  bool word(std::string_view expected) {
    if (next_word() != expected) return false;
    at_ += expected.size();
    return true;
  }
  bool symbol(std::string_view expected) {
    skip();
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }
  [[noreturn]] void fail(const std::string& expected) {
    skip();
    const auto rest = text_.substr(at_, 20);
    fail_here(fmt::format("{} instead of {}", expected, rest.empty() ? "the end" : fmt::format("`{}`", rest)));
  }
  [[noreturn]] void fail_here(const std::string& what) const {
    throw Error(ErrorCode::invalid_argument, fmt::format("condition `{}`, character {}: {}", text_, at_ + 1, what));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

std::int64_t longest(const Node& node) {
  std::int64_t out = node.kind == Kind::trend ? node.records : 0;
  for (const Node& part : node.parts) out = std::max(out, longest(part));
  return out;
}

}  // namespace

Condition::Condition(std::string_view text) : text_(text) {
  if (text.size() > kLongestCondition)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a condition of {} characters; at most {} are read", text.size(), kLongestCondition));
  root_ = std::make_shared<const Node>(Parser(text_).all());
}

bool Condition::holds(QualityHistory history, std::string* why) const {
  return !history.empty() && root_->holds(history, why);
}

std::int64_t Condition::longest_trend() const { return longest(*root_); }

}  // namespace farfield::pipeline
