// Transfers on the local file system beside what they cannot avoid, in the same run and taking turns: one large file
// beside `cp`, the same streams without checksums, and one pass of SHA-256; many files of 100 kB beside `cp -r`; the
// same to an agent on this machine, with and without TLS.
// Figures are medians of the rounds. By default files lie in the page cache and are not flushed, as with `cp`; the
// durable figures have fsync on both sides.
//
//   bench_transfer [--json] [--rounds N] [--mib N] [--files N] [FOLDER]

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/clock.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/job.hpp"
#include "farfield/services/transfer/local/local.hpp"

namespace {
using namespace farfield;
using namespace farfield::services;
namespace fs = std::filesystem;
using core::Index;

double cpu_seconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    for (const timeval& t : {usage.ru_utime, usage.ru_stime})
      sum += static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  }
  return sum;
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Variant {
  std::string name;
  std::function<void()> run, clean;
  std::vector<double> wall{}, cpu{};
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

void take_turns(std::vector<Variant>& variants, int rounds) {
  for (int round = 0; round <= rounds; ++round)
    for (Variant& v : variants) {
      v.clean();
      const double wall = wall_seconds(), cpu = cpu_seconds();
      v.run();
      if (round == 0) continue;  // warms up
      v.wall.push_back(wall_seconds() - wall);
      v.cpu.push_back(cpu_seconds() - cpu);
    }
  for (Variant& v : variants) v.clean();
}

void command(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || status != 0)
    throw core::Error(core::ErrorCode::internal, words[0] + " failed");
}

void write_random(const fs::path& path, Index bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> words(1 << 17);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  for (Index done = 0; done < bytes;) {
    for (auto& word : words) word = random();
    const auto want = static_cast<std::size_t>(std::min<Index>(bytes - done, std::ssize(words) * 8));
    const ssize_t n = ::write(file, words.data(), want);
    if (n <= 0) throw core::Error(core::ErrorCode::io, "cannot write " + path.string());
    done += n;
  }
  ::fsync(file);  // its flushing shall not fall into the figures
  ::close(file);
}

void flush(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ::fsync(file);
  ::close(file);
}

/// What a transfer does without its checksums: the same streams, chunks, hidden file and rename.
void copy_unchecked(const fs::path& from, const fs::path& to, int streams, Index chunk) {
  const fs::path part = to.string() + ".part";
  const int in = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(part.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  struct stat status{};
  if (in < 0 || out < 0 || ::fstat(in, &status) != 0) throw core::Error(core::ErrorCode::io, "cannot copy");
  (void)::fallocate(out, 0, 0, status.st_size);
  std::atomic<Index> next{0};
  const auto stream = [&] {
    thread_local std::vector<char> buffer(static_cast<std::size_t>(chunk));
    for (Index begin = 0; (begin = next.fetch_add(chunk)) < status.st_size;) {
      const auto bytes = static_cast<std::size_t>(std::min<Index>(chunk, status.st_size - begin));
      for (std::size_t done = 0; done < bytes; done += 256 << 10)
        (void)!::pread(in, buffer.data() + done, std::min<std::size_t>(256 << 10, bytes - done),
                       begin + static_cast<Index>(done));
      (void)!::pwrite(out, buffer.data(), bytes, begin);
    }
  };
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < streams; ++i) others.emplace_back(stream);
    stream();
  }
  ::close(in);
  ::close(out);
  fs::rename(part, to);
}

struct Options {
  bool json = false;
  int rounds = 5;
  Index mib = 512;
  int files = 900;
  fs::path folder = fs::temp_directory_path();
};

void print(const Options& options, const std::string& name, double value, const std::string& unit,
           const std::string& beside = "") {
  if (options.json)
    fmt::print("{{\"message_type\":\"benchmark\",\"name\":\"{}\",\"value\":{:.4g},\"unit\":\"{}\"}}\n", name, value,
               unit);
  else fmt::print("  {:<48} {:>9.4g} {:<12} {}\n", name, value, unit, beside);
}

void large_file(const Options& options, const fs::path& folder) {
  const fs::path from = folder / "from/large", to = folder / "to/large";
  write_random(from, options.mib << 20, 1);
  const auto source = transfer::local_provider(folder / "from");
  const auto quick = transfer::local_provider(folder / "to", {false}),
             durable = transfer::local_provider(folder / "to");
  const auto copy = [&](transfer::Provider& destination, bool sha256) {
    transfer::CopyOptions how;
    how.sha256 = sha256;
    (void)copy_file(*source, "large", destination, "large", how, {});
  };
  const auto clean = [&] { fs::remove(to); };
  const transfer::CopyOptions how;
  std::vector<Variant> v;
  v.push_back({"cp", [&] { command({"cp", from, to}); }, clean});
  v.push_back({"streams without checksums", [&] { copy_unchecked(from, to, how.streams, how.chunk_bytes); }, clean});
  v.push_back({"transfer with CRC-32C, read back", [&] { copy(*quick, false); }, clean});
  v.push_back({"one pass of SHA-256", [&] { (void)source->digests("large", true); }, clean});
  v.push_back({"transfer with SHA-256, read back", [&] { copy(*quick, true); }, clean});
  v.push_back({"cp and fsync", [&] { command({"cp", from, to}), flush(to); }, clean});
  v.push_back({"durable transfer with CRC-32C, read back", [&] { copy(*durable, false); }, clean});
  take_turns(v, options.rounds);
  const double gib = static_cast<double>(options.mib) / 1024;
  if (!options.json) fmt::print("one file of {} MiB, medians of {} rounds\n", options.mib, options.rounds);
  for (const Variant& one : v)
    print(options, one.name, gib / median(one.wall), "GiB/s", fmt::format("{:.2f} CPU s/GiB", median(one.cpu) / gib));
  print(options, "CRC-32C over cp (bar: >= 0.8)", median(v[0].wall) / median(v[2].wall), "");
  print(options, "CPU above no checksums (bar: <= 0.65)", (median(v[2].cpu) - median(v[1].cpu)) / gib, "CPU s/GiB");
  print(options, "SHA-256 over one pass (bar: >= 0.8)", median(v[3].wall) / median(v[4].wall), "");
  print(options, "durable over cp and fsync", median(v[5].wall) / median(v[6].wall), "");
}

/// Every copy goes to a new folder, and nothing is removed before the end: ext4 takes long to find inodes while many
/// were freed a moment ago.
void small_files(const Options& options, const fs::path& folder) {
  constexpr int kRounds = 3;
  for (int i = 0; i < options.files; ++i) {
    const fs::path path = folder / "from/small" / fmt::format("part{}", i / 500) / fmt::format("view{:05}.h5", i);
    if (i % 500 == 0) fs::create_directories(path.parent_path());
    write_random(path, 100000, static_cast<std::uint64_t>(i));
  }
  const core::SteadyClock clock;
  const auto source = transfer::local_provider(folder / "from");
  const auto quick = transfer::local_provider(folder / "to", {false}),
             durable = transfer::local_provider(folder / "to");
  int copies = 0;
  const auto name = [&] { return fmt::format("copy{}", ++copies); };
  const auto copy = [&](transfer::Provider& destination) {
    transfer::JobObserver nobody;
    const auto result = run_job(*source, destination, {{"small", name(), true}}, {}, nobody, clock, {});
    if (!result.ok() || result.progress.files_copied != options.files)
      throw core::Error(core::ErrorCode::internal, "the transfer failed");
  };
  const auto clean = [&] { ::sync(); };
  std::vector<Variant> v;
  v.push_back({"cp -r", [&] { command({"cp", "-r", folder / "from/small", folder / "to" / name()}); }, clean});
  v.push_back({"transfer, not flushed", [&] { copy(*quick); }, clean});
  v.push_back({"durable transfer (bar: >= 2500)", [&] { copy(*durable); }, clean});
  take_turns(v, kRounds - 1);
  if (!options.json) fmt::print("{} files of 100 kB, medians of {} rounds\n", options.files, kRounds - 1);
  for (const Variant& one : v)
    print(options, one.name, options.files / median(one.wall), "files/s",
          fmt::format("{:.2f} CPU ms/file", 1e3 * median(one.cpu) / options.files));
}

/// To an agent over the loopback interface, with and without TLS; the work of both sides is in the figures.
void agents(const Options& options, const fs::path& folder) {
  write_random(folder / "from/large", options.mib << 20, 1);
  const net::TlsIdentity identity{folder / "agent.pem", folder / "agent.key"};
  net::make_self_signed(identity, {"127.0.0.1"});
  const auto agent = [&](bool tls) {
    net::Router router;
    transfer::add_agent_routes(router, {{"experiment", transfer::local_provider(folder / "to", {false})}},
                               [](const net::Request&, transfer::Right, const std::string&, const std::string&) {});
    net::ServerOptions how;
    if (tls) how.tls = identity;
    return std::make_unique<net::Server>(std::move(how), std::move(router));
  };
  const auto plain = agent(false), secure = agent(true);
  const auto source = transfer::local_provider(folder / "from");
  const auto http = transfer::agent_provider({plain->origin(), "experiment", {}, {}});
  transfer::AgentPlace place{secure->origin(), "experiment", {}, {}};
  place.client.trust.authorities = identity.certificate;
  const auto https = transfer::agent_provider(place);
  const core::SteadyClock clock;
  const auto large = [&](transfer::Provider& to) {
    transfer::CopyOptions how;
    how.streams = 4;
    (void)copy_file(*source, "large", to, "large", how, {});
  };
  int copies = 0;
  const auto small = [&](transfer::Provider& to) {
    transfer::JobObserver nobody;
    if (!run_job(*source, to, {{"small", fmt::format("sent{}", ++copies), true}}, {}, nobody, clock, {}).ok())
      throw core::Error(core::ErrorCode::internal, "the transfer failed");
  };
  const auto clean = [&] { fs::remove(folder / "to/large"); };
  std::vector<Variant> v;
  v.push_back({"one file to an agent, HTTP", [&] { large(*http); }, clean});
  v.push_back({"one file to an agent, HTTPS", [&] { large(*https); }, clean});
  take_turns(v, options.rounds);
  const double gib = static_cast<double>(options.mib) / 1024;
  if (!options.json) fmt::print("agents on this machine, medians of {} rounds\n", options.rounds);
  for (const Variant& one : v)
    print(options, one.name, gib / median(one.wall), "GiB/s", fmt::format("{:.2f} CPU s/GiB", median(one.cpu) / gib));
  print(options, "cost of TLS, both sides", (median(v[1].cpu) - median(v[0].cpu)) / gib, "CPU s/GiB");
  v = {{"files of 100 kB to an agent, HTTP", [&] { small(*http); }, [] {}},
       {"files of 100 kB to an agent, HTTPS", [&] { small(*https); }, [] {}}};
  take_turns(v, 1);
  for (const Variant& one : v)
    print(options, one.name, options.files / median(one.wall), "files/s",
          fmt::format("{:.2f} CPU ms/file", 1e3 * median(one.cpu) / options.files));
}

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") options.json = true;
    else if (word == "--rounds" && i + 1 < argc) options.rounds = std::max(1, std::stoi(argv[++i]));
    else if (word == "--mib" && i + 1 < argc) options.mib = std::max(1, std::stoi(argv[++i]));
    else if (word == "--files" && i + 1 < argc) options.files = std::max(1, std::stoi(argv[++i]));
    else options.folder = word;
  }
  std::string name = (options.folder / "bench_transfer_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    throw core::Error(core::ErrorCode::io, "no folder in " + options.folder.string());
  const fs::path folder = name;
  try {
    fs::create_directories(folder / "from");
    fs::create_directories(folder / "to");
    large_file(options, folder);
    fs::remove(folder / "from/large");
    small_files(options, folder);
    agents(options, folder);
  } catch (...) {
    fs::remove_all(folder);
    throw;
  }
  fs::remove_all(folder);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_transfer: {}\n", e.what());
    return 1;
  }
}
