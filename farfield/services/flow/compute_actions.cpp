#include "farfield/services/flow/compute_actions.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/bodies.hpp"
#include "farfield/services/flow/fields.hpp"
#include "farfield/services/flow/job_actions.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/rest.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

const std::string kKeys = "flow ";
constexpr std::size_t kLongest = 64 << 20;
/// The time limit is the state's WaitTime; this one is for a run that nobody brings back.
constexpr double kDeadline_s = 30 * 86400.0;
constexpr double kLongestWalltime_s = 366 * 86400.0;

std::string arguments_of(const ComputeBody::Task& task) {
  const Json args = parse_json(task.args, "args", kLongest);
  Json out = parse_json(task.kwargs, "kwargs", kLongest);
  if (args.empty()) return to_text(out);
  if (out.empty() && args.size() == 1 && args[0].is_object()) return to_text(args[0]);
  if (out.contains("args"))
    throw Error(ErrorCode::invalid_argument, "kwargs has 'args', and there are positional ones");
  out["args"] = args;
  return to_text(out);
}

compute::Priority priority_of(const std::string& name) {
  using enum compute::Priority;
  for (const auto priority : {low, normal, high, urgent})
    if (compute::name_of(priority) == name) return priority;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("/user_endpoint_config/priority: {:?} must be low, normal, high or urgent", name));
}

/// What all tasks of a body have in common.
compute::TaskRequest common(const ComputeBody& body) {
  compute::TaskRequest out;
  out.deadline_s = kDeadline_s;
  if (body.resources) {
    out.resources.nodes = static_cast<int>(body.resources->num_nodes);
    if (body.resources->num_ranks > (1 << 20))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("/resource_specification/num_ranks: {} are too many", body.resources->num_ranks));
    out.resources.ranks = static_cast<int>(body.resources->num_ranks);
  }
  const Json config = parse_json(body.endpoint_config, "user_endpoint_config");
  const Report refuse = [](const std::string& pointer, const std::string& what) {
    throw Error(ErrorCode::invalid_argument, pointer + ": " + what);
  };
  const Fields fields(config, "/user_endpoint_config", refuse);
  fields.only({"walltime_s", "gpu_slots", "priority", "attempts"});
  out.resources.walltime_s = fields.number("walltime_s", 0, kLongestWalltime_s).value_or(0);
  out.resources.gpu_slots = static_cast<int>(fields.integer("gpu_slots", 0, 1024).value_or(0));
  out.attempts = static_cast<int>(fields.integer("attempts", 1, 100).value_or(out.attempts));
  if (const auto name = fields.text("priority", false)) out.priority = priority_of(*name);
  return out;
}

JobEnd end_of(const compute::TaskStatus& status) {
  JobEnd end;
  end.good = status.state == compute::TaskState::done;
  end.details = end.good ? status.output : "null";
  end.problem = status.state == compute::TaskState::cancelled ? "the task was cancelled" : status.problem;
  end.start_s = status.times.started_s > 0 ? status.times.started_s : status.times.submitted_s;
  end.end_s = status.times.ended_s;
  return end;
}

class Computations final : public Jobs {
public:
  Computations(compute::Broker& broker, auth::Issuer& issuer) : broker_(broker), issuer_(issuer) {}

  std::vector<Job> prepare(const ActionRequest& request) override {
    if (request.grant.empty())
      throw Error(ErrorCode::unauthenticated, "there is no token for RunAs '" + request.run_as + "'");
    const ComputeBody body = parse_compute_body(request.body);
    const compute::TaskRequest shared = common(body);
    std::vector<Job> out;
    for (std::size_t i = 0; i < body.tasks.size(); ++i) {
      compute::TaskRequest task = shared;
      const std::string& place = body.tasks[i].endpoint;
      const auto slash = place.find('/');
      if (slash == std::string::npos)
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("the endpoint {:?} must be ENDPOINT/EXPERIMENT, like cluster/2026-1-Garcia-1234", place));
      task.endpoint = place.substr(0, slash);
      task.experiment = place.substr(slash + 1);
      auth::check_experiment(task.experiment);
      // A token that nobody needs: the issuer says whether it could be had.
      (void)issuer_.mint(request.grant, "run:/experiments/" + task.experiment);
      task.function = body.tasks[i].function;
      task.arguments = arguments_of(body.tasks[i]);
      task.owner = request.identity.empty() ? subject_of_name(request.user) : request.identity;
      task.label = "run " + request.run_id;
      const std::string key = fmt::format("{}{}/{}", kKeys, request.key, i);
      out.push_back({key, [this, task, key] { return broker_.submit(task, key); }});
    }
    return out;
  }
  std::optional<JobEnd> look(const std::string& id) override {
    const auto status = broker_.status(id);
    return compute::has_ended(status.state) ? std::optional(end_of(status)) : std::nullopt;
  }
  void cancel(const std::string& id) override { broker_.cancel(id); }
  std::vector<Open> open() override {
    std::vector<Open> out;
    for (auto& [key, id] : broker_.open_under(kKeys))
      out.push_back({key.substr(kKeys.size(), key.rfind('/') - kKeys.size()), id});
    return out;
  }
  std::string details(const ActionRequest& request, const std::vector<std::string>& ids,
                      const std::vector<std::optional<JobEnd>>& ends) override {
    std::vector<TaskOutput> outputs;
    for (std::size_t i = 0; i < ids.size(); ++i)
      outputs.push_back({ids[i], ends[i] && ends[i]->good ? ends[i]->details : "null"});
    Json details = Json::parse(compute_details(parse_compute_body(request.body).form, outputs));
    Json problems = Json::array();
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ends[i] && !ends[i]->good) problems.push_back({{"task_id", ids[i]}, {"problem", ends[i]->problem}});
    details["task_ids"] = ids;
    if (!problems.empty()) details["problems"] = std::move(problems);
    return to_text(details);
  }
  std::shared_ptr<void> listen(Heard heard) override {
    return broker_.listen([heard = std::move(heard)](const compute::TaskEvent& event) {
      using enum compute::TaskEvent::Kind;
      if (event.kind == ended) heard(event.status.id, end_of(event.status));
      else if (event.kind == progress || event.kind == running) heard(event.status.id, std::nullopt);
    });
  }

private:
  compute::Broker& broker_;
  auth::Issuer& issuer_;
};
}  // namespace

std::shared_ptr<ActionProvider> compute_actions(compute::Broker& broker, auth::Issuer& issuer) {
  return job_actions(std::make_unique<Computations>(broker, issuer));
}

}  // namespace farfield::services::flow
