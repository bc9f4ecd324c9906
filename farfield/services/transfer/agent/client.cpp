// The other side: a provider -> requests.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/log.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/agent/batch.hpp"
#include "farfield/services/transfer/agent/wire.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using net::ClientRequest;
using net::ClientResponse;
using wire::json;

namespace {

class Connection {
public:
  explicit Connection(AgentPlace place)
      : place_(std::move(place)),
        client_(place_.origin, place_.client),
        base_("/transfer/v1/" + net::percent_encode(place_.experiment)) {}

  std::string name() const { return place_.origin + "/" + place_.experiment; }

  ClientRequest request(std::string method, const std::string& what, const net::QueryFields& query = {}) const {
    ClientRequest request;
    request.method = std::move(method);
    request.target = base_ + what;
    if (!query.empty()) request.target += "?" + net::format_query(query);
    if (place_.token) request.headers.set("Authorization", "Bearer " + place_.token());
    return request;
  }

  json ask(const ClientRequest& request) {
    return checked(answered([&] { return client_.send(request); }));
  }
  json ask(ClientRequest request, const json& body) {
    request.headers.set("Content-Type", "application/json");
    request.body = body.dump();
    return ask(request);
  }
  /// Bytes with their checksum.
  json put(ClientRequest request, std::span<const std::byte> bytes, std::uint32_t crc32c) {
    request.headers.set(wire::kChecksumHeader, std::to_string(crc32c));
    request.body.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return ask(request);
  }
  /// For another agent, which is to read from here by itself.
  wire::Remote remote(const std::string& path) const {
    wire::Remote out{place_.origin, place_.experiment, path, place_.token ? place_.token() : std::string(),
                     place_.client.trust.pem};
    if (out.certificate.empty() && !place_.client.trust.authorities.empty()) {
      std::ostringstream text;
      text << std::ifstream(place_.client.trust.authorities).rdbuf();
      out.certificate = text.str();
    }
    return out;
  }
  /// Once the agent has said that it cannot reach the others, nobody asks again.
  std::atomic<bool> fetches{true};
  /// An agent of an earlier version takes small files one by one.
  std::atomic<bool> takes_batches{true};

  ClientResponse send(const ClientRequest& request, net::BodySink& sink) {
    return answered([&] { return client_.send(request, sink); });
  }
  Error error(const ClientResponse& response) const { return wire::error(response.body, response.status).at(name()); }

private:
  json checked(const ClientResponse& response) const {
    if (!response.ok()) throw error(response);
    try {
      return wire::parse(response.body);
    } catch (Error& e) {
      throw std::move(e).at(name());
    }
  }

  /// A certificate that is not trusted says that this is not the agent, or not yet again (it has expired): a peer that
  /// is away, not a right that is refused.
  template <class F>
  static ClientResponse answered(F send) {
    try {
      return send();
    } catch (const Error& e) {
      if (e.code() != ErrorCode::forbidden) throw;
      throw Error(ErrorCode::unavailable, e.what());
    }
  }

  AgentPlace place_;
  net::Client client_;
  std::string base_;
};
using Shared = std::shared_ptr<Connection>;

/// Into memory of known size; what a server sends beyond is an error of its own.
class IntoSpan final : public net::BodySink {
public:
  explicit IntoSpan(std::span<std::byte> into) : into_(into) {}
  void write(std::span<const std::byte> bytes) override {
    if (bytes.size() > into_.size() - used_)
      throw Error(ErrorCode::corrupt_data, "the agent sends more than it was asked for");
    std::memcpy(into_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  std::size_t used() const { return used_; }

private:
  std::span<std::byte> into_;
  std::size_t used_ = 0;
};

class AgentReader final : public Reader {
public:
  AgentReader(Shared agent, std::string path) : agent_(std::move(agent)), path_(std::move(path)), entry_(look()) {}

  const Entry& entry() const override { return entry_; }
  Index piece_bytes() const override { return Index{4} << 20; }  // a round trip each

  Version version() override { return look().version; }

  Index read(Index offset, std::span<std::byte> into) override {
    if (into.empty()) return 0;
    auto request = agent_->request("GET", "/content", {{"path", path_}});
    request.headers.set("Range", fmt::format("bytes={}-{}", offset, offset + std::ssize(into) - 1));
    IntoSpan sink(into);
    const ClientResponse response = agent_->send(request, sink);
    if (response.status == 416) return 0;  // behind the end
    if (!response.ok()) throw agent_->error(response);
    if (response.status != 206 && offset != 0)
      throw Error(ErrorCode::corrupt_data, "the agent does not send the part that it was asked for").at(agent_->name());
    return static_cast<Index>(sink.used());
  }

  wire::Remote remote() const { return agent_->remote(path_); }

private:
  /// As it is when it is opened there: links are followed as far as they stay inside.
  Entry look() const {
    const json said = agent_->ask(agent_->request("GET", "/open", {{"path", path_}}));
    return wire::entry(wire::member(said, "entry"));
  }

  const Shared agent_;
  const std::string path_;
  const Entry entry_;
};

json begin_message(const ReceiveOptions& options) {
  return {{"version", wire::to_json(options.version)},
          {"chunk_bytes", options.chunk_bytes},
          {"growing", options.growing},
          {"sha256", options.sha256}};
}

class AgentReceiver final : public Receiver {
public:
  AgentReceiver(Shared agent, const std::string& path, const ReceiveOptions& options)
      : agent_(std::move(agent)), chunk_bytes_(options.chunk_bytes) {
    const json said = agent_->ask(agent_->request("POST", "/receive", {{"path", path}}), begin_message(options));
    session_ = "/receive/" + net::percent_encode(wire::text(said, "session"));
    held_ = wire::held(wire::member(said, "held"));
  }
  ~AgentReceiver() override {
    if (!ended_) end("POST", "/close");
  }

  const Held& held() const override { return held_; }
  void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) override {
    agent_->put(agent_->request("PUT", fmt::format("{}/chunk/{}", session_, number)), bytes, crc32c);
  }
  std::optional<std::uint32_t> fetch(Reader& from, Index number, Index bytes) override {
    const auto* source = dynamic_cast<const AgentReader*>(&from);
    if (source == nullptr || !agent_->fetches) return {};
    const wire::Remote remote = source->remote();
    if (!remote.origin.starts_with("https://")) return {};  // agents speak to each other over TLS only
    const json said = agent_->ask(agent_->request("POST", fmt::format("{}/fetch/{}", session_, number)),
                                  {{"from", wire::to_json(remote)}, {"bytes", bytes}});
    if (wire::truth(said, "fetched"))
      return static_cast<std::uint32_t>(wire::integer(said, "crc32c", 0, std::numeric_limits<std::uint32_t>::max()));
    if (wire::truth(said, "busy")) return {};  // not this one
    agent_->fetches = false;
    core::log(core::LogLevel::info, "transfer.not_third_party",
              {{"from", remote.origin}, {"to", agent_->name()}, {"reason", wire::text(said, "reason")}});
    return {};
  }
  void keep(Index number, Index bytes) override {
    agent_->ask(agent_->request("POST", session_ + "/keep"), {{"number", number}, {"bytes", bytes}});
  }
  std::vector<Index> verify(Index size_bytes) override {
    const json said = agent_->ask(agent_->request("POST", session_ + "/verify"), {{"size_bytes", size_bytes}});
    // Chunks that this file does not have would be read from beyond it.
    return wire::integers(said, "bad", 0, (size_bytes + chunk_bytes_ - 1) / chunk_bytes_ - 1);
  }
  Digests commit(const Version& source, unsigned mode) override {
    const json said = agent_->ask(agent_->request("POST", session_ + "/commit"),
                                  {{"version", wire::to_json(source)}, {"mode", mode}});
    ended_ = true;
    return wire::digests(said);
  }
  void abandon() noexcept override { end("DELETE", ""); }

private:
  void end(const char* method, const char* what) noexcept {
    ended_ = true;
    try {
      agent_->ask(agent_->request(method, session_ + what), json::object());
    } catch (const std::exception& e) {  // the agent ends it by itself, later
      core::log(core::LogLevel::info, "transfer.session_not_closed", {{"agent", agent_->name()}, {"error", e.what()}});
    }
  }

  const Shared agent_;
  const Index chunk_bytes_;
  std::string session_;
  Held held_;
  bool ended_ = false;
};

/// A file of one chunk: kept until commit(), and sent in one request. The agent reads it back.
class SmallReceiver final : public Receiver {
public:
  SmallReceiver(Shared agent, std::string path, const ReceiveOptions& options)
      : agent_(std::move(agent)), path_(std::move(path)), options_(options) {}

  const Held& held() const override { return held_; }
  void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) override {
    if (number != 0 || std::ssize(bytes) > options_.chunk_bytes)
      throw Error(ErrorCode::internal, fmt::format("chunk {} of {} bytes in a file of one", number, bytes.size()));
    bytes_.assign(bytes.begin(), bytes.end());
    sum_ = crc32c;
  }
  void keep(Index number, Index) override {
    throw Error(ErrorCode::internal, fmt::format("chunk {} is not held", number)).at(path_);
  }
  std::vector<Index> verify(Index size_bytes) override {
    if (size_bytes != std::ssize(bytes_)) throw Error(ErrorCode::internal, "chunk 0 of 1 was not written").at(path_);
    return codec::crc32c(bytes_) == sum_ ? std::vector<Index>{} : std::vector<Index>{0};
  }
  Digests commit(const Version& source, unsigned mode) override {
    const json how{{"version", wire::to_json(source)}, {"mode", mode & 0777U}, {"sha256", options_.sha256}};
    return wire::digests(
        agent_->put(agent_->request("PUT", "/content", {{"path", path_}, {"as", how.dump()}}), bytes_, sum_));
  }
  void abandon() noexcept override { bytes_.clear(); }

private:
  const Shared agent_;
  const std::string path_;
  const ReceiveOptions options_;
  std::vector<std::byte> bytes_;
  std::uint32_t sum_ = 0;
  Held held_;
};

class AgentProvider final : public Provider {
public:
  explicit AgentProvider(AgentPlace place) : agent_(std::make_shared<Connection>(std::move(place))) {}

  std::string name() const override { return agent_->name(); }
  std::optional<Entry> stat(const std::string& path) override {
    const json said = agent_->ask(agent_->request("GET", "/stat", {{"path", checked_path(path)}}));
    const json& entry = wire::member(said, "entry");
    return entry.is_null() ? std::nullopt : std::optional(wire::entry(entry));
  }
  Listing list(const std::string& path) override {
    return wire::listing(agent_->ask(agent_->request("GET", "/list", {{"path", checked_path(path)}})));
  }
  std::unique_ptr<Reader> open(const std::string& path) override {
    return std::make_unique<AgentReader>(agent_, checked_path(path));
  }
  std::unique_ptr<Receiver> receive(const std::string& path, const ReceiveOptions& options) override {
    std::string name = checked_path(path);
    if (name.empty()) throw Error(ErrorCode::invalid_argument, this->name() + " is a folder, not a file");
    if (options.chunk_bytes <= 0 || options.chunk_bytes > wire::kLongestChunk)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("chunks of {} bytes; must be 1 to {}", options.chunk_bytes, wire::kLongestChunk));
    if (!options.growing && options.version.size_bytes <= options.chunk_bytes)
      return std::make_unique<SmallReceiver>(agent_, std::move(name), options);
    return std::make_unique<AgentReceiver>(agent_, name, options);
  }
  void make_folder(const std::string& path) override {
    agent_->ask(agent_->request("POST", "/folder", {{"path", checked_path(path)}}));
  }
  void remove(const std::string& path) override {
    agent_->ask(agent_->request("DELETE", "/content", {{"path", checked_path(path)}}));
  }
  Digests digests(const std::string& path, bool sha256) override {
    return wire::digests(agent_->ask(
        agent_->request("GET", "/digests", {{"path", checked_path(path)}, {"sha256", sha256 ? "1" : "0"}})));
  }
  bool stores_many() const override { return agent_->takes_batches; }
  std::vector<Stored> store(const std::vector<WholeFile>& files, bool sha256) override {
    if (files.size() > kMostStored)
      throw Error(ErrorCode::invalid_argument, fmt::format("{} files at once; at most {}", files.size(), kMostStored));
    // The head is JSON, and the agent gives the whole request up for a file that is too large.
    for (const WholeFile& file : files)
      if (checked_path(file.path).empty() || std::ssize(file.bytes) > kLargestStored)
        throw Error(ErrorCode::invalid_argument, fmt::format("{} of {} bytes is no small file; at most {}", file.path,
                                                             file.bytes.size(), kLargestStored));
    auto request = agent_->request("PUT", "/files", {{"sha256", sha256 ? "1" : "0"}});
    request.body = wire::format_batch(files);
    try {
      return wire::stored(agent_->ask(request), files.size());
    } catch (const Error& e) {
      if (e.code() == ErrorCode::not_found)
        agent_->takes_batches = false;  // what is wrong with a file, its answer says
      throw;
    }
  }

private:
  const Shared agent_;
};

}  // namespace

std::unique_ptr<Provider> agent_provider(AgentPlace place) { return std::make_unique<AgentProvider>(std::move(place)); }

}  // namespace farfield::services::transfer
