#include "farfield/services/flow/forms.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;
constexpr std::size_t kLongest = 256 << 20;

/// Members of what a service answered.
class Answer {
public:
  explicit Answer(std::string_view text) {
    try {
      value_ = parse_json(text, "the answer", kLongest);
    } catch (const Error& e) {
      throw Error(ErrorCode::corrupt_data, e.message());
    }
    if (!value_.is_object()) throw Error(ErrorCode::corrupt_data, "the answer is no JSON object");
  }
  const Json& value() const { return value_; }
  const Json& member(const char* name, Json::value_t type) const {
    const auto found = value_.find(name);
    const bool fits =
        found != value_.end() && (found->type() == type || (type == Json::value_t::number_float && found->is_number()));
    if (!fits)
      throw Error(ErrorCode::corrupt_data, fmt::format("the answer's '{}' is missing or of another kind", name));
    return *found;
  }
  std::string text(const char* name) const { return member(name, Json::value_t::string).get<std::string>(); }
  double number(const char* name) const { return member(name, Json::value_t::number_float).get<double>(); }
  std::int64_t integer(const char* name) const {
    const Json& found = member(name, Json::value_t::number_float);
    if (!found.is_number_integer()) throw Error(ErrorCode::corrupt_data, fmt::format("'{}' must be an integer", name));
    return found.get<std::int64_t>();
  }
  double time(const char* name) const {
    const auto given = parse_timestamp(text(name));
    if (!given) throw Error(ErrorCode::corrupt_data, fmt::format("'{}' must be a time", name));
    return *given;
  }
  std::vector<std::string> list(const char* name) const {
    std::vector<std::string> out;
    for (const Json& one : member(name, Json::value_t::array)) {
      if (!one.is_string()) throw Error(ErrorCode::corrupt_data, fmt::format("'{}' must hold strings", name));
      out.push_back(one.get<std::string>());
    }
    return out;
  }

private:
  Json value_;
};
}  // namespace

std::string to_json(const FlowRecord& flow) {
  Json out{{"id", flow.id},
           {"version", flow.version},
           {"title", flow.title},
           {"owner", flow.owner},
           {"viewers", flow.viewers},
           {"starters", flow.starters},
           {"administrators", flow.administrators},
           {"created", format_timestamp(flow.created_at_s)}};
  if (!flow.identity.empty()) out["identity"] = flow.identity;
  if (!flow.definition.empty()) out["definition"] = Json::parse(flow.definition);
  if (!flow.input_schema.empty()) out["input_schema"] = Json::parse(flow.input_schema);
  return to_text(out);
}

FlowRecord flow_from_json(std::string_view json) {
  const Answer answer(json);
  FlowRecord out;
  out.id = answer.text("id");
  out.version = answer.integer("version");
  out.title = answer.text("title");
  out.owner = answer.text("owner");
  out.viewers = answer.list("viewers");
  out.starters = answer.list("starters");
  out.administrators = answer.list("administrators");
  out.created_at_s = answer.time("created");
  if (answer.value().contains("identity")) out.identity = answer.text("identity");
  if (answer.value().contains("definition")) out.definition = to_text(answer.value()["definition"]);
  if (answer.value().contains("input_schema")) out.input_schema = to_text(answer.value()["input_schema"]);
  return out;
}

std::string to_json(const RunRecord& run) {
  Json identities = Json::object();
  for (const auto& [run_as, one] : run.identities) identities[run_as] = one.subject;
  return to_text({{"id", run.id},
                  {"flow", run.flow_id},
                  {"flow_version", run.flow_version},
                  {"label", run.label},
                  {"tags", run.tags},
                  {"owner", run.owner},
                  {"managers", run.managers},
                  {"monitors", run.monitors},
                  {"status", name_of(run.status)},
                  {"states", run.states},
                  {"error", run.error},
                  {"cause", run.cause},
                  {"identities", std::move(identities)},
                  {"started", format_timestamp(run.started_at_s)},
                  {"updated", format_timestamp(run.updated_at_s)},
                  {"events", run.events}});
}

RunRecord run_from_json(std::string_view json) {
  const Answer answer(json);
  RunRecord out;
  out.id = answer.text("id");
  out.flow_id = answer.text("flow");
  out.flow_version = answer.integer("flow_version");
  out.label = answer.text("label");
  out.tags = answer.list("tags");
  out.owner = answer.text("owner");
  out.managers = answer.list("managers");
  out.monitors = answer.list("monitors");
  out.status = run_status(answer.text("status"));
  out.states = answer.list("states");
  out.error = answer.text("error");
  out.cause = answer.text("cause");
  out.started_at_s = answer.time("started");
  out.updated_at_s = answer.time("updated");
  out.events = answer.integer("events");
  return out;
}

std::string to_json(const StoredEvent& event) {
  return to_text({{"number", event.number},
                  {"time", format_timestamp(event.at_s)},
                  {"kind", event.kind},
                  {"body", Json::parse(event.body)}});
}

StoredEvent event_from_json(std::string_view json) {
  const Answer answer(json);
  return {.number = answer.integer("number"),
          .at_s = answer.time("time"),
          .kind = answer.text("kind"),
          .body = to_text(answer.member("body", Json::value_t::object))};
}

std::string to_json(const RunTimes& times) {
  Json states = Json::array();
  for (const StateTime& s : times.states)
    states.push_back({{"state", s.state},
                      {"kind", s.kind},
                      {"entered_s", s.entered_s},
                      {"left_s", s.left_s},
                      {"action_start_s", s.action_start_s},
                      {"action_end_s", s.action_end_s},
                      {"failed", s.failed}});
  return to_text({{"run", times.run_id},
                  {"label", times.label},
                  {"total_s", times.total_s},
                  {"incoming_s", times.incoming_s},
                  {"compute_s", times.compute_s},
                  {"outgoing_s", times.outgoing_s},
                  {"others_s", times.others_s},
                  {"states", std::move(states)}});
}

RunTimes times_from_json(std::string_view json) {
  const Answer answer(json);
  RunTimes out;
  out.run_id = answer.text("run");
  out.label = answer.text("label");
  out.total_s = answer.number("total_s");
  out.incoming_s = answer.number("incoming_s");
  out.compute_s = answer.number("compute_s");
  out.outgoing_s = answer.number("outgoing_s");
  out.others_s = answer.number("others_s");
  for (const Json& one : answer.member("states", Json::value_t::array)) {
    const Answer state(to_text(one));
    StateTime time;
    time.state = state.text("state");
    time.kind = state.text("kind");
    time.entered_s = state.number("entered_s");
    time.left_s = state.number("left_s");
    time.action_start_s = state.number("action_start_s");
    time.action_end_s = state.number("action_end_s");
    time.failed = state.member("failed", Json::value_t::boolean).get<bool>();
    out.states.push_back(std::move(time));
  }
  return out;
}

std::string list_to_json(std::string_view name, const std::vector<std::string>& values) {
  std::string out = fmt::format("{{\"{}\":[", name);
  for (std::size_t i = 0; i < values.size(); ++i) out += (i == 0 ? "" : ",") + values[i];
  return out + "]}";
}

std::vector<std::string> list_from_json(std::string_view json, const std::string& name) {
  const Answer answer(json);
  std::vector<std::string> out;
  for (const Json& one : answer.member(name.c_str(), Json::value_t::array)) out.push_back(to_text(one));
  return out;
}

}  // namespace farfield::services::flow
