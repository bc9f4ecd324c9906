// farfield distribute --source tcp://detector:9999 --to @tcp://*:9100,...: one owner of a detector's socket for several
// analyses.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/run_options.hpp"
#include "farfield/stream/distribute/distributor.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;
using stream::OutletPolicy;

struct Options {
  std::string source, to, spool;
  OutletPolicy when_full = OutletPolicy::drop;
  std::int64_t queue_MiB = 256, spool_GiB = 16;
};

const core::BoundSchema<Options>& schema() {
  static const auto schema = [] {
    core::BoundSchema<Options> s;
    s.add("source", &Options::source, "the detector: tcp://host:port; @tcp://*:port listens");
    s.add("to", &Options::to,
          "endpoints for one analysis each, separated by commas: @tcp://*:port listens at all addresses, "
          "@tcp://10.1.2.3:port at one, tcp://host:port connects; drop=, block= or spool= before one says what becomes "
          "of "
          "images that it cannot pass on");
    s.add("when-full", &Options::when_full,
          "for endpoints without such a word: drop images where the queue is full or nobody is there, let the detector "
          "(and all others) wait, or keep them on disk",
          {.choices = {"drop", "block", "spool"}});
    s.add("queue", &Options::queue_MiB, "messages waiting in memory for each endpoint",
          {.min = 1, .max = 1 << 20, .unit = "MiB"});
    s.add("spool", &Options::spool, "folder for what waits on disk, with one below it for each endpoint");
    s.add("spool-size", &Options::spool_GiB, "most of it on disk for each endpoint",
          {.min = 1, .max = 1 << 20, .unit = "GiB"});
    return s;
  }();
  return schema;
}

std::vector<stream::OutletOptions> outlets_of(const Options& o) {
  std::vector<stream::OutletOptions> outlets;
  for (std::size_t at = 0; at <= o.to.size();) {
    const auto comma = std::min(o.to.find(',', at), o.to.size());
    std::string text = o.to.substr(at, comma - at);
    at = comma + 1;
    if (text.empty()) continue;
    stream::OutletOptions outlet{.policy = o.when_full, .queue_bytes = o.queue_MiB << 20};
    const std::pair<const char*, OutletPolicy> words[] = {
        {"drop=", OutletPolicy::drop}, {"block=", OutletPolicy::block}, {"spool=", OutletPolicy::spool}};
    for (const auto& [word, policy] : words)
      if (text.starts_with(word)) {
        outlet.policy = policy;
        text = text.substr(std::string_view(word).size());
        break;
      }
    outlet.endpoint = text;
    if (outlet.policy == OutletPolicy::spool) {
      if (o.spool.empty())
        throw Error(ErrorCode::invalid_argument, fmt::format("{} is to keep images on disk: --spool FOLDER", text));
      // Named after the endpoint, so that it is found again when the order changes.
      std::string name = text;
      for (auto& c : name)
        if (c == '/' || c == ':' || c == '*' || c == '@') c = '_';
      outlet.spool = std::filesystem::path(o.spool) / name;
      outlet.spool_options.most_bytes = o.spool_GiB << 30;
    }
    outlets.push_back(std::move(outlet));
  }
  if (outlets.empty()) throw Error(ErrorCode::invalid_argument, "`farfield distribute` needs --to ENDPOINT,...");
  return outlets;
}

nlohmann::ordered_json to_json(const stream::DistributorCounts& counts, bool last) {
  nlohmann::ordered_json outlets = nlohmann::ordered_json::array();
  for (const auto& o : counts.outlets)
    outlets.push_back({{"endpoint", o.endpoint},
                       {"images", o.images},
                       {"bytes", o.bytes},
                       {"dropped", o.dropped},
                       {"waiting", o.waiting},
                       {"connected", o.connected}});
  return {{"message_type", last ? "distributed" : "distributing"},
          {"messages", counts.messages},
          {"images", counts.images},
          {"bytes", counts.bytes},
          {"unreadable", counts.unreadable},
          {"outlets", std::move(outlets)}};
}

void say(const stream::DistributorCounts& counts, bool json, bool last) {
  if (json) {
    fmt::print("{}\n", to_json(counts, last).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    fmt::print("{} images received, {:.1f} MB{}\n", counts.images, static_cast<double>(counts.bytes) / 1e6,
               counts.unreadable > 0 ? fmt::format(", {} messages unreadable", counts.unreadable) : "");
    for (const auto& o : counts.outlets)
      fmt::print("  {}: {} images sent, {} dropped, {} messages waiting, {} connected\n", o.endpoint, o.images,
                 o.dropped, o.waiting, o.connected);
  }
  std::fflush(stdout);
}

int run(const Arguments& arguments, const Session& session) {
  const auto options = schema().make(part(arguments.given, schema()));
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  if (options.source.empty()) throw Error(ErrorCode::invalid_argument, "`farfield distribute` needs --source URI");
  const auto outlets = outlets_of(options);
  Console console({common.json, common.quiet, isatty(STDERR_FILENO) == 1, false}, session.clock);
  stream::SocketFeed feed(net::ZmqKind::pull, options.source);
  stream::Distributor distributor(feed, outlets);
  console.note(fmt::format("distributing {} to {} endpoints", feed.name(), outlets.size()));

  std::jthread reporter([&](std::stop_token stop) {
    constexpr auto kPeriod = std::chrono::seconds(10);
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    core::Index said = 0;
    for (;;) {
      (void)wake.wait_for(lock, stop, kPeriod, [] { return false; });
      if (stop.stop_requested()) return;
      const auto counts = distributor.counts();
      if (counts.messages != said && !common.quiet) say(counts, common.json, false);
      said = counts.messages;
    }
  });
  // It ends when it is told to: that is no failure.
  distributor.run(session.stop);
  reporter.request_stop();
  reporter.join();
  say(distributor.counts(), common.json, true);
  return core::kExitOk;
}

}  // namespace

Command distribute_command() {
  return {{"distribute"},
          "own a detector's socket and pass its stream on to several analyses and machines",
          {},
          {schema(), common_schema()},
          run};
}

}  // namespace farfield::apps
