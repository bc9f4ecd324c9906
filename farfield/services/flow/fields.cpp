#include "farfield/services/flow/fields.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/core/options.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::services::flow {

void Fields::wrong(const std::string& name, const std::string& what) const {
  report_(pointer_ + "/" + pointer_part(name), what);
}

bool Fields::is_object(const char* what) const {
  if (value_.is_object()) return true;
  report_(pointer_, fmt::format("{} must be an object, not {}", what, value_.type_name()));
  return false;
}

void Fields::only(const std::vector<std::string>& names) const {
  for (const auto& [name, ignored] : value_.items()) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const auto nearest = core::nearest_name(name, names);
    wrong(name, fmt::format("'{}' does not belong here{}", name,
                            nearest ? fmt::format("; did you mean '{}'?", *nearest) : ""));
  }
}

const Json* Fields::find(const std::string& name) const {
  if (!value_.is_object()) return nullptr;
  const auto found = value_.find(name);
  return found == value_.end() ? nullptr : &*found;
}

int Fields::count(std::initializer_list<const char*> names) const {
  return static_cast<int>(std::count_if(names.begin(), names.end(), [&](const char* name) { return has(name); }));
}

std::optional<std::string> Fields::text(const std::string& name, bool required) const {
  const Json* v = find(name);
  if (v == nullptr && required) report_(pointer_, fmt::format("{} is missing", name));
  if (v == nullptr) return std::nullopt;
  if (v->is_string() && (!required || !v->get_ref<const std::string&>().empty())) return v->get<std::string>();
  wrong(name, v->is_string() ? "must not be empty" : fmt::format("must be a string, not {}", v->type_name()));
  return std::nullopt;
}

std::optional<bool> Fields::boolean(const std::string& name) const {
  const Json* v = find(name);
  if (v == nullptr) return std::nullopt;
  if (v->is_boolean()) return v->get<bool>();
  wrong(name, fmt::format("must be true or false, not {}", v->type_name()));
  return std::nullopt;
}

std::optional<double> Fields::number(const std::string& name, double least, double most) const {
  const Json* v = find(name);
  if (v == nullptr) return std::nullopt;
  if (v->is_number() && v->get<double>() >= least && v->get<double>() <= most) return v->get<double>();
  wrong(name,
        fmt::format("{} must be a number from {} to {}", v->is_number() ? v->dump() : v->type_name(), least, most));
  return std::nullopt;
}

std::optional<std::int64_t> Fields::integer(const std::string& name, std::int64_t least, std::int64_t most) const {
  const auto v = number(name, static_cast<double>(least), static_cast<double>(most));
  if (!v) return std::nullopt;
  if (*v == static_cast<double>(static_cast<std::int64_t>(*v))) return static_cast<std::int64_t>(*v);
  wrong(name, fmt::format("{} must be a whole number", *v));
  return std::nullopt;
}

std::optional<Path> Fields::path(const std::string& name, bool reference) const {
  const Json* v = find(name);
  if (v == nullptr) return std::nullopt;
  if (!v->is_string()) {
    wrong(name, fmt::format("must be a path as \"$.name\", not {}", v->type_name()));
    return std::nullopt;
  }
  auto path = Path::parse(v->get_ref<const std::string&>());
  if (!path) wrong(name, path.error().message());
  else if (reference && !path->is_reference())
    wrong(name, fmt::format("path '{}' must name one place, without *", path->text()));
  else return std::move(*path);
  return std::nullopt;
}

std::optional<double> Fields::timestamp(const std::string& name) const {
  const Json* v = find(name);
  if (v == nullptr) return std::nullopt;
  if (v->is_string())
    if (const auto time = parse_timestamp(v->get_ref<const std::string&>())) return time;
  wrong(name, "must be a time as 2026-03-14T01:59:00Z");
  return std::nullopt;
}

const Json* Fields::list(const std::string& name) const {
  const Json* v = find(name);
  if (v == nullptr || v->is_array()) return v;
  wrong(name, fmt::format("must be a list, not {}", v->type_name()));
  return nullptr;
}

}  // namespace farfield::services::flow
