#include "farfield/services/flow/rest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/core/log.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/flow/dry_run.hpp"
#include "farfield/services/flow/feed.hpp"
#include "farfield/services/flow/fields.hpp"
#include "farfield/services/flow/forms.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/report.hpp"
#include "farfield/services/flow/schema.hpp"
#include "farfield/services/flow/visible.hpp"

namespace farfield::services::flow {
namespace {
using auth::Access;
using auth::Principal;
using core::Error;
using core::ErrorCode;

constexpr std::int64_t kMostListed = 1000, kMostOffset = 1'000'000'000;
constexpr std::size_t kMostNames = 100, kLongestWord = 200;

const Report kRefuse = [](const std::string& pointer, const std::string& what) {
  throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", pointer.empty() ? "/" : pointer, what));
};

net::Response answer(const std::string& json, int status = 200) {
  auto response = net::Response::of(status, "application/json", json + "\n");
  response.headers.add("Cache-Control", "no-store");
  return response;
}

/// The body as an object with nothing but these members; an empty one counts as {}.
Json body_of(const net::Request& request, const std::vector<std::string>& members) {
  Json body = request.body.empty() ? Json::object() : parse_json(request.body, "the body");
  const Fields fields(body, "", kRefuse);
  fields.is_object("the body");
  fields.only(members);
  return body;
}

std::string word(const Fields& fields, const char* name) {
  auto text = fields.text(name, false).value_or("");
  if (text.size() > kLongestWord)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("/{}: {} bytes are too long; {} are allowed", name, text.size(), kLongestWord));
  return text;
}

std::vector<std::string> words(const Fields& fields, const std::string& name) {
  std::vector<std::string> out;
  if (!fields.has(name)) return out;
  const Json* list = fields.list(name);
  if (list->size() > kMostNames)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("/{}: {} entries; at most {} are allowed", name, list->size(), kMostNames));
  for (const Json& one : *list) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty() ||
        one.get_ref<const std::string&>().size() > kLongestWord)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("/{}: each entry must be a string of 1 to {} bytes", name, kLongestWord));
    out.push_back(one.get<std::string>());
  }
  return out;
}

/// Names of people and groups: "garcia" or "user:garcia", "group:beamline", "service:watch".
std::vector<std::string> people(const Fields& fields, const std::string& name, bool everybody = false) {
  auto out = words(fields, name);
  for (std::string& one : out) {
    one = name_of_subject(one);
    if (everybody && one == "public") continue;
    const auto colon = one.find(':');
    const std::string kind = colon == std::string::npos ? "user" : one.substr(0, colon);
    if (one == "public" || (kind != "user" && kind != "group" && kind != "service"))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("/{}: {:?} must be a user, group:NAME or service:NAME", name, one));
    auth::check_name(kind, one.substr(colon == std::string::npos ? 0 : colon + 1));
  }
  return out;
}

/// A definition or schema as text, whose lines are counted, or as an object.
std::string document(const Fields& fields, const char* name, bool required) {
  const Json* value = fields.find(name);
  if (value != nullptr && value->is_object()) return to_text(*value);
  return fields.text(name, required).value_or("");
}

std::int64_t number(const net::Request& request, const char* name, std::int64_t fallback, std::int64_t most) {
  const std::string* text = request.query(name);
  if (text == nullptr) return fallback;
  const auto value = net::parse_number(*text);
  if (!value || *value > static_cast<std::uint64_t>(most))
    throw Error(ErrorCode::invalid_argument, fmt::format("{}={} must be 0 to {}", name, *text, most));
  return static_cast<std::int64_t>(*value);
}

std::string query_text(const net::Request& request, const char* name) {
  const std::string* text = request.query(name);
  return text == nullptr ? "" : *text;
}

std::vector<std::string> texts(const auto& values) {
  std::vector<std::string> out;
  for (const auto& value : values) out.push_back(to_json(value));
  return out;
}

struct Routes {
  Access& access;
  Engine& engine;
  RunFeed feed{engine};
  std::shared_ptr<void> revocations = access.issuer().verifier().revocations().listen(
      [this](const auth::RevocationList::Entry& entry) { feed.drop(entry.id); });

  const Records& records() const { return engine.records(); }

  /// Empty: everything may be seen.
  std::vector<std::string> names(const Principal& who) const {
    if (access.permits(who, auth::Scope{std::string(auth::kAdministration), {}, {}})) return {};
    std::vector<std::string> out{name_of_subject(who.subject)};
    for (const std::string& group : access.issuer().directory().groups(who.subject)) out.push_back("group:" + group);
    return out;
  }

  enum class Right { see, start, administer, manage };
  template <class Record>
  static bool has_right(const Record& record, const std::vector<std::string>& names, Right right) {
    if (names.empty()) return true;
    if constexpr (std::is_same_v<Record, FlowRecord>)
      return right == Right::see     ? may_see(record, names)
             : right == Right::start ? may_start(record, names)
                                     : may_administer(record, names);
    else return right == Right::see ? may_see(record, names) : may_manage(record, names);
  }
  template <class Record>
  void require(const Record& record, const std::string& kind, const Principal& who, Right right) const {
    const auto held = names(who);
    const bool seen = has_right(record, held, Right::see);
    if (seen && has_right(record, held, right)) return;
    core::log(core::LogLevel::warning, "access",
              {{"decision", "denied"}, {"subject", who.subject}, {"client", who.client}, {kind, record.id}});
    if (!seen) throw Error(ErrorCode::not_found, fmt::format("there is no {} '{}'", kind, record.id));
    throw Error(ErrorCode::forbidden, fmt::format("{} may see this {}, but not this", who.subject, kind));
  }
  FlowRecord flow(const net::Request& request, const Principal& who, Right right, std::int64_t version = 0) const {
    FlowRecord record = records().flow(request.parameter("flow"), version);
    require(record, "flow", who, right);
    return record;
  }
  RunRecord run(const net::Request& request, const Principal& who, Right right) const {
    RunRecord record = records().run(request.parameter("run"));
    require(record, "run", who, right);
    return record;
  }

  Records::Page page(const net::Request& request, const Principal& who) const {
    Records::Page out;
    out.flow_id = query_text(request, "flow");
    out.tag = query_text(request, "tag");
    out.limit = std::max<std::int64_t>(1, number(request, "limit", 100, kMostListed));
    out.offset = number(request, "offset", 0, kMostOffset);
    if (const auto status = query_text(request, "status"); !status.empty()) {
      try {
        out.status = run_status(status);
      } catch (const Error&) {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("status={} must be ACTIVE, SUCCEEDED, FAILED or CANCELLED", status));
      }
    }
    out.visible_to = names(who);
    return out;
  }

  // --- flows

  net::Response validate(const net::Request& request) const {
    const Json body = body_of(request, {"definition", "input_schema"});
    const Fields fields(body, "", kRefuse);
    const auto problems = check_definition(document(fields, "definition", true),
                                           [&](const std::string& url) { return engine.providers().knows(url); });
    Json list = Json::array();
    bool good = true;
    for (const Problem& one : problems) {
      list.push_back({{"line", one.line}, {"path", one.path}, {"message", one.what}, {"warning", one.warning}});
      good = good && one.warning;
    }
    if (const auto schema = document(fields, "input_schema", false); !schema.empty()) {
      try {
        InputSchema::parse(schema);
      } catch (const Error& e) {
        list.push_back({{"line", 1}, {"path", "/input_schema"}, {"message", e.message()}, {"warning", false}});
        good = false;
      }
    }
    return answer(to_text({{"valid", good}, {"problems", std::move(list)}}));
  }

  net::Response deploy(const net::Request& request, const Principal& who, const std::string& id) const {
    const Json body =
        body_of(request, {"title", "definition", "input_schema", "viewers", "starters", "administrators", "identity"});
    const Fields fields(body, "", kRefuse);
    FlowRecord record;
    // A new version keeps what it does not name.
    if (!id.empty()) {
      record = flow(request, who, Right::administer);
      record.definition.clear();
    }
    record.id = id;
    record.owner = name_of_subject(who.subject);
    if (fields.has("title") || id.empty()) record.title = word(fields, "title");
    record.definition = document(fields, "definition", true);
    if (fields.has("input_schema")) record.input_schema = document(fields, "input_schema", false);
    if (fields.has("viewers")) record.viewers = people(fields, "viewers", true);
    if (fields.has("starters")) record.starters = people(fields, "starters", true);
    if (fields.has("administrators")) record.administrators = people(fields, "administrators");
    if (fields.has("identity")) record.identity = word(fields, "identity");
    // Also of one that is kept: a new definition is something else to do with it.
    record.identity_by = record.identity.empty() ? "" : who.subject;
    if (!record.identity.empty()) require_actor(who, record.identity, "/identity");
    return answer(to_json(engine.deploy(std::move(record))), id.empty() ? 201 : 200);
  }

  net::Response show_flow(const net::Request& request, const Principal& who) const {
    auto record = flow(request, who, Right::see, number(request, "version", 0, kMostOffset));
    if (!has_right(record, names(who), Right::administer))
      record.definition = definition_without_private(record.definition);
    return answer(to_json(record));
  }

  net::Response try_out(const net::Request& request, const Principal& who) const {
    const auto record = flow(request, who, Right::start);
    const Json body = body_of(request, {"input", "results"});
    const Json input = body.value("input", Json::object());
    if (!record.input_schema.empty()) InputSchema::parse(record.input_schema).check(input);
    std::map<std::string, std::string> details;
    if (body.contains("results")) {
      if (!body["results"].is_object())
        throw Error(ErrorCode::invalid_argument, "/results must be an object {\"STATE\": details}");
      for (const auto& [state, value] : body["results"].items()) details[state] = to_text(value);
    }
    const DryRun tried =
        dry_run(parse_definition(record.definition), to_text(input), details, name_of_subject(who.subject));
    Json steps = Json::array();
    for (const DryStep& step : tried.steps) {
      Json one{{"state", step.state}, {"type", step.type}};
      if (!step.action_url.empty()) one["action_url"] = step.action_url;
      if (!step.body.empty()) one["body"] = Json::parse(step.body);
      if (step.waits_s > 0) one["waits_s"] = step.waits_s;
      steps.push_back(std::move(one));
    }
    return answer(to_text({{"steps", std::move(steps)},
                           {"status", tried.status},
                           {"error", tried.error},
                           {"cause", tried.cause},
                           {"output", Json::parse(tried.output)}}));
  }

  // --- runs

  /// Whether there is such an identity is told to those alone who may act as it.
  void require_actor(const Principal& who, const std::string& identity, const std::string& where) const {
    if (!identity.starts_with("service:"))
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: {:?} must be service:ID", where, identity));
    auth::check_name("service", identity.substr(identity.find(':') + 1));
    if (access.issuer().directory().may_act_as(who.subject, identity)) return;
    core::log(core::LogLevel::warning, "access",
              {{"decision", "denied"}, {"subject", who.subject}, {"client", who.client}, {"identity", identity}});
    throw Error(ErrorCode::forbidden, fmt::format("{}: {} may not act as {:?}", where, who.subject, identity));
  }

  /// As whom the states of this flow act, by RunAs, and who vouches for it. Everything that they need is asked for now
  /// and not when a state comes to it, hours later.
  std::map<std::string, auth::Issuer::Impersonation> identities(const FlowRecord& flow, const Json& roles,
                                                                const Principal& who) const {
    if (!roles.is_object())
      throw Error(ErrorCode::invalid_argument, "/roles must be an object {\"ROLE\": \"service:ID\"}");
    const auto needed = other_run_as(*parse_definition(flow.definition));
    std::map<std::string, auth::Issuer::Impersonation> out;
    for (const auto& [role, identity] : roles.items()) {
      const std::string where = "/roles/" + role;
      if (role == "Flow" || !needed.contains(role))
        throw Error(ErrorCode::invalid_argument, fmt::format("{}: no state of this flow has this role", where));
      if (!identity.is_string()) throw Error(ErrorCode::invalid_argument, where + " must be service:ID");
      require_actor(who, identity.get<std::string>(), where);
      out[role] = {identity.get<std::string>(), who.subject, who.subject};
    }
    for (const auto& [run_as, state] : needed) {
      if (out.contains(run_as)) continue;
      if (run_as != "Flow")
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("state '{}' runs as the role '{}': say as whom in roles", state, run_as));
      if (flow.identity.empty())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("state '{}' runs as Flow, but the flow was deployed without an identity", state));
      out[run_as] = {flow.identity, flow.identity_by, who.subject};
    }
    return out;
  }

  net::Response start(const net::Request& request, const Principal& who) const {
    const auto record = flow(request, who, Right::start);
    const Json body = body_of(request, {"input", "label", "tags", "managers", "monitors", "request_id", "roles"});
    const Fields fields(body, "", kRefuse);
    RunRequest wanted;
    wanted.flow_id = record.id;
    wanted.flow_version = record.version;  // whose identity is looked at, and not one that is deployed meanwhile
    wanted.input = to_text(body.value("input", Json::object()));
    wanted.owner = name_of_subject(who.subject);
    wanted.label = word(fields, "label");
    wanted.tags = words(fields, "tags");
    wanted.managers = people(fields, "managers");
    wanted.monitors = people(fields, "monitors");
    wanted.request_id = word(fields, "request_id");
    if (!wanted.request_id.empty())
      if (const auto known = records().run_of_request(wanted.owner, wanted.request_id))
        return answer(to_text({{"id", *known}, {"created", false}}));
    auth::Issuer& issuer = access.issuer();
    const std::int64_t life_s = issuer.options().refresh_life_s, now_s = issuer.directory().now_s();
    wanted.user = to_text({{"email", ""},
                           {"user_id", who.subject},
                           {"identities", {who.subject}},
                           {"token_info", {{"iat", now_s}, {"nbf", now_s}, {"exp", now_s + life_s}}}});
    const auto others = identities(record, body.value("roles", Json::object()), who);
    const auto give_back = [&] {
      if (!wanted.grant.empty()) issuer.revoke_grant(wanted.grant);
      for (const auto& [run_as, one] : wanted.identities) issuer.revoke_grant(one.grant);
    };
    std::string id;
    try {
      wanted.grant = issuer.delegate(who.subject, who.client, auth::format_scopes(who.scopes), life_s);
      for (const auto& [run_as, one] : others)
        wanted.identities[run_as] = {one.subject, issuer.impersonate(one, who.client, life_s)};
      id = engine.start(wanted);
    } catch (...) {
      give_back();
      throw;
    }
    // Another request of the same name may have come in between: its run acts by its own grant.
    const bool created = wanted.request_id.empty() || records().run(id).grant == wanted.grant;
    if (!created) give_back();
    return answer(to_text({{"id", id}, {"created", created}}), created ? 201 : 200);
  }

  net::Response log(const net::Request& request, const Principal& who) const {
    const auto record = run(request, who, Right::see);
    const auto machine = parse_definition(records().flow(record.flow_id, record.flow_version).definition);
    const auto events = records().events(record.id, number(request, "after", 0, kMostOffset),
                                         std::max<std::int64_t>(1, number(request, "limit", kMostListed, kMostListed)));
    return answer(list_to_json("events", texts(visible_events(events, *machine))));
  }

  net::Response follow(const net::Request& request, const Principal& who) {
    const auto record = run(request, who, Right::see);
    const std::string* last = request.headers.find("Last-Event-ID");
    const auto after = last == nullptr ? std::nullopt : net::parse_number(*last);
    const std::int64_t from = after && *after <= static_cast<std::uint64_t>(kMostOffset)
                                  ? static_cast<std::int64_t>(*after)
                                  : number(request, "after", 0, kMostOffset);
    return net::Response::event_stream(feed.follow(record.id, from, who.grant));
  }

  RunTimes times(const RunRecord& record) const {
    return run_times(record, records().events(record.id),
                     [&](const std::string& url) { return engine.providers().kind(url); });
  }
};

void add_flow_routes(net::Router& router, const std::shared_ptr<Routes>& routes) {
  const auto guard = [&](Access::Handler handler) {
    return routes->access.guard(std::string(auth::kAllRights), std::move(handler));
  };
  router.post("/api/v1/flows/validate",
              guard([routes](const net::Request& r, const Principal&) { return routes->validate(r); }));
  router.post("/api/v1/flows",
              guard([routes](const net::Request& r, const Principal& who) { return routes->deploy(r, who, ""); }));
  router.get("/api/v1/flows", guard([routes](const net::Request& r, const Principal& who) {
               return answer(list_to_json("flows", texts(routes->records().flows(routes->page(r, who)))));
             }));
  router.get("/api/v1/flows/{flow}",
             guard([routes](const net::Request& r, const Principal& who) { return routes->show_flow(r, who); }));
  router.put("/api/v1/flows/{flow}", guard([routes](const net::Request& r, const Principal& who) {
               return routes->deploy(r, who, r.parameter("flow"));
             }));
  router.post("/api/v1/flows/{flow}/dry-run",
              guard([routes](const net::Request& r, const Principal& who) { return routes->try_out(r, who); }));
  router.post("/api/v1/flows/{flow}/runs",
              guard([routes](const net::Request& r, const Principal& who) { return routes->start(r, who); }));
}

void add_run_routes(net::Router& router, const std::shared_ptr<Routes>& routes) {
  const auto guard = [&](Access::Handler handler) {
    return routes->access.guard(std::string(auth::kAllRights), std::move(handler));
  };
  router.get("/api/v1/runs", guard([routes](const net::Request& r, const Principal& who) {
               return answer(list_to_json("runs", texts(routes->records().runs(routes->page(r, who)))));
             }));
  router.get("/api/v1/runs/{run}", guard([routes](const net::Request& r, const Principal& who) {
               return answer(to_json(routes->run(r, who, Routes::Right::see)));
             }));
  router.post("/api/v1/runs/{run}/cancel", guard([routes](const net::Request& r, const Principal& who) {
                const auto record = routes->run(r, who, Routes::Right::manage);
                routes->engine.cancel(record.id, name_of_subject(who.subject));
                return answer(to_json(routes->records().run(record.id)));
              }));
  router.post("/api/v1/runs/{run}/resume", guard([routes](const net::Request& r, const Principal& who) {
                const auto record = routes->run(r, who, Routes::Right::manage);
                routes->engine.resume(record.id, name_of_subject(who.subject));
                return answer(to_json(routes->records().run(record.id)));
              }));
  router.get("/api/v1/runs/{run}/log",
             guard([routes](const net::Request& r, const Principal& who) { return routes->log(r, who); }));
  router.get("/api/v1/runs/{run}/events",
             guard([routes](const net::Request& r, const Principal& who) { return routes->follow(r, who); }));
  router.get("/api/v1/runs/{run}/report", guard([routes](const net::Request& r, const Principal& who) {
               return answer(to_json(routes->times(routes->run(r, who, Routes::Right::see))));
             }));
  router.get("/api/v1/events", guard([routes](const net::Request&, const Principal& who) {
               return net::Response::event_stream(routes->feed.follow_all(routes->names(who), who.grant));
             }));
  router.get("/api/v1/report", guard([routes](const net::Request& r, const Principal& who) {
               std::vector<RunTimes> all;
               for (const RunRecord& run : routes->records().runs(routes->page(r, who)))
                 all.push_back(routes->times(run));
               return answer(list_to_json("times", texts(all)));
             }));
}
}  // namespace

std::string name_of_subject(const std::string& subject) {
  return subject.starts_with("user:") ? subject.substr(5) : subject;
}
std::string subject_of_name(const std::string& name) {
  return name.find(':') == std::string::npos ? "user:" + name : name;
}

void add_routes(net::Router& router, Access& access, Engine& engine) {
  const std::shared_ptr<Routes> routes(new Routes{access, engine});
  add_flow_routes(router, routes);
  add_run_routes(router, routes);
}

}  // namespace farfield::services::flow
