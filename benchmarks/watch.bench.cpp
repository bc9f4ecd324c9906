// The time from a scan's completion (its marker is there) to the handler that starts a run, durable in between; beside
// the time of one durable commit and of a bare notice of the kernel. Bar: < 50 ms.
//
//   bench_watch [--json] [--scans N] [--backlog N]

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/services/watch/notices.hpp"
#include "farfield/services/watch/watcher.hpp"

namespace {
using namespace farfield;
using namespace farfield::services;
namespace fs = std::filesystem;

void print(bool json, const std::string& name, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const double median_ms = 1e3 * seconds[seconds.size() / 2], p99_ms = 1e3 * seconds[seconds.size() * 99 / 100];
  if (json)
    fmt::print("{{\"message_type\":\"benchmark\",\"name\":\"{}\",\"median_ms\":{:.3f},\"p99_ms\":{:.3f}}}\n", name,
               median_ms, p99_ms);
  else fmt::print("  {:<44} median {:8.3f} ms   p99 {:8.3f} ms\n", name, median_ms, p99_ms);
}

int run(int argc, char** argv) {
  bool json = false;
  int scans = 200, backlog = 2000;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") json = true;
    else if (word == "--scans" && i + 1 < argc) scans = std::max(1, std::stoi(argv[++i]));
    else if (word == "--backlog" && i + 1 < argc) backlog = std::max(0, std::stoi(argv[++i]));
  }
  std::string name = (fs::temp_directory_path() / "bench_watch_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) return 1;
  const fs::path folder = name, input = folder / "input";
  fs::create_directories(input);
  const core::SteadyClock clock;
  const auto database = store::Database::open("sqlite:" + (folder / "watch.db").string());

  std::vector<double> notice, commit, handled;
  {
    watch::Notices notices;
    fs::create_directories(folder / "bare");
    notices.add((folder / "bare").string());
    for (int i = 0; i < scans; ++i) {
      std::ofstream(folder / "bare" / std::to_string(i)) << "x";
      const double closed_s = clock.now_s();
      bool heard = false;
      while (!heard) notices.wait(1, [&](const auto& n) { heard |= n.kind == watch::Notices::Notice::Kind::closed; });
      notice.push_back(clock.now_s() - closed_s);
    }
  }
  database->migrate("bench", {{1, "t", "CREATE TABLE bench_commit (id {id}, x {int64} NOT NULL)"}});
  for (int i = 0; i < scans; ++i) {
    const double begun_s = clock.now_s();
    database->write([&](store::Transaction& t) { t.execute("INSERT INTO bench_commit (x) VALUES (?)", i); });
    commit.push_back(clock.now_s() - begun_s);
  }

  // Scans that are still growing stand beside those that are timed.
  for (int i = 0; i < backlog; ++i) fs::create_directories(input / fmt::format("scan{}", 1000000 + i));
  std::atomic<double> handled_s{0};
  std::atomic<int> count{0};
  const watch::Watcher watcher(
      *database, {input, watch::kScanPattern, {"complete", 0, {}}, 1000, 4, 1, {}},
      [&](const watch::Scan&) {
        handled_s = clock.now_s();
        ++count;
      },
      clock);
  while (watcher.status().growing < backlog) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < scans; ++i) {
    const fs::path scan = input / fmt::format("scan{}", i);
    fs::create_directories(scan);
    for (int view = 0; view < 10; ++view) std::ofstream(scan / fmt::format("view{}", view)) << "x";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const double complete_s = clock.now_s();
    std::ofstream(scan / "complete") << "";
    while (count <= i) std::this_thread::yield();
    handled.push_back(handled_s - complete_s);
  }
  if (!json) fmt::print("{} scans beside {} that grow\n", scans, backlog);
  print(json, "a bare notice", notice);
  print(json, "a durable commit", commit);
  print(json, "scan complete to handler (bar: < 50 ms)", handled);
  fs::remove_all(folder);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_watch: {}\n", e.what());
    return 1;
  }
}
