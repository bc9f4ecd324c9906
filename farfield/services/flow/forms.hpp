#pragma once
// Flows, runs and events as JSON, as the REST interface tells them, and back: a command line reads what a service
// wrote. Readers throw core::Error `corrupt_data` with the name of what is missing or of the wrong kind.

#include <string>
#include <string_view>
#include <vector>

#include "farfield/services/flow/records.hpp"
#include "farfield/services/flow/report.hpp"

namespace farfield::services::flow {

/// {"id", "version", "title", "owner", "viewers", "starters", "administrators", "created"}, and where they are known
/// "identity", "definition" and "input_schema" (JSON values).
std::string to_json(const FlowRecord& flow);
FlowRecord flow_from_json(std::string_view json);

/// {"id", "flow", "flow_version", "label", "tags", "owner", "managers", "monitors", "status", "states", "error",
/// "cause", "identities": {RUNAS: "service:ID"}, "started", "updated", "events"}; neither context nor grants.
std::string to_json(const RunRecord& run);
RunRecord run_from_json(std::string_view json);

/// {"number", "time", "kind", "body"}
std::string to_json(const StoredEvent& event);
StoredEvent event_from_json(std::string_view json);

/// {"run", "label", "total_s", "incoming_s", "compute_s", "outgoing_s", "others_s", "states": [...]}
std::string to_json(const RunTimes& times);
RunTimes times_from_json(std::string_view json);

/// `{"NAME": [...]}` of JSON texts, and back.
std::string list_to_json(std::string_view name, const std::vector<std::string>& values);
std::vector<std::string> list_from_json(std::string_view json, const std::string& name);

}  // namespace farfield::services::flow
