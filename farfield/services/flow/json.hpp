#pragma once
// The JSON type of this room. Headers only name it: <nlohmann/json.hpp> compiles slowly and is included in .cpp files.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace farfield::services::flow {

using Json = nlohmann::json;

/// What goes wrong while a run is executed: caught by `Catch` and `Retry` under its name, e.g. States.Runtime.
struct FlowException {
  std::string name;
  std::string cause;
};

inline constexpr std::string_view kParameterPathFailure = "States.ParameterPathFailure";
inline constexpr std::string_view kResultPathMatchFailure = "States.ResultPathMatchFailure";
inline constexpr std::string_view kIntrinsicFailure = "States.IntrinsicFailure";
inline constexpr std::string_view kRuntime = "States.Runtime";
inline constexpr std::string_view kTimeout = "States.Timeout";
inline constexpr std::string_view kHeartbeatTimeout = "States.HeartbeatTimeout";
inline constexpr std::string_view kActionUnableToRun = "ActionUnableToRun";
inline constexpr std::string_view kActionFailed = "ActionFailedException";
inline constexpr std::string_view kActionTimeout = "ActionTimeout";
inline constexpr std::string_view kNoToken = "NoTokenException";

/// What paths and expressions read: the state of a run, and its read-only `$._context`.
struct Scope {
  const Json& state;
  const Json& context;
};

}  // namespace farfield::services::flow
