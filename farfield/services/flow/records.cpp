#include "farfield/services/flow/records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;
using store::Index;
using store::Transaction;

std::string list_text(const std::vector<std::string>& list) { return to_text(Json(list)); }
std::vector<std::string> list_of(const std::string& text) { return Json::parse(text).get<std::vector<std::string>>(); }

bool any_in(const std::vector<std::string>& allowed, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::find(allowed.begin(), allowed.end(), name) != allowed.end();
  });
}
bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A condition on `columns` and its arguments: one of `names` stands in one of these lists, which are JSON texts.
struct Condition {
  std::string sql;
  std::vector<store::Value> args;
};
Condition lists_name(const std::vector<std::string>& names, const std::string& owner_column,
                     const std::vector<std::string>& columns) {
  Condition out;
  for (const std::string& name : names) {
    out.sql += fmt::format("{}{} = ?", out.sql.empty() ? "" : " OR ", owner_column);
    out.args.emplace_back(name);
    std::string pattern = "%";
    for (const char c : to_text(Json(name))) {
      if (c == '%' || c == '_' || c == '!') pattern += '!';
      pattern += c;
    }
    pattern += '%';
    for (const std::string& column : columns) {
      out.sql += fmt::format(" OR {} LIKE ? ESCAPE '!'", column);
      out.args.emplace_back(pattern);
    }
  }
  out.sql = "(" + out.sql + ")";
  return out;
}

std::string identities_text(const std::map<std::string, RunIdentity>& identities) {
  Json out = Json::object();
  for (const auto& [run_as, one] : identities) out[run_as] = {{"subject", one.subject}, {"grant", one.grant}};
  return to_text(out);
}
std::map<std::string, RunIdentity> identities_of(const std::string& text) {
  std::map<std::string, RunIdentity> out;
  const Json parsed = Json::parse(text);
  for (const auto& [run_as, one] : parsed.items())
    out[run_as] = {one.at("subject").get<std::string>(), one.at("grant").get<std::string>()};
  return out;
}

constexpr std::string_view kRunColumns =
    "id, flow_id, flow_version, label, tags, owner, managers, monitors, context, status, states, error, cause, "
    "started_at_s, updated_at_s, events, grant_id, identities";

RunRecord run_of(const store::Rows::Row& row) {
  return {.id = row.text(0),
          .flow_id = row.text(1),
          .label = row.text(3),
          .owner = row.text(5),
          .flow_version = row.integer(2),
          .tags = list_of(row.text(4)),
          .managers = list_of(row.text(6)),
          .monitors = list_of(row.text(7)),
          .context = row.text(8),
          .status = run_status(row.text(9)),
          .states = list_of(row.text(10)),
          .error = row.text(11),
          .cause = row.text(12),
          .started_at_s = row.real(13),
          .updated_at_s = row.real(14),
          .events = row.integer(15),
          .grant = row.text(16),
          .identities = identities_of(row.text(17))};
}

void insert_events(Transaction& t, const std::string& run_id, const std::vector<StoredEvent>& events) {
  // Several rows a statement: fewer round trips to a server. Few different lengths, so that statements stay prepared.
  constexpr std::size_t kRows = 8;
  static const auto statement = [](std::size_t rows) {
    std::string sql = "INSERT INTO flow_event(run_id, number, at_s, kind, body) VALUES ";
    for (std::size_t i = 0; i < rows; ++i) sql += i == 0 ? "(?, ?, ?, ?, ?)" : ", (?, ?, ?, ?, ?)";
    return sql;
  };
  for (std::size_t first = 0; first < events.size(); first += kRows) {
    const std::size_t rows = std::min(kRows, events.size() - first);
    std::vector<store::Value> args;
    for (std::size_t i = first; i < first + rows; ++i) {
      args.emplace_back(run_id);
      args.emplace_back(events[i].number);
      args.emplace_back(events[i].at_s);
      args.emplace_back(events[i].kind);
      args.emplace_back(events[i].body);
    }
    t.run(statement(rows), args);
  }
}
}  // namespace

void migrate(store::Database& database) {
  database.migrate("flow", {{1, "flows and runs", R"sql(
CREATE TABLE flow (id TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL, version {int64} NOT NULL,
  viewers TEXT NOT NULL, starters TEXT NOT NULL, administrators TEXT NOT NULL, created_at_s {float64} NOT NULL);
CREATE TABLE flow_version (flow_id TEXT NOT NULL REFERENCES flow(id), version {int64} NOT NULL, definition TEXT NOT NULL,
  input_schema TEXT NOT NULL, created_at_s {float64} NOT NULL, PRIMARY KEY (flow_id, version));
CREATE TABLE flow_run (id TEXT PRIMARY KEY, flow_id TEXT NOT NULL, flow_version {int64} NOT NULL, label TEXT NOT NULL,
  tags TEXT NOT NULL, owner TEXT NOT NULL, managers TEXT NOT NULL, monitors TEXT NOT NULL, context TEXT NOT NULL,
  status TEXT NOT NULL, states TEXT NOT NULL, error TEXT NOT NULL, cause TEXT NOT NULL, started_at_s {float64} NOT NULL,
  updated_at_s {float64} NOT NULL, events {int64} NOT NULL, request_id TEXT, UNIQUE (owner, request_id));
CREATE INDEX flow_run_status ON flow_run(status);
CREATE INDEX flow_run_started ON flow_run(started_at_s);
CREATE TABLE flow_run_tag (run_id TEXT NOT NULL REFERENCES flow_run(id), tag TEXT NOT NULL, PRIMARY KEY (tag, run_id));
CREATE TABLE flow_event (run_id TEXT NOT NULL, number {int64} NOT NULL, at_s {float64} NOT NULL, kind TEXT NOT NULL,
  body TEXT NOT NULL, PRIMARY KEY (run_id, number));
)sql"},
                            {2, "runs act for their owner", R"sql(
ALTER TABLE flow_run ADD COLUMN grant_id TEXT NOT NULL DEFAULT '';
)sql"},
                            {3, "states act as service identities", R"sql(
ALTER TABLE flow_run ADD COLUMN identities TEXT NOT NULL DEFAULT '{}';
ALTER TABLE flow_version ADD COLUMN identity TEXT NOT NULL DEFAULT '';
ALTER TABLE flow_version ADD COLUMN identity_by TEXT NOT NULL DEFAULT '';
)sql"}});
}

bool may_see(const RunRecord& run, const std::vector<std::string>& names) {
  return may_manage(run, names) || any_in(run.monitors, names);
}
bool may_manage(const RunRecord& run, const std::vector<std::string>& names) {
  return has(names, run.owner) || any_in(run.managers, names);
}
bool may_administer(const FlowRecord& flow, const std::vector<std::string>& names) {
  return has(names, flow.owner) || any_in(flow.administrators, names);
}
bool may_start(const FlowRecord& flow, const std::vector<std::string>& names) {
  return may_administer(flow, names) || has(flow.starters, "public") || any_in(flow.starters, names);
}
bool may_see(const FlowRecord& flow, const std::vector<std::string>& names) {
  return may_start(flow, names) || has(flow.viewers, "public") || any_in(flow.viewers, names);
}

std::string new_id() {
  std::random_device random;  // the system's own source
  std::string id;
  for (int group = 0; group < 4; ++group) id += fmt::format("{:08x}", random());
  id[12] = '4';
  id[16] = "89ab"[random() % 4];
  for (const std::size_t dash : {20, 16, 12, 8}) id.insert(dash, 1, '-');
  return id;
}

FlowRecord Records::deploy(FlowRecord flow) {
  const bool is_new = flow.id.empty();
  if (is_new) flow.id = new_id();
  return database_.write([&](Transaction& t) {
    FlowRecord out = flow;
    if (is_new) {
      out.version = 1;
      t.execute(
          "INSERT INTO flow(id, title, owner, version, viewers, starters, administrators, created_at_s) VALUES (?, ?, "
          "?, ?, ?, ?, ?, ?)",
          out.id, out.title, out.owner, 1, list_text(out.viewers), list_text(out.starters),
          list_text(out.administrators), out.created_at_s);
    } else {
      const auto rows = t.query(
          "UPDATE flow SET version = version + 1, title = ?, viewers = ?, starters = ?, administrators = ? WHERE id = "
          "? RETURNING version, owner",
          out.title, list_text(out.viewers), list_text(out.starters), list_text(out.administrators), out.id);
      if (rows.empty()) throw Error(ErrorCode::not_found, fmt::format("there is no flow '{}'", out.id));
      out.version = rows[0].integer(0);
      out.owner = rows[0].text(1);
    }
    t.execute(
        "INSERT INTO flow_version(flow_id, version, definition, input_schema, created_at_s, identity, identity_by) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        out.id, out.version, out.definition, out.input_schema, out.created_at_s, out.identity, out.identity_by);
    return out;
  });
}

namespace {
FlowRecord flow_of(const store::Rows::Row& row) {
  return {.id = row.text(0),
          .title = row.text(1),
          .owner = row.text(2),
          .version = row.integer(3),
          .viewers = list_of(row.text(4)),
          .starters = list_of(row.text(5)),
          .administrators = list_of(row.text(6)),
          .definition = {},
          .input_schema = {},
          .created_at_s = row.real(7)};
}
}  // namespace

FlowRecord Records::flow(const std::string& id, std::int64_t version) const {
  const auto rows = database_.query(
      "SELECT f.id, f.title, f.owner, v.version, f.viewers, f.starters, f.administrators, v.created_at_s, "
      "v.definition, v.input_schema, v.identity, v.identity_by FROM flow f JOIN flow_version v ON v.flow_id = f.id "
      "WHERE f.id = ? AND (v.version = ? OR (v.version = f.version AND ? = 0))",
      id, version, version);
  if (rows.empty())
    throw Error(ErrorCode::not_found, version == 0 ? fmt::format("there is no flow '{}'", id)
                                                   : fmt::format("there is no version {} of flow '{}'", version, id));
  FlowRecord out = flow_of(rows[0]);
  out.definition = rows[0].text(8);
  out.input_schema = rows[0].text(9);
  out.identity = rows[0].text(10);
  out.identity_by = rows[0].text(11);
  return out;
}

std::vector<FlowRecord> Records::flows(const Page& page) const {
  std::string sql =
      "SELECT id, title, owner, version, viewers, starters, administrators, created_at_s FROM flow WHERE (? = '' OR "
      "owner = ?)";
  std::vector<store::Value> args{page.owner, page.owner};
  if (!page.visible_to.empty()) {
    auto names = page.visible_to;
    names.emplace_back("public");  // of no use among administrators, and nobody's name
    const auto [condition, more] = lists_name(names, "owner", {"viewers", "starters", "administrators"});
    sql += " AND " + condition;
    args.insert(args.end(), more.begin(), more.end());
  }
  sql += " ORDER BY created_at_s DESC, id LIMIT ? OFFSET ?";
  args.emplace_back(page.limit);
  args.emplace_back(page.offset);
  std::vector<FlowRecord> out;
  for (const auto row : database_.read([&](Transaction& t) { return t.run(sql, args); })) out.push_back(flow_of(row));
  return out;
}

RunRecord Records::run(const std::string& id) const {
  const auto rows = database_.query(fmt::format("SELECT {} FROM flow_run WHERE id = ?", kRunColumns), id);
  if (rows.empty()) throw Error(ErrorCode::not_found, fmt::format("there is no run '{}'", id));
  return run_of(rows[0]);
}

std::vector<RunRecord> Records::runs(const Page& page) const {
  std::string sql = fmt::format("SELECT {} FROM flow_run", kRunColumns);
  std::vector<std::string> conditions;
  std::vector<store::Value> args;
  const auto add = [&](const char* condition, const std::string& value) {
    if (value.empty()) return;
    conditions.emplace_back(condition);
    args.emplace_back(value);
  };
  add("flow_id = ?", page.flow_id);
  add("owner = ?", page.owner);
  add("status = ?", page.status ? std::string(name_of(*page.status)) : "");
  add("id IN (SELECT run_id FROM flow_run_tag WHERE tag = ?)", page.tag);
  if (!page.visible_to.empty()) {
    const auto [condition, more] = lists_name(page.visible_to, "owner", {"managers", "monitors"});
    conditions.push_back(condition);
    args.insert(args.end(), more.begin(), more.end());
  }
  if (!conditions.empty()) sql += fmt::format(" WHERE {}", fmt::join(conditions, " AND "));
  sql += " ORDER BY started_at_s DESC, id LIMIT ? OFFSET ?";
  args.emplace_back(page.limit);
  args.emplace_back(page.offset);
  std::vector<RunRecord> out;
  for (const auto row : database_.read([&](Transaction& t) { return t.run(sql, args); })) out.push_back(run_of(row));
  return out;
}

std::vector<std::string> Records::active_runs() const {
  std::vector<std::string> out;
  for (const auto row : database_.query("SELECT id FROM flow_run WHERE status = 'ACTIVE' ORDER BY started_at_s, id"))
    out.push_back(row.text(0));
  return out;
}

std::vector<StoredEvent> Records::events(const std::string& run_id, std::int64_t after, Index limit) const {
  std::vector<StoredEvent> out;
  for (const auto row : database_.query(
           "SELECT number, at_s, kind, body FROM flow_event WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?",
           run_id, after, limit))
    out.push_back({row.integer(0), row.real(1), row.text(2), row.text(3)});
  return out;
}

std::optional<std::string> Records::run_of_request(const std::string& owner, const std::string& request_id) const {
  const auto rows = database_.query("SELECT id FROM flow_run WHERE owner = ? AND request_id = ?", owner, request_id);
  return rows.empty() ? std::nullopt : std::optional(rows[0].text(0));
}

bool Records::insert_run(Transaction& t, const RunRecord& run, const std::string& request_id,
                         const std::vector<StoredEvent>& events) {
  const auto inserted = t.execute(
      "INSERT INTO flow_run(id, flow_id, flow_version, label, tags, owner, managers, monitors, context, status, "
      "states, error, cause, started_at_s, updated_at_s, events, request_id, grant_id, identities) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, request_id) DO NOTHING",
      run.id, run.flow_id, run.flow_version, run.label, list_text(run.tags), run.owner, list_text(run.managers),
      list_text(run.monitors), run.context, name_of(run.status), list_text(run.states), run.error, run.cause,
      run.started_at_s, run.updated_at_s, std::ssize(events),
      request_id.empty() ? std::nullopt : std::optional(request_id), run.grant, identities_text(run.identities));
  if (inserted == 0) return false;
  for (const std::string& tag : run.tags)
    t.execute("INSERT INTO flow_run_tag(tag, run_id) VALUES (?, ?) ON CONFLICT DO NOTHING", tag, run.id);
  insert_events(t, run.id, events);
  return true;
}

void Records::append(Transaction& t, const RunRecord& run, const std::vector<StoredEvent>& events) {
  const auto updated = t.execute(
      "UPDATE flow_run SET status = ?, states = ?, error = ?, cause = ?, updated_at_s = ?, events = ? WHERE id = ? AND "
      "events = ?",
      name_of(run.status), list_text(run.states), run.error, run.cause, run.updated_at_s,
      run.events + std::ssize(events), run.id, run.events);
  if (updated != 1) throw Error(ErrorCode::conflict, fmt::format("run '{}' was changed by another program", run.id));
  insert_events(t, run.id, events);
}

}  // namespace farfield::services::flow
