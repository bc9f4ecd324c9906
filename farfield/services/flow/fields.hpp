#pragma once
// Reads the members of a JSON object and reports what is wrong with them. Only this room includes it.

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "farfield/services/flow/json.hpp"
#include "farfield/services/flow/path.hpp"
#include "farfield/services/flow/template.hpp"

namespace farfield::services::flow {

class Fields {
public:
  /// `value` and `report` outlive this.
  Fields(const Json& value, std::string pointer, const Report& report)
      : value_(value), pointer_(std::move(pointer)), report_(report) {}

  /// False (and reported) where the value is no object; nothing else may be asked then.
  bool is_object(const char* what) const;
  /// Reports every other name, and which one was probably meant.
  void only(const std::vector<std::string>& names) const;
  const Json* find(const std::string& name) const;
  bool has(const std::string& name) const { return find(name) != nullptr; }
  int count(std::initializer_list<const char*> names) const;

  // Nothing where the member is absent or (reported) of another type or out of range.
  std::optional<std::string> text(const std::string& name, bool required) const;
  std::optional<bool> boolean(const std::string& name) const;
  std::optional<double> number(const std::string& name, double least, double most) const;
  std::optional<std::int64_t> integer(const std::string& name, std::int64_t least, std::int64_t most) const;
  std::optional<Path> path(const std::string& name, bool reference) const;
  std::optional<double> timestamp(const std::string& name) const;
  const Json* list(const std::string& name) const;

private:
  void wrong(const std::string& name, const std::string& what) const;
  const Json& value_;
  std::string pointer_;
  const Report& report_;
};

}  // namespace farfield::services::flow
