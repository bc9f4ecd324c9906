#pragma once
// What the service keeps of flows and runs: the tables, and how they are read and written.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/services/flow/run.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::flow {

/// Brings the tables of this service up to date.
void migrate(store::Database& database);

/// Who may do what. Names are of users or of groups (`group:NAME`); "public" in viewers or starters is everybody.
struct FlowRecord {
  std::string id, title, owner;
  std::int64_t version = 1;
  std::vector<std::string> viewers, starters, administrators;
  std::string definition, input_schema;  ///< of this version; schema "": none
  double created_at_s = 0;
  /// service:ID, as which states with RunAs Flow act, and the subject that deployed this version, who must be allowed
  /// to act as it. Empty: there is none.
  std::string identity{}, identity_by{};
};

/// As whom the states of one RunAs act.
struct RunIdentity {
  std::string subject;  ///< service:ID
  std::string grant;
};

struct RunRecord {
  std::string id, flow_id, label, owner;
  std::int64_t flow_version = 1;
  std::vector<std::string> tags, managers, monitors;
  std::string context;  ///< JSON
  RunStatus status = RunStatus::active;
  std::vector<std::string> states;  ///< in which it is, or ended
  std::string error, cause;
  double started_at_s = 0, updated_at_s = 0;
  std::int64_t events = 0;
  std::string grant{};  ///< by which the service acts for the owner; no secret, but nobody else's business
  std::map<std::string, RunIdentity> identities{};  ///< by RunAs: Flow, or a role
};

struct StoredEvent {
  std::int64_t number = 0;  ///< from 1
  double at_s = 0;
  std::string kind, body;  ///< body: JSON
};

/// `names`: a user and the groups of that user.
bool may_see(const RunRecord& run, const std::vector<std::string>& names);  ///< owner, managers, monitors
bool may_manage(const RunRecord& run, const std::vector<std::string>& names);  ///< owner, managers
bool may_see(const FlowRecord& flow, const std::vector<std::string>& names);
bool may_start(const FlowRecord& flow, const std::vector<std::string>& names);
bool may_administer(const FlowRecord& flow, const std::vector<std::string>& names);

/// A new random name (UUID, version 4).
std::string new_id();

class Records {
public:
  explicit Records(store::Database& database) : database_(database) {}

  /// A new flow where `flow.id` is empty, else a new version of that flow (`not_found` where there is none). Runs keep
  /// the version with which they were started. Returns id and version.
  FlowRecord deploy(FlowRecord flow);
  /// Throws `not_found`. Version 0: the newest.
  FlowRecord flow(const std::string& id, std::int64_t version = 0) const;
  /// Without definitions, newest first. `where`: see Page.
  struct Page {
    std::string flow_id{}, owner{}, tag{};  ///< empty: any
    std::optional<RunStatus> status{};
    store::Index limit = 100, offset = 0;
    std::vector<std::string> visible_to{};  ///< only what somebody with these names may see; empty: all
  };
  std::vector<FlowRecord> flows(const Page& page) const;

  RunRecord run(const std::string& id) const;
  std::vector<RunRecord> runs(const Page& page) const;
  std::vector<std::string> active_runs() const;
  std::vector<StoredEvent> events(const std::string& run_id, std::int64_t after = 0,
                                  store::Index limit = 1000000) const;
  /// A run that was started for the same request, if any.
  std::optional<std::string> run_of_request(const std::string& owner, const std::string& request_id) const;

  /// Changes for Database::submit(). The run is made with its first events; false where `request_id` (empty: none)
  /// already has a run of this owner.
  static bool insert_run(store::Transaction& t, const RunRecord& run, const std::string& request_id,
                         const std::vector<StoredEvent>& events);
  /// Adds events after the first `run.events`; throws `conflict` where the database has another number of them.
  static void append(store::Transaction& t, const RunRecord& run, const std::vector<StoredEvent>& events);

private:
  store::Database& database_;
};

}  // namespace farfield::services::flow
