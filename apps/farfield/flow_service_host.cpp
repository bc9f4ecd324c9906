// Flows of a service, over its REST interface.

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "apps/farfield/flow_host.hpp"
#include "apps/farfield/service_client.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/flow/forms.hpp"

namespace farfield::apps {
namespace {
namespace flow = services::flow;
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr std::int64_t kPage = 1000;  ///< the service gives no more at once

std::string text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

class ServiceHost final : public FlowHost {
public:
  explicit ServiceHost(const std::string& url) : client_(ServiceClient::logged_in(url)) {}

  flow::FlowRecord deploy(flow::FlowRecord record) override {
    json body{{"title", record.title}, {"definition", record.definition}};
    if (!record.input_schema.empty()) body["input_schema"] = record.input_schema;
    if (!record.identity.empty()) body["identity"] = record.identity;
    return flow::flow_from_json(record.id.empty() ? client_.call("POST", "/api/v1/flows", text(body))
                                                  : client_.call("PUT", one("flows", record.id), text(body)));
  }
  flow::FlowRecord flow(const std::string& id) override {
    return flow::flow_from_json(client_.call("GET", one("flows", id)));
  }
  std::vector<flow::FlowRecord> flows(const flow::Records::Page& page) override {
    return pages<flow::FlowRecord>("flows", page, flow::flow_from_json);
  }
  std::string start(const flow::RunRequest& request) override {
    json body{{"input", json::parse(request.input, nullptr, false)},
              {"label", request.label},
              {"tags", request.tags},
              {"managers", request.managers},
              {"monitors", request.monitors}};
    if (body["input"].is_discarded()) throw Error(ErrorCode::invalid_argument, "the input is no JSON");
    for (const auto& [role, identity] : request.identities) body["roles"][role] = identity.subject;
    if (!request.request_id.empty()) body["request_id"] = request.request_id;
    const auto answer =
        json::parse(client_.call("POST", one("flows", request.flow_id) + "/runs", text(body)), nullptr, false);
    if (!answer.is_object() || !answer.contains("id") || !answer["id"].is_string())
      throw Error(ErrorCode::corrupt_data, "the answer names no run");
    return answer["id"].get<std::string>();
  }
  flow::RunRecord run(const std::string& id) override {
    return flow::run_from_json(client_.call("GET", one("runs", id)));
  }
  std::vector<flow::RunRecord> runs(const flow::Records::Page& page) override {
    return pages<flow::RunRecord>("runs", page, flow::run_from_json);
  }
  std::vector<flow::StoredEvent> log(const std::string& run_id) override {
    std::vector<flow::StoredEvent> out;
    while (true) {
      const std::int64_t after = out.empty() ? 0 : out.back().number;
      const auto some = flow::list_from_json(
          client_.call("GET", fmt::format("{}/log?after={}&limit={}", one("runs", run_id), after, kPage)), "events");
      for (const auto& event : some) out.push_back(flow::event_from_json(event));
      if (std::ssize(some) < kPage) return out;
    }
  }
  flow::RunTimes times(const flow::RunRecord& run) override {
    return flow::times_from_json(client_.call("GET", one("runs", run.id) + "/report"));
  }
  void cancel(const std::string& run_id) override { client_.call("POST", one("runs", run_id) + "/cancel"); }
  void resume(const std::string& run_id) override { client_.call("POST", one("runs", run_id) + "/resume"); }
  flow::RunRecord follow(const std::string& run_id, std::int64_t after, const OnEvent& on_event,
                         const std::stop_token& stop) override {
    std::optional<flow::RunRecord> ended;
    try {
      client_.follow(
          fmt::format("{}/events?after={}", one("runs", run_id), after),
          [&](const net::Event& event) {
            if (event.name == "event") on_event(flow::event_from_json(event.data));
            else if (event.name == "run") ended = flow::run_from_json(event.data);
            return !ended;
          },
          stop);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::cancelled) throw;
    }
    return ended ? *ended : run(run_id);
  }
  bool in_this_process() const override { return false; }

private:
  static std::string one(const char* kind, const std::string& id) {
    return fmt::format("/api/v1/{}/{}", kind, net::percent_encode(id));
  }
  template <class Record, class Read>
  std::vector<Record> pages(const std::string& kind, const flow::Records::Page& page, const Read& read) const {
    std::vector<Record> out;
    while (std::ssize(out) < page.limit) {
      const std::int64_t wanted = std::min(kPage, page.limit - std::ssize(out));
      net::QueryFields fields{{"limit", std::to_string(wanted)},
                              {"offset", std::to_string(page.offset + std::ssize(out))}};
      if (!page.flow_id.empty()) fields.emplace_back("flow", page.flow_id);
      if (!page.tag.empty()) fields.emplace_back("tag", page.tag);
      if (page.status) fields.emplace_back("status", std::string(flow::name_of(*page.status)));
      const auto some = flow::list_from_json(
          client_.call("GET", fmt::format("/api/v1/{}?{}", kind, net::format_query(fields))), kind);
      for (const auto& record : some) out.push_back(read(record));
      if (std::ssize(some) < wanted) break;
    }
    return out;
  }

  ServiceClient client_;
};
}  // namespace

std::unique_ptr<FlowHost> service_flow_host(const std::string& url) { return std::make_unique<ServiceHost>(url); }

}  // namespace farfield::apps
