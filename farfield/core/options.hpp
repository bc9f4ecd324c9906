#pragma once
// Options are declared once, in a schema beside a plain struct. Command line, JSON Schema, web form,
// configuration file, option table and error messages are all generated from it.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::core {

/// A value as a user gives it. A list of numbers is written `a,b,c` on the command line and as an array in JSON.
using OptionValue = std::variant<bool, std::int64_t, double, std::string, std::vector<double>>;

/// Option name -> value, as read from a command line, a file or JSON. Names use '-' ("probe-modes").
using OptionValues = std::map<std::string, OptionValue>;

enum class OptionType { boolean, integer, real, text, choice, list };

/// What a schema says of one option, apart from its type and default.
struct OptionRules {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices{};  ///< for OptionType::choice
  std::string unit{};                  ///< e.g. "px", "m", "eV"
  std::string group{};                 ///< heading in help and tables
};

struct OptionInfo {
  std::string name;
  OptionType type;
  OptionValue fallback;  ///< the default
  std::string help;
  OptionRules rules;
};

/// Checks and converts `value` for `info`; throws `invalid_argument` that names option, value and what is allowed.
OptionValue check_option(const OptionInfo& info, const OptionValue& value);
/// Parses command-line text for `info`, then checks it.
OptionValue parse_option(const OptionInfo& info, const std::string& text);
/// The known name nearest to `name` by edit distance, if any is near enough to be a slip.
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& known);

/// The options of one verb, without the struct they are bound to.
class OptionSchema {
public:
  const std::vector<OptionInfo>& options() const { return options_; }
  const OptionInfo* find(std::string_view name) const;
  /// Checked values for the given names; throws `invalid_argument` for an unknown name (nearest one suggested).
  OptionValues check(const OptionValues& values) const;
  /// check() with every missing option at its default.
  OptionValues complete(const OptionValues& values) const;
  /// JSON Schema (draft 2020-12) of an object holding these options.
  std::string json_schema(std::string_view title) const;

protected:
  std::vector<OptionInfo> options_;
};

/// JSON object -> values (unchecked) and back. Throws `invalid_argument` for text that is not a flat JSON object.
OptionValues options_from_json(std::string_view json);
std::string options_to_json(const OptionValues& values);
std::string to_text(const OptionValue& value);

/// A schema bound to the members of the plain struct S. Members may be bool, an integer, double/float,
/// std::string, std::vector<double>, or an enum (given by its choices, in the order of its values 0..n-1).
template <class S>
class BoundSchema : public OptionSchema {
public:
  template <class M>
  BoundSchema& add(std::string name, M S::* member, std::string help, OptionRules rules = {}) {
    return add_at<M>(std::move(name), [member](S& s) -> M& { return s.*member; }, std::move(help), std::move(rules));
  }

  /// The same for a member of a member: `access(s)` gives a reference to a value of type M.
  template <class M, class Access>
  BoundSchema& add_at(std::string name, Access access, std::string help, OptionRules rules = {}) {
    S defaults{};
    if (find(name) != nullptr) throw Error(ErrorCode::internal, "option " + name + " is declared twice");
    if constexpr (std::is_integral_v<M> && !std::is_same_v<M, bool>) {
      // What the member cannot hold is out of range, whether or not the rules say so.
      constexpr bool kNarrow = sizeof(M) < sizeof(std::int64_t);
      if constexpr (kNarrow || std::is_unsigned_v<M>)
        rules.min = std::max(rules.min, static_cast<double>(std::numeric_limits<M>::min()));
      if constexpr (kNarrow) rules.max = std::min(rules.max, static_cast<double>(std::numeric_limits<M>::max()));
    }
    setters_[name] = [access, rules](S& s, const OptionValue& v) { write_value<M>(access(s), v, rules); };
    getters_[name] = [access, rules](const S& s) { return read_value<M>(access(const_cast<S&>(s)), rules); };
    OptionValue value = read_value<M>(access(defaults), rules);
    options_.push_back({std::move(name), type_of<M>(), std::move(value), std::move(help), std::move(rules)});
    return *this;
  }

  /// A struct from values; missing options keep their default. Throws as check() does.
  S make(const OptionValues& values) const {
    S s{};
    for (const auto& [name, value] : check(values)) setters_.at(name)(s, value);
    return s;
  }
  OptionValues values(const S& s) const {
    OptionValues out;
    for (const auto& [name, get] : getters_) out[name] = get(s);
    return out;
  }

private:
  template <class M>
  static constexpr OptionType type_of() {
    if constexpr (std::is_same_v<M, bool>) return OptionType::boolean;
    else if constexpr (std::is_enum_v<M>) return OptionType::choice;
    else if constexpr (std::is_integral_v<M>) return OptionType::integer;
    else if constexpr (std::is_floating_point_v<M>) return OptionType::real;
    else if constexpr (std::is_same_v<M, std::vector<double>>) return OptionType::list;
    else return OptionType::text;
  }
  template <class M>
  static OptionValue read_value(const M& m, const OptionRules& rules) {
    if constexpr (std::is_same_v<M, bool>) return m;
    else if constexpr (std::is_enum_v<M>) return rules.choices.at(static_cast<std::size_t>(m));
    else if constexpr (std::is_integral_v<M>) return static_cast<std::int64_t>(m);
    else if constexpr (std::is_floating_point_v<M>) return static_cast<double>(m);
    else return m;
  }
  template <class M>
  static void write_value(M& m, const OptionValue& v, const OptionRules& rules) {
    if constexpr (std::is_same_v<M, bool>) m = std::get<bool>(v);
    else if constexpr (std::is_enum_v<M>) {
      const auto& word = std::get<std::string>(v);
      for (std::size_t i = 0; i < rules.choices.size(); ++i)
        if (rules.choices[i] == word) m = static_cast<M>(i);
    } else if constexpr (std::is_integral_v<M>) m = static_cast<M>(std::get<std::int64_t>(v));
    else if constexpr (std::is_floating_point_v<M>) m = static_cast<M>(std::get<double>(v));
    else m = std::get<M>(v);
  }

  std::map<std::string, std::function<void(S&, const OptionValue&)>> setters_;
  std::map<std::string, std::function<OptionValue(const S&)>> getters_;
};

}  // namespace farfield::core
