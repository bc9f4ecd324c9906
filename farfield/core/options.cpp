#include "farfield/core/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

namespace farfield::core {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string allowed(const OptionInfo& info) {
  const auto& r = info.rules;
  const std::string unit = r.unit.empty() ? "" : " " + r.unit;
  switch (info.type) {
    case OptionType::boolean: return "true or false";
    case OptionType::choice: return "one of " + join(r.choices);
    case OptionType::text: return "text";
    default: break;
  }
  const std::string kind = info.type == OptionType::integer ? "a whole number"
                           : info.type == OptionType::list  ? "a list of numbers"
                                                            : "a number";
  const bool low = std::isfinite(r.min), high = std::isfinite(r.max);
  if (low && high) return fmt::format("{} from {} to {}{}", kind, r.min, r.max, unit);
  if (low) return fmt::format("{} >= {}{}", kind, r.min, unit);
  if (high) return fmt::format("{} <= {}{}", kind, r.max, unit);
  return kind + unit;
}

[[noreturn]] void refuse(const OptionInfo& info, const OptionValue& value) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("option {} = {} must be {}", info.name, to_text(value), allowed(info)));
}

bool in_range(const OptionRules& rules, double v) { return v >= rules.min && v <= rules.max; }

/// All of `text` as a number, without leading or trailing anything.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T v{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (ec != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return v;
}

nlohmann::json to_json(const OptionValue& value) {
  return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

}  // namespace

std::string to_text(const OptionValue& value) {
  if (const auto* s = std::get_if<std::string>(&value)) return *s;
  if (const auto* list = std::get_if<std::vector<double>>(&value)) return fmt::format("{}", fmt::join(*list, ","));
  return to_json(value).dump();
}

OptionValue check_option(const OptionInfo& info, const OptionValue& value) {
  switch (info.type) {
    case OptionType::boolean:
      if (!std::holds_alternative<bool>(value)) refuse(info, value);
      return value;
    case OptionType::integer: {
      std::int64_t v = 0;
      if (const auto* i = std::get_if<std::int64_t>(&value)) v = *i;
      else if (const auto* d = std::get_if<double>(&value); d != nullptr && *d == std::floor(*d) && std::abs(*d) < 9e15)
        v = static_cast<std::int64_t>(*d);
      else refuse(info, value);
      if (!in_range(info.rules, static_cast<double>(v))) refuse(info, value);
      return v;
    }
    case OptionType::real: {
      double v = 0;
      if (const auto* d = std::get_if<double>(&value)) v = *d;
      else if (const auto* i = std::get_if<std::int64_t>(&value)) v = static_cast<double>(*i);
      else refuse(info, value);
      if (!std::isfinite(v) || !in_range(info.rules, v)) refuse(info, value);
      return v;
    }
    case OptionType::list: {
      std::vector<double> list;
      if (const auto* l = std::get_if<std::vector<double>>(&value)) list = *l;
      else if (const auto* d = std::get_if<double>(&value)) list = {*d};
      else if (const auto* i = std::get_if<std::int64_t>(&value)) list = {static_cast<double>(*i)};
      else refuse(info, value);
      for (const double v : list)
        if (!std::isfinite(v) || !in_range(info.rules, v)) refuse(info, value);
      return list;
    }
    case OptionType::choice: {
      const auto* word = std::get_if<std::string>(&value);
      if (word == nullptr) refuse(info, value);
      if (std::find(info.rules.choices.begin(), info.rules.choices.end(), *word) == info.rules.choices.end()) {
        const auto near = nearest_name(*word, info.rules.choices);
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("option {} = {} must be {}{}", info.name, *word, allowed(info),
                                near ? "; did you mean " + *near + "?" : ""));
      }
      return value;
    }
    case OptionType::text:
      if (!std::holds_alternative<std::string>(value)) refuse(info, value);
      return value;
  }
  return value;
}

OptionValue parse_option(const OptionInfo& info, const std::string& text) {
  switch (info.type) {
    case OptionType::boolean:
      if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
      if (text == "false" || text == "0" || text == "no" || text == "off") return false;
      refuse(info, text);
    case OptionType::integer:
      // Exactly where possible: a double holds only 53 bits of a seed. "1e6" is a whole number, too.
      if (const auto v = parse_number<std::int64_t>(text)) return check_option(info, *v);
      [[fallthrough]];
    case OptionType::real: {
      const auto v = parse_number<double>(text);
      if (!v) refuse(info, text);
      return check_option(info, *v);
    }
    case OptionType::list: {
      std::vector<double> list;
      for (std::size_t at = 0; at <= text.size() && !text.empty();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const auto v = parse_number<double>(std::string_view(text).substr(at, comma - at));
        if (!v) refuse(info, text);
        list.push_back(*v);
        at = comma + 1;
      }
      return check_option(info, list);
    }
    case OptionType::choice:
    case OptionType::text: return check_option(info, text);
  }
  return text;
}

std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::optional<std::string> best;
  // In a short name, two slips leave nothing of it.
  std::size_t best_distance = (name.size() <= 3 ? 1 : std::max<std::size_t>(2, name.size() / 3)) + 1;
  for (const auto& candidate : known) {
    // Levenshtein distance, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= name.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t above = row[j];
        row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (name[i - 1] == candidate[j - 1] ? 0U : 1U)});
        diagonal = above;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

const OptionInfo* OptionSchema::find(std::string_view name) const {
  for (const auto& info : options_)
    if (info.name == name) return &info;
  return nullptr;
}

OptionValues OptionSchema::check(const OptionValues& values) const {
  OptionValues out;
  for (const auto& [name, value] : values) {
    const OptionInfo* info = find(name);
    if (info == nullptr) {
      std::vector<std::string> known;
      for (const auto& option : options_) known.push_back(option.name);
      const auto near = nearest_name(name, known);
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("unknown option {}{}", name, near ? "; did you mean " + *near + "?" : ""));
    }
    out[name] = check_option(*info, value);
  }
  return out;
}

OptionValues OptionSchema::complete(const OptionValues& values) const {
  OptionValues out = check(values);
  for (const auto& info : options_) out.try_emplace(info.name, info.fallback);
  return out;
}

std::string OptionSchema::json_schema(std::string_view title) const {
  nlohmann::ordered_json properties = nlohmann::ordered_json::object();
  for (const auto& info : options_) {
    nlohmann::ordered_json p;
    const auto number = [&](double v) -> nlohmann::ordered_json {
      if (info.type == OptionType::integer && std::abs(v) < 9e15) return static_cast<std::int64_t>(v);
      return v;
    };
    const auto bounds = [&](nlohmann::ordered_json& target) {
      if (std::isfinite(info.rules.min)) target["minimum"] = number(info.rules.min);
      if (std::isfinite(info.rules.max)) target["maximum"] = number(info.rules.max);
    };
    switch (info.type) {
      case OptionType::boolean: p["type"] = "boolean"; break;
      case OptionType::integer:
        p["type"] = "integer";
        bounds(p);
        break;
      case OptionType::real:
        p["type"] = "number";
        bounds(p);
        break;
      case OptionType::text: p["type"] = "string"; break;
      case OptionType::choice:
        p["type"] = "string";
        p["enum"] = info.rules.choices;
        break;
      case OptionType::list:
        p["type"] = "array";
        p["items"]["type"] = "number";
        bounds(p["items"]);
        break;
    }
    p["default"] = to_json(info.fallback);
    p["description"] = info.help;
    if (!info.rules.unit.empty()) p["x-unit"] = info.rules.unit;
    if (!info.rules.group.empty()) p["x-group"] = info.rules.group;
    properties[info.name] = std::move(p);
  }
  nlohmann::ordered_json schema;
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = title;
  schema["type"] = "object";
  schema["properties"] = std::move(properties);
  schema["additionalProperties"] = false;
  return schema.dump(2);
}

OptionValues options_from_json(std::string_view json) {
  nlohmann::json parsed;
  try {
    parsed = nlohmann::json::parse(json);
  } catch (const nlohmann::json::parse_error& e) {
    throw Error(ErrorCode::invalid_argument, fmt::format("options must be valid JSON; error at byte {}", e.byte));
  }
  if (!parsed.is_object())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("options must be one JSON object, not {}", parsed.type_name()));
  constexpr std::uint64_t kMostInteger = std::numeric_limits<std::int64_t>::max();
  OptionValues out;
  for (const auto& [name, v] : parsed.items()) {
    if (v.is_boolean()) out[name] = v.get<bool>();
    else if (v.is_number_integer() && !(v.is_number_unsigned() && v.get<std::uint64_t>() > kMostInteger))
      out[name] = v.get<std::int64_t>();
    else if (v.is_number()) out[name] = v.get<double>();
    else if (v.is_string()) out[name] = v.get<std::string>();
    else if (v.is_array() && std::all_of(v.begin(), v.end(), [](const auto& e) { return e.is_number(); }))
      out[name] = v.get<std::vector<double>>();
    else
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("option {} = {} must be a boolean, a number, text or a list of numbers", name, v.dump()));
  }
  return out;
}

std::string options_to_json(const OptionValues& values) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) out[name] = to_json(value);
  // Text from a command line need not be UTF-8; JSON must be.
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace farfield::core
