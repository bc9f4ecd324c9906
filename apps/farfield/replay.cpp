// farfield replay SCAN --to tcp://*:9999: any scan as a detector would send it.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/run_options.hpp"
#include "farfield/io/scan_file.hpp"
#include "farfield/stream/feed.hpp"
#include "farfield/stream/replay/replay.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;

constexpr const char* kReplay = "Replay";
constexpr const char* kFaults = "Faults";

struct Options {
  std::string to, positions;
  stream::dectris::Protocol protocol = stream::dectris::Protocol::v1;
  enum class Packing { bslz4, lz4, none } compression = Packing::bslz4;
  double rate_hz = 0;
  std::int64_t frames = 0, series = 1;
  double patience_s = 60;
  double jitter = 0, gaps = 0, duplicates = 0;
  std::int64_t disorder = 0;
  std::int64_t seed = 1;
};

const core::BoundSchema<Options>& schema() {
  static const auto schema = [] {
    core::BoundSchema<Options> s;
    s.add("to", &Options::to, "endpoint: tcp://*:9999 listens as a detector does, tcp://host:port connects",
          {.group = kReplay});
    s.add("positions", &Options::positions,
          "endpoint of a second stream for what belongs to the frames (JSON over ZeroMQ); without it they go with the "
          "images",
          {.group = kReplay});
    s.add("protocol", &Options::protocol, "version of the SIMPLON stream", {.choices = {"v1", "v2"}, .group = kReplay});
    s.add("compression", &Options::compression, "of the pixels",
          {.choices = {"bslz4", "lz4", "none"}, .group = kReplay});
    s.add("rate", &Options::rate_hz, "frames per second; 0: as fast as they are taken",
          {.min = 0, .max = 1e6, .unit = "Hz", .group = kReplay});
    s.add("frames", &Options::frames, "only the first; 0: all", {.min = 0, .group = kReplay});
    s.add("series", &Options::series, "number of the series", {.min = 0, .group = kReplay});
    s.add("patience", &Options::patience_s, "give up when nobody takes a message for so long",
          {.min = 0.1, .max = 1e6, .unit = "s", .group = kReplay});
    s.add("jitter", &Options::jitter, "frames are early or late by up to this part of a period",
          {.min = 0, .max = 1, .group = kFaults});
    s.add("gaps", &Options::gaps, "part of the frames that is left out", {.min = 0, .max = 1, .group = kFaults});
    s.add("duplicates", &Options::duplicates, "part of the frames that is sent twice",
          {.min = 0, .max = 1, .group = kFaults});
    s.add("disorder", &Options::disorder, "frames that are held back to come out of order",
          {.min = 0, .max = 10000, .group = kFaults});
    s.add("fault-seed", &Options::seed, "of the faults; the same seed gives the same ones",
          {.min = 0, .group = kFaults});
    return s;
  }();
  return schema;
}

stream::dectris::Compression compression_of(Options::Packing packing) {
  switch (packing) {
    case Options::Packing::bslz4: return stream::dectris::Compression::bitshuffle_lz4;
    case Options::Packing::lz4: return stream::dectris::Compression::lz4;
    case Options::Packing::none: break;
  }
  return stream::dectris::Compression::none;
}

/// A socket that is given up on.
class Outlet {
public:
  Outlet(const std::string& text, double patience_s, std::stop_token stop)
      : endpoint_(stream::parse_endpoint(text)),
        socket_(net::ZmqKind::push, endpoint_.address,
                {.bind = endpoint_.bind,
                 .linger = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(patience_s))}),
        patience_s_(patience_s),
        stop_(std::move(stop)) {}

  bool send(std::span<const net::ZmqPart> parts) {
    const auto limit = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(patience_s_));
    switch (socket_.send(parts, limit, stop_)) {
      case net::ZmqOutcome::done: return true;
      case net::ZmqOutcome::stopped: return false;
      case net::ZmqOutcome::timeout: break;
    }
    throw Error(ErrorCode::timeout, fmt::format("nobody took a message for {} s", patience_s_)).at(socket_.endpoint());
  }
  /// A detector stays after its last word. ZeroMQ gives up what it has not read of a connection that ends while its
  /// queue is full, so the analysis may leave first; one that waits for more is left after a moment.
  void stay() {
    for (int i = 0; i < 200 && !stop_.stop_requested() && socket_.peers().connected > 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::string& endpoint() const { return socket_.endpoint(); }

private:
  stream::Endpoint endpoint_;
  net::ZmqSocket socket_;
  double patience_s_;
  std::stop_token stop_;
};

int run(const Arguments& arguments, const Session& session) {
  const auto options = schema().make(part(arguments.given, schema()));
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  if (options.to.empty()) throw Error(ErrorCode::invalid_argument, "`farfield replay` needs --to ENDPOINT");
  Console console({common.json, common.quiet, isatty(STDERR_FILENO) == 1, false}, session.clock);

  core::ThreadPool pool(common.thread_count());
  auto reading = open_options(input_schema().make(part(arguments.given, input_schema())), {}, &pool);
  reading.batch_bytes = core::Index{16} << 20;
  const auto source = io::open_scan(arguments.inputs.at(0), reading);
  const core::Index expected = source->acquisition().scan.expected_frames;

  Outlet images(options.to, options.patience_s, session.stop);
  std::optional<Outlet> values;
  if (!options.positions.empty()) values.emplace(options.positions, options.patience_s, session.stop);
  console.note(fmt::format("replaying {} at {}", arguments.inputs.at(0), images.endpoint()));

  core::Index sent = 0;
  const auto send = [&](const stream::dectris::OwnedParts& message) {
    std::vector<net::ZmqPart> parts;
    for (const auto& p : message) parts.push_back({p});
    console.reading(sent++, expected);
    return images.send(parts);
  };
  stream::SendValues send_values;
  const auto send_json = [&](const nlohmann::ordered_json& json) {
    const std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    const net::ZmqPart part{std::as_bytes(std::span(text))};
    return values->send(std::span(&part, 1));
  };
  if (values)
    send_values = [&](model::FrameId id, const model::Values& v) {
      nlohmann::ordered_json json{{"frame", id}};
      for (const auto& [name, number] : v) json[name] = number;
      return send_json(json);
    };
  const stream::ReplayOptions replay{
      .encode = {.protocol = options.protocol, .compression = compression_of(options.compression)},
      .series = {options.series, fmt::format("replay-{}-{}", options.series, ::getpid())},
      .rate_hz = options.rate_hz,
      .jitter = options.jitter,
      .gaps = options.gaps,
      .duplicates = options.duplicates,
      .disorder = options.disorder,
      .frames = options.frames,
      .seed = static_cast<std::uint64_t>(options.seed)};
  const auto counts = stream::replay(*source, replay, send, send_values, session.stop);
  if (values && !session.stop.stop_requested()) (void)send_json({{"end", true}});
  images.stay();

  if (common.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"message_type", "replay"},
                                              {"sent", counts.sent},
                                              {"left_out", counts.left_out},
                                              {"duplicated", counts.duplicated},
                                              {"unreadable", counts.unreadable},
                                              {"bytes", counts.bytes},
                                              {"seconds", counts.seconds}}
                           .dump());
  } else {
    fmt::print("{} frames sent, {} left out, {} twice, {} unreadable; {:.1f} MB in {:.2f} s, {:.0f} frames/s\n",
               counts.sent, counts.left_out, counts.duplicated, counts.unreadable,
               static_cast<double>(counts.bytes) / 1e6, counts.seconds,
               static_cast<double>(counts.sent) / std::max(counts.seconds, 1e-9));
  }
  return session.stop.stop_requested() ? core::traits(ErrorCode::cancelled).exit_code : core::kExitOk;
}

}  // namespace

Command replay_command() {
  return {{"replay"},
          "send a scan as a detector would (DECTRIS SIMPLON stream over ZeroMQ), at a rate, with faults on demand",
          {"SCAN"},
          {schema(), input_schema(), common_schema()},
          run};
}

}  // namespace farfield::apps
