#pragma once
// What tests of endpoints share: a service that is none, and the program of their blocks (tests/support/block).

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "farfield/core/testing.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/compute/endpoint/endpoint.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute::testing {

/// Two minutes, for machines under load.
template <class F>
bool eventually(F&& condition) {
  for (int i = 0; i < 12000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

/// The service's end of the line: hands out tasks, remembers what it was told, and acknowledges.
class FakeService {
public:
  FakeService() { start(); }

  void start() {
    net::Router router;
    router.websocket("/api/v1/endpoints/{name}/link", [this](const net::Request&) {
      net::WebSocketSession session;
      auto self = std::make_shared<std::shared_ptr<net::WebSocket>>();
      session.open = [self](std::shared_ptr<net::WebSocket> socket) { *self = std::move(socket); };
      session.events.message = [this, self](const std::string& text, bool binary) { heard(*self, text, binary); };
      session.events.closed = [this, self](const std::string&) {
        const std::lock_guard lock(mutex_);
        if (socket_ == *self) socket_.reset();
        self->reset();
      };
      return session;
    });
    router.upload("PUT", "/api/v1/tasks/{id}/output", [this](const net::Request& r) {
      struct Keep final : net::Upload {
        Keep(FakeService& s, std::string i) : service(s), id(std::move(i)) {}
        void write(std::span<const std::byte> bytes) override {
          text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        }
        net::Response finish() override {
          const std::lock_guard lock(service.mutex_);
          service.outputs_[id] = text;
          return net::Response::text(200, "");
        }
        FakeService& service;
        std::string id, text;
      };
      return std::make_unique<Keep>(*this, r.parameter("id"));
    });
    router.get("/api/v1/archives/{sha256}", [this](const net::Request& r) {
      const std::lock_guard lock(mutex_);
      const auto archive = archives_.find(r.parameter("sha256"));
      if (archive == archives_.end()) throw core::Error(core::ErrorCode::not_found, "no such archive");
      return net::Response::of(200, "application/zstd", archive->second);
    });
    net::ServerOptions options;
    options.port = port_;
    options.websocket.message_bytes = core::Index{64} << 20;
    server_ = std::make_unique<net::Server>(options, std::move(router));
    port_ = server_->port();
  }
  /// Cuts all lines; start() opens the same port again.
  void stop() {
    server_->stop(0);
    server_.reset();
  }
  std::string origin() const { return "http://127.0.0.1:" + std::to_string(port_); }

  void submit(const Assignment& a) {
    const std::lock_guard lock(mutex_);
    tasks_[a.key] = a;
    if (socket_) socket_->send_text(encode(Assign{{a}}));
  }
  void submit(const std::vector<Assignment>& all) {
    const std::lock_guard lock(mutex_);
    for (const Assignment& a : all) tasks_[a.key] = a;
    if (socket_) socket_->send_text(encode(Assign{all}));
  }
  void say(const Message& message) {
    const std::lock_guard lock(mutex_);
    if (socket_) socket_->send_text(encode(message));
  }
  void add_archive(const std::string& sha256, std::string bytes) {
    const std::lock_guard lock(mutex_);
    archives_[sha256] = std::move(bytes);
  }

  bool has_ended(const TaskKey& key) const {
    const std::lock_guard lock(mutex_);
    return ends_.contains(key);
  }
  TaskEnd end(const TaskKey& key) const {
    if (!eventually([&] { return has_ended(key); })) ADD_FAILURE() << key.task << " has not ended";
    const std::lock_guard lock(mutex_);
    const auto found = ends_.find(key);
    return found == ends_.end() ? TaskEnd{} : found->second;
  }
  std::size_t ended() const {
    const std::lock_guard lock(mutex_);
    return ends_.size();
  }
  bool has_begun(const TaskKey& key) const {
    const std::lock_guard lock(mutex_);
    return begun_.contains(key);
  }
  TaskBegin begin(const TaskKey& key) const {
    if (!eventually([&] { return has_begun(key); })) ADD_FAILURE() << key.task << " has not begun";
    const std::lock_guard lock(mutex_);
    const auto found = begun_.find(key);
    return found == begun_.end() ? TaskBegin{} : found->second;
  }
  std::string output(const std::string& task) const {
    const std::lock_guard lock(mutex_);
    const auto found = outputs_.find(task);
    return found == outputs_.end() ? std::string() : found->second;
  }
  Capacity capacity() const {
    const std::lock_guard lock(mutex_);
    return capacity_;
  }
  std::vector<std::string> log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  double progress(const std::string& task) const {
    const std::lock_guard lock(mutex_);
    const auto found = progress_.find(task);
    return found == progress_.end() ? 0 : found->second;
  }
  std::vector<Preview> previews() const {
    const std::lock_guard lock(mutex_);
    return previews_;
  }
  int hellos() const {
    const std::lock_guard lock(mutex_);
    return hellos_;
  }

private:
  void heard(const std::shared_ptr<net::WebSocket>& from, const std::string& text, bool binary) {
    const std::lock_guard lock(mutex_);
    if (binary) {
      previews_.push_back(decode_preview(text));
      return;
    }
    const Message message = decode(text);
    if (const auto* hello = std::get_if<Hello>(&message)) {
      socket_ = from;
      ++hellos_;
      capacity_ = hello->capacity;
      const std::set<TaskKey> known(hello->known.begin(), hello->known.end());
      Assign again;
      for (const auto& [key, a] : tasks_)
        if (!known.contains(key) && !ends_.contains(key)) again.tasks.push_back(a);
      Stored stored;
      for (const TaskKey& key : known)
        if (ends_.contains(key)) stored.ends.push_back(key);
      if (!again.tasks.empty()) from->send_text(encode(again));
      if (!stored.ends.empty()) from->send_text(encode(stored));
    } else if (const auto* ended = std::get_if<Ended>(&message)) {
      Stored stored;
      for (const TaskEnd& end : ended->tasks) {
        ends_.try_emplace(end.key, end);
        stored.ends.push_back(end.key);
      }
      from->send_text(encode(stored));
    } else if (const auto* begun = std::get_if<Begun>(&message)) {
      for (const TaskBegin& b : begun->tasks) begun_[b.key] = b;
    } else if (const auto* progressed = std::get_if<Progressed>(&message)) {
      for (const TaskProgress& p : progressed->tasks) progress_[p.key.task] = p.progress;
    } else if (const auto* logged = std::get_if<Logged>(&message)) {
      for (const TaskLog& l : logged->lines) log_.push_back(l.line);
    } else if (const auto* capacity = std::get_if<CapacityNow>(&message)) {
      capacity_ = capacity->capacity;
    }
  }

  mutable std::mutex mutex_;
  std::uint16_t port_ = 0;
  std::shared_ptr<net::WebSocket> socket_;
  std::map<TaskKey, Assignment> tasks_;
  std::map<TaskKey, TaskEnd> ends_;
  std::map<TaskKey, TaskBegin> begun_;
  std::map<std::string, double> progress_;
  std::map<std::string, std::string> outputs_, archives_;
  std::vector<std::string> log_;
  std::vector<Preview> previews_;
  Capacity capacity_;
  int hellos_ = 0;
  std::unique_ptr<net::Server> server_;
};

inline std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// What blocks run.
std::vector<std::string> block_command();

/// Functions that its workers have: arguments are strings or numbers in a JSON object.
///   echo      gives its arguments back
///   note      appends a line "text" to the file "file" of the experiment
///   sleep     until its file "until" exists in the experiment; ends when asked to
///   resume    as sleep, but keeps a checkpoint when asked to leave; gives how often it was begun
///   crash     ends its worker by a signal
///   fail      throws "text"
///   large     gives a string of "bytes" bytes
///   show      progress, a log line, a preview; then as sleep
///   read      the content of the file "path", as the worker can see it
Assignment call(const std::string& task, const std::string& function, const std::string& arguments = "{}");

/// An endpoint with real blocks of this machine and an experiment.
class EndpointFixture : public ::testing::Test {
protected:
  EndpointFixture() {
    std::filesystem::create_directories(root());
    std::filesystem::create_directories(folder_.path() / "experiments/2026-1-Other-2");
    options_.name = "test";
    options_.folder = (folder_.path() / "endpoint").string();
    options_.service = service_.origin();
    options_.command = block_command();
    options_.roots.prefix = (folder_.path() / "experiments").string();
    options_.readable = {std::filesystem::path(options_.command[0]).parent_path().string()};
    options_.poll_s = 0.1;
    options_.notice_s = 1;
    options_.scaling.workers_per_node = 2;
    options_.scaling.idle_s = 600;
  }
  /// Nothing stays behind.
  void TearDown() override {
    if (IsSkipped()) return;
    if (!endpoint_) start();
    EXPECT_TRUE(endpoint_->end_blocks(100));
  }
  std::filesystem::path root() const { return folder_.path() / "experiments/2026-1-Garcia-1"; }
  virtual std::unique_ptr<BlockProvider> provider() const { return make_local_blocks({2}); }
  void start() { endpoint_ = std::make_unique<Endpoint>(options_, provider()); }
  void run(const std::string& task, const std::string& function, const std::string& arguments = "{}") {
    service_.submit(call(task, function, arguments));
  }
  TaskEnd end(const std::string& task, int attempt = 1) const { return service_.end({task, attempt}); }
  void release(const std::string& file) const { std::ofstream(root() / file) << "go"; }
  /// Process ids of the workers that run.
  std::vector<int> workers() const {
    std::vector<int> all;
    const std::string block = std::filesystem::canonical(options_.folder).string() + "/blocks/";
    for (const auto& process : std::filesystem::directory_iterator("/proc")) {
      const std::string name = process.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string line = content(process.path() / "cmdline"), environment = content(process.path() / "environ");
      if (line.find(block) != std::string::npos && environment.find("FARFIELD_WORKER_PLACE=") != std::string::npos)
        all.push_back(std::stoi(name));
    }
    return all;
  }

  core::testing::TemporaryFolder folder_;
  FakeService service_;
  EndpointOptions options_;
  std::unique_ptr<Endpoint> endpoint_;
};

}  // namespace farfield::services::compute::testing
