// farfield watch

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/agent_identity.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/scan_watch.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {

ServiceClient client_of(const ScanWatchOptions& o) {
  if (o.service.empty()) throw core::Error(core::ErrorCode::invalid_argument, "which service? (--service URL)");
  if (o.identity.empty()) return ServiceClient::logged_in(o.service);
  const Remote remote{core::value_or_throw(net::parse_url(o.service)).origin(), o.authority};
  const auto identity = std::make_shared<ServiceIdentity>(remote, o.identity, o.secret_file, "farfield");
  return {remote, [identity] { return identity->token(); }};
}

void tell(const ScanWatch::News& news, bool as_json) {
  if (as_json)
    fmt::print("{}\n", nlohmann::ordered_json{{"message_type", news.status.empty() ? "run_started" : "run_ended"},
                                              {"scan", news.scan},
                                              {"run", news.run},
                                              {"status", news.status.empty() ? "ACTIVE" : news.status},
                                              {"problem", news.problem}}
                           .dump());
  else if (news.status.empty()) fmt::print("{}  run {}\n", news.scan, news.run);
  else fmt::print("{}  {}{}\n", news.scan, news.status, news.problem.empty() ? "" : ": " + news.problem);
  std::fflush(stdout);
}

int watch(const Arguments& arguments, const Session& session) {
  constexpr std::chrono::seconds kBetweenTries{2};
  const auto options = watch_schema().make(arguments.given);
  Console console({.terminal = ::isatty(2) == 1}, session.clock);
  core::set_log_sink(make_log_sink(console, options.log_level));
  {
    std::mutex telling, waiting;
    std::condition_variable_any stopped;
    std::unique_lock lock(waiting);
    std::unique_ptr<ScanWatch> watching;
    // The service may be away when a beamline's machine starts: what it would do now, it does later.
    for (std::string said; watching == nullptr && !session.stop.stop_requested();) try {
        watching = std::make_unique<ScanWatch>(arguments.inputs.at(0), options, client_of(options), session.clock,
                                               [&](const ScanWatch::News& news) {
                                                 const std::lock_guard one(telling);
                                                 tell(news, options.json);
                                               });
      } catch (const core::Error& e) {
        if (!core::traits(e.code()).retryable) throw;
        if (said != e.what()) console.note(fmt::format("waiting for the service: {}", e.what()));
        said = e.what();
        stopped.wait_for(lock, session.stop, kBetweenTries, [] { return false; });
      }
    if (watching != nullptr)
      console.note(fmt::format("watching {}/input for flow {}", arguments.inputs.at(0), watching->flow()));
    stopped.wait(lock, session.stop, [] { return false; });
  }
  core::set_log_sink(nullptr);
  return core::kExitOk;
}
}  // namespace

Command watch_command() {
  return {{"watch"},
          "the beamline side: each scan that appears in PREFIX/input starts a run; pictures return to PREFIX/recon",
          {"PREFIX"},
          {watch_schema()},
          watch};
}

}  // namespace farfield::apps
