// farfield task submit | list | show | cancel | log | output

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/compute_options.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;

enum class Priority { low, normal, high, urgent };

struct SubmitOptions {
  std::string endpoint, experiment, arguments = "{}", label, key;
  Priority priority = Priority::normal;
  std::int64_t nodes = 1, ranks = 1, gpu_slots = 0, attempts = 3;
  double walltime_s = 0, deadline_s = 7 * 86400.0;
  bool wait = false;
};
const core::BoundSchema<SubmitOptions>& submit_schema() {
  static const auto schema = [] {
    core::BoundSchema<SubmitOptions> s;
    s.add("endpoint", &SubmitOptions::endpoint, "where it runs");
    s.add("experiment", &SubmitOptions::experiment, "whose files it sees");
    s.add("arguments", &SubmitOptions::arguments, "of the function: a JSON object, or @FILE");
    s.add("label", &SubmitOptions::label, "for people");
    s.add("key", &SubmitOptions::key, "your own name for this submission: the same again gives the same task");
    s.add("priority", &SubmitOptions::priority, "class among the endpoint's tasks",
          {.choices = {"low", "normal", "high", "urgent"}});
    s.add("nodes", &SubmitOptions::nodes, "of one block", {.min = 1, .max = 1e6, .group = "Resources"});
    s.add("ranks", &SubmitOptions::ranks, "MPI processes over all nodes", {.min = 1, .max = 1e6, .group = "Resources"});
    s.add("gpu-slots", &SubmitOptions::gpu_slots, "on each node", {.min = 0, .max = 1e6, .group = "Resources"});
    s.add("walltime-s", &SubmitOptions::walltime_s, "that it may need: it goes only where so much is left; 0: unknown",
          {.min = 0, .max = 1e9, .unit = "s", .group = "Resources"});
    s.add("attempts", &SubmitOptions::attempts, "at most, where worker or block are lost",
          {.min = 1, .max = 1000, .group = "Resources"});
    s.add("deadline-s", &SubmitOptions::deadline_s, "from now; then it has failed",
          {.min = 0, .max = 1e9, .unit = "s", .group = "Resources"});
    s.add("wait", &SubmitOptions::wait, "until it has ended, and print its output");
    return s;
  }();
  return schema;
}

struct ListOptions {
  std::string experiment;
  std::int64_t limit = 100;
};
const core::BoundSchema<ListOptions>& list_schema() {
  static const auto schema = [] {
    core::BoundSchema<ListOptions> s;
    s.add("experiment", &ListOptions::experiment, "everybody's tasks of this experiment; none: your own");
    s.add("limit", &ListOptions::limit, "the newest so many", {.min = 1, .max = 1000});
    return s;
  }();
  return schema;
}

std::string path_of(const std::string& id) { return "/api/v1/tasks/" + segment(id); }

std::string time_text(const json& times, const char* name) {
  const double time_s = times.value(name, 0.0);
  if (time_s <= 0) return "-";
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}Z", fmt::gmtime(static_cast<std::time_t>(time_s)));
}

std::string text(const json& object, const char* name) {
  return object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : std::string();
}

void print_task(const json& task, const ComputeOptions& options) {
  if (options.json) {
    json line = task;
    line["message_type"] = "task";
    fmt::print("{}\n", line.dump());
    return;
  }
  const json request = task.value("request", json::object()), times = task.value("times", json::object());
  fmt::print("id          {}\nfunction    {}\nendpoint    {}\nexperiment  {}\nowner       {}\nlabel       {}\n",
             text(task, "id"), text(request, "function"), text(request, "endpoint"), text(request, "experiment"),
             text(request, "owner"), text(request, "label"));
  fmt::print("state       {}, {:.0f} %, attempt {}, resumed {} times\n", text(task, "state"),
             100 * task.value("progress", 0.0), task.value("attempt", 0), task.value("resumed", 0));
  for (const char* name : {"message", "problem", "block", "node", "worker"})
    if (const std::string value = text(task, name); !value.empty()) fmt::print("{:<12}{}\n", name, value);
  for (const char* name : {"submitted_s", "placed_s", "assigned_s", "started_s", "ended_s"})
    fmt::print("{:<12}{}\n", std::string(name, std::string_view(name).size() - 2), time_text(times, name));
}

/// As the task ended: 0, 1 (failed), or the code for cancelled; with what it gave on stdout.
int outcome(const ServiceClient& service, const json& task, const ComputeOptions& options, const Session& session) {
  const std::string state = text(task, "state");
  if (options.json) print_task(task, options);
  else if (state == "done")
    fmt::print("{}\n", service.call("GET", path_of(text(task, "id")) + "/output", {}, session.stop));
  else fmt::print(stderr, "{}{}{}\n", state, task.value("problem", "").empty() ? "" : ": ", text(task, "problem"));
  if (state == "done") return core::kExitOk;
  return state == "cancelled" ? core::traits(ErrorCode::cancelled).exit_code : 1;
}

int submit(const Arguments& arguments, const Session& session) {
  const auto options = submit_schema().make(part(arguments.given, submit_schema()));
  const auto common = compute_options(arguments);
  for (const auto& [name, value] : {std::pair{"endpoint", &options.endpoint}, {"experiment", &options.experiment}})
    if (value->empty()) throw Error(ErrorCode::invalid_argument, fmt::format("--{} must be given", name));
  const json given = json::parse(text_or_at_file(options.arguments), nullptr, false);
  if (!given.is_object()) throw Error(ErrorCode::invalid_argument, "--arguments must be a JSON object or @FILE");
  const char* priorities[] = {"low", "normal", "high", "urgent"};
  json task{{"function", arguments.inputs.at(0)},
            {"endpoint", options.endpoint},
            {"experiment", options.experiment},
            {"arguments", given},
            {"label", options.label},
            {"priority", priorities[static_cast<int>(options.priority)]},
            {"attempts", options.attempts},
            {"deadline_s", options.deadline_s},
            {"resources",
             {{"nodes", options.nodes},
              {"ranks", options.ranks},
              {"gpu_slots", options.gpu_slots},
              {"walltime_s", options.walltime_s}}}};
  const auto service = compute_service(common);
  // Of one in a list, the key is a member.
  if (!options.key.empty()) task["key"] = options.key;
  const json answer = parse_answer(service.call("POST", "/api/v1/tasks", json{{"tasks", {task}}}.dump(), session.stop));
  const json& one = answer.at("tasks").at(0);
  if (one.contains("error")) {
    const json& error = one["error"];
    for (const auto code : {ErrorCode::invalid_argument, ErrorCode::not_found, ErrorCode::forbidden,
                            ErrorCode::conflict, ErrorCode::unavailable, ErrorCode::unauthenticated})
      if (text(error, "code") == core::traits(code).name) throw Error(code, text(error, "message"));
    throw Error(ErrorCode::internal, text(error, "message"));
  }
  const std::string id = text(one, "id");
  if (!options.wait) {
    if (common.json) fmt::print("{}\n", json{{"message_type", "task"}, {"id", id}}.dump());
    else fmt::print("{}\n", id);
    return core::kExitOk;
  }
  fmt::print(stderr, "{}\n", id);
  json last;
  service.follow(
      path_of(id) + "/events",
      [&](const net::Event& event) {
        const json news = parse_answer(event.data);
        if (event.name == "log") fmt::print(stderr, "{}\n", text(news, "line"));
        else if (!common.json && event.name != "progress") fmt::print(stderr, "-> {}\n", event.name);
        last = news.value("task", json::object());
        return event.name != "ended";
      },
      session.stop);
  return outcome(service, last, common, session);
}

int list(const Arguments& arguments, const Session& session) {
  const auto options = list_schema().make(part(arguments.given, list_schema()));
  const auto common = compute_options(arguments);
  std::string target = fmt::format("/api/v1/tasks?limit={}", options.limit);
  if (!options.experiment.empty()) target += "&experiment=" + segment(options.experiment);
  const json answer = parse_answer(compute_service(common).call("GET", target, {}, session.stop));
  for (const json& task : answer.at("tasks")) {
    const json request = task.value("request", json::object());
    if (common.json) print_task(task, common);
    else
      fmt::print("{}  {:<9}  {}  {:<12} {:<32} {}\n", text(task, "id"), text(task, "state"),
                 time_text(task.value("times", json::object()), "submitted_s"), text(request, "endpoint"),
                 text(request, "function"), text(request, "label"));
  }
  return core::kExitOk;
}

/// A command about one task.
Command about_one(
    const char* word, const char* summary,
    std::function<int(const ServiceClient&, const std::string& path, const ComputeOptions&, const Session&)> run) {
  return {{"task", word},
          summary,
          {"TASK"},
          {compute_schema()},
          [run = std::move(run)](const Arguments& arguments, const Session& session) {
            const auto options = compute_options(arguments);
            return run(compute_service(options), path_of(arguments.inputs.at(0)), options, session);
          }};
}
}  // namespace

Command task_submit_command() {
  return {{"task", "submit"},
          "ask an endpoint to run a function, NAME or NAME@VERSION; prints the task's id",
          {"FUNCTION"},
          {submit_schema(), compute_schema()},
          submit};
}
Command task_list_command() {
  return {{"task", "list"}, "tasks, the latest first", {}, {list_schema(), compute_schema()}, list};
}
Command task_show_command() {
  return about_one(
      "show", "one task, and how far it is",
      [](const ServiceClient& service, const std::string& path, const ComputeOptions& options, const Session& session) {
        print_task(parse_answer(service.call("GET", path, {}, session.stop)), options);
        return core::kExitOk;
      });
}
Command task_cancel_command() {
  return about_one(
      "cancel", "end a task, in whatever state it is",
      [](const ServiceClient& service, const std::string& path, const ComputeOptions& options, const Session& session) {
        const json task = parse_answer(service.call("POST", path + "/cancel", {}, session.stop));
        if (options.json) print_task(task, options);
        else fmt::print("{}\n", text(task, "state"));
        return core::kExitOk;
      });
}
Command task_log_command() {
  return about_one(
      "log", "the last lines that a task wrote",
      [](const ServiceClient& service, const std::string& path, const ComputeOptions&, const Session& session) {
        fmt::print("{}", service.call("GET", path + "/log", {}, session.stop));
        return core::kExitOk;
      });
}
Command task_output_command() {
  return about_one(
      "output", "what a task gave, as JSON",
      [](const ServiceClient& service, const std::string& path, const ComputeOptions&, const Session& session) {
        fmt::print("{}\n", service.call("GET", path + "/output", {}, session.stop));
        return core::kExitOk;
      });
}

}  // namespace farfield::apps
