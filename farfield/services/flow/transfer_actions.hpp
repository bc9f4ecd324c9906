#pragma once
// Transfers as actions of flows: bodies in the forms of bodies.hpp -> tasks of services/transfer.

#include <memory>

#include "farfield/services/flow/action.hpp"
#include "farfield/services/transfer/tasks.hpp"

namespace farfield::services::flow {

/// Endpoints of a body are places, "beamline/2026-1-Garcia-1234"; paths are relative to the experiment's root there, a
/// leading "/" or "/~/" means it. The task acts by the run's grant, and so for the user who started the run. Details:
/// {"task_id", "status", "files", "files_transferred", "files_skipped", "files_failed", "bytes_transferred",
/// "nice_status"}. `tasks` outlives the result.
std::shared_ptr<ActionProvider> transfer_actions(transfer::Tasks& tasks);

}  // namespace farfield::services::flow
