#include "farfield/services/compute/protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
constexpr ErrorCode kBad = ErrorCode::corrupt_data;

const std::vector<std::string_view> kEndings{"done", "failed", "cancelled", "interrupted", "lost"};
constexpr std::size_t kLongestMessage = 16 << 20;
constexpr double kLargestValue = std::numeric_limits<double>::max();
constexpr std::size_t kLongestHeader = 4096, kLongestPreview = kLongestMessage - kLongestHeader - 4;

void put(std::string& out, const std::string& task);
void put(std::string& out, const FunctionRecord& f);
void put(std::string& out, const TaskEnd& e);
void put(std::string& out, const TaskBegin& b);
void put(std::string& out, const TaskProgress& p);
void put(std::string& out, const TaskLog& l);

// ---- keys

void put(std::string& out, const TaskKey& key) {
  out += '[';
  put_text(out, key.task);
  out += ',';
  put_number(out, static_cast<long long>(key.attempt));
  out += ']';
}

TaskKey key_from(const Json& value) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_number_integer() ||
      !is_name(value[0].get_ref<const std::string&>()))
    throw Error(kBad, "a key must be [task, attempt]");
  const bool fits = value[1].is_number_unsigned() ? value[1].get<std::uint64_t>() <= INT32_MAX : false;
  if (!fits || value[1].get<int>() < 1)
    throw Error(kBad, fmt::format("attempt {} must be 1 to 2^31 - 1", value[1].dump()));
  return {value[0].get<std::string>(), value[1].get<int>()};
}
TaskKey key_in(Members& members) { return key_from(members.need("key")); }

std::string task_from(const Json& value) {
  if (!value.is_string() || !is_name(value.get_ref<const std::string&>())) throw Error(kBad, "a task must be an id");
  return value.get<std::string>();
}

/// Appends `,"name":` and the items, each by put().
template <class T>
void put_list(std::string& out, std::string_view name, const std::vector<T>& items) {
  out += fmt::format(",\"{}\":[", name);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ',';
    put(out, items[i]);
  }
  out += ']';
}
/// A further member of an object.
void put_member(std::string& out, std::string_view name, std::string_view text) {
  out += fmt::format(",\"{}\":", name);
  put_text(out, text);
}
template <class F>
auto list_in(Members& members, const char* name, F item_from) {
  std::vector<decltype(item_from(Json()))> out;
  if (const Json* items = members.array(name, kMostItems)) {
    out.reserve(items->size());
    for (const Json& item : *items) out.push_back(item_from(item));
  }
  return out;
}

// ---- parts of messages

void put(std::string& out, const FunctionRecord& f) { out += to_text(to_json(f)); }
void put(std::string& out, const std::string& task) { put_text(out, task); }

struct Place {
  const std::string &block, &node, &worker;
};
void put_place(std::string& out, const Place& place) {
  for (const auto& [name, value] : {std::pair{"block", &place.block}, {"node", &place.node}, {"worker", &place.worker}})
    if (!value->empty()) put_member(out, name, clean_text(*value, kLongestName));
}
template <class T>
void take_place(Members& members, T& into) {
  members.text("block", into.block, kLongestName);
  members.text("node", into.node, kLongestName);
  members.text("worker", into.worker, kLongestName);
}
template <class T>
void take_times(Members& members, T& into) {
  if (const Json* times = members.find("times")) into.times = times_from(*times, kBad);
}

void put(std::string& out, const TaskEnd& e) {
  if (e.output.size() > kInlineOutput)
    throw Error(ErrorCode::invalid_argument, fmt::format("output of task {} has {} bytes, a message holds {}",
                                                         e.key.task, e.output.size(), kInlineOutput));
  out += R"({"key":)";
  put(out, e.key);
  put_member(out, "ending", name_of(e.ending));
  out += R"(,"times":)";
  put_times(out, e.times);
  if (e.output != "null") {
    out += R"(,"output":)";
    put_json(out, e.output, "output of task " + e.key.task, ErrorCode::invalid_argument, kInlineOutput);
  }
  if (!e.problem.empty()) put_member(out, "problem", clean_text(e.problem, kLongestText));
  put_place(out, {e.block, e.node, e.worker});
  out += '}';
}
TaskEnd end_from(const Json& value) {
  TaskEnd e;
  Members members(value, "an end", kBad);
  e.key = key_in(members);
  (void)members.need("ending");
  e.ending = static_cast<Ending>(members.word("ending", kEndings));
  members.json("output", e.output, false);
  // Numbers may be written longer than they came.
  if (e.output.size() > 8 * kInlineOutput) members.refuse("output", fmt::format("at most {} bytes", kInlineOutput));
  members.text("problem", e.problem, kLongestText);
  take_times(members, e);
  take_place(members, e);
  return e;
}

void put(std::string& out, const TaskBegin& b) {
  out += R"({"key":)";
  put(out, b.key);
  out += R"(,"times":)";
  put_times(out, b.times);
  put_place(out, {b.block, b.node, b.worker});
  out += '}';
}
TaskBegin begin_from(const Json& value) {
  TaskBegin b;
  Members members(value, "a beginning", kBad);
  b.key = key_in(members);
  take_times(members, b);
  take_place(members, b);
  return b;
}

void put(std::string& out, const TaskProgress& p) {
  out += R"({"key":)";
  put(out, p.key);
  out += R"(,"progress":)";
  put_number(out, std::isfinite(p.progress) ? std::clamp(p.progress, 0.0, 1.0) : 0.0);
  if (!p.message.empty()) put_member(out, "message", clean_text(p.message, kLongestText));
  out += '}';
}
TaskProgress progress_from(const Json& value) {
  TaskProgress p;
  Members members(value, "progress", kBad);
  p.key = key_in(members);
  members.real("progress", p.progress, 0, 1);
  members.text("message", p.message, kLongestText);
  return p;
}

void put(std::string& out, const TaskLog& l) {
  out += R"({"key":)";
  put(out, l.key);
  put_member(out, "line", clean_text(l.line, kLongestText));
  out += '}';
}
TaskLog log_from(const Json& value) {
  TaskLog l;
  Members members(value, "a log line", kBad);
  l.key = key_in(members);
  members.text("line", l.line, kLongestText);
  return l;
}

// ---- messages: their names, in the order of Message, and how each is written and read

constexpr std::array<std::string_view, std::variant_size_v<Message>> kNames{
    "hello", "begun", "ended", "progress", "log", "capacity", "assign", "cancel", "stored", "watch", "leave"};

void write(std::string& out, const Hello& m) {
  out += fmt::format(",\"protocol\":{}", m.protocol);
  put_member(out, "program", clean_text(m.program, kLongestName));
  put_list(out, "known", m.known);
  put_list(out, "verbs", m.verbs);
  out += R"(,"capacity":)" + to_text(to_json(m.capacity));
  put_place(out, {m.block, m.node, m.worker});
}
void read(Members& in, Hello& m) {
  (void)in.need("protocol");
  in.integer("protocol", m.protocol, 1, 1000);
  in.text("program", m.program, kLongestName);
  m.known = list_in(in, "known", key_from);
  m.verbs = list_in(in, "verbs", [](const Json& verb) { return function_from(verb, kBad); });
  if (const Json* capacity = in.find("capacity")) m.capacity = capacity_from(*capacity, kBad);
  take_place(in, m);
}
void write(std::string& out, const Begun& m) { put_list(out, "tasks", m.tasks); }
void read(Members& in, Begun& m) { m.tasks = list_in(in, "tasks", begin_from); }
void write(std::string& out, const Ended& m) { put_list(out, "tasks", m.tasks); }
void read(Members& in, Ended& m) { m.tasks = list_in(in, "tasks", end_from); }
void write(std::string& out, const Progressed& m) { put_list(out, "tasks", m.tasks); }
void read(Members& in, Progressed& m) { m.tasks = list_in(in, "tasks", progress_from); }
void write(std::string& out, const Logged& m) { put_list(out, "lines", m.lines); }
void read(Members& in, Logged& m) { m.lines = list_in(in, "lines", log_from); }
void write(std::string& out, const CapacityNow& m) { out += R"(,"capacity":)" + to_text(to_json(m.capacity)); }
void read(Members& in, CapacityNow& m) { m.capacity = capacity_from(in.need("capacity"), kBad); }

// The tasks of a message call few functions: each is written once.
void write(std::string& out, const Assign& m) {
  std::vector<FunctionRecord> functions;
  out += R"(,"tasks":[)";
  for (const Assignment& a : m.tasks) {
    const auto same = std::find_if(functions.begin(), functions.end(), [&](const FunctionRecord& f) {
      return f.name == a.function.name && f.version == a.function.version && f.archive == a.function.archive &&
             f.command == a.function.command && f.environment == a.function.environment &&
             f.experiment == a.function.experiment;
    });
    out += &a == m.tasks.data() ? R"({"key":)" : R"(,{"key":)";
    put(out, a.key);
    out += fmt::format(",\"function\":{},\"request\":", same - functions.begin());
    put_request(out, a.request);
    out += a.resume ? R"(,"resume":true})" : "}";
    if (same == functions.end()) functions.push_back(a.function);
  }
  out += ']';
  put_list(out, "functions", functions);
}
void read(Members& in, Assign& m) {
  const auto functions = list_in(in, "functions", [](const Json& f) { return function_from(f, kBad); });
  m.tasks = list_in(in, "tasks", [&](const Json& value) {
    Assignment a;
    Members members(value, "an assignment", kBad);
    a.key = key_in(members);
    std::size_t number = functions.size();
    members.integer("function", number, 0, INT32_MAX);
    if (number >= functions.size()) members.refuse("function", "the number of a function of the message");
    a.function = functions[number];
    a.request = request_from(members.need("request"), kBad);
    members.truth("resume", a.resume);
    return a;
  });
}
void write(std::string& out, const Cancel& m) { put_list(out, "tasks", m.tasks); }
void read(Members& in, Cancel& m) { m.tasks = list_in(in, "tasks", task_from); }
void write(std::string& out, const Stored& m) { put_list(out, "ends", m.ends); }
void read(Members& in, Stored& m) { m.ends = list_in(in, "ends", key_from); }
void write(std::string& out, const Watch& m) {
  put_member(out, "task", m.task);
  out += m.on ? R"(,"on":true)" : R"(,"on":false)";
}
void read(Members& in, Watch& m) {
  m.task = task_from(in.need("task"));
  (void)in.need("on");
  in.truth("on", m.on);
}
void write(std::string& out, const Leave& m) { put_member(out, "reason", clean_text(m.reason, kLongestText)); }
void read(Members& in, Leave& m) { in.text("reason", m.reason, kLongestText); }

template <std::size_t I = 0>
Message read_message(std::string_view kind, Members& members) {
  if constexpr (I == std::variant_size_v<Message>) {
    throw Error(kBad, fmt::format("there is no message of kind \"{}\"", kind.substr(0, 100)));
  } else {
    if (kind != kNames[I]) return read_message<I + 1>(kind, members);
    std::variant_alternative_t<I, Message> message;
    read(members, message);
    return message;
  }
}
}  // namespace

std::string_view name_of(Ending ending) { return kEndings[static_cast<std::size_t>(ending)]; }

std::string encode(const Message& message) {
  std::string out = fmt::format("{{\"kind\":\"{}\"", kNames[message.index()]);
  std::visit([&](const auto& m) { write(out, m); }, message);
  out += '}';
  return out;
}

Message decode(std::string_view text) {
  const Json value = parse_json(text, "the message", kBad, kLongestMessage);
  Members members(value, "the message", kBad);
  std::string kind;
  (void)members.need("kind");
  members.text("kind", kind, 100);
  // Members that are not known are passed over: a newer peer may say more.
  return read_message(kind, members);
}

std::string encode_preview(const Preview& p) {
  Json value{{"task", p.task}, {"name", p.name},   {"kind", p.kind},
             {"step", p.step}, {"dtype", p.dtype}, {"shape", p.shape}};
  if (p.low != p.high || p.low != 0) value.update({{"low", p.low}, {"high", p.high}});
  const std::string header = to_text(value);
  if (header.size() > kLongestHeader || p.bytes.size() > kLongestPreview)
    throw Error(ErrorCode::invalid_argument, fmt::format("preview {} of task {} has {} bytes, at most {} are allowed",
                                                         p.name, p.task, p.bytes.size(), kLongestPreview));
  std::string out(4, '\0');
  for (std::size_t i = 0; i < 4; ++i) out[i] = static_cast<char>(header.size() >> (8 * i) & 0xFFU);
  return out + header + p.bytes;
}

Preview decode_preview(std::string_view message) {
  if (message.size() < 4 || message.size() > kLongestMessage)
    throw Error(kBad, fmt::format("a preview of {} bytes must have 4 to {}", message.size(), kLongestMessage));
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length |= std::size_t{static_cast<unsigned char>(message[i])} << (8 * i);
  if (length > kLongestHeader || length > message.size() - 4)
    throw Error(kBad, fmt::format("the header of a preview has {} bytes, the message {} (at most {} are allowed)",
                                  length, message.size(), kLongestHeader));
  const Json value = parse_json(message.substr(4, length), "the header of the preview", kBad, kLongestHeader);
  Preview p;
  Members members(value, "the header of the preview", kBad);
  p.task = task_from(members.need("task"));
  (void)members.need("name");
  members.text("name", p.name, 64);
  if (!is_name(p.name)) members.refuse("name", "1 to 64 letters, digits, '-', '_', '.'");
  (void)members.need("kind");
  members.text("kind", p.kind, 16);
  if (p.kind != "png" && p.kind != "zstd") members.refuse("kind", "png or zstd");
  members.integer("step", p.step, INT64_MIN, INT64_MAX);
  members.text("dtype", p.dtype, 16);
  if (p.kind == "zstd" && p.dtype != "u8" && p.dtype != "u16") members.refuse("dtype", "u8 or u16");
  if (const Json* shape = members.array("shape", 8)) {
    for (const Json& extent : *shape) {
      if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() > (1U << 30))
        members.refuse("shape", "extents from 0 to 2^30");
      p.shape.push_back(extent.get<long long>());
    }
  }
  members.real("low", p.low, -kLargestValue, kLargestValue);
  members.real("high", p.high, -kLargestValue, kLargestValue);
  p.bytes = message.substr(4 + length);
  return p;
}

}  // namespace farfield::services::compute
