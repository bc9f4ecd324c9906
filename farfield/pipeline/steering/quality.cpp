#include "farfield/pipeline/steering/quality.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::pipeline {
namespace {

using core::ErrorCode;
using Json = nlohmann::ordered_json;

constexpr std::size_t kLongestLine = std::size_t{1} << 20, kMostValues = 10'000, kLongestText = 4096;
constexpr int kDeepest = 8;

std::string text_of(const Json& json, const char* field) {
  const auto it = json.find(field);
  if (it == json.end() || !it->is_string()) return {};
  return it->get<std::string>().substr(0, kLongestText);
}

}  // namespace

void add_frames(QualityRecord& record, const FrameTotals& t) {
  const auto add = [&](const char* name, Index n) {
    record.values[std::string("frames.") + name] = static_cast<double>(n);
  };
  add("received", t.received);
  add("processed", t.processed);
  add("dropped", t.dropped);
  add("pending", t.pending);
  add("missing", t.missing);
  add("to_come", t.to_come);
  add("duplicates", t.duplicates);
  if (t.expected >= 0) add("expected", t.expected);
}

std::string to_json(const QualityRecord& r) {
  Json values = Json::object();
  for (const auto& [name, v] : r.values) values[name] = std::isfinite(v) ? Json(v) : Json(nullptr);
  return Json{{"message_type", "quality"}, {"scan", r.scan},     {"technique", r.technique}, {"verb", r.verb},
              {"number", r.number},        {"time_s", r.time_s}, {"last", r.last},           {"values", values}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

core::Result<QualityRecord> parse_quality(std::string_view line) {
  const auto wrong = [](std::string what) { return core::failure(ErrorCode::corrupt_data, std::move(what)); };
  if (line.size() > kLongestLine)
    return wrong(fmt::format("a quality record of {} bytes; at most {} are read", line.size(), kLongestLine));
  // Nothing of ours is nested deeper; what is would cost stack.
  const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= kDeepest; };
  const auto json = Json::parse(line, shallow, false);
  if (json.is_discarded()) return wrong("not JSON");
  if (!json.is_object() || text_of(json, "message_type") != "quality")
    return wrong("not a quality record (an object with message_type \"quality\")");
  QualityRecord out;
  out.scan = text_of(json, "scan");
  out.technique = text_of(json, "technique");
  out.verb = text_of(json, "verb");
  if (const auto it = json.find("number"); it != json.end() && it->is_number_integer())
    out.number = it->get<std::int64_t>();
  if (const auto it = json.find("time_s"); it != json.end() && it->is_number()) out.time_s = it->get<double>();
  if (const auto it = json.find("last"); it != json.end() && it->is_boolean()) out.last = it->get<bool>();
  const auto values = json.find("values");
  if (values == json.end() || !values->is_object()) return wrong("a quality record without an object \"values\"");
  if (values->size() > kMostValues)
    return wrong(fmt::format("a quality record of {} values; at most {} are read", values->size(), kMostValues));
  for (const auto& [name, v] : values->items())
    if (v.is_number()) out.values[name.substr(0, kLongestText)] = v.get<double>();
  return out;
}

}  // namespace farfield::pipeline
