// farfield steer RULES --source URI: what a beamline should do, from the quality of its scans.

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/steer_rules.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/url.hpp"
#include "farfield/stream/feed.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;
using Json = nlohmann::ordered_json;
using namespace std::chrono_literals;

constexpr std::size_t kLongestLine = std::size_t{1} << 20;
constexpr auto kPoll = 100ms;
/// How long a decision may wait for whoever it is for; records wait in the socket meanwhile.
constexpr auto kSendLimit = 3000ms;

struct Options {
  std::string source = "-", log;
  bool dry_run = false, json = false;
  std::int64_t scans = 0;
};

const core::BoundSchema<Options>& schema() {
  static const auto schema = [] {
    using O = Options;
    core::BoundSchema<O> s;
    s.add("source", &O::source,
          "where quality records come from: tcp://host:port of `farfield live --quality` (SUB; with @ it listens), a "
          "file "
          "that may grow (quality.jsonl), or - for standard input",
          {});
    s.add("dry-run", &O::dry_run, "read a recorded file to its end and say what would be decided; nothing is sent", {});
    s.add("log", &O::log, "a file to which each decision and its delivery is appended, a JSON object a line", {});
    s.add("scans", &O::scans, "end after so many scans; 0: go on until interrupted", {.min = 0});
    s.add("json", &O::json, "one JSON object a line on stdout (docs/reference/json-lines.md)", {});
    return s;
  }();
  return schema;
}

enum class Read { line, timeout, end };

/// Lines of a file that may grow, or of standard input.
class LineReader {
public:
  LineReader(const std::string& path, bool follow)
      : path_(path),
        follow_(follow),
        descriptor_(path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0)
      throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                  fmt::format("cannot be read: {}", std::strerror(errno)))
          .at(path);
  }
  ~LineReader() { ::close(descriptor_); }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Lines beyond the limit are cut: they are no records.
  Read next(std::string& line, std::stop_token stop) {
    for (;;) {
      if (const auto end = waiting_.find('\n'); end != std::string::npos) {
        line = waiting_.substr(0, end);
        waiting_.erase(0, end + 1);
        return Read::line;
      }
      if (waiting_.size() > kLongestLine + 1) waiting_.resize(kLongestLine + 1);
      pollfd ready{descriptor_, POLLIN, 0};
      if (::poll(&ready, 1, static_cast<int>(kPoll.count())) <= 0) return Read::timeout;
      char bytes[1 << 16];
      const auto n = ::read(descriptor_, bytes, sizeof bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw Error(ErrorCode::io, fmt::format("cannot be read: {}", std::strerror(errno))).at(path_);
      if (n > 0) {
        waiting_.append(bytes, static_cast<std::size_t>(n));
        continue;
      }
      if (!follow_ || path_ == "-") {
        line.swap(waiting_);
        waiting_.clear();
        return line.empty() ? Read::end : Read::line;
      }
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any().wait_for(lock, stop, kPoll, [] { return false; });
      return Read::timeout;
    }
  }

private:
  std::string path_, waiting_;
  bool follow_;
  int descriptor_;
};

/// One place to which decisions go.
class Target {
public:
  explicit Target(const std::string& text) : text_(text) {
    if (text.starts_with("http")) {
      const auto url = core::value_or_throw(net::parse_url(text));
      target_ = url.target;
      client_.emplace(url.origin(),
                      net::ClientOptions{.connect_timeout_s = std::chrono::duration<double>(kSendLimit).count(),
                                         .idle_timeout_s = std::chrono::duration<double>(kSendLimit).count()});
      return;
    }
    const bool publish = text.starts_with("pub+");
    auto endpoint = stream::parse_endpoint(publish ? text.substr(4) : text);
    endpoint.bind |= publish;
    socket_.emplace(publish ? net::ZmqKind::pub : net::ZmqKind::push, endpoint.address,
                    net::ZmqOptions{.bind = endpoint.bind});
  }

  /// Throws where it could not be delivered.
  void send(const std::string& message, std::stop_token stop) {
    if (client_) {
      net::ClientRequest request{.method = "POST", .target = target_, .body = message};
      request.headers.set("Content-Type", "application/json");
      const auto response = client_->send(request, stop);
      if (!response.ok()) throw net::status_error(response, text_);
      return;
    }
    const net::ZmqPart part{std::as_bytes(std::span(message))};
    switch (socket_->send(std::span(&part, 1), kSendLimit, stop)) {
      case net::ZmqOutcome::done: return;
      case net::ZmqOutcome::stopped: throw Error(ErrorCode::cancelled, "interrupted");
      case net::ZmqOutcome::timeout: throw Error(ErrorCode::timeout, "nobody took it");
    }
  }

private:
  std::string text_, target_;
  std::optional<net::Client> client_;
  std::optional<net::ZmqSocket> socket_;
};

class Steer {
public:
  Steer(const std::string& rules, const Options& options, const Session& session)
      : options_(options),
        session_(session),
        console_({options.json, false, false, false}, session.clock),
        steering_(read_rules(rules)) {
    if (options_.dry_run && options_.source.find("://") != std::string::npos)
      throw Error(ErrorCode::invalid_argument, "--dry-run reads a file (quality.jsonl of a result) or standard input");
    if (!options_.log.empty()) {
      log_.reset(std::fopen(options_.log.c_str(), "ae"));
      if (!log_)
        throw Error(ErrorCode::io, fmt::format("cannot be written: {}", std::strerror(errno))).at(options_.log);
    }
    if (!options_.dry_run)
      for (const auto& rule : steering_.rules())
        for (const auto& to : rule.to)
          if (!targets_.contains(to)) targets_.try_emplace(to, std::make_unique<Target>(to));
  }

  int run() {
    if (options_.source.find("://") != std::string::npos) from_socket();
    else from_file();
    if (unreadable_ > 0) console_.note(fmt::format("{} lines were no quality records", unreadable_));
    return session_.stop.stop_requested() ? core::traits(ErrorCode::cancelled).exit_code : core::kExitOk;
  }

private:
  void from_socket() {
    stream::SocketFeed feed(net::ZmqKind::sub, options_.source);
    console_.note(fmt::format("{} rules, listening to {}", steering_.rules().size(), feed.name()));
    while (!done()) {
      stream::Envelope message;
      const auto outcome = feed.receive(message, kPoll, session_.stop);
      if (outcome == stream::FeedOutcome::stopped || outcome == stream::FeedOutcome::ended) return;
      if (outcome != stream::FeedOutcome::message || message.parts.size() != 1) continue;
      const auto& part = message.parts.front();
      take(std::string_view(reinterpret_cast<const char*>(part.data()), part.size()));
    }
  }

  void from_file() {
    LineReader reader(options_.source, !options_.dry_run);
    std::string line;
    while (!done()) {
      const auto read = reader.next(line, session_.stop);
      if (read == Read::end) return;
      if (read == Read::line && !line.empty()) take(line);
    }
  }

  bool done() const { return session_.stop.stop_requested() || (options_.scans > 0 && scans_ >= options_.scans); }

  void take(std::string_view line) {
    auto record = pipeline::parse_quality(line);
    if (!record) {
      if (unreadable_++ == 0)
        console_.warning(fmt::format("a line that is no quality record: {}", record.error().message()));
      return;
    }
    const auto values = record->values;
    scans_ += record->last ? 1 : 0;
    for (const auto& decision : steering_.take(std::move(*record))) carry_out(decision, values);
  }

  void carry_out(const pipeline::Decision& d, const std::map<std::string, double>& values) {
    Json message{{"message_type", "decision"}, {"rule", d.rule->name}, {"action", d.rule->action}, {"scan", d.scan},
                 {"record", d.record},         {"time_s", d.time_s},   {"reason", d.reason},       {"values", values}};
    const std::string text = dump(message);
    message.erase("values");
    message["to"] = d.rule->to;
    message["dry_run"] = options_.dry_run;
    // Written down before it is sent: what was asked for is known whatever happens then.
    say(message, fmt::format("{:%Y-%m-%dT%H:%M:%SZ} {}, record {}: {} -> {}: {}",
                             fmt::gmtime(static_cast<std::time_t>(d.time_s)), d.scan, d.record, d.rule->name,
                             d.rule->action, d.reason));
    if (options_.dry_run) return;
    for (const auto& to : d.rule->to) {
      std::string problem;
      try {
        targets_.at(to)->send(text, session_.stop);
      } catch (const std::exception& e) {
        problem = e.what();
      }
      say({{"message_type", "delivery"},
           {"rule", d.rule->name},
           {"scan", d.scan},
           {"record", d.record},
           {"to", to},
           {"delivered", problem.empty()},
           {"problem", problem}},
          problem.empty() ? fmt::format("  sent to {}", to) : fmt::format("  NOT sent to {}: {}", to, problem));
    }
  }

  static std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

  void say(const Json& json, const std::string& text) {
    const std::string line = dump(json);
    fmt::print("{}\n", options_.json ? line : text);
    std::fflush(stdout);
    if (!log_) return;
    fmt::print(log_.get(), "{}\n", line);
    if (std::fflush(log_.get()) != 0 || ::fsync(::fileno(log_.get())) != 0)
      throw Error(ErrorCode::io, fmt::format("cannot be written: {}", std::strerror(errno))).at(options_.log);
  }

  struct CloseFile {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };

  const Options& options_;
  const Session& session_;
  Console console_;
  pipeline::Steering steering_;
  std::unique_ptr<std::FILE, CloseFile> log_;
  std::map<std::string, std::unique_ptr<Target>> targets_;
  std::int64_t unreadable_ = 0, scans_ = 0;
};

int run(const Arguments& arguments, const Session& session) {
  const auto options = schema().make(arguments.given);
  return Steer(arguments.inputs.at(0), options, session).run();
}

}  // namespace

Command steer_command() {
  return {
      {"steer"},
      "act on the quality of running scans: rules in a file -> webhooks and ZeroMQ messages, each decision with its "
      "reason",
      {"RULES"},
      {schema()},
      run};
}

}  // namespace farfield::apps
