// Transfers on the local file system beside what they cannot avoid, in the same run and taking turns: one large file
// beside `cp`, the same streams without checksums, and one pass of SHA-256; many files of 100 kB beside `cp -r`; the
// same to an agent on this machine, with and without TLS; the small files also one request each, and both ways over a
// relay that makes every round trip 50 ms longer.
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
#include "tests/integration/relay/relay.hpp"

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

/// A provider that takes each small file in a request of its own.
class OneByOne final : public transfer::Provider {
public:
  explicit OneByOne(std::unique_ptr<transfer::Provider> to) : to_(std::move(to)) {}
  std::string name() const override { return to_->name(); }
  std::optional<transfer::Entry> stat(const std::string& path) override { return to_->stat(path); }
  transfer::Listing list(const std::string& path) override { return to_->list(path); }
  std::unique_ptr<transfer::Reader> open(const std::string& path) override { return to_->open(path); }
  std::unique_ptr<transfer::Receiver> receive(const std::string& path,
                                              const transfer::ReceiveOptions& options) override {
    return to_->receive(path, options);
  }
  void make_folder(const std::string& path) override { to_->make_folder(path); }
  void remove(const std::string& path) override { to_->remove(path); }
  transfer::Digests digests(const std::string& path, bool sha256) override { return to_->digests(path, sha256); }

private:
  std::unique_ptr<transfer::Provider> to_;
};

/// Small files to agents: together and one by one, near and far, with and without TLS and fsync.
void small_files_to_agents(const Options& options, const fs::path& folder, const net::TlsIdentity& identity) {
  constexpr double kRoundTrip_s = 0.05;
  const auto source = transfer::local_provider(folder / "from");
  const core::SteadyClock clock;
  int copies = 0;
  std::vector<std::unique_ptr<net::Server>> servers;
  std::vector<std::unique_ptr<testing_network::Relay>> relays;
  std::vector<std::unique_ptr<transfer::Provider>> providers;
  std::vector<Variant> v;
  const auto add = [&](const std::string& name, transfer::Provider& to) {
    v.push_back(
        {name,
         [&] {
           transfer::JobObserver nobody;
           if (!run_job(*source, to, {{"small", fmt::format("sent{}", ++copies), true}}, {}, nobody, clock, {}).ok())
             throw core::Error(core::ErrorCode::internal, "the transfer failed");
         },
         [] { ::sync(); }});
  };
  struct Way {
    std::string name;
    bool tls, durable, far;
  };
  for (const Way& way : {Way{"HTTP", false, false, false}, Way{"HTTPS", true, false, false},
                         Way{"HTTPS, durable", true, true, false}, Way{"HTTPS, 50 ms", true, false, true}}) {
    net::Router router;
    transfer::add_agent_routes(router, {{"experiment", transfer::local_provider(folder / "to", {way.durable})}},
                               [](const net::Request&, transfer::Right, const std::string&, const std::string&) {});
    net::ServerOptions how;
    if (way.tls) how.tls = identity;
    const auto& server = servers.emplace_back(std::make_unique<net::Server>(std::move(how), std::move(router)));
    std::string origin = server->origin();
    if (way.far) {
      relays.push_back(std::make_unique<testing_network::Relay>(testing_network::Address{"127.0.0.1", server->port()},
                                                                testing_network::Weather{kRoundTrip_s / 2}));
      origin = fmt::format("https://127.0.0.1:{}", relays.back()->port());
    }
    transfer::AgentPlace place{origin, "experiment", {}, {}};
    if (way.tls) place.client.trust.authorities = identity.certificate;
    add("one by one, " + way.name,
        *providers.emplace_back(std::make_unique<OneByOne>(transfer::agent_provider(place))));
    add("together, " + way.name, *providers.emplace_back(transfer::agent_provider(place)));
  }
  constexpr int kRounds = 3;
  take_turns(v, kRounds);
  if (!options.json)
    fmt::print("{} files of 100 kB to an agent on this machine, medians of {} rounds (bar: >= 2500)\n", options.files,
               kRounds);
  for (const Variant& one : v)
    print(options, one.name, options.files / median(one.wall), "files/s",
          fmt::format("{:.2f} CPU ms/file", 1e3 * median(one.cpu) / options.files));
  print(options, "cost of TLS, both sides, together", 1e3 * (median(v[3].cpu) - median(v[1].cpu)) / options.files,
        "CPU ms/file");
  print(options, "together over one by one, HTTPS", median(v[2].wall) / median(v[3].wall), "");
  print(options, "together over one by one, HTTPS, 50 ms", median(v[6].wall) / median(v[7].wall), "");
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
  const auto large = [&](transfer::Provider& to) {
    transfer::CopyOptions how;
    how.streams = 4;
    (void)copy_file(*source, "large", to, "large", how, {});
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
  small_files_to_agents(options, folder, identity);
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
