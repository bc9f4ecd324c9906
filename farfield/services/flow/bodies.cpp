#include "farfield/services/flow/bodies.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/fields.hpp"
#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::size_t kLongestBody = 64 << 20;

// A body has one reader, who cannot go on after the first mistake.
const Report kThrow = [](const std::string& pointer, const std::string& what) {
  throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", pointer.empty() ? "/" : pointer, what));
};

void only(const Json& value, const std::string& pointer, std::initializer_list<std::string_view> names) {
  for (const auto& [name, ignored] : value.items())
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw Error(ErrorCode::unsupported, fmt::format("{}/{} is not supported", pointer, pointer_part(name)));
}

std::string text_of(const Fields& fields, const char* name, const char* newer_name) {
  return fields.text(newer_name != nullptr && fields.has(newer_name) ? newer_name : name, true).value_or("");
}

std::string json_of(const Fields& fields, const std::string& pointer, const char* name, bool list) {
  const Json* value = fields.find(name);
  if (value == nullptr) return list ? "[]" : "{}";
  if (list ? !value->is_array() : !value->is_object())
    kThrow(fmt::format("{}/{}", pointer, name),
           fmt::format("must be {}, not {}", list ? "a list" : "an object", value->type_name()));
  return to_text(*value);
}

const Json& tasks_of(const Fields& fields, const char* name) {
  const Json* list = fields.list(name);
  if (list == nullptr || list->empty()) kThrow(fmt::format("/{}", name), "a list of at least one is needed");
  return *list;
}
}  // namespace

namespace {
/// Nothing for false and null, so that one flow can take scans that are complete and scans that are not.
std::optional<TransferBody::Follow> follow_of(const Fields& body) {
  const Json* value = body.find("follow");
  if (value == nullptr || value->is_null() || *value == Json(false)) return std::nullopt;
  TransferBody::Follow out;
  if (*value == Json(true)) return out;
  if (!value->is_object())
    kThrow("/follow", fmt::format("must be an object, true or false, not {}", value->type_name()));
  only(*value, "/follow", {"marker", "quiet_s"});
  const Fields rule(*value, "/follow", kThrow);
  out.marker = rule.text("marker", false).value_or("");
  out.quiet_s = rule.number("quiet_s", 0, 1e9).value_or(out.quiet_s);
  if (out.marker.empty() && out.quiet_s == 0) kThrow("/follow", "needs a marker or a quiet_s above 0");
  return out;
}
}  // namespace

TransferBody parse_transfer_body(const std::string& body) {
  const Json value = parse_json(body, "the body", kLongestBody);
  const Fields fields(value, "", kThrow);
  fields.is_object("the body of a transfer");
  only(value, "",
       {"source_endpoint_id", "source_endpoint", "destination_endpoint_id", "destination_endpoint", "transfer_items",
        "DATA", "label", "sync_level", "verify_checksum", "preserve_timestamp", "follow"});
  TransferBody out;
  out.source_endpoint = text_of(fields, "source_endpoint_id", "source_endpoint");
  out.destination_endpoint = text_of(fields, "destination_endpoint_id", "destination_endpoint");
  out.label = fields.text("label", false).value_or("");
  if (const auto level = fields.integer("sync_level", 0, 3)) out.sync_level = static_cast<int>(*level);
  out.verify_checksum = fields.boolean("verify_checksum").value_or(true);
  out.preserve_timestamp = fields.boolean("preserve_timestamp").value_or(false);
  out.follow = follow_of(fields);
  const char* const name = fields.has("DATA") ? "DATA" : "transfer_items";
  const Json& items = tasks_of(fields, name);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string pointer = fmt::format("/{}/{}", name, i);
    const Fields item(items[i], pointer, kThrow);
    item.is_object("an item");
    only(items[i], pointer, {"source_path", "destination_path", "recursive"});
    out.items.push_back({text_of(item, "source_path", nullptr), text_of(item, "destination_path", nullptr),
                         item.boolean("recursive").value_or(false)});
  }
  return out;
}

ComputeBody parse_compute_body(const std::string& body) {
  const Json value = parse_json(body, "the body", kLongestBody);
  const Fields fields(value, "", kThrow);
  fields.is_object("the body of a computation");
  ComputeBody out;
  if (fields.has("endpoint_id")) {
    out.form = ComputeForm::endpoint;
    only(value, "", {"endpoint_id", "tasks", "user_endpoint_config", "resource_specification"});
    const std::string endpoint = text_of(fields, "endpoint_id", nullptr);
    out.endpoint_config = json_of(fields, "", "user_endpoint_config", false);
    const Json& tasks = tasks_of(fields, "tasks");
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const std::string pointer = fmt::format("/tasks/{}", i);
      const Fields task(tasks[i], pointer, kThrow);
      task.is_object("a task");
      only(tasks[i], pointer, {"function_id", "args", "kwargs"});
      out.tasks.push_back({endpoint, text_of(task, "function_id", nullptr), json_of(task, pointer, "args", true),
                           json_of(task, pointer, "kwargs", false)});
    }
    if (const Json* resources = fields.find("resource_specification"); resources != nullptr && !resources->empty()) {
      const Fields r(*resources, "/resource_specification", kThrow);
      r.is_object("a resource specification");
      only(*resources, "/resource_specification", {"num_nodes", "ranks_per_node", "num_ranks"});
      constexpr std::int64_t kMost = 1 << 20;
      ComputeBody::Resources given;
      given.num_nodes = r.integer("num_nodes", 1, kMost).value_or(1);
      given.ranks_per_node = r.integer("ranks_per_node", 1, kMost).value_or(1);
      given.num_ranks = r.integer("num_ranks", 1, kMost * kMost).value_or(given.num_nodes * given.ranks_per_node);
      if (given.num_ranks > given.num_nodes * given.ranks_per_node && r.has("ranks_per_node"))
        kThrow("/resource_specification/num_ranks",
               fmt::format("{} ranks do not fit on {} nodes with {} each", given.num_ranks, given.num_nodes,
                           given.ranks_per_node));
      out.resources = given;
    }
  } else if (fields.has("tasks")) {
    out.form = ComputeForm::tasks;
    only(value, "", {"tasks"});
    const Json& tasks = tasks_of(fields, "tasks");
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const std::string pointer = fmt::format("/tasks/{}", i);
      const Fields task(tasks[i], pointer, kThrow);
      task.is_object("a task");
      only(tasks[i], pointer, {"endpoint", "func", "function", "payload"});
      const Json* payload = task.find("payload");
      out.tasks.push_back({text_of(task, "endpoint", nullptr), text_of(task, "func", "function"),
                           payload != nullptr ? to_text(Json::array({*payload})) : "[]", "{}"});
    }
  } else {
    out.form = ComputeForm::function;
    only(value, "", {"endpoint", "function", "args", "kwargs"});
    out.tasks.push_back({text_of(fields, "endpoint", nullptr), text_of(fields, "function", nullptr),
                         json_of(fields, "", "args", true), json_of(fields, "", "kwargs", false)});
  }
  return out;
}

std::string compute_details(ComputeForm form, const std::vector<TaskOutput>& outputs) {
  Json list = Json::array();
  for (const TaskOutput& one : outputs) {
    Json value = parse_json(one.output, "a task's output", kLongestBody);
    if (form == ComputeForm::endpoint) list.push_back({{"task_id", one.task_id}, {"output", std::move(value)}});
    else list.push_back(std::move(value));
  }
  return to_text({{form == ComputeForm::endpoint ? "results" : "result", std::move(list)}});
}

}  // namespace farfield::services::flow
