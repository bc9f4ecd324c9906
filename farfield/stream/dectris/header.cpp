#include "farfield/stream/dectris/header.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::stream::dectris {

using nlohmann::json;

std::optional<double> number(const Scalars& scalars, const std::string& name) {
  const auto it = scalars.find(name);
  const auto* value = it == scalars.end() ? nullptr : std::get_if<double>(&it->second);
  return value != nullptr && std::isfinite(*value) ? std::optional(*value) : std::nullopt;
}

std::optional<bool> flag(const Scalars& scalars, const std::string& name) {
  const auto it = scalars.find(name);
  if (it == scalars.end()) return std::nullopt;
  if (const auto* value = std::get_if<bool>(&it->second)) return *value;
  if (const auto* value = std::get_if<double>(&it->second)) return *value != 0;  // EIGER1 writes 0 and 1
  return std::nullopt;
}

std::optional<std::string> text(const Scalars& scalars, const std::string& name) {
  const auto it = scalars.find(name);
  const auto* value = it == scalars.end() ? nullptr : std::get_if<std::string>(&it->second);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}

std::optional<double> positive(const Scalars& scalars, const std::string& name) {
  const auto value = number(scalars, name);
  return value && *value > 0 ? value : std::nullopt;
}

void keep(const Scalars& scalars, model::Acquisition& acquisition) {
  for (const auto& [name, value] : scalars) {
    if (name.empty() || name == "." || name == "..") continue;  // no names in a file
    acquisition.metadata.emplace(name, std::visit(
                                           [](const auto& v) -> std::string {
                                             if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>)
                                               return v;
                                             else return fmt::format("{}", v);
                                           },
                                           value));
  }
}

bool read_own_words(const std::string& text, model::Acquisition& a) {
  const auto object = json::parse(text, nullptr, false);
  if (!object.is_object() || !object.contains("farfield") || !object["farfield"].is_object()) return false;
  const auto& words = object["farfield"];
  const auto word = [&](const char* name) {
    const auto it = words.find(name);
    return it != words.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto value = [&](const char* name) -> std::optional<double> {
    const auto it = words.find(name);
    return it != words.end() && it->is_number() && it->get<double>() > 0 ? std::optional(it->get<double>())
                                                                         : std::nullopt;
  };
  if (word("dc") == "corner") a.detector.dc = model::DcLocation::corner;
  if (word("positions") == "metres") a.scan.unit = model::PositionUnit::metres;
  if (word("positions") == "pixels") a.scan.unit = model::PositionUnit::pixels;
  // A simulated scan may lack an energy or a saturation that SIMPLON always has, and be in double precision.
  if (words.contains("energy_eV")) a.beam.energy_eV = value("energy_eV");
  if (words.contains("distance_m")) a.detector.distance_m = value("distance_m");
  if (words.contains("pixel_size_y_m")) a.detector.pixel_size_y_m = value("pixel_size_y_m");
  if (words.contains("pixel_size_x_m")) a.detector.pixel_size_x_m = value("pixel_size_x_m");
  if (words.contains("saturation_counts")) a.detector.saturation_counts = value("saturation_counts");
  if (const auto title = word("title"); !title.empty()) a.title = title;
  return true;
}

std::string own_words(const model::Acquisition& a) {
  nlohmann::ordered_json words;
  const auto put = [&](const char* name, const std::optional<double>& value) {
    words[name] = value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  };
  words["dc"] = a.detector.dc == model::DcLocation::corner ? "corner" : "centre";
  words["positions"] = a.scan.unit == model::PositionUnit::metres   ? "metres"
                       : a.scan.unit == model::PositionUnit::pixels ? "pixels"
                                                                    : "unknown";
  put("energy_eV", a.beam.energy_eV);
  put("distance_m", a.detector.distance_m);
  put("pixel_size_y_m", a.detector.pixel_size_y_m);
  put("pixel_size_x_m", a.detector.pixel_size_x_m);
  put("saturation_counts", a.detector.saturation_counts);
  words["title"] = a.title;
  return nlohmann::ordered_json{{"farfield", words}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

model::Values numbers_of(std::string_view text) {
  model::Values out;
  const auto object = json::parse(text.begin(), text.end(), nullptr, false);
  if (!object.is_object()) return out;
  for (const auto& [name, value] : object.items())
    if (value.is_number() && std::isfinite(value.get<double>())) out.emplace(name, value.get<double>());
  return out;
}

void check_header(const model::Acquisition& acquisition) {
  auto checked = acquisition.clone();
  if (checked.detector.ny < 1) checked.detector.ny = 1;
  if (checked.detector.nx < 1) checked.detector.nx = 1;
  model::validate(checked, "header of the series");
}

}  // namespace farfield::stream::dectris
