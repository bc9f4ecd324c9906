#include "farfield/services/compute/broker/records.hpp"

#include <fmt/format.h>

#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
using store::Transaction;

const std::vector<store::Migration> kMigrations{{1, "tasks", R"(
CREATE TABLE compute_function (
  name TEXT NOT NULL,
  version {int64} NOT NULL,
  owner TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (name, version));
CREATE TABLE compute_endpoint (
  name TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  program TEXT NOT NULL,
  verbs TEXT NOT NULL);
CREATE TABLE compute_task (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  submit_key TEXT,
  endpoint TEXT NOT NULL,
  experiment TEXT NOT NULL,
  state TEXT NOT NULL,
  function TEXT NOT NULL,
  request TEXT NOT NULL,
  losses {int64} NOT NULL,
  begun {int64} NOT NULL,
  record TEXT NOT NULL,
  output TEXT NOT NULL,
  log TEXT NOT NULL,
  UNIQUE (owner, submit_key));
CREATE INDEX compute_task_open ON compute_task (id) WHERE state = 'queued';
CREATE INDEX compute_task_owner ON compute_task (owner, id);
CREATE INDEX compute_task_experiment ON compute_task (experiment, id);
)"},
                                                {2, "the end of tasks", R"(
ALTER TABLE compute_task ADD COLUMN ended_s {int64} NOT NULL DEFAULT 0;
CREATE INDEX compute_task_ended ON compute_task (ended_s) WHERE state <> 'queued';
)"}};

constexpr const char* kColumns = "id, state, function, request, losses, begun, record, output, log";
constexpr std::size_t kLongestRecord = 16 << 20;

Json parse(const std::string& text, const char* what) {
  return parse_json(text, what, ErrorCode::corrupt_data, kLongestRecord);
}

TaskRecord task_from(const store::Rows::Row& row) {
  TaskRecord task;
  Json record = parse(row.text(6), "the record of a task");
  record["state"] = row.text(1);
  task.status = status_from(record, ErrorCode::corrupt_data);
  task.status.id = row.text(0);
  task.status.request = request_from(parse(row.text(3), "the request of a task"), ErrorCode::corrupt_data);
  task.status.request.function = row.text(2);
  task.status.output = row.text(7);
  task.losses = static_cast<int>(row.integer(4));
  task.begun = row.integer(5) != 0;
  task.log = row.text(8);
  return task;
}

/// What changes with the time.
std::string record_of(const TaskStatus& s) {
  return to_text({{"attempt", s.attempt},
                  {"resumed", s.resumed},
                  {"progress", s.progress},
                  {"message", s.message},
                  {"block", s.block},
                  {"node", s.node},
                  {"worker", s.worker},
                  {"times", to_json(s.times)},
                  {"problem", s.problem}});
}

std::string state_of(const TaskStatus& s) {
  return std::string(name_of(has_ended(s.state) ? s.state : TaskState::queued));
}

bool same_function(FunctionRecord a, const FunctionRecord& b) {
  a.version = b.version;
  a.created_s = b.created_s;
  return to_json(a) == to_json(b);
}
}  // namespace

Records::Records(store::Database& database) : database_(database) { database.migrate("compute", kMigrations); }

std::vector<FunctionRecord> Records::functions() const {
  std::vector<FunctionRecord> out;
  for (const auto row : database_.query("SELECT record FROM compute_function ORDER BY name, version"))
    out.push_back(function_from(parse(row.text(0), "the record of a function"), ErrorCode::corrupt_data));
  return out;
}

std::vector<EndpointRecord> Records::endpoints() const {
  std::vector<EndpointRecord> out;
  for (const auto row : database_.query("SELECT name, owner, program, verbs FROM compute_endpoint ORDER BY name")) {
    EndpointRecord endpoint{row.text(0), row.text(1), {}, row.text(2)};
    for (const Json& verb : parse(row.text(3), "the verbs of an endpoint"))
      endpoint.verbs.push_back(function_from(verb, ErrorCode::corrupt_data));
    out.push_back(std::move(endpoint));
  }
  return out;
}

std::vector<TaskRecord> Records::open_tasks() const {
  std::vector<TaskRecord> out;
  for (const auto row :
       database_.query(fmt::format("SELECT {} FROM compute_task WHERE state = 'queued' ORDER BY id", kColumns)))
    out.push_back(task_from(row));
  return out;
}

std::vector<std::pair<std::string, std::string>> Records::open_under(const std::string& beginning) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto row : database_.query(
           "SELECT submit_key, id FROM compute_task WHERE state = 'queued' AND submit_key IS NOT NULL ORDER BY id"))
    if (row.text(0).starts_with(beginning)) out.emplace_back(row.text(0), row.text(1));
  return out;
}

std::optional<TaskRecord> Records::task(const std::string& id) const {
  const auto rows = database_.query(fmt::format("SELECT {} FROM compute_task WHERE id = ?", kColumns), id);
  if (rows.empty()) return std::nullopt;
  return task_from(rows[0]);
}

std::vector<TaskStatus> Records::tasks(const std::string& owner, const std::string& experiment, long long at_most,
                                       const std::string& before) const {
  const auto rows = database_.read([&](Transaction& t) {
    std::string where;
    std::vector<store::Value> args;
    for (const auto& [condition, wanted] :
         {std::pair{"owner = ?", &owner}, {"experiment = ?", &experiment}, {"id < ?", &before}}) {
      if (wanted->empty()) continue;
      where += fmt::format("{} {}", where.empty() ? " WHERE" : " AND", condition);
      args.emplace_back(*wanted);
    }
    args.emplace_back(std::int64_t{at_most});
    return t.run(fmt::format("SELECT {} FROM compute_task{} ORDER BY id DESC LIMIT ?", kColumns, where), args);
  });
  std::vector<TaskStatus> out;
  for (const auto row : rows) out.push_back(task_from(row).status);
  return out;
}

FunctionRecord Records::add_function(FunctionRecord function) {
  return database_.write([&](Transaction& t) {
    FunctionRecord out = function;
    out.version = 1;
    for (const auto row : t.query("SELECT version, owner, record FROM compute_function WHERE name = ? "
                                  "ORDER BY version DESC LIMIT 1",
                                  function.name)) {
      if (row.text(1) != function.owner)
        throw Error(ErrorCode::forbidden, fmt::format("the function {} belongs to {}", function.name, row.text(1)));
      const FunctionRecord last =
          function_from(parse(row.text(2), "the record of a function"), ErrorCode::corrupt_data);
      if (same_function(function, last)) return last;
      out.version = static_cast<int>(row.integer(0)) + 1;
    }
    t.execute("INSERT INTO compute_function (name, version, owner, record) VALUES (?, ?, ?, ?)", out.name, out.version,
              out.owner, to_text(to_json(out)));
    return out;
  });
}

void Records::add_endpoint(const std::string& name, const std::string& owner) {
  database_.write([&](Transaction& t) {
    for (const auto row : t.query("SELECT owner FROM compute_endpoint WHERE name = ?", name)) {
      if (row.text(0) == owner) return;
      throw Error(ErrorCode::forbidden, fmt::format("the endpoint {} belongs to {}", name, row.text(0)));
    }
    t.execute("INSERT INTO compute_endpoint (name, owner, program, verbs) VALUES (?, ?, '', '[]')", name, owner);
  });
}

void Records::store_endpoint(Transaction& t, const EndpointRecord& endpoint) {
  Json verbs = Json::array();
  for (const FunctionRecord& verb : endpoint.verbs) verbs.push_back(to_json(verb));
  t.execute("UPDATE compute_endpoint SET program = ?, verbs = ? WHERE name = ?", endpoint.program, to_text(verbs),
            endpoint.name);
}

std::string Records::insert_task(Transaction& t, const TaskRecord& task, const std::string& asked,
                                 const std::string& key) {
  const TaskStatus& s = task.status;
  if (!key.empty())
    for (const auto row :
         t.query("SELECT id, request FROM compute_task WHERE owner = ? AND submit_key = ?", s.request.owner, key)) {
      if (row.text(1) == asked) return row.text(0);
      throw Error(ErrorCode::conflict, fmt::format("another task was submitted with the key \"{}\"", key));
    }
  t.execute(
      "INSERT INTO compute_task (id, owner, submit_key, endpoint, experiment, state, function, request, losses, begun, "
      "record, "
      "output, log) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      s.id, s.request.owner, key.empty() ? std::optional<std::string>() : key, s.request.endpoint, s.request.experiment,
      state_of(s), s.request.function, asked, task.losses, task.begun, record_of(s), s.output, task.log);
  return s.id;
}

void Records::store_task(Transaction& t, const TaskRecord& task, double ended_s) {
  const TaskStatus& s = task.status;
  t.execute(
      "UPDATE compute_task SET state = ?, losses = ?, begun = ?, record = ?, output = ?, log = ?, ended_s = ? "
      "WHERE id = ? AND state = 'queued'",
      state_of(s), task.losses, task.begun, record_of(s), s.output, task.log,
      has_ended(s.state) ? static_cast<std::int64_t>(ended_s) : 0, s.id);
}

std::vector<std::string> Records::forget_ended(double before_s, double now_s, int at_most) {
  return database_.write([&](Transaction& t) {
    // Those that ended before this was kept count from now on.
    t.execute("UPDATE compute_task SET ended_s = ? WHERE state <> 'queued' AND ended_s = 0",
              static_cast<std::int64_t>(now_s));
    std::vector<std::string> ids;
    for (const auto row :
         t.query("SELECT id FROM compute_task WHERE state <> 'queued' AND ended_s < ? ORDER BY ended_s LIMIT ?",
                 static_cast<std::int64_t>(before_s), at_most))
      ids.push_back(row.text(0));
    for (const std::string& id : ids) t.execute("DELETE FROM compute_task WHERE id = ?", id);
    return ids;
  });
}

}  // namespace farfield::services::compute
