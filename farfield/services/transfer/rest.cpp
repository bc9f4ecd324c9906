#include "farfield/services/transfer/rest.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/net/event_stream.hpp"
#include "farfield/net/range.hpp"
#include "farfield/services/auth/json.hpp"

namespace farfield::services::transfer {

using auth::Access;
using auth::Action;
using auth::json_response;
using auth::Principal;
using core::Error;
using core::ErrorCode;
using nlohmann::json;

namespace {

constexpr double kAfterDeadline_s = 600;  // a grant outlives its task
constexpr std::size_t kLongestKey = 200;

json place_json(const PlaceRecord& place) {
  json object{{"name", place.name},
              {"kind", name_of(place.kind)},
              {"url", place.url},
              {"owner", place.owner},
              {"certificate", place.certificate},
              {"seen_s", place.seen_s},
              {"registered_s", place.registered_s}};
  if (!place.folder.empty()) object["folder"] = place.folder;
  if (!place.audience.empty()) object["audience"] = place.audience;
  if (!place.https.empty()) object["https"] = place.https;
  return object;
}

net::Response task_response(const TaskStatus& status, int code = 200) {
  auto response = net::Response::of(code, "application/json", to_json(status) + "\n");
  response.headers.add("Cache-Control", "no-store");
  return response;
}

std::string where(const net::Request& request) { return request.method + " " + request.route; }

Index number(const net::Request& request, const char* name, Index otherwise, Index most) {
  const std::string* text = request.query(name);
  if (text == nullptr) return otherwise;
  const auto value = net::parse_number(*text);
  if (!value || *value < 1 || *value > static_cast<std::uint64_t>(most))
    throw Error(ErrorCode::invalid_argument, fmt::format("?{}= must be a whole number from 1 to {}", name, most));
  return static_cast<Index>(*value);
}

bool truth(const net::Request& request, const char* name) {
  const std::string* text = request.query(name);
  if (text == nullptr || *text == "false") return false;
  if (*text == "true") return true;
  throw Error(ErrorCode::invalid_argument, fmt::format("?{}= must be true or false", name));
}

class Rest {
public:
  Rest(Access& access, Tasks& tasks, Places& places) : access_(access), tasks_(tasks), places_(places) {}

  net::Response submit(const net::Request& request) const {
    const Principal who = access_.identify(request);
    TaskRequest task = request_from_json(request.body);
    if (!task.owner.empty()) throw Error(ErrorCode::invalid_argument, "a transfer belongs to who submits it");
    task.owner = who.subject;
    const PlaceName source = parse_place_name(task.source), destination = parse_place_name(task.destination);
    access_.require(who, Action::read, source.experiment, where(request));
    access_.require(who, Action::read, destination.experiment, where(request));
    access_.require(who, Action::write, destination.experiment, where(request));
    for (const auto& name : {source.place, destination.place})
      if (!places_.find(name)) throw Error(ErrorCode::not_found, fmt::format("there is no place {}", name));

    auth::Issuer& issuer = access_.issuer();
    const double most_s = static_cast<double>(issuer.options().refresh_life_s) - kAfterDeadline_s;
    if (task.deadline_s > most_s)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("a deadline of {} s; at most {} s", task.deadline_s, most_s));
    const std::string key = submission_key(request, who);
    task.grant = issuer.delegate(who.subject, who.client, needed_scope(task),
                                 static_cast<std::int64_t>(task.deadline_s + kAfterDeadline_s));
    try {
      const TaskStatus status = tasks_.status(tasks_.submit(task, key));
      if (status.request.grant != task.grant) issuer.revoke_grant(task.grant);  // it had been submitted before
      return task_response(status, 201);
    } catch (const Error&) {
      issuer.revoke_grant(task.grant);
      throw;
    }
  }

  net::Response list(const net::Request& request, const Principal& who) const {
    const bool all = truth(request, "all");
    if (all) access_.require(who, {std::string(auth::kAdministration), {}, {}}, where(request));
    json tasks = json::array();
    for (const auto& status : tasks_.list(all ? std::string() : who.subject, number(request, "limit", 100, 1000)))
      tasks.push_back(json::parse(summary_json(status)));
    return json_response({{"transfers", std::move(tasks)}});
  }

  net::Response show(const net::Request& request, const Principal& who) const {
    return task_response(own(request, who));
  }

  net::Response units(const net::Request& request, const Principal& who) const {
    const std::string id = own(request, who).id;
    const std::string* after = request.query("after");
    json units = json::array();
    for (const auto& unit : tasks_.units(id, truth(request, "failed"), after == nullptr ? std::string() : *after,
                                         number(request, "limit", 1000, 10000))) {
      const bool copied = unit.outcome == Unit::Outcome::copied;
      json one{{"source", unit.source}, {"destination", unit.destination}, {"outcome", copied ? "copied" : "failed"}};
      if (copied) {
        one["size_bytes"] = unit.size_bytes;
        if (unit.adler32) one["adler32"] = *unit.adler32;
        else one["crc32c"] = unit.crc32c;
        if (!unit.sha256.empty()) one["sha256"] = unit.sha256;
      } else {
        one["problem"] = unit.problem;
      }
      units.push_back(std::move(one));
    }
    return json_response({{"units", std::move(units)}});
  }

  net::Response cancel(const net::Request& request, const Principal& who) const {
    const std::string id = own(request, who).id;
    tasks_.cancel(id);
    return task_response(tasks_.status(id));
  }

  /// The state now, then each change; ends with the task, or with the session of who looks on.
  net::Response events(const net::Request& request, const Principal& who) const {
    const std::string id = own(request, who).id;
    auto stream = std::make_shared<net::EventStream>();
    const auto send = [](net::EventStream& to, const TaskEvent& event) {
      to.send({summary_json(event.status), std::string(name_of(event.kind)), ""});
      if (event.kind == TaskEvent::Kind::ended) to.close();
    };
    // Listening begins before the state is looked at: what happens in between comes twice, not never.
    auto listening = tasks_.listen([id, send, weak = std::weak_ptr(stream)](const TaskEvent& event) {
      if (event.status.id != id) return;
      if (const auto s = weak.lock()) send(*s, event);
    });
    auto& revocations = access_.issuer().verifier().revocations();
    auto revoked =
        revocations.listen([grant = who.grant, weak = std::weak_ptr(stream)](const auth::RevocationList::Entry& entry) {
          if (entry.id != grant) return;
          if (const auto s = weak.lock()) s->close();
        });
    stream->on_close([listening, revoked]() mutable {
      listening.reset();
      revoked.reset();
    });
    if (revocations.contains(who.grant)) stream->close();
    const TaskStatus now = tasks_.status(id);
    send(*stream, {is_final(now.state) ? TaskEvent::Kind::ended : TaskEvent::Kind::progress, now});
    return net::Response::event_stream(stream);
  }

  /// Agents register themselves; of a server that is somebody else's an administrator tells.
  net::Response register_place(const net::Request& request) const {
    const Principal who = access_.identify(request);
    const json body = auth::json_body(request, {"name", "url", "certificate", "kind", "folder", "audience", "https"});
    PlaceRecord place;
    const std::string kind = body.contains("kind") ? auth::json_text(body, "kind") : std::string("agent");
    if (kind != "agent" && kind != "xrootd")
      throw Error(ErrorCode::invalid_argument, "\"kind\" must be agent or xrootd");
    place.kind = kind == "xrootd" ? PlaceKind::xrootd : PlaceKind::agent;
    const bool agent = place.kind == PlaceKind::agent;
    access_.require(who, {agent ? std::string(kAgentScope) : std::string(auth::kAdministration), {}, {}},
                    where(request));
    if (body.contains("folder")) place.folder = auth::json_text(body, "folder");
    if (body.contains("audience")) place.audience = auth::json_text(body, "audience");
    if (body.contains("https")) place.https = auth::json_text(body, "https");
    place.name = auth::json_text(body, "name");
    place.url = auth::json_text(body, "url");
    if (body.contains("certificate")) place.certificate = auth::json_text(body, "certificate");
    place.owner = who.subject;
    return json_response(place_json(places_.put(place)));
  }

  net::Response places() const {
    json all = json::array();
    for (const auto& place : places_.list()) all.push_back(place_json(place));
    return json_response({{"places", std::move(all)}});
  }

  net::Response place(const net::Request& request) const { return json_response(place_json(known_place(request))); }

  net::Response remove_place(const net::Request& request) const {
    const Principal who = access_.identify(request);
    const PlaceRecord place = known_place(request);
    const bool own = place.owner == who.subject;
    access_.require(who, {own ? std::string(kAgentScope) : std::string(auth::kAdministration), {}, {}}, where(request));
    places_.remove(place.name);
    net::Response response;
    response.status = 204;
    return response;
  }

private:
  static std::string submission_key(const net::Request& request, const Principal& who) {
    const std::string* key = request.headers.find("Idempotency-Key");
    if (key == nullptr) return {};
    if (key->empty() || key->size() > kLongestKey)
      throw Error(ErrorCode::invalid_argument, fmt::format("Idempotency-Key must have 1 to {} bytes", kLongestKey));
    return who.subject + " " + *key;  // of each user's own
  }

  /// Somebody else's task is as unknown as one that does not exist.
  TaskStatus own(const net::Request& request, const Principal& who) const {
    TaskStatus status = tasks_.status(request.parameter("transfer"));
    if (status.request.owner == who.subject) return status;
    try {
      access_.require(who, {std::string(auth::kAdministration), {}, {}}, where(request));
    } catch (const Error&) {
      throw Error(ErrorCode::not_found, fmt::format("there is no transfer {}", request.parameter("transfer")));
    }
    return status;
  }

  PlaceRecord known_place(const net::Request& request) const {
    const std::string& name = request.parameter("place");
    auto place = places_.find(name);
    if (!place) throw Error(ErrorCode::not_found, fmt::format("there is no place {:?}", name.substr(0, 100)));
    return std::move(*place);
  }

  Access& access_;
  Tasks& tasks_;
  Places& places_;
};

}  // namespace

void add_routes(net::Router& router, Access& access, Tasks& tasks, Places& places) {
  const auto rest = std::make_shared<const Rest>(access, tasks, places);
  using Method = net::Response (Rest::*)(const net::Request&, const Principal&) const;
  const auto guarded = [&](std::string_view word, Method method) {
    return access.guard(std::string(word), [rest, method](const net::Request& request, const Principal& who) {
      return ((*rest).*method)(request, who);
    });
  };
  const std::string one = "/api/v1/transfers/{transfer}";
  router.post("/api/v1/transfers", [rest](const net::Request& request) { return rest->submit(request); });
  router.get("/api/v1/transfers", guarded(auth::kAllRights, &Rest::list));
  router.get(one, guarded(auth::kAllRights, &Rest::show));
  router.get(one + "/units", guarded(auth::kAllRights, &Rest::units));
  router.get(one + "/events", guarded(auth::kAllRights, &Rest::events));
  router.post(one + "/cancel", guarded(auth::kAllRights, &Rest::cancel));

  const std::string place = "/api/v1/places/{place}";
  router.post("/api/v1/places", [rest](const net::Request& request) { return rest->register_place(request); });
  router.get("/api/v1/places", access.guard(std::string(auth::kAllRights),
                                            [rest](const net::Request&, const Principal&) { return rest->places(); }));
  router.get(place, access.guard(std::string(auth::kAllRights), [rest](const net::Request& request, const Principal&) {
    return rest->place(request);
  }));
  router.del(place, [rest](const net::Request& request) { return rest->remove_place(request); });
}

}  // namespace farfield::services::transfer
