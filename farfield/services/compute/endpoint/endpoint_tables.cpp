#include "farfield/services/compute/endpoint/endpoint_tables.hpp"

#include <fmt/format.h>

namespace farfield::services::compute {
namespace {

const std::vector<store::Migration>& migrations() {
  static const std::vector<store::Migration> all{{1, "blocks and tasks", R"(
CREATE TABLE endpoint_block(
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  urgent {int64} NOT NULL,
  secret TEXT NOT NULL
);
CREATE TABLE endpoint_task(
  task TEXT NOT NULL,
  attempt {int64} NOT NULL,
  block TEXT NOT NULL,
  node TEXT NOT NULL,
  place {int64} NOT NULL,
  incarnation {int64} NOT NULL,
  assignment TEXT NOT NULL,
  PRIMARY KEY(task, attempt)
);
)"}};
  return all;
}

}  // namespace

EndpointTables::EndpointTables(const std::string& folder, bool outlive_machine)
    : database_(store::Database::open("sqlite:" + folder + "/endpoint.db", {.waits_for_disk = outlive_machine})) {
  database_->migrate("endpoint", migrations());
}

std::vector<BlockRow> EndpointTables::blocks() const {
  std::vector<BlockRow> all;
  for (const auto row : database_->query("SELECT name, id, urgent, secret FROM endpoint_block ORDER BY name"))
    all.push_back({row.text(0), row.text(1), row.integer(2) != 0, row.text(3)});
  return all;
}

void EndpointTables::keep(const BlockRow& b) {
  database_->write([&](store::Transaction& t) {
    t.execute(
        "INSERT INTO endpoint_block(name, id, urgent, secret) VALUES (?, ?, ?, ?) "
        "ON CONFLICT(name) DO UPDATE SET id = excluded.id",
        b.name, b.id, b.urgent, b.secret);
  });
}

void EndpointTables::forget_block(const std::string& name) {
  database_->write([&](store::Transaction& t) { t.execute("DELETE FROM endpoint_block WHERE name = ?", name); });
}

std::vector<Handover> EndpointTables::handovers() const {
  std::vector<Handover> all;
  for (const auto row :
       database_->query("SELECT task, attempt, block, node, place, incarnation, assignment FROM endpoint_task")) {
    Handover h{{row.text(0), static_cast<int>(row.integer(1))},
               {row.text(2), row.text(3), static_cast<int>(row.integer(4))},
               static_cast<int>(row.integer(5))};
    const Message message = decode(row.text(6));
    const auto* assign = std::get_if<Assign>(&message);
    if (assign == nullptr || assign->tasks.size() != 1)
      throw core::Error(core::ErrorCode::corrupt_data,
                        fmt::format("the row of task {} in {} holds no assignment", h.key.task, database_->where()));
    h.assignment = assign->tasks[0];
    all.push_back(std::move(h));
  }
  return all;
}

void EndpointTables::change(std::vector<Handover> kept, std::vector<TaskKey> forgotten,
                            std::function<void(core::Result<void>)> done) {
  std::vector<std::string> assignments;
  assignments.reserve(kept.size());
  for (const Handover& h : kept) assignments.push_back(encode(Assign{{h.assignment}}));
  auto change = [kept = std::move(kept), assignments = std::move(assignments),
                 forgotten = std::move(forgotten)](store::Transaction& t) {
    for (const TaskKey& key : forgotten)
      t.execute("DELETE FROM endpoint_task WHERE task = ? AND attempt = ?", key.task, key.attempt);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const Handover& h = kept[i];
      t.execute(
          "INSERT INTO endpoint_task(task, attempt, block, node, place, incarnation, assignment) "
          "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(task, attempt) DO UPDATE SET block = excluded.block, "
          "node = excluded.node, place = excluded.place, incarnation = excluded.incarnation",
          h.key.task, h.key.attempt, h.worker.block, h.worker.node, h.worker.place, h.incarnation, assignments[i]);
    }
  };
  try {
    database_->submit(std::move(change), done);
  } catch (const core::Error& e) {
    done(tl::unexpected<core::Error>(e));
  }
}

}  // namespace farfield::services::compute
