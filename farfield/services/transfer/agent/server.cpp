// The agent's side: requests -> a provider.

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <utility>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/range.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/agent/batch.hpp"
#include "farfield/services/transfer/agent/sources.hpp"
#include "farfield/services/transfer/agent/wire.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using net::Request;
using net::Response;
using wire::json;

namespace {

using Clock = std::chrono::steady_clock;
using Shared = std::shared_ptr<Provider>;
// A session in which nothing has happened for so long gives way to a new one for the same file: its client was cut off
// and is back.
constexpr auto kGivesWay = std::chrono::milliseconds(250);
constexpr auto kForgotten = std::chrono::minutes(10);
constexpr std::size_t kMostSessions = 10000;
constexpr int kMostFetches = 8;

Response reply(const json& body) { return Response::of(200, "application/json", body.dump()); }

Response failed(const Error& e) {
  return Response::of(core::traits(e.code()).http_status, "application/json", wire::to_json(e).dump());
}

/// Errors as this protocol says them, whatever else the server serves.
Response answer(const std::function<Response()>& action) {
  try {
    return action();
  } catch (const Error& e) {
    return failed(e);
  }
}

std::string path_of(const Request& request) {
  const std::string* path = request.query("path");
  if (path == nullptr) throw Error(ErrorCode::invalid_argument, "the request needs ?path=");
  return checked_path(*path);
}

/// A file that is being received.
struct Session {
  std::string experiment, path;
  Index chunk_bytes = 0;
  std::mutex one_at_a_time;  ///< for all but put and keep
  Shared root;  ///< the receiver needs it, also where the exported folder has become another one
  std::unique_ptr<Receiver> receiver;
  Clock::time_point used = Clock::now();
};

class Sessions {
public:
  std::shared_ptr<Session> find(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto place = sessions_.find(id);
    if (place == sessions_.end()) throw Error(ErrorCode::not_found, "this file is no longer being received here");
    place->second->used = Clock::now();
    return place->second;
  }

  /// Ends sessions that nobody uses, and with them a quiet one for the same file.
  void make_room(const std::string& experiment, const std::string& path) {
    std::vector<std::shared_ptr<Session>> ended;  // their files are put away without the mutex
    const std::lock_guard lock(mutex_);
    for (auto place = sessions_.begin(); place != sessions_.end();) {
      const auto& session = place->second;
      const auto idle = Clock::now() - session->used;
      const bool same = session->path == path && session->experiment == experiment;
      const bool ends = session.use_count() == 1 && (idle > kForgotten || (same && idle > kGivesWay));
      if (ends) ended.push_back(std::move(place->second));
      place = ends ? sessions_.erase(place) : std::next(place);
    }
    check_room();
  }

  std::string add(std::shared_ptr<Session> session) {
    std::random_device random;
    std::string id = fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
    const std::lock_guard lock(mutex_);
    check_room();  // others came in between
    sessions_[id] = std::move(session);
    return id;
  }

  /// The session ends when the last request that uses it does.
  void end(const std::string& id) {
    std::shared_ptr<Session> ended;
    const std::lock_guard lock(mutex_);
    const auto place = sessions_.find(id);
    if (place == sessions_.end()) return;
    ended = std::move(place->second);
    sessions_.erase(place);
  }

private:
  /// Under the mutex.
  void check_room() const {
    if (sessions_.size() >= kMostSessions)
      throw Error(ErrorCode::unavailable, fmt::format("{} files are being received already", sessions_.size()));
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;
};

class ReaderBody final : public net::BodySource {
public:
  ReaderBody(std::unique_ptr<Reader> reader, const net::ByteRange& range)
      : reader_(std::move(reader)), at_(static_cast<Index>(range.offset)), left_(static_cast<Index>(range.length)) {}
  std::size_t read(std::span<std::byte> into) override {
    const auto want = static_cast<std::size_t>(std::min<Index>(left_, std::ssize(into)));
    if (want == 0) return 0;
    const Index got = reader_->read(at_, into.first(want));
    if (got == 0) throw Error(ErrorCode::conflict, "the file became shorter while it was sent");
    at_ += got;
    left_ -= got;
    return static_cast<std::size_t>(got);
  }

private:
  std::unique_ptr<Reader> reader_;
  Index at_, left_;
};

/// Collects a body of bounded size, then does something with it.
class Collected final : public net::Upload {
public:
  Collected(Index most, std::function<Response(std::span<const std::byte>)> done)
      : most_(most), done_(std::move(done)) {}
  void write(std::span<const std::byte> bytes) override {
    too_long_ = too_long_ || std::ssize(body_) + std::ssize(bytes) > most_;
    if (!too_long_) body_.insert(body_.end(), bytes.begin(), bytes.end());
  }
  Response finish() override {
    return answer([this] {
      if (too_long_) throw Error(ErrorCode::invalid_argument, fmt::format("the body is longer than {} bytes", most_));
      return done_(body_);
    });
  }

private:
  const Index most_;
  std::function<Response(std::span<const std::byte>)> done_;
  std::vector<std::byte> body_;
  bool too_long_ = false;
};

/// A file of one chunk that is all there.
Digests store_whole(Provider& root, const WholeFile& file, std::span<const std::byte> body, bool sha256) {
  if (codec::crc32c(body) != file.crc32c)
    throw Error(ErrorCode::unavailable, fmt::format("the {} bytes of {} arrived damaged", body.size(), file.path));
  const auto receiver = root.receive(file.path, {file.version, std::max<Index>(1, std::ssize(body)), false, sha256});
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (!body.empty()) receiver->put(0, body, file.crc32c);
    if (receiver->verify(std::ssize(body)).empty()) return receiver->commit(file.version, file.mode);
  }
  throw Error(ErrorCode::corrupt_data, fmt::format("{} is read back differently after it was written", file.path));
}

/// Small files, many in one request: each is authorised when its head is there, and stored when its bytes are.
class Batch final : public net::Upload {
public:
  /// Gives the root for a path that may be written, or throws.
  using Allowed = std::function<Shared(const std::string& path)>;
  Batch(Allowed allowed, bool sha256)
      : allowed_(std::move(allowed)),
        sha256_(sha256),
        parser_([this](const wire::FileHead& head) { return begin(head); },
                [this](const wire::FileHead& head, std::span<const std::byte> bytes) { store(head, bytes); }) {}

  void write(std::span<const std::byte> bytes) override {
    if (malformed_) return;
    try {
      parser_.put(bytes);
    } catch (const Error& e) {
      malformed_ = e;
    }
  }
  Response finish() override {
    return answer([this] {
      if (malformed_) throw *malformed_;
      parser_.end();
      return reply(wire::to_json(stored_));
    });
  }

private:
  bool begin(const wire::FileHead& head) {
    stored_.emplace_back();
    return noting_errors([&] {
      path_ = checked_path(head.path);
      if (path_.empty()) throw Error(ErrorCode::invalid_argument, "the exported folder itself is no file");
      root_ = allowed_(path_);
    });
  }
  void store(const wire::FileHead& head, std::span<const std::byte> bytes) {
    noting_errors([&] {
      stored_.back().digests = store_whole(*root_, {path_, head.version, head.mode, {}, head.crc32c}, bytes, sha256_);
    });
  }
  template <class F>
  bool noting_errors(F action) {
    try {
      action();
      return true;
    } catch (const Error& e) {
      stored_.back().error = e;
      return false;
    }
  }

  const Allowed allowed_;
  const bool sha256_;
  std::string path_;  ///< of the file that arrives
  Shared root_;
  std::vector<Stored> stored_;
  std::optional<Error> malformed_;
  wire::BatchParser parser_;
};

std::uint32_t said_sum(const Request& request) {
  const std::string* said = request.headers.find(wire::kChecksumHeader);
  const auto sum = said == nullptr ? std::nullopt : net::parse_number(*said);
  if (!sum || *sum > std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorCode::invalid_argument, fmt::format("the request needs {}: CRC-32C", wire::kChecksumHeader));
  return static_cast<std::uint32_t>(*sum);
}

class Agent : public std::enable_shared_from_this<Agent> {
public:
  Agent(Roots roots, Authorise authorise, MayFetch may_fetch)
      : roots_(std::move(roots)), authorise_(std::move(authorise)), may_fetch_(std::move(may_fetch)) {}

  void add_routes(net::Router& router) {
    const std::string base = "/transfer/v1/{experiment}";
    const auto on_path = [&](const std::string& method, const std::string& what, Right right, auto action) {
      router.add(method, base + what, [self = shared_from_this(), right, action](const Request& request) {
        return answer([&] {
          const std::string path = path_of(request);
          return action(self->root(request, right, path), path, request);
        });
      });
    };
    on_path("GET", "/stat", Right::read, [](const Shared& root, const std::string& path, const Request&) {
      const auto entry = root->stat(path);
      return reply({{"entry", entry ? wire::to_json(*entry) : json()}});
    });
    on_path("GET", "/open", Right::read, [](const Shared& root, const std::string& path, const Request&) {
      return reply({{"entry", wire::to_json(root->open(path)->entry())}});
    });
    on_path("GET", "/list", Right::read, [](const Shared& root, const std::string& path, const Request&) {
      return reply(wire::to_json(root->list(path)));
    });
    on_path("GET", "/digests", Right::read, [](const Shared& root, const std::string& path, const Request& request) {
      const std::string* sha256 = request.query("sha256");
      return reply(wire::to_json(root->digests(path, sha256 != nullptr && *sha256 == "1")));
    });
    on_path("GET", "/content", Right::read, content);
    on_path("POST", "/folder", Right::write, [](const Shared& root, const std::string& path, const Request&) {
      root->make_folder(path);
      return reply(json::object());
    });
    on_path("DELETE", "/content", Right::write, [](const Shared& root, const std::string& path, const Request&) {
      root->remove(path);
      return reply(json::object());
    });
    on_path("POST", "/receive", Right::write,
            [this](const Shared& root, const std::string& path, const Request& request) {
              return begin(root, path, request);
            });
    router.upload("PUT", base + "/content",
                  [self = shared_from_this()](const Request& r) { return self->whole_file(r); });
    router.upload("PUT", base + "/files", [self = shared_from_this()](const Request& r) { return self->batch(r); });
    router.upload("PUT", base + "/receive/{session}/chunk/{number}",
                  [self = shared_from_this()](const Request& r) { return self->chunk(r); });
    const auto in_session = [&](const std::string& method, const std::string& what, auto action) {
      router.add(method, base + "/receive/{session}" + what,
                 [self = shared_from_this(), action](const Request& request) {
                   return answer([&] {
                     const auto session = self->session(request);
                     const json said = request.body.empty() ? json::object() : wire::parse(request.body);
                     return action(*self, *session, said, request);
                   });
                 });
    };
    in_session("POST", "/fetch/{number}", [](Agent& agent, Session& session, const json& said, const Request& request) {
      return agent.fetch(session, said, request);
    });
    in_session("POST", "/keep", [](Agent&, Session& session, const json& said, const Request&) {
      session.receiver->keep(wire::integer(said, "number", 0, kLast),
                             wire::integer(said, "bytes", 0, session.chunk_bytes));
      return reply(json::object());
    });
    in_session("POST", "/verify", [](Agent&, Session& session, const json& said, const Request&) {
      const std::lock_guard lock(session.one_at_a_time);
      return reply({{"bad", session.receiver->verify(wire::integer(said, "size_bytes", 0, kLast))}});
    });
    in_session("POST", "/commit", [](Agent& agent, Session& session, const json& said, const Request& request) {
      const std::lock_guard lock(session.one_at_a_time);
      const auto digests = session.receiver->commit(wire::version(wire::member(said, "version")),
                                                    static_cast<unsigned>(wire::integer(said, "mode", 0, 0777)));
      agent.sessions_.end(request.parameter("session"));
      return reply(wire::to_json(digests));
    });
    in_session("POST", "/close", [](Agent& agent, Session&, const json&, const Request& request) {
      agent.sessions_.end(request.parameter("session"));
      return reply(json::object());
    });
    in_session("DELETE", "", [](Agent& agent, Session& session, const json&, const Request& request) {
      const std::lock_guard lock(session.one_at_a_time);
      session.receiver->abandon();
      agent.sessions_.end(request.parameter("session"));
      return reply(json::object());
    });
  }

private:
  static constexpr Index kLast = std::numeric_limits<Index>::max();

  Shared root(const Request& request, Right right, const std::string& path) {
    const std::string& experiment = request.parameter("experiment");
    authorise_(request, right, experiment, path);
    return roots_(experiment, right);
  }

  std::shared_ptr<Session> session(const Request& request) {
    auto session = sessions_.find(request.parameter("session"));
    const std::string& experiment = request.parameter("experiment");
    if (session->experiment != experiment)
      throw Error(ErrorCode::not_found, "this file is no longer being received here");
    authorise_(request, Right::write, experiment, session->path);
    return session;
  }

  static Response content(const Shared& root, const std::string& path, const Request& request) {
    auto reader = root->open(path);
    const std::string tag = wire::etag(reader->entry().version);
    const auto size = static_cast<std::uint64_t>(reader->entry().version.size_bytes);
    return net::serve_range(request, size, tag, "application/octet-stream",
                            [&](const net::ByteRange& range) -> std::unique_ptr<net::BodySource> {
                              return std::make_unique<ReaderBody>(std::move(reader), range);
                            });
  }

  Response begin(const Shared& root, const std::string& path, const Request& request) {
    const json said = wire::parse(request.body);
    const ReceiveOptions options{wire::version(wire::member(said, "version")),
                                 wire::integer(said, "chunk_bytes", 1, wire::kLongestChunk),
                                 wire::truth(said, "growing"), wire::truth(said, "sha256")};
    sessions_.make_room(request.parameter("experiment"), path);
    auto session = std::make_shared<Session>();
    session->experiment = request.parameter("experiment");
    session->path = path;
    session->chunk_bytes = options.chunk_bytes;
    session->root = root;
    session->receiver = root->receive(path, options);
    json held = wire::to_json(session->receiver->held());
    return reply({{"session", sessions_.add(std::move(session))}, {"held", std::move(held)}});
  }

  static Index chunk_number(const Session& session, const Request& request) {
    const auto number = net::parse_number(request.parameter("number"));
    if (!number || *number > static_cast<std::uint64_t>(kLast / session.chunk_bytes))
      throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" is no chunk", request.parameter("number")));
    return static_cast<Index>(*number);
  }

  /// Third party: the chunk comes from another agent, with the token that the request brings for it.
  Response fetch(Session& session, const json& said, const Request& request) {
    const Index number = chunk_number(session, request);
    const Index size = wire::integer(said, "bytes", 1, session.chunk_bytes);
    // A fetch holds a handler while it waits for the other agent's. Two agents that fetch from each other with all they
    // have would wait for ever.
    const auto leave = [this](const void*) { --fetching_; };
    const std::unique_ptr<const void, decltype(leave)> at_work(this, leave);
    if (++fetching_ > kMostFetches) return reply({{"fetched", false}, {"busy", true}, {"reason", "busy"}});
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    const auto from = wire::remote(wire::member(said, "from"));
    if (!may_fetch_) return reply({{"fetched", false}, {"busy", false}, {"reason", "this agent fetches from nobody"}});
    may_fetch_(from.origin, from.token, from.experiment, checked_path(from.path));
    try {
      sources_.read(from, number * session.chunk_bytes, bytes);
    } catch (const Error& e) {
      // Perhaps whoever asks reaches it.
      if (e.code() != ErrorCode::unavailable && e.code() != ErrorCode::timeout) throw;
      return reply({{"fetched", false}, {"busy", false}, {"reason", std::string(e.what())}});
    }
    const std::uint32_t sum = codec::crc32c(bytes);
    session.receiver->put(number, bytes, sum);
    return reply({{"fetched", true}, {"crc32c", sum}});
  }

  std::unique_ptr<net::Upload> chunk(const Request& request) {
    const auto session = this->session(request);
    return std::make_unique<Collected>(session->chunk_bytes, [session, number = chunk_number(*session, request),
                                                              request](std::span<const std::byte> body) {
      // Read back against it: what the network did to the chunk is found, too.
      session->receiver->put(number, body, said_sum(request));
      return reply(json::object());
    });
  }

  /// A file of one chunk, in one request.
  std::unique_ptr<net::Upload> whole_file(const Request& request) {
    const std::string path = path_of(request);
    auto root = this->root(request, Right::write, path);
    const std::string* said = request.query("as");
    const json how = wire::parse(said == nullptr ? "{}" : *said);
    const Version version = wire::version(wire::member(how, "version"));
    const bool sha256 = wire::truth(how, "sha256");
    const auto mode = static_cast<unsigned>(wire::integer(how, "mode", 0, 0777));
    sessions_.make_room(request.parameter("experiment"), path);
    return std::make_unique<Collected>(wire::kLongestChunk, [root = std::move(root), path, version, sha256, mode,
                                                             request](std::span<const std::byte> body) {
      return reply(wire::to_json(store_whole(*root, {path, version, mode, {}, said_sum(request)}, body, sha256)));
    });
  }

  std::unique_ptr<net::Upload> batch(const Request& request) {
    const std::string* sha256 = request.query("sha256");
    return std::make_unique<Batch>(
        [self = shared_from_this(), request](const std::string& path) {
          auto root = self->root(request, Right::write, path);
          self->sessions_.make_room(request.parameter("experiment"), path);
          return root;
        },
        sha256 != nullptr && *sha256 == "1");
  }

  const Roots roots_;
  const Authorise authorise_;
  const MayFetch may_fetch_;
  Sessions sessions_;
  Sources sources_;
  std::atomic<int> fetching_{0};
};

}  // namespace

void add_agent_routes(net::Router& router, Roots roots, Authorise authorise, MayFetch may_fetch) {
  std::make_shared<Agent>(std::move(roots), std::move(authorise), std::move(may_fetch))->add_routes(router);
}

void add_agent_routes(net::Router& router, std::map<std::string, std::shared_ptr<Provider>> roots, Authorise authorise,
                      MayFetch may_fetch) {
  add_agent_routes(
      router,
      [roots = std::move(roots)](const std::string& experiment, Right) {
        const auto place = roots.find(experiment);
        if (place == roots.end())
          throw Error(ErrorCode::not_found, fmt::format("this agent exports nothing of experiment {}", experiment));
        return place->second;
      },
      std::move(authorise), std::move(may_fetch));
}

}  // namespace farfield::services::transfer
