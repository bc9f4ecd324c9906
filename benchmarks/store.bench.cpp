// Durable state changes per second, with N clients that each wait for their commit, beside what the disk allows:
// fdatasync calls per second on the same file system. FARFIELD_BENCH_POSTGRES=postgresql://... adds a server.
// Without group commit a client-by-client writer cannot pass the fdatasync rate.

#include "farfield/store/database.hpp"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

namespace {
using namespace farfield;

std::filesystem::path folder() {
  static const std::filesystem::path path = [] {
    std::string name = "farfield_store_bench_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    return std::filesystem::absolute(name);
  }();
  return path;
}

void fdatasync_floor(benchmark::State& state) {
  const int file = open((folder() / "floor").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::string block(4096, 'x');
  for (auto _ : state)
    if (write(file, block.data(), block.size()) < 0 || fdatasync(file) != 0) state.SkipWithError("fdatasync");
  state.SetItemsProcessed(state.iterations());
  close(file);
}

void changes(benchmark::State& state, const std::string& address) {
  constexpr int kEach = 50;
  const auto clients = static_cast<int>(state.range(0));
  const auto db = store::Database::open(address);
  db->migrate("bench", {{1, "event", "CREATE TABLE bench_event (id {id}, run {int64} NOT NULL, body TEXT NOT NULL)"}});
  const std::string body(200, 'x');
  const auto before = db->counts();
  for (auto _ : state) {
    std::vector<std::jthread> threads;
    for (int client = 0; client < clients; ++client)
      threads.emplace_back([&, client] {
        for (int i = 0; i < kEach; ++i)
          db->write([&](store::Transaction& t) {
            t.execute("INSERT INTO bench_event(run, body) VALUES (?, ?)", client, body);
          });
      });
  }
  const auto after = db->counts();
  state.SetItemsProcessed(state.iterations() * clients * kEach);
  state.counters["per_commit"] =
      static_cast<double>(after.changes - before.changes) / static_cast<double>(after.groups - before.groups);
}
}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::RegisterBenchmark("fdatasync", fdatasync_floor)->UseRealTime();
  const auto add = [](const std::string& name, const std::string& address) {
    benchmark::RegisterBenchmark(name.c_str(), [address](benchmark::State& s) { changes(s, address); })
        ->Arg(1)
        ->Arg(8)
        ->Arg(32)
        ->Arg(96)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("changes/sqlite", "sqlite:" + (folder() / "bench.db").string());
  if (const char* server = std::getenv("FARFIELD_BENCH_POSTGRES")) add("changes/postgresql", server);
  benchmark::RunSpecifiedBenchmarks();
  std::filesystem::remove_all(folder());
  return 0;
}
