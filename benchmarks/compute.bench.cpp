// Tasks through the broker, beside what they cannot avoid. Each figure comes with the database.
//   floor        durable changes a second, one client and many; a round trip over a WebSocket of the loopback interface
//   broker       no-op tasks to an endpoint in the same process, one at a time and many in flight: what the broker
//   costs endpoint     the same, over WebSockets, to an endpoint and warm workers in processes of their own
// An argument "floor", "broker" or "endpoint": only that part. FARFIELD_BENCH_POSTGRES=postgresql://... uses that
// server instead of SQLite.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <semaphore>
#include <thread>

#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/compute/broker/broker.hpp"
#include "farfield/services/compute/broker/rest.hpp"
#include "farfield/services/compute/endpoint/endpoint.hpp"
#include "farfield/services/compute/worker/launcher.hpp"

namespace {
using namespace farfield;
using namespace farfield::services::compute;
using Clock = std::chrono::steady_clock;

constexpr int kOneByOne = 300, kMany = 20'000;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
/// Of the block's processes: the launcher and the workers, which run this program, too. In ticks of 10 ms.
double workers_cpu_s() {
  namespace fs = std::filesystem;
  long long ticks = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename().string();
    std::error_code gone;
    if (pid.find_first_not_of("0123456789") != std::string::npos || pid == std::to_string(getpid()) ||
        fs::read_symlink(entry.path() / "exe", gone) != fs::read_symlink("/proc/self/exe"))
      continue;
    std::string field;
    std::ifstream stat(entry.path() / "stat");
    std::getline(stat, field, ')');
    for (int i = 3; i < 14; ++i) stat >> field;
    long long user = 0, system = 0;
    stat >> user >> system;
    ticks += user + system;
  }
  return static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}
double cpu_s() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return s(used.ru_utime) + s(used.ru_stime);
}

void print_times(const char* what, std::vector<double> times_s) {
  std::sort(times_s.begin(), times_s.end());
  const auto at = [&](double part) {
    return 1e3 * times_s[static_cast<std::size_t>(part * static_cast<double>(times_s.size() - 1))];
  };
  fmt::print("{:<52} p50 {:8.3f} ms   p99 {:8.3f} ms\n", what, at(0.5), at(0.99));
}

/// Ends every task as soon as it hears of it, on a thread of its own; what came together is answered together.
class NoWork final : public Line, public std::enable_shared_from_this<NoWork> {
public:
  explicit NoWork(Broker& broker) : broker_(broker), thread_([this](const std::stop_token& stop) { work(stop); }) {}
  bool send(std::string text) override {
    {
      const std::lock_guard lock(mutex_);
      texts_.push_back(std::move(text));
    }
    wake_.notify_one();
    return true;
  }
  void close(const std::string&) override {}

private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [&] { return !texts_.empty(); })) {
      const auto texts = std::exchange(texts_, {});
      lock.unlock();
      Ended ended;
      for (const std::string& text : texts) {
        const Message message = decode(text);
        if (const auto* assign = std::get_if<Assign>(&message))
          for (const auto& a : assign->tasks)
            ended.tasks.push_back(
                {a.key, Ending::done, "null", "", {.started_s = 1, .ended_s = 1}, "block", "node", "worker"});
      }
      if (!ended.tasks.empty()) broker_.received("bench", this, encode(ended), false);
      lock.lock();
    }
  }
  Broker& broker_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<std::string> texts_;
  std::jthread thread_;
};

void floors(store::Database& database) {
  database.migrate("bench", {{1, "floor", "CREATE TABLE compute_bench (id {id}, body TEXT NOT NULL)"}});
  const auto insert = [](store::Transaction& t) {
    t.execute("INSERT INTO compute_bench(body) VALUES (?)", std::string(600, 'x'));
  };
  std::vector<double> times;
  for (int i = 0; i < kOneByOne; ++i) {
    const auto start = Clock::now();
    database.write(insert);
    times.push_back(seconds_since(start));
  }
  print_times("floor: one durable change", times);
  const auto start = Clock::now();
  std::counting_semaphore<> done(0);
  for (int i = 0; i < kMany; ++i) database.submit(insert, [&](const core::Result<void>&) { done.release(); });
  for (int i = 0; i < kMany; ++i) done.acquire();
  fmt::print("floor: durable changes, {} in flight {:>26.0f} /s\n", kMany, kMany / seconds_since(start));

  net::Router router;
  router.websocket("/echo", [](const net::Request&) {
    auto socket = std::make_shared<std::weak_ptr<net::WebSocket>>();
    net::WebSocketSession session;
    session.open = [socket](const std::shared_ptr<net::WebSocket>& opened) { *socket = opened; };
    session.events.message = [socket](std::string message, bool binary) {
      if (const auto s = socket->lock()) s->send(std::move(message), binary);
    };
    return session;
  });
  net::Server server({}, std::move(router));
  std::binary_semaphore back(0);
  net::WebSocket::Events events;
  events.message = [&](const std::string&, bool) { back.release(); };
  const auto socket = net::connect_websocket("ws" + server.origin().substr(4) + "/echo", events);
  times.clear();
  for (int i = 0; i < kOneByOne; ++i) {
    const auto sent = Clock::now();
    socket->send_text(std::string(400, 'x'));
    back.acquire();
    times.push_back(seconds_since(sent));
  }
  print_times("floor: round trip over a WebSocket", times);
}

TaskRequest no_op() {
  TaskRequest request;
  request.function = "farfield.bench.nothing";
  request.endpoint = "bench";
  request.experiment = "bench";
  request.owner = "user:bench";
  return request;
}

/// Submission to the end, as a listener hears it.
void measure(Broker& broker, const char* what) {
  std::mutex mutex;
  std::condition_variable changed;
  int ended = 0, failed = 0;
  const auto listening = broker.listen([&](const TaskEvent& event) {
    if (event.kind != TaskEvent::Kind::ended) return;
    const std::lock_guard lock(mutex);
    ++ended;
    if (event.status.state != TaskState::done) ++failed;
    changed.notify_one();
  });
  std::vector<double> times;
  for (int i = 0; i < kOneByOne; ++i) {
    const auto start = Clock::now();
    broker.submit(no_op());
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended == i + 1; });
    times.push_back(seconds_since(start));
  }
  print_times(fmt::format("{}: no-op, one at a time", what).c_str(), times);
  for (const int in_flight : {4, 16, 64, 256, kMany}) {
    const int count = in_flight <= 16 ? 4000 : kMany;
    std::counting_semaphore<> room(in_flight);
    ended = 0;
    const auto start = Clock::now();
    const double cpu = cpu_s(), cpu_workers = workers_cpu_s();
    const auto ends = broker.listen([&](const TaskEvent& event) {
      if (event.kind == TaskEvent::Kind::ended) room.release();
    });
    for (int i = 0; i < count; ++i) {
      room.acquire();
      broker.submit(no_op(), "", [](const core::Result<std::string>&) {});
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended == count; });
    const double rate = count / seconds_since(start);
    fmt::print("{}: no-ops, {:>6} in flight {:>26.0f} /s   {:.0f} us of CPU each, {:.0f} in workers\n", what, in_flight,
               rate, 1e6 * (cpu_s() - cpu) / count, 1e6 * (workers_cpu_s() - cpu_workers) / count);
  }
  if (failed > 0) fmt::print("{} FAILED\n", failed);
}

class NoRunner final : public TaskRunner {
public:
  std::vector<FunctionRecord> verbs() const override { return {}; }
  WorkEnd run(const Work&, Reporter&, const std::stop_token&, const std::stop_token&) override { return {}; }
};

/// The launcher and the workers of the block.
int run_block(const std::string& folder) {
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, nullptr);
  std::stop_source leave;
  std::thread([term, leave]() mutable {
    int signal = 0;
    ::sigwait(&term, &signal);
    leave.request_stop();
  }).detach();
  ::_exit(run_in_block(folder, [] { return std::make_unique<NoRunner>(); }, leave.get_token()));
}

FunctionRecord verb() {
  FunctionRecord out;
  out.name = no_op().function;
  out.kind = FunctionKind::verb;
  return out;
}

/// The service's own routes, tokens, an endpoint and its workers, all over the loopback interface.
void measure_endpoint(store::Database& database, Broker& broker, const std::filesystem::path& folder) {
  namespace auth = farfield::services::auth;
  auth::Directory directory(database, auth::system_unix_time);
  auth::KeyRing keys(folder / "keys", auth::system_unix_time);
  auth::Issuer issuer(directory, keys, {.issuer = "https://bench.test"}, auth::system_unix_time);
  auth::Access access(issuer);
  directory.add_service("bench", {std::string(kEndpointScope)});
  net::Router router;
  add_routes(router, access, broker);
  net::Server server({.error_response = auth::json_error}, std::move(router));

  std::filesystem::create_directories(folder / "experiments/bench");
  EndpointOptions options;
  options.name = "bench";
  options.folder = (folder / "endpoint").string();
  options.service = server.origin();
  options.token = [&] { return issuer.client_tokens("bench", std::string(kEndpointScope)).access; };
  options.verbs = {verb()};
  options.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "--block"};
  options.roots.prefix = (folder / "experiments").string();
  options.scaling = {.init_blocks = 1, .min_blocks = 1, .workers_per_node = 2};
  options.confine = false;
  Endpoint endpoint(options, make_local_blocks());
  const auto start = Clock::now();
  while (endpoint.status().capacity.idle < 2 && seconds_since(start) < 60)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  measure(broker, "endpoint");
  if (!endpoint.end_blocks(30)) fmt::print("blocks did not end\n");
}

void run(const std::string& address, const std::string& folder, std::string_view only) {
  const auto database = store::Database::open(address);
  fmt::print("database: {}\n", database->kind());
  if (only.empty() || only == "floor") floors(*database);
  Broker broker(*database, {.folder = folder});
  broker.register_endpoint("bench", "service:bench");
  if (only.empty() || only == "broker") {
    const auto line = std::make_shared<NoWork>(broker);
    broker.connected("bench", line);
    Hello hello;
    hello.verbs = {verb()};
    hello.capacity = {.workers = 4, .idle = 4, .most = 4, .longest_s = 3600};
    broker.received("bench", line.get(), encode(hello), false);
    measure(broker, "broker");
    broker.disconnected("bench", line.get());
  }
  if (only.empty() || only == "endpoint") measure_endpoint(*database, broker, folder);
}
}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--block") return run_block(argv[2]);
  const auto folder = std::filesystem::absolute("farfield_compute_bench_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const char* server = std::getenv("FARFIELD_BENCH_POSTGRES");
  run(server != nullptr ? server : "sqlite:" + (folder / "bench.db").string(), folder.string(),
      argc > 1 ? argv[1] : "");
  std::filesystem::remove_all(folder);
  return 0;
}
