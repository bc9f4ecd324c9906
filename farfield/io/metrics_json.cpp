#include "farfield/io/metrics_json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::io {

namespace {
using Json = nlohmann::ordered_json;

Json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  // Counts read better without ".0".
  if (value == std::trunc(value) && std::abs(value) < 9e15) return static_cast<std::int64_t>(value);
  return value;
}

Json provenance_value(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\n");
  if (first != std::string::npos && (text[first] == '{' || text[first] == '[')) {
    auto parsed = Json::parse(text, nullptr, false);
    if (!parsed.is_discarded()) return parsed;
  }
  return text;
}
}  // namespace

std::string metrics_json(const model::Product& product) {
  Json out;
  out["technique"] = product.technique;
  out["verb"] = product.verb;
  out["metrics"] = Json::object();
  for (const auto& [name, value] : product.metrics) out["metrics"][name] = number(value);
  if (product.pixel_size_y_m) out["pixel_size_y_m"] = number(*product.pixel_size_y_m);
  if (product.pixel_size_x_m) out["pixel_size_x_m"] = number(*product.pixel_size_x_m);
  if (product.energy_eV) out["energy_eV"] = number(*product.energy_eV);
  out["provenance"] = Json::object();
  for (const auto& [name, value] : product.provenance) out["provenance"][name] = provenance_value(value);
  out["datasets"] = Json::array();
  for (const auto& d : product.datasets) {
    Json entry{{"name", d.name},
               {"dtype", core::name(d.rows != nullptr ? d.rows->dtype() : d.data.dtype())},
               {"shape", d.rows != nullptr ? d.rows->shape() : d.data.shape()}};
    if (!d.unit.empty()) entry["unit"] = d.unit;
    if (!d.axes.empty()) entry["axes"] = d.axes;
    out["datasets"].push_back(std::move(entry));
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace farfield::io
