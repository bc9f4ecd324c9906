// The flow engine, beside what it cannot avoid. Each figure comes with the clients and the database.
//   floor        durable writes of one event by one client: the wait for the disk that lies in every step
//   step         action end -> next action started, one run at a time and with many (p50, p99)
//   starts       runs started per second, durable before they are answered
//   live         runs that wait at once, and the memory of one
// FARFIELD_BENCH_POSTGRES=postgresql://... uses that server instead of SQLite.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "farfield/services/flow/engine.hpp"
#include "farfield/services/flow/simple_actions.hpp"

namespace {
using namespace farfield;
using namespace farfield::services;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Ends each action at once on another thread, and measures how long the engine takes to ask for the next one.
class Immediate final : public flow::ActionProvider {
public:
  Immediate() : thread_([this](const std::stop_token& stop) { work(stop); }) {}
  ~Immediate() override {
    thread_.request_stop();
    wake_.notify_all();
  }
  void start(const flow::ActionRequest& request, const Notify& notify) override {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    if (const auto ended = ended_.find(request.run_id); ended != ended_.end())
      steps_s.push_back(std::chrono::duration<double>(now - ended->second).count());
    waiting_.emplace_back(request, notify);
    wake_.notify_one();
  }
  void cancel(const std::string& /*key*/) override {}
  std::vector<double> take() {
    const std::lock_guard lock(mutex_);
    ended_.clear();
    return std::exchange(steps_s, {});
  }

private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      if (!wake_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      const auto [request, notify] = waiting_.back();
      waiting_.pop_back();
      ended_[request.run_id] = Clock::now();
      lock.unlock();
      flow::ActionUpdate update;
      update.key = request.key;
      update.state = flow::ActionUpdate::State::succeeded;
      notify(update);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<std::pair<flow::ActionRequest, Notify>> waiting_;
  std::map<std::string, Clock::time_point> ended_;
  std::vector<double> steps_s;
  std::jthread thread_;
};

std::string chain(int actions, const char* url) {
  std::string states;
  for (int i = 0; i < actions; ++i)
    states += fmt::format(
        R"({}"S{}": {{"Type": "Action", "ActionUrl": "{}", "WaitTime": 86400, "Parameters": {{"n.$": "$.n"}}, "ResultPath": "$.r", {}}})",
        i == 0 ? "" : ", ", i, url, i + 1 == actions ? R"("End": true)" : fmt::format(R"("Next": "S{}")", i + 1));
  return R"({"StartAt": "S0", "States": {)" + states + "}}";
}

/// Never ends.
class Silent final : public flow::ActionProvider {
public:
  void start(const flow::ActionRequest& /*request*/, const Notify& /*notify*/) override {}
  void cancel(const std::string& /*key*/) override {}
};

double resident_MiB() {
  std::ifstream file("/proc/self/statm");
  double size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

void print_times(const char* what, std::vector<double> times_s) {
  if (times_s.empty()) return;
  std::sort(times_s.begin(), times_s.end());
  const auto at = [&](double part) {
    return 1e3 * times_s[static_cast<std::size_t>(part * static_cast<double>(times_s.size() - 1))];
  };
  fmt::print("{:<44} p50 {:8.3f} ms   p99 {:8.3f} ms   ({} steps)\n", what, at(0.5), at(0.99), times_s.size());
}

void run(const std::string& address) {
  const auto database = store::Database::open(address);
  flow::Providers providers;
  const auto immediate = std::make_shared<Immediate>();
  providers.add("test", {"farfield:immediate"}, immediate);
  providers.add("test", {"farfield:silent"}, std::make_shared<Silent>());
  flow::Engine engine(*database, std::move(providers));
  const auto deploy = [&](const std::string& definition) {
    flow::FlowRecord record;
    record.owner = "bench";
    record.definition = definition;
    return engine.deploy(record).id;
  };
  flow::RunRequest request;
  request.owner = "bench";
  request.input = R"({"n": 1})";
  fmt::print("database: {}\n", database->kind());

  database->migrate("bench", {{1, "event", "CREATE TABLE flow_bench (id {id}, body TEXT NOT NULL)"}});
  std::vector<double> floor;
  for (int i = 0; i < 100; ++i) {
    const auto start = Clock::now();
    database->write(
        [](store::Transaction& t) { t.execute("INSERT INTO flow_bench(body) VALUES (?)", std::string(400, 'x')); });
    floor.push_back(seconds_since(start));
  }
  print_times("floor: one durable event", floor);

  request.flow_id = deploy(chain(50, "farfield:immediate"));
  engine.wait(engine.start(request), 60);
  print_times("step, one run", immediate->take());

  std::vector<std::string> runs(168);
  for (auto& id : runs) id = engine.start(request);
  for (const auto& id : runs) engine.wait(id, 120);
  print_times("step, 168 runs of 50 actions", immediate->take());

  request.flow_id = deploy(chain(1, "farfield:silent"));
  for (const int clients : {1, 8, 64}) {
    const int each = clients == 1 ? 200 : 2000 / clients;
    const auto start = Clock::now();
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < each; ++k) engine.start(request);
      });
    threads.clear();
    fmt::print("starts, {:>3} clients {:>30.0f} runs/s\n", clients, clients * each / seconds_since(start));
  }

  const double before_MiB = resident_MiB();
  const auto live_before = engine.live();
  std::atomic<int> started = 0;
  const auto start = Clock::now();
  for (int i = 0; i < 10000; ++i)
    engine.start(request, [&](const core::Result<std::string>& result) { started += result.has_value(); });
  while (started < 10000 && seconds_since(start) < 120) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double took_s = seconds_since(start);
  while (engine.live() < live_before + 10000 && seconds_since(start) < 120)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  fmt::print("starts, 10000 in flight {:>26.0f} runs/s\n", started / took_s);
  fmt::print("live {:>45} runs, {:.1f} kB each\n", engine.live(), (resident_MiB() - before_MiB) * 1024 / 10000);
  request.flow_id = deploy(chain(50, "farfield:immediate"));
  immediate->take();
  engine.wait(engine.start(request), 60);
  print_times("step, one run beside 10,000 live ones", immediate->take());
}
}  // namespace

int main() {
  const auto folder = std::filesystem::absolute("farfield_flow_bench_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const char* server = std::getenv("FARFIELD_BENCH_POSTGRES");
  run(server != nullptr ? server : "sqlite:" + (folder / "bench.db").string());
  std::filesystem::remove_all(folder);
  return 0;
}
