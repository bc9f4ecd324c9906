#include "farfield/services/flow/transfer_actions.hpp"

#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/bodies.hpp"
#include "farfield/services/flow/job_actions.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/rest.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

const std::string kKeys = "flow ";
/// The time limit is the state's WaitTime; this one is for a run that nobody brings back.
constexpr double kDeadline_s = 30 * 86400.0;

std::string relative(std::string path) {
  if (path.starts_with("/~/")) return path.substr(3);
  while (path.starts_with('/')) path.erase(0, 1);
  return path;
}

transfer::Sync sync_of(std::optional<int> level) {
  constexpr transfer::Sync kLevels[] = {transfer::Sync::exists, transfer::Sync::size, transfer::Sync::mtime,
                                        transfer::Sync::checksum};
  return level ? kLevels[*level] : transfer::Sync::never;
}

JobEnd end_of(const transfer::TaskStatus& status) {
  JobEnd end;
  end.good = status.state == transfer::TaskState::succeeded;
  end.problem = end.good                                         ? ""
                : status.state == transfer::TaskState::cancelled ? "the transfer was cancelled"
                                                                 : status.problem;
  end.start_s = status.submitted_s;
  end.end_s = status.changed_s;
  end.details = to_text({{"task_id", status.id},
                         {"status", end.good ? "SUCCEEDED" : "FAILED"},
                         {"files", status.progress.files_found},
                         {"files_transferred", status.progress.files_copied},
                         {"files_skipped", status.progress.files_skipped},
                         {"files_failed", status.progress.files_failed},
                         {"bytes_transferred", status.progress.bytes_read},
                         {"nice_status", end.good ? "OK" : end.problem}});
  return end;
}

class Transfers final : public Jobs {
public:
  explicit Transfers(transfer::Tasks& tasks) : tasks_(tasks) {}

  std::vector<Job> prepare(const ActionRequest& request) override {
    if (request.grant.empty())
      throw Error(ErrorCode::unauthenticated, "there is no token for RunAs '" + request.run_as + "'");
    const TransferBody body = parse_transfer_body(request.body);
    transfer::TaskRequest task;
    task.source = body.source_endpoint;
    task.destination = body.destination_endpoint;
    for (const auto& item : body.items)
      task.items.push_back({relative(item.source_path), relative(item.destination_path), item.recursive});
    task.options.sync = sync_of(body.sync_level);
    if (body.follow) task.options.follow = {body.follow->marker, body.follow->quiet_s, {}};
    task.label = body.label;
    task.owner = request.identity.empty() ? subject_of_name(request.user) : request.identity;
    task.grant = request.grant;
    task.deadline_s = kDeadline_s;
    return {{request.key, [this, task, key = request.key] { return tasks_.submit(task, kKeys + key); }}};
  }
  std::optional<JobEnd> look(const std::string& id) override {
    const auto status = tasks_.status(id);
    return transfer::is_final(status.state) ? std::optional(end_of(status)) : std::nullopt;
  }
  void cancel(const std::string& id) override { tasks_.cancel(id); }
  std::vector<Open> open() override {
    std::vector<Open> out;
    for (auto& [key, id] : tasks_.open_under(kKeys)) out.push_back({key.substr(kKeys.size()), id});
    return out;
  }
  std::string details(const ActionRequest&, const std::vector<std::string>&,
                      const std::vector<std::optional<JobEnd>>& ends) override {
    return ends.front()->details;
  }
  std::shared_ptr<void> listen(Heard heard) override {
    return tasks_.listen([heard = std::move(heard)](const transfer::TaskEvent& event) {
      if (event.kind == transfer::TaskEvent::Kind::ended) heard(event.status.id, end_of(event.status));
      else if (event.kind == transfer::TaskEvent::Kind::progress) heard(event.status.id, std::nullopt);
    });
  }

private:
  transfer::Tasks& tasks_;
};
}  // namespace

std::shared_ptr<ActionProvider> transfer_actions(transfer::Tasks& tasks) {
  return job_actions(std::make_unique<Transfers>(tasks));
}

}  // namespace farfield::services::flow
