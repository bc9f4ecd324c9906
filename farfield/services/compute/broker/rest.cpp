#include "farfield/services/compute/broker/rest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "farfield/core/log.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/auth/json.hpp"
#include "farfield/services/compute/broker/files.hpp"
#include "farfield/services/compute/broker/lines.hpp"
#include "farfield/services/compute/broker/rest_files.hpp"
#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using auth::Access;
using auth::Action;
using auth::json_response;
using auth::Principal;
using core::Error;
using core::ErrorCode;

constexpr std::size_t kLongestBody = 4 << 20, kMostTasks = 1000;
constexpr long long kMostListed = 1000;

std::string where(const net::Request& request) { return request.method + " " + request.route; }
std::string all_rights() { return std::string(auth::kAllRights); }

Json body_of(const net::Request& request) {
  return parse_json(request.body, "the body", ErrorCode::invalid_argument, kLongestBody);
}

long long number(const net::Request& request, const char* name, long long otherwise, long long most) {
  const std::string* text = request.query(name);
  if (text == nullptr) return otherwise;
  const auto value = net::parse_number(*text);
  if (!value || *value < 1 || *value > static_cast<std::uint64_t>(most))
    throw Error(ErrorCode::invalid_argument, fmt::format("?{}= must be a whole number from 1 to {}", name, most));
  return static_cast<long long>(*value);
}

Json error_json(const Error& e) { return {{"error", {{"code", core::traits(e.code()).name}, {"message", e.what()}}}}; }

class Rest {
public:
  Rest(Access& access, Broker& broker)
      : access_(access), broker_(broker), lines_(std::make_shared<Lines>(access, broker)) {
    lines_->begin();
  }

  // ---- functions

  net::Response register_function(const net::Request& request, const Principal& who) const {
    FunctionRecord f = function_from(body_of(request), ErrorCode::invalid_argument);
    if (!f.owner.empty() || f.created_s > 0)
      throw Error(ErrorCode::invalid_argument, "owner and time of a function are the service's to say");
    f.owner = who.subject;
    if (f.experiment.empty()) access_.require(who, {std::string(auth::kAdministration), {}, {}}, where(request));
    else access_.require(who, Action::run, f.experiment, where(request));
    return json_response(to_json(broker_.register_function(std::move(f))), 201);
  }

  net::Response functions(const net::Request&, const Principal& who) const {
    Json list = Json::array();
    for (const FunctionRecord& f : broker_.functions())
      if (visible(f, who)) list.push_back(to_json(f));
    return json_response({{"functions", std::move(list)}});
  }

  net::Response function(const net::Request& request, const Principal& who) const {
    const std::string& name = request.parameter("function");
    const FunctionRecord f = broker_.function(name);
    if (!visible(f, who))
      throw Error(ErrorCode::not_found, fmt::format("there is no function {:?}", name.substr(0, 200)));
    return json_response(to_json(f));
  }

  // ---- tasks

  /// One task, or {"tasks": [...]}, whose answers come in the same order, each an id or an error.
  net::Response submit(const net::Request& request) const {
    const Principal who = access_.identify(request);
    const Json body = body_of(request);
    if (!body.is_object() || !body.contains("tasks")) {
      const std::string* key = request.headers.find("Idempotency-Key");
      const std::string id = broker_.submit(checked(body, who, request), key == nullptr ? "" : *key);
      return json_response(to_json(broker_.status(id)), 201);
    }
    const Json& list = body["tasks"];
    if (body.size() != 1 || !list.is_array() || list.empty() || list.size() > kMostTasks)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("\"tasks\" must be an array of 1 to {}, and all", kMostTasks));
    std::vector<std::future<core::Result<std::string>>> answers;
    for (const Json& one : list) {
      auto promise = std::make_shared<std::promise<core::Result<std::string>>>();
      answers.push_back(promise->get_future());
      try {
        Json task = one;
        std::string key;
        if (task.is_object() && task.contains("key")) {
          key = auth::json_text(task, "key");
          task.erase("key");
        }
        broker_.submit(checked(task, who, request), key,
                       [promise](core::Result<std::string> id) { promise->set_value(std::move(id)); });
      } catch (const Error& e) {
        promise->set_value(tl::unexpected<Error>(e));
      }
    }
    Json out = Json::array();
    for (auto& answer : answers) {
      const auto id = answer.get();  // the database answers within its patience
      out.push_back(id ? Json{{"id", *id}} : error_json(id.error()));
    }
    return json_response({{"tasks", std::move(out)}}, 201);
  }

  net::Response list(const net::Request& request, const Principal& who) const {
    const std::string* experiment = request.query("experiment");
    if (experiment != nullptr) access_.require(who, Action::read, *experiment, where(request));
    // One's own tasks, too, are seen by who may read in their experiments now.
    std::map<std::string, bool> may;
    const auto readable = [&](const std::string& of) {
      const auto [place, added] = may.try_emplace(of, false);
      if (added) place->second = may_read(of, who);
      return place->second;
    };
    Json list = Json::array();
    for (const TaskStatus& s :
         broker_.list(experiment == nullptr ? who.subject : "", number(request, "limit", 100, kMostListed),
                      experiment == nullptr ? "" : *experiment, readable)) {
      Json one = to_json(s);
      one.erase("output");  // may be large: each task has its own
      list.push_back(std::move(one));
    }
    return json_response({{"tasks", std::move(list)}});
  }

  net::Response show(const net::Request& request, const Principal& who) const {
    return json_response(to_json(seen(request, who)));
  }

  net::Response cancel(const net::Request& request, const Principal& who) const {
    const TaskStatus s = seen(request, who);
    access_.require(who, s.request.owner == who.subject ? Action::run : Action::manage, s.request.experiment,
                    where(request));
    broker_.cancel(s.id);
    return json_response(to_json(broker_.status(s.id)));
  }

  net::Response output(const net::Request& request, const Principal& who) const {
    const TaskStatus s = seen(request, who);
    if (s.state == TaskState::done && output_reference(s.output, s.id))
      return file_response(output_path(broker_.folder(), {s.id, s.attempt}), "application/json");
    return net::Response::of(200, "application/json", broker_.output(s.id));
  }

  net::Response log(const net::Request& request, const Principal& who) const {
    return net::Response::text(200, broker_.log(seen(request, who).id));
  }

  net::Response preview(const net::Request& request, const Principal& who) const {
    const TaskStatus s = seen(request, who);
    const std::string& name = request.parameter("name");
    auto p = broker_.preview(s.id, name);
    if (!p) throw Error(ErrorCode::not_found, fmt::format("task {} shows no {:?} now", s.id, name.substr(0, 64)));
    auto response = net::Response::of(200, p->kind == "png" ? "image/png" : "application/zstd", std::move(p->bytes));
    response.headers.add("Cache-Control", "no-store");
    response.headers.add("X-Farfield-Step", std::to_string(p->step));
    if (!p->dtype.empty()) response.headers.add("X-Farfield-Type", p->dtype);
    if (!p->shape.empty()) response.headers.add("X-Farfield-Shape", fmt::format("{}", fmt::join(p->shape, ",")));
    if (!p->dtype.empty()) response.headers.add("X-Farfield-Range", fmt::format("{},{}", p->low, p->high));
    return response;
  }

  /// The state now, then each change; ends with the task, or with the life of a token.
  net::Response events(const net::Request& request, const Principal& who) const {
    return lines_->events(seen(request, who).id, who);
  }

  net::WebSocketSession live(const net::Request& request) const {
    const Principal who = access_.identify(request);
    return lines_->view(seen(request, who).id, who);
  }

  /// From the endpoint that runs the task.
  std::unique_ptr<net::Upload> put_output(const net::Request& request) const {
    const Principal who = access_.identify(request);
    const std::string& id = request.parameter("task");
    const TaskStatus s = broker_.status(id);
    require_endpoint(who, s.request.endpoint, where(request));
    const auto attempt = static_cast<int>(number(request, "attempt", 0, INT32_MAX));
    if (attempt != s.attempt || has_ended(s.state))
      throw Error(ErrorCode::conflict, fmt::format("attempt {} of task {} is not the current one", attempt, id));
    return receive_output(broker_.folder(), {id, attempt});
  }

  // ---- archives

  std::unique_ptr<net::Upload> put_archive(const net::Request& request) const {
    const Principal who = access_.identify(request);
    access_.require(who, {all_rights(), {}, {}}, where(request));
    return receive_archive(broker_.folder(), request.parameter("sha256"));
  }

  net::Response archive(const net::Request& request) const {
    require_any(access_.identify(request), where(request));
    const std::string& sha = request.parameter("sha256");
    if (!has_archive(broker_.folder(), sha))
      throw Error(ErrorCode::not_found, fmt::format("there is no archive {:?}", sha.substr(0, 64)));
    return file_response(archive_path(broker_.folder(), sha), "application/zstd");
  }

  // ---- endpoints

  net::Response register_endpoint(const net::Request& request) const {
    const Principal who = access_.identify(request);
    require_any(who, where(request));
    const Json body = auth::json_body(request, {"name"});
    const std::string name = auth::json_text(body, "name");
    broker_.register_endpoint(name, who.subject);
    return json_response(to_json(known_endpoint(name)), 201);
  }

  net::Response endpoints(const net::Request&, const Principal&) const {
    Json list = Json::array();
    for (const EndpointStatus& e : broker_.endpoints()) list.push_back(to_json(e));
    return json_response({{"endpoints", std::move(list)}});
  }

  net::WebSocketSession link(const net::Request& request) const {
    const Principal who = access_.identify(request);
    const std::string& name = request.parameter("endpoint");
    require_endpoint(who, name, where(request));
    return lines_->endpoint(name, who);
  }

private:
  TaskRequest checked(const Json& body, const Principal& who, const net::Request& request) const {
    TaskRequest task = request_from(body, ErrorCode::invalid_argument);
    if (!task.owner.empty()) throw Error(ErrorCode::invalid_argument, "a task belongs to who submits it");
    task.owner = who.subject;
    access_.require(who, Action::run, task.experiment, where(request));
    return task;
  }

  /// A task that one may not read is as unknown as one that does not exist.
  TaskStatus seen(const net::Request& request, const Principal& who) const {
    TaskStatus s = broker_.status(request.parameter("task"));
    try {
      access_.require(who, Action::read, s.request.experiment, where(request));
    } catch (const Error& e) {
      if (e.code() != ErrorCode::forbidden && e.code() != ErrorCode::invalid_argument) throw;
      throw Error(ErrorCode::not_found, fmt::format("there is no task {:?}", s.id));
    }
    return s;
  }

  bool visible(const FunctionRecord& f, const Principal& who) const {
    return f.experiment.empty() || f.owner == who.subject || may_read(f.experiment, who);
  }
  bool may_read(const std::string& experiment, const Principal& who) const {
    return access_.permits(who, {std::string(auth::name(Action::read)), experiment, {}});
  }

  EndpointStatus known_endpoint(const std::string& name) const {
    for (EndpointStatus& e : broker_.endpoints())
      if (e.name == name) return std::move(e);
    throw Error(ErrorCode::not_found, fmt::format("there is no endpoint {:?}", name.substr(0, 100)));
  }

  /// A user, or the service identity of an endpoint.
  void require_any(const Principal& who, const std::string& at) const {
    const bool user = !who.user().empty();
    access_.require(who, {user ? all_rights() : std::string(kEndpointScope), {}, {}}, at);
  }
  void require_endpoint(const Principal& who, const std::string& name, const std::string& at) const {
    require_any(who, at);
    if (known_endpoint(name).owner == who.subject) return;
    core::log(core::LogLevel::warning, "access",
              {{"decision", "denied"}, {"subject", who.subject}, {"client", who.client}, {"endpoint", name}});
    throw Error(ErrorCode::forbidden, fmt::format("endpoint {} is not {}'s", name, who.subject));
  }

  Access& access_;
  Broker& broker_;
  std::shared_ptr<Lines> lines_;
};
}  // namespace

void add_routes(net::Router& router, Access& access, Broker& broker) {
  const auto rest = std::make_shared<const Rest>(access, broker);
  using Method = net::Response (Rest::*)(const net::Request&, const Principal&) const;
  const auto guarded = [&](Method method) {
    return access.guard(all_rights(), [rest, method](const net::Request& request, const Principal& who) {
      return ((*rest).*method)(request, who);
    });
  };
  // Whom the experiment's roles decide about, whatever the token is for.
  const auto identified = [&](Method method) {
    return [rest, method, &access](const net::Request& request) {
      return ((*rest).*method)(request, access.identify(request));
    };
  };
  router.post("/api/v1/functions", guarded(&Rest::register_function));
  router.get("/api/v1/functions", guarded(&Rest::functions));
  router.get("/api/v1/functions/{function}", guarded(&Rest::function));

  const std::string task = "/api/v1/tasks/{task}";
  router.post("/api/v1/tasks", [rest](const net::Request& r) { return rest->submit(r); });
  router.get("/api/v1/tasks", guarded(&Rest::list));
  router.get(task, identified(&Rest::show));
  router.post(task + "/cancel", identified(&Rest::cancel));
  router.get(task + "/output", identified(&Rest::output));
  router.upload("PUT", task + "/output", [rest](const net::Request& r) { return rest->put_output(r); });
  router.get(task + "/log", identified(&Rest::log));
  router.get(task + "/previews/{name}", identified(&Rest::preview));
  router.get(task + "/events", identified(&Rest::events));
  router.websocket(task + "/live", [rest](const net::Request& r) { return rest->live(r); });

  router.upload("PUT", "/api/v1/archives/{sha256}", [rest](const net::Request& r) { return rest->put_archive(r); });
  router.get("/api/v1/archives/{sha256}", [rest](const net::Request& r) { return rest->archive(r); });

  router.post("/api/v1/endpoints", [rest](const net::Request& r) { return rest->register_endpoint(r); });
  router.get("/api/v1/endpoints", guarded(&Rest::endpoints));
  router.websocket("/api/v1/endpoints/{endpoint}/link", [rest](const net::Request& r) { return rest->link(r); });
}

}  // namespace farfield::services::compute
