#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"
#include "farfield/core/options.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/recipe/recipe.hpp"
#include "farfield/io/recipe/shipped.hpp"
#include "farfield/io/toml.hpp"
#include "farfield/io/units.hpp"

namespace farfield::io::recipe {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// A table whose keys are taken one by one; what is left at the end is not known.
class Table {
public:
  Table(const toml::table& table, std::string name, const std::string& source)
      : table_(&table), name_(std::move(name)), source_(&source) {}

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    const auto* node = table_->get(key);
    const auto line = node != nullptr ? node->source().begin.line : table_->source().begin.line;
    throw Error(ErrorCode::invalid_argument, fmt::format("{}{}: {}", name_.empty() ? "" : name_ + ".", key, what))
        .at(fmt::format("{}, line {}", *source_, line));
  }

  template <class T>
  std::optional<T> take(const std::string& key, const char* kind) {
    known_.push_back(key);
    const auto* node = table_->get(key);
    if (node == nullptr) return std::nullopt;
    if (const auto value = node->value<T>()) return *value;
    fail(key, fmt::format("must be {}", kind));
  }
  std::string text(const std::string& key, const std::string& fallback = "") {
    return take<std::string>(key, "a text").value_or(fallback);
  }
  std::optional<double> number(const std::string& key) { return take<double>(key, "a number"); }
  Index integer(const std::string& key, Index fallback) {
    const auto value = take<std::int64_t>(key, "a whole number >= 0");
    if (value && (*value < 0 || *value > (1 << 30))) fail(key, "must be a whole number >= 0");
    return value.value_or(fallback);
  }
  bool flag(const std::string& key, bool fallback = false) {
    return take<bool>(key, "true or false").value_or(fallback);
  }
  std::optional<Table> table(const std::string& key) {
    known_.push_back(key);
    const auto* node = table_->get(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_table()) fail(key, "must be a table");
    return Table(*node->as_table(), name_.empty() ? key : name_ + "." + key, *source_);
  }
  std::vector<std::string> texts(const std::string& key) {
    known_.push_back(key);
    std::vector<std::string> out;
    const auto* node = table_->get(key);
    if (node == nullptr) return out;
    if (!node->is_array()) fail(key, "must be a list of texts");
    for (const auto& item : *node->as_array()) {
      const auto value = item.value<std::string>();
      if (!value) fail(key, "must be a list of texts");
      out.push_back(*value);
    }
    return out;
  }
  bool has(const std::string& key) const { return table_->contains(key); }
  std::vector<std::string> keys() const {
    std::vector<std::string> out;
    for (const auto& [key, node] : *table_) out.emplace_back(key.str());
    return out;
  }
  /// Throws for keys that nobody took.
  void finish() const {
    for (const auto& key : keys())
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        const auto near = core::nearest_name(key, known_);
        fail(key, near ? fmt::format("is not known; did you mean {}?", *near)
                       : fmt::format("is not known; known are {}", fmt::join(known_, ", ")));
      }
  }

private:
  const toml::table* table_;
  std::string name_;
  const std::string* source_;
  std::vector<std::string> known_;
};

enum class Kind { length, energy, plain };

void check_unit(const Table& t, const std::string& unit, Kind kind, const std::string& key = "unit") {
  if (unit.empty()) return;
  if (kind == Kind::length && !metres_per(unit))
    t.fail(key, fmt::format("\"{}\" is not a length (m, mm, um, nm ...)", unit));
  if (kind == Kind::energy && !electronvolts_per(unit))
    t.fail(key, fmt::format("\"{}\" is not an energy (eV, keV, J)", unit));
  if (kind == Kind::plain) t.fail(key, "has no unit");
}

Quantity read_quantity(Table& t, Kind kind) {
  Quantity q;
  q.file = t.text("file");
  q.path = t.text("path");
  q.value = t.number("value");
  q.unit = t.text("unit");
  q.scale = t.number("scale").value_or(1);
  q.offset = t.number("offset").value_or(0);
  q.optional = t.flag("optional");
  check_unit(t, q.unit, kind);
  if (q.path.empty() == !q.value.has_value()) t.fail("path", "either path or value must be given");
  return q;
}

std::optional<Quantity> take_quantity(Table& parent, const std::string& key, Kind kind) {
  auto t = parent.table(key);
  if (!t) return std::nullopt;
  const Quantity q = read_quantity(*t, kind);
  t->finish();
  return q;
}

Axis read_axis(Table& positions, const std::string& key, bool table) {
  auto t = positions.table(key);
  if (!t) positions.fail(key, "must be given");
  Axis a;
  if (table) {
    if (!t->has("column")) t->fail("column", "must be given, since the positions are in a table");
    a.column = static_cast<int>(t->integer("column", -1));
    a.quantity.scale = t->number("scale").value_or(1);
    a.quantity.offset = t->number("offset").value_or(0);
  } else {
    a.axis = static_cast<int>(t->integer("axis", -1));
    a.index = t->integer("index", -1);
    if ((a.axis < 0) != (a.index < 0)) t->fail("axis", "axis and index go together");
    a.quantity = read_quantity(*t, Kind::plain);
    if (a.quantity.value) t->fail("value", "positions must come from a dataset");
  }
  t->finish();
  return a;
}

Positions read_positions(Table& t) {
  Positions p;
  p.unit = t.text("unit", "m");
  if (!is_pixel_unit(p.unit)) check_unit(t, p.unit, Kind::length);
  p.raster = t.flag("raster");
  p.table = t.text("table");
  p.group_column = static_cast<int>(t.integer("group_column", -1));
  p.first_group = t.integer("first_group", 0);
  if (p.group_column >= 0 && p.table.empty()) t.fail("group_column", "is for tables only");
  p.y = read_axis(t, "y", !p.table.empty());
  p.x = read_axis(t, "x", !p.table.empty());
  p.divide_by = take_quantity(t, "divide_by", Kind::length);
  if (p.divide_by && is_pixel_unit(p.unit)) t.fail("divide_by", "positions in pixels need no pixel size");
  t.finish();
  return p;
}

void check_files(const Recipe& r, const std::string& source) {
  std::vector<std::string> names;
  for (const auto& [name, file] : r.files) names.push_back(name);
  const auto check = [&](const std::string& name) {
    if (name.empty() || r.files.count(name) > 0) return;
    std::string message = fmt::format("file \"{}\" is not in [files]", name);
    if (const auto near = core::nearest_name(name, names)) message += fmt::format("; did you mean {}?", *near);
    throw Error(ErrorCode::invalid_argument, message).at(source);
  };
  check(r.frames.file);
  for (const auto* q : {&r.energy, &r.wavelength, &r.distance, &r.pixel_size, &r.pixel_size_y, &r.pixel_size_x,
                        &r.saturation, &r.mask, &r.probe, &r.object, &r.background})
    if (*q) check((*q)->file);
  for (const auto& [key, q] : r.metadata) check(q.file);
  if (r.positions) {
    check(r.positions->table);
    check(r.positions->y.quantity.file);
    check(r.positions->x.quantity.file);
    if (r.positions->divide_by) check(r.positions->divide_by->file);
  }
}
}  // namespace

Recipe parse(const std::string& text, const std::string& source) {
  const toml::table root = parse_toml(text, source, "a recipe");
  Table t(root, "", source);
  Recipe r;
  r.name = t.text("name");
  r.summary = t.text("summary");
  r.detect = t.texts("detect");
  if (auto files = t.table("files")) {
    for (const auto& name : files->keys()) {
      auto one = files->table(name);
      OtherFile f{one->text("name"), one->text("replace"), one->text("with")};
      if (f.name.empty() == f.replace.empty()) one->fail("name", "either name or replace must be given");
      one->finish();
      r.files[name] = std::move(f);
    }
    files->finish();
  }
  auto frames = t.table("frames");
  if (!frames) t.fail("frames", "must be given");
  const std::string dc = frames->text("dc", "centre");
  if (dc != "centre" && dc != "corner") frames->fail("dc", fmt::format("\"{}\" must be centre or corner", dc));
  r.dc = dc == "corner" ? model::DcLocation::corner : model::DcLocation::centre;
  r.transform = {frames->flag("transpose"), frames->flag("flip_y"), frames->flag("flip_x"), frames->flag("amplitude")};
  r.frames.path = frames->text("path");
  r.frames.file = frames->text("file");
  if (r.frames.path.empty()) frames->fail("path", "must be given");
  frames->finish();
  r.energy = take_quantity(t, "energy", Kind::energy);
  r.wavelength = take_quantity(t, "wavelength", Kind::length);
  if (r.energy && r.wavelength) t.fail("wavelength", "energy is given already");
  r.distance = take_quantity(t, "distance", Kind::length);
  r.pixel_size = take_quantity(t, "pixel_size", Kind::length);
  r.pixel_size_y = take_quantity(t, "pixel_size_y", Kind::length);
  r.pixel_size_x = take_quantity(t, "pixel_size_x", Kind::length);
  r.saturation = take_quantity(t, "saturation", Kind::plain);
  if (auto mask = t.table("mask")) {
    const auto good = mask->integer("good", 0);
    if (good > 1) mask->fail("good", "must be 0 or 1: the value of good pixels");
    r.mask_good_is_zero = good == 0;
    r.mask = read_quantity(*mask, Kind::plain);
    mask->finish();
  }
  r.probe = take_quantity(t, "probe", Kind::plain);
  r.object = take_quantity(t, "object", Kind::plain);
  r.background = take_quantity(t, "background", Kind::plain);
  if (auto positions = t.table("positions")) r.positions = read_positions(*positions);
  if (auto metadata = t.table("metadata")) {
    for (const auto& key : metadata->keys()) {
      auto one = metadata->table(key);
      Quantity q{one->text("file"), one->text("path")};
      if (q.path.empty()) one->fail("path", "must be given");
      one->finish();
      r.metadata[key] = std::move(q);
    }
    metadata->finish();
  }
  t.finish();
  check_files(r, source);
  return r;
}

Recipe load(const std::string& name_or_path) {
  for (const auto& s : shipped())
    if (s.name == name_or_path) return parse(std::string(s.text), std::string(s.name));
  std::error_code ignored;
  if (std::filesystem::is_regular_file(name_or_path, ignored)) {
    const auto bytes = read_file(name_or_path, 1 << 20);
    return parse(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), name_or_path);
  }
  return parse(recipe_text(name_or_path), name_or_path);  // says that there is none
}

}  // namespace farfield::io::recipe

namespace farfield::io {

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const auto& s : recipe::shipped()) names.emplace_back(s.name);
  return names;
}

std::string recipe_text(const std::string& name) {
  for (const auto& s : recipe::shipped())
    if (s.name == name) return std::string(s.text);
  const auto names = recipe_names();
  std::string message =
      fmt::format("there is no recipe \"{}\", neither a file nor one of: {}", name, fmt::join(names, ", "));
  if (const auto near = core::nearest_name(name, names)) message += fmt::format("; did you mean {}?", *near);
  throw core::Error(core::ErrorCode::not_found, message);
}

}  // namespace farfield::io
