#include "farfield/services/compute/task_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

namespace farfield::services::compute {
namespace {
using core::ErrorCode;

const std::vector<std::string_view> kKinds{"verb", "command", "code"};
const std::vector<std::string_view> kStates{"queued", "placed", "running", "done", "failed", "cancelled"};
const std::vector<std::string_view> kPriorities{"low", "normal", "high", "urgent"};
constexpr std::array<std::string_view, 7> kEvents{"submitted", "placed", "running", "progress",
                                                  "log",       "again",  "ended"};
constexpr double kLatest_s = 1e11;  ///< since 1970
constexpr int kMost = 1'000'000;    ///< nodes, ranks, workers: more is a mistake

bool is_hexadecimal(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
}  // namespace

std::string_view name_of(FunctionKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }
std::string_view name_of(TaskState state) { return kStates[static_cast<std::size_t>(state)]; }
std::string_view name_of(Priority priority) { return kPriorities[static_cast<std::size_t>(priority)]; }

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= kLongestName && letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || c == '_' || c == '-' || c == '.'; });
}

std::optional<FunctionName> parse_function_name(std::string_view text) {
  const auto sign = text.find('@');
  FunctionName out{std::string(text.substr(0, sign)), 0};
  if (!is_name(out.name)) return std::nullopt;
  if (sign == std::string_view::npos) return out;
  const std::string_view digits = text.substr(sign + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.version);
  if (error != std::errc() || end != digits.data() + digits.size() || out.version < 1) return std::nullopt;
  return out;
}

Json to_json(const FunctionRecord& f) {
  Json out{{"name", f.name}, {"version", f.version}, {"kind", name_of(f.kind)}};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) out[name] = value;
  };
  add("owner", f.owner);
  add("experiment", f.experiment);
  add("summary", f.summary);
  add("archive", f.archive);
  if (!f.command.empty()) out["command"] = f.command;
  if (!f.environment.empty()) out["environment"] = f.environment;
  if (f.input_schema != "{}") out["input_schema"] = Json::parse(f.input_schema);
  if (f.created_s > 0) out["created_s"] = f.created_s;
  return out;
}

FunctionRecord function_from(const Json& value, ErrorCode code) {
  FunctionRecord f;
  Members members(value, "function", code);
  (void)members.need("name");
  members.text("name", f.name, kLongestName);
  if (!is_name(f.name)) members.refuse("name", "1 to 128 letters, digits, '_', '-', '.'");
  members.integer("version", f.version, 1, 1'000'000'000);
  (void)members.need("kind");
  f.kind = static_cast<FunctionKind>(members.word("kind", kKinds));
  members.text("owner", f.owner, kLongestName);
  members.text("experiment", f.experiment, kLongestName);
  members.text("summary", f.summary, kLongestText);
  members.texts("command", f.command, 1000, kLongestText);
  if (const Json* environment = members.find("environment")) {
    if (!environment->is_object() || environment->size() > 1000)
      members.refuse("environment", "an object of at most 1000");
    Members variables(*environment, "environment of function " + f.name, code);
    for (const auto& [name, ignored] : environment->items()) {
      if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos)
        members.refuse("environment", "names without '=' and NUL");
      (void)variables.need(name.c_str());
      variables.text(name.c_str(), f.environment[name], kLongestText);
    }
  }
  members.json("input_schema", f.input_schema, true);
  members.text("archive", f.archive, 64);
  members.real("created_s", f.created_s, 0, kLatest_s);
  members.end();
  if (f.kind == FunctionKind::code) {
    if (!is_hexadecimal(f.archive, 64)) members.refuse("archive", "the SHA-256 of an archive, 64 hexadecimal digits");
  } else if (!f.archive.empty()) {
    members.refuse("archive", fmt::format("absent: the function is a {}", name_of(f.kind)));
  }
  if (f.kind != FunctionKind::verb && (f.command.empty() || f.command.front().empty()))
    members.refuse("command", "a program and its arguments");
  return f;
}

Json to_json(const TaskResources& r) {
  return {{"nodes", r.nodes}, {"ranks", r.ranks}, {"gpu_slots", r.gpu_slots}, {"walltime_s", r.walltime_s}};
}

Json to_json(const TaskRequest& r) {
  return {{"function", r.function},
          {"endpoint", r.endpoint},
          {"experiment", r.experiment},
          {"arguments", Json::parse(r.arguments)},
          {"resources", to_json(r.resources)},
          {"priority", name_of(r.priority)},
          {"attempts", r.attempts},
          {"deadline_s", r.deadline_s},
          {"owner", r.owner},
          {"label", r.label}};
}

TaskRequest request_from(const Json& value, ErrorCode code) {
  TaskRequest r;
  Members members(value, "task", code);
  (void)members.need("function");
  members.text("function", r.function, kLongestName + 12);
  if (!parse_function_name(r.function)) members.refuse("function", "NAME or NAME@VERSION");
  (void)members.need("endpoint");
  members.text("endpoint", r.endpoint, kLongestName);
  if (!is_name(r.endpoint)) members.refuse("endpoint", "the name of an endpoint");
  members.text("experiment", r.experiment, kLongestName);
  members.json("arguments", r.arguments, true);
  if (r.arguments.size() > kLongestArguments)
    members.refuse("arguments", fmt::format("at most {} bytes", kLongestArguments));
  if (const Json* resources = members.find("resources")) {
    Members parts(*resources, "resources of the task", code);
    parts.integer("nodes", r.resources.nodes, 1, kMost);
    parts.integer("ranks", r.resources.ranks, 1, kMost);
    parts.integer("gpu_slots", r.resources.gpu_slots, 0, kMost);
    parts.real("walltime_s", r.resources.walltime_s, 0, 1e9);
    parts.end();
  }
  if (const int word = members.word("priority", kPriorities); word >= 0) r.priority = static_cast<Priority>(word);
  members.integer("attempts", r.attempts, 1, kMostAttempts);
  members.real("deadline_s", r.deadline_s, 0, 1e9);
  members.text("owner", r.owner, kLongestName);
  members.text("label", r.label, 1000);
  members.end();
  return r;
}

Json to_json(const TaskTimes& t) {
  Json out = Json::object();
  const auto add = [&](const char* name, double time_s) {
    if (time_s > 0 && time_s <= kLatest_s) out[name] = time_s;
  };
  add("submitted_s", t.submitted_s);
  add("placed_s", t.placed_s);
  add("assigned_s", t.assigned_s);
  add("started_s", t.started_s);
  add("ended_s", t.ended_s);
  return out;
}

void put_times(std::string& out, const TaskTimes& t) {
  out += '{';
  for (const auto& [name, time_s] : {std::pair{"submitted_s", t.submitted_s},
                                     {"placed_s", t.placed_s},
                                     {"assigned_s", t.assigned_s},
                                     {"started_s", t.started_s},
                                     {"ended_s", t.ended_s}})
    if (time_s > 0 && time_s <= kLatest_s)
      fmt::format_to(std::back_inserter(out), "{}\"{}\":{}", out.back() == '{' ? "" : ",", name, time_s);
  out += '}';
}

void put_request(std::string& out, const TaskRequest& r) {
  out += R"({"function":)";
  put_text(out, r.function);
  for (const auto& [name, text] :
       {std::pair{"endpoint", &r.endpoint}, {"experiment", &r.experiment}, {"owner", &r.owner}, {"label", &r.label}}) {
    fmt::format_to(std::back_inserter(out), ",\"{}\":", name);
    put_text(out, *text);
  }
  out += R"(,"arguments":)";
  put_json(out, r.arguments, "the arguments", ErrorCode::invalid_argument, kLongestArguments);
  fmt::format_to(
      std::back_inserter(out),
      R"(,"resources":{{"nodes":{},"ranks":{},"gpu_slots":{},"walltime_s":{}}},"priority":"{}","attempts":{},"deadline_s":{}}})",
      r.resources.nodes, r.resources.ranks, r.resources.gpu_slots, r.resources.walltime_s, name_of(r.priority),
      r.attempts, r.deadline_s);
}

TaskTimes times_from(const Json& value, ErrorCode code) {
  TaskTimes t;
  Members members(value, "times", code);
  members.real("submitted_s", t.submitted_s, 0, kLatest_s);
  members.real("placed_s", t.placed_s, 0, kLatest_s);
  members.real("assigned_s", t.assigned_s, 0, kLatest_s);
  members.real("started_s", t.started_s, 0, kLatest_s);
  members.real("ended_s", t.ended_s, 0, kLatest_s);
  members.end();
  return t;
}

Json to_json(const TaskStatus& s) {
  Json out{{"id", s.id},
           {"state", name_of(s.state)},
           {"attempt", s.attempt},
           {"resumed", s.resumed},
           {"progress", s.progress},
           {"message", s.message},
           {"block", s.block},
           {"node", s.node},
           {"worker", s.worker},
           {"times", to_json(s.times)},
           {"problem", s.problem},
           {"request", to_json(s.request)}};
  if (s.state == TaskState::done) out["output"] = Json::parse(s.output);
  return out;
}

TaskStatus status_from(const Json& value, ErrorCode code) {
  TaskStatus s;
  Members members(value, "status", code);
  members.text("id", s.id, kLongestName);
  if (const int word = members.word("state", kStates); word >= 0) s.state = static_cast<TaskState>(word);
  members.integer("attempt", s.attempt, 0, INT32_MAX);
  members.integer("resumed", s.resumed, 0, INT32_MAX);
  members.real("progress", s.progress, 0, 1);
  members.text("message", s.message, kLongestText);
  members.text("block", s.block, kLongestName);
  members.text("node", s.node, kLongestName);
  members.text("worker", s.worker, kLongestName);
  if (const Json* times = members.find("times")) s.times = times_from(*times, code);
  members.text("problem", s.problem, kLongestText);
  if (const Json* request = members.find("request")) s.request = request_from(*request, code);
  members.json("output", s.output, false);
  members.end();
  return s;
}

Json to_json(const TaskEvent& e) {
  Json out{{"event", kEvents[static_cast<std::size_t>(e.kind)]}, {"task", to_json(e.status)}};
  if (e.kind == TaskEvent::Kind::log) out["line"] = e.line;
  return out;
}

Json to_json(const Capacity& c) {
  return {{"workers", c.workers},
          {"idle", c.idle},
          {"starting", c.starting},
          {"most", c.most},
          {"gpu_slots", c.gpu_slots},
          {"nodes_per_block", c.nodes_per_block},
          {"longest_s", std::clamp(c.longest_s, 0.0, 1e9)},
          {"confines", c.confines}};
}

Capacity capacity_from(const Json& value, ErrorCode code) {
  Capacity c;
  Members members(value, "capacity", code);
  for (const auto& [name, into] : {std::pair{"workers", &c.workers},
                                   {"idle", &c.idle},
                                   {"starting", &c.starting},
                                   {"most", &c.most},
                                   {"gpu_slots", &c.gpu_slots},
                                   {"nodes_per_block", &c.nodes_per_block}})
    members.integer(name, *into, 0, kMost);
  members.real("longest_s", c.longest_s, 0, 1e9);
  members.truth("confines", c.confines);
  members.end();
  return c;
}

Json to_json(const EndpointStatus& e) {
  return {{"name", e.name},       {"owner", e.owner},     {"connected", e.connected},
          {"since_s", e.since_s}, {"program", e.program}, {"capacity", to_json(e.capacity)},
          {"queued", e.queued},   {"placed", e.placed}};
}

}  // namespace farfield::services::compute
