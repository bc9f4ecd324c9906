#include "farfield/io/units.hpp"

#include <algorithm>
#include <cctype>
#include <map>

#include "farfield/model/acquisition.hpp"

namespace farfield::io {
namespace {
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<double> look_up(const std::map<std::string, double>& table, const std::string& unit) {
  if (const auto exact = table.find(unit); exact != table.end()) return exact->second;
  return std::nullopt;
}
}  // namespace

std::optional<double> metres_per(const std::string& unit) {
  static const std::map<std::string, double> exact{
      {"m", 1},      {"mm", 1e-3}, {"cm", 1e-2},        {"um", 1e-6},        {"nm", 1e-9},
      {"pm", 1e-12}, {"A", 1e-10}, {"\xc2\xb5m", 1e-6}, {"\xce\xbcm", 1e-6}, {"\xc3\x85", 1e-10}};
  static const std::map<std::string, double> words{
      {"metre", 1},         {"metres", 1},       {"meter", 1},        {"meters", 1},        {"millimeter", 1e-3},
      {"millimetre", 1e-3}, {"micron", 1e-6},    {"microns", 1e-6},   {"micrometer", 1e-6}, {"micrometre", 1e-6},
      {"nanometer", 1e-9},  {"nanometre", 1e-9}, {"angstrom", 1e-10}, {"angstroms", 1e-10}, {"ang", 1e-10}};
  if (const auto factor = look_up(exact, unit)) return factor;
  return look_up(words, lower(unit));
}

std::optional<double> electronvolts_per(const std::string& unit) {
  static const std::map<std::string, double> words{{"ev", 1},
                                                   {"kev", 1e3},
                                                   {"mev", 1e6},
                                                   {"j", 1 / model::kJoulePerEv},
                                                   {"joule", 1 / model::kJoulePerEv},
                                                   {"joules", 1 / model::kJoulePerEv}};
  return look_up(words, lower(unit));
}

bool is_pixel_unit(const std::string& unit) {
  const std::string u = lower(unit);
  return u == "px" || u == "pixel" || u == "pixels";
}

}  // namespace farfield::io
