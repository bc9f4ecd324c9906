// farfield transfer submit, list, show, wait, cancel: transfers that a service makes between its places.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/credentials.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/event_stream.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;
using nlohmann::json;

struct RemoteOptions {
  std::string service;
  bool json = false;
};
const core::BoundSchema<RemoteOptions>& remote_schema() {
  static const auto schema = [] {
    core::BoundSchema<RemoteOptions> s;
    s.add("service", &RemoteOptions::service, "URL of the service; none: the one that was logged in to last");
    s.add("json", &RemoteOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

struct SubmitOptions {
  std::string sync = "never", include, exclude, checksum = "crc32c", label, marker, key;
  bool follow = false, wait = false;
  double quiet_s = 5, bandwidth_MBps = 0, deadline_s = 86400;
  int concurrency = 8, streams = 2;
};
const core::BoundSchema<SubmitOptions>& submit_schema() {
  using O = SubmitOptions;
  static const auto schema = [] {
    core::BoundSchema<O> s;
    s.add("sync", &O::sync, "leave a file that is there already, by: its existence, size, size and time, checksum",
          {.choices = {"never", "exists", "size", "mtime", "checksum"}, .group = "Files"});
    s.add("include", &O::include, "only files that match one of these patterns, between commas (* ? **)",
          {.group = "Files"});
    s.add("exclude", &O::exclude, "not what matches one of these patterns, between commas", {.group = "Files"});
    s.add("checksum", &O::checksum, "CRC-32C, or also SHA-256 of what was read back",
          {.choices = {"crc32c", "sha256"}, .group = "Files"});
    s.add("follow", &O::follow, "the source is still being written: go on until it is complete",
          {.group = "Following"});
    s.add("marker", &O::marker, "complete when this file is in the source (* ?)", {.group = "Following"});
    s.add("complete-after", &O::quiet_s, "complete when nothing has changed for so long; 0: only by the marker",
          {.min = 0, .max = 1e9, .unit = "s", .group = "Following"});
    s.add("concurrency", &O::concurrency, "files at once", {.min = 1, .max = 1000, .group = "Limits"});
    s.add("streams", &O::streams, "parts of a large file at once", {.min = 1, .max = 64, .group = "Limits"});
    s.add("bandwidth", &O::bandwidth_MBps, "at most; 0: no limit",
          {.min = 0, .max = 1e9, .unit = "MB/s", .group = "Limits"});
    s.add("deadline", &O::deadline_s, "a transfer that is not done by then has failed",
          {.min = 1, .max = 1e9, .unit = "s", .group = "Limits"});
    s.add("label", &O::label, "a name for people", {.group = "Transfer"});
    s.add("key", &O::key, "submitted once under this key, however often this is repeated", {.group = "Transfer"});
    s.add("wait", &O::wait, "until it has ended", {.group = "Transfer"});
    return s;
  }();
  return schema;
}

struct ListOptions {
  int limit = 20;
};
const core::BoundSchema<ListOptions>& list_schema() {
  static const auto schema = [] {
    core::BoundSchema<ListOptions> s;
    s.add("limit", &ListOptions::limit, "at most", {.min = 1, .max = 1000});
    return s;
  }();
  return schema;
}

/// The service, in the name of who is logged in there.
class RemoteService {
public:
  explicit RemoteService(const std::string& origin)
      : credentials_(credentials_folder()),
        remote_(credentials_.remote(origin.empty() ? std::string()
                                                   : core::value_or_throw(net::parse_url(origin)).origin())),
        client_(remote_.origin, {.trust = {.authorities = remote_.authority}}) {}

  json get(const std::string& target) { return object(client_.send(request("GET", target))); }
  json post(const std::string& target, const std::string& body, const std::string& key = {}) {
    auto message = request("POST", target);
    message.headers.set("Content-Type", "application/json");
    if (!key.empty()) message.headers.set("Idempotency-Key", key);
    message.body = body;
    return object(client_.send(message));
  }
  void follow(const std::string& target, net::BodySink& sink, const std::stop_token& stop) {
    const auto response = client_.send(request("GET", target), sink, stop);
    if (!response.ok()) throw error(response);
  }

private:
  net::ClientRequest request(std::string method, const std::string& target) {
    net::ClientRequest message{.method = std::move(method), .target = target};
    message.headers.set("Authorization", "Bearer " + credentials_.access_token(remote_));
    return message;
  }
  /// As the service says it, where it does.
  Error error(const net::ClientResponse& response) const {
    Error plain = net::status_error(response, remote_.origin);
    const json body = json::parse(response.body, nullptr, false);
    const json said = body.is_object() ? body.value("error", json()) : json();
    const json message = said.is_object() ? said.value("message", json()) : json();
    return message.is_string() ? Error(plain.code(), message.get<std::string>()) : plain;
  }
  json object(const net::ClientResponse& response) const {
    if (!response.ok()) throw error(response);
    json body = json::parse(response.body, nullptr, false);
    if (!body.is_object()) throw Error(ErrorCode::corrupt_data, "the answer is no JSON object").at(remote_.origin);
    return body;
  }

  Credentials credentials_;
  const Remote remote_;
  net::Client client_;
};

std::string text(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
std::int64_t number(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_number_integer() ? it->get<std::int64_t>() : 0;
}

std::string of_transfer(const std::string& id) { return "/api/v1/transfers/" + net::percent_encode(id); }

void print(const json& transfer, bool as_json) {
  if (as_json) {
    json line = transfer;
    line["message_type"] = "transfer";
    fmt::print("{}\n", line.dump());
  } else {
    const json request = transfer.value("request", json::object()),
               progress = transfer.value("progress", json::object());
    fmt::print("{}  {:9}  {} of {}{} files, {:.1f} MB  {} -> {}{}{}\n", text(transfer, "id"), text(transfer, "state"),
               number(progress, "files_copied") + number(progress, "files_skipped"), number(progress, "files_found"),
               progress.value("listing", false) ? " or more" : "",
               1e-6 * static_cast<double>(number(progress, "bytes_read")), text(request, "source"),
               text(request, "destination"), text(request, "label").empty() ? "" : "  " + text(request, "label"),
               text(transfer, "problem").empty() ? "" : "\n    " + text(transfer, "problem"));
  }
  std::fflush(stdout);
}

/// As it ended.
int outcome(const json& transfer) {
  const std::string state = text(transfer, "state");
  if (state == "succeeded") return core::kExitOk;
  if (state == "cancelled") return core::traits(ErrorCode::cancelled).exit_code;
  const json progress = transfer.value("progress", json::object());
  return number(progress, "files_copied") > 0 ? core::kExitPartial : 1;
}

/// Follows the events; goes on where the connection was cut. Progress is told at most every ten seconds.
json wait_for(RemoteService& service, const std::string& id, const Session& session, bool as_json) {
  constexpr double kEvery_s = 10;
  json last;
  double told_s = session.clock.now_s();
  struct Sink final : net::BodySink {
    explicit Sink(std::function<void(const net::Event&)> heard) : parser(std::move(heard)) {}
    void write(std::span<const std::byte> bytes) override {
      parser.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    net::EventParser parser;
  };
  const auto heard = [&](const net::Event& event) {
    json transfer = json::parse(event.data, nullptr, false);
    if (!transfer.is_object()) return;
    if (event.name == "ended") last = std::move(transfer);
    else if (session.clock.now_s() - told_s >= kEvery_s) {
      told_s = session.clock.now_s();
      if (as_json) print(transfer, true);
      else
        fmt::print(stderr, "{} of {} files\n", number(transfer["progress"], "files_copied"),
                   number(transfer["progress"], "files_found"));
    }
  };
  double patience_s = 0.5;
  while (last.is_null()) {
    try {
      Sink sink(heard);  // anew: what a cut left behind is no part of the next stream
      service.follow(of_transfer(id) + "/events", sink, session.stop);
      patience_s = 0.5;
    } catch (const Error& e) {
      if (session.stop.stop_requested() || !core::traits(e.code()).retryable) throw;
      fmt::print(stderr, "{}; trying again\n", e.what());
    }
    if (session.stop.stop_requested()) throw Error(ErrorCode::cancelled, "stopped; the transfer goes on");
    if (!last.is_null()) break;
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, session.stop, std::chrono::duration<double>(patience_s), [] { return false; });
    patience_s = std::min(2 * patience_s, 30.0);
  }
  return last;
}

/// "beamline/2026-1-Garcia-1/input/scan100" -> place and path. A path that ends in / is a folder.
struct Side {
  std::string place, path;
  bool folder;
};
Side side_from(const std::string& given) {
  const auto first = given.find('/'), second = first == std::string::npos ? first : given.find('/', first + 1);
  if (second == std::string::npos)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{:?} must be PLACE/EXPERIMENT/PATH; a folder ends in /", given));
  Side side{given.substr(0, second), given.substr(second + 1), given.ends_with('/')};
  if (side.folder && !side.path.empty()) side.path.pop_back();
  side.path = services::transfer::checked_path(side.path);
  return side;
}

int submit(const Arguments& arguments, const Session& session) {
  const auto remote = remote_schema().make(part(arguments.given, remote_schema()));
  const auto given = submit_schema().make(part(arguments.given, submit_schema()));
  const Side from = side_from(arguments.inputs.at(0)), to = side_from(arguments.inputs.at(1));
  if (!given.follow && (!given.marker.empty() || given.quiet_s != SubmitOptions{}.quiet_s))
    throw Error(ErrorCode::invalid_argument, "--marker and --complete-after go with --follow");
  if (from.folder != to.folder)
    throw Error(ErrorCode::invalid_argument, "source and destination must both end in / (a folder) or neither");
  json request{{"source", from.place},
               {"destination", to.place},
               {"items", json::array({{{"source", from.path}, {"destination", to.path}, {"recursive", from.folder}}})},
               {"sync", given.sync},
               {"include", core::between_commas(given.include)},
               {"exclude", core::between_commas(given.exclude)},
               {"checksum", given.checksum},
               {"label", given.label},
               {"concurrency", given.concurrency},
               {"streams", given.streams},
               {"bandwidth_Bps", 1e6 * given.bandwidth_MBps},
               {"deadline_s", given.deadline_s}};
  if (given.follow) request["follow"] = {{"marker", given.marker}, {"quiet_s", given.quiet_s}};
  RemoteService service(remote.service);
  // With a key of its own a submission whose answer was lost is repeated, not doubled.
  const std::string key = given.key.empty() ? services::auth::random_hex(16) : given.key;
  json transfer;
  for (int attempt = 0;; ++attempt) {
    try {
      transfer = service.post("/api/v1/transfers", request.dump(), key);
      break;
    } catch (const Error& e) {
      if (attempt == 2 || e.code() != ErrorCode::unavailable) throw;
    }
  }
  if (!given.wait) {
    if (remote.json) print(transfer, true);
    else fmt::print("{}\n", text(transfer, "id"));
    return core::kExitOk;
  }
  fmt::print(stderr, "transfer {}\n", text(transfer, "id"));
  transfer = wait_for(service, text(transfer, "id"), session, remote.json);
  print(transfer, remote.json);
  return outcome(transfer);
}

int list(const Arguments& arguments, const Session&) {
  const auto remote = remote_schema().make(part(arguments.given, remote_schema()));
  const auto given = list_schema().make(part(arguments.given, list_schema()));
  RemoteService service(remote.service);
  const json answer = service.get(fmt::format("/api/v1/transfers?limit={}", given.limit));
  for (const auto& transfer : answer.value("transfers", json::array()))
    if (transfer.is_object()) print(transfer, remote.json);
  return core::kExitOk;
}

int show(const Arguments& arguments, const Session&) {
  const auto remote = remote_schema().make(part(arguments.given, remote_schema()));
  RemoteService service(remote.service);
  const std::string one = of_transfer(arguments.inputs.at(0));
  print(service.get(one), remote.json);
  const json failed = service.get(one + "/units?failed=true&limit=100");
  for (const auto& unit : failed.value("units", json::array())) {
    if (!unit.is_object()) continue;
    if (remote.json) {
      json line = unit;
      line["message_type"] = "unit";
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("    {}: {}\n", text(unit, "source"), text(unit, "problem"));
    }
  }
  return core::kExitOk;
}

int wait(const Arguments& arguments, const Session& session) {
  const auto remote = remote_schema().make(part(arguments.given, remote_schema()));
  RemoteService service(remote.service);
  const json transfer = wait_for(service, arguments.inputs.at(0), session, remote.json);
  print(transfer, remote.json);
  return outcome(transfer);
}

int cancel(const Arguments& arguments, const Session&) {
  const auto remote = remote_schema().make(part(arguments.given, remote_schema()));
  RemoteService service(remote.service);
  print(service.post(of_transfer(arguments.inputs.at(0)) + "/cancel", ""), remote.json);
  return core::kExitOk;
}

}  // namespace

Command transfer_submit_command() {
  return {{"transfer", "submit"},
          "have a service transfer a file, or a folder (PATH/), between two of its places",
          {"PLACE/EXPERIMENT/PATH", "PLACE/EXPERIMENT/PATH"},
          {submit_schema(), remote_schema()},
          submit};
}
Command transfer_list_command() {
  return {{"transfer", "list"},
          "your transfers at a service, the latest first",
          {},
          {list_schema(), remote_schema()},
          list};
}
Command transfer_show_command() {
  return {{"transfer", "show"}, "how far a transfer is, and which files failed", {"TRANSFER"}, {remote_schema()}, show};
}
Command transfer_wait_command() {
  return {{"transfer", "wait"}, "wait until a transfer has ended", {"TRANSFER"}, {remote_schema()}, wait};
}
Command transfer_cancel_command() {
  return {
      {"transfer", "cancel"}, "stop a transfer; files that are there stay", {"TRANSFER"}, {remote_schema()}, cancel};
}

}  // namespace farfield::apps
