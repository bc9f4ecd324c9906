#pragma once
// Functions, tasks and endpoints as JSON: in the database, between service and endpoint, and in the REST interface.
// Only .cpp files include it.

#include "farfield/services/compute/broker/broker.hpp"
#include "farfield/services/compute/json.hpp"

namespace farfield::services::compute {

constexpr std::size_t kLongestName = 128, kLongestText = 64 << 10;
constexpr std::size_t kLongestArguments = 4 << 20;  ///< bytes of JSON
constexpr int kMostAttempts = 1000;

/// 1 to 128 of letters, digits, '_', '-', '.'; the first a letter or digit.
bool is_name(std::string_view text);
/// "name" or "name@version"; version 0: the latest. Nothing for other texts.
struct FunctionName {
  std::string name;
  int version = 0;
};
std::optional<FunctionName> parse_function_name(std::string_view text);

Json to_json(const FunctionRecord&);
Json to_json(const TaskResources&);
Json to_json(const TaskRequest&);
Json to_json(const TaskTimes&);
Json to_json(const TaskStatus&);
Json to_json(const TaskEvent&);
Json to_json(const Capacity&);
Json to_json(const EndpointStatus&);

/// The same, appended as text, for messages by the thousand.
void put_times(std::string& out, const TaskTimes&);
void put_request(std::string& out, const TaskRequest&);

/// Throw `code` for what is missing, unknown, of the wrong type or out of range. Owner, version and time of a function,
/// and the owner of a task, are taken where they stand: who may say so is the caller's to check.
FunctionRecord function_from(const Json&, core::ErrorCode code);
TaskRequest request_from(const Json&, core::ErrorCode code);
TaskTimes times_from(const Json&, core::ErrorCode code);
Capacity capacity_from(const Json&, core::ErrorCode code);
/// The variable part of a status, as to_json() has it; request and id are in members of their own.
TaskStatus status_from(const Json&, core::ErrorCode code);

}  // namespace farfield::services::compute
