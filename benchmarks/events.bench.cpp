// Event building from the page cache: the index of 5 streams (one at a tenth of the rate) and of 10, as in
// docs/reference/performance.md. Beside each figure its floor: one pass over the same bytes from datagram to datagram
// without a join, and the read() of the bytes alone. Rates are per CPU second of this process.
//
//   bench_events [events]     (default 2,000,000 per full-rate stream)

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "farfield/io/xtc2/builder.hpp"
#include "farfield/io/xtc2/smalldata.hpp"
#include "farfield/pipeline/events/event_builder.hpp"
#include "farfield/pipeline/events/index_reader.hpp"

namespace {
using namespace farfield;
namespace fs = std::filesystem;
namespace xtc2 = io::xtc2;
namespace events = pipeline::events;
using core::Index;

double cpu_s() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// The best of three: what the machine can do when nobody disturbs.
double best_cpu_s(const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double begin = cpu_s();
    work();
    best = std::min(best, cpu_s() - begin);
  }
  return best;
}

/// The index of a stream with every `step`-th event.
fs::path write_index(const fs::path& folder, int stream, Index count, Index step) {
  const fs::path path = folder / fmt::format("bench-r0001-s{:03}-c000.smd.xtc2", stream);
  std::ofstream out(path, std::ios::binary);
  std::vector<std::byte> bytes;
  const auto put = [&](const std::vector<std::byte>& datagram, Index offset) {
    xtc2::append_index(xtc2::Datagram::parse(datagram).value(), offset, bytes);
    if (bytes.size() < (std::size_t{1} << 20)) return;
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    bytes.clear();
  };
  put(xtc2::DatagramBuilder(1, xtc2::Transition::configure).finish(), 0);
  put(xtc2::DatagramBuilder(2, xtc2::Transition::begin_run).finish(), 24);
  for (Index e = 0; e < count; e += step) {
    const xtc2::EventTime time =
        static_cast<xtc2::EventTime>(1 + e / 1000000) << 32 | static_cast<xtc2::EventTime>(e % 1000000 * 1000);
    put(xtc2::DatagramBuilder(time, xtc2::Transition::l1_accept).finish(), 48 + e * 24);
  }
  put(xtc2::DatagramBuilder(xtc2::EventTime{1} << 62, xtc2::Transition::end_run).finish(), 0);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

constexpr std::size_t kPiece = std::size_t{1} << 18;

Index read_all(const fs::path& path, std::vector<std::byte>& buffer) {
  const auto read = xtc2::read_file_some(path);
  Index at = 0;
  while (const Index got = read(at, std::span(buffer).first(kPiece))) at += got;
  return at;
}

/// From header to header, the sum of the times.
std::uint64_t walk_all(const fs::path& path) {
  std::uint64_t sum = 0;
  xtc2::DatagramReader reader(xtc2::read_file_some(path), kPiece);
  while (const auto datagram = reader.next()) sum += datagram->time();
  return sum;
}

std::vector<events::IndexSource> sources(const std::vector<fs::path>& paths) {
  std::vector<events::IndexSource> out;
  for (const auto& path : paths) out.push_back(events::open_index(path));
  return out;
}

void measure(const std::string& name, const std::vector<fs::path>& paths, Index count) {
  std::vector<std::byte> buffer(kPiece);
  Index bytes = 0;
  for (const auto& path : paths) bytes += read_all(path, buffer);  // into the page cache
  std::uint64_t sum = 0;
  const double read_s = best_cpu_s([&] {
    for (const auto& path : paths) read_all(path, buffer);
  });
  const double walk_s = best_cpu_s([&] {
    for (const auto& path : paths) sum += walk_all(path);
  });
  Index joined = 0;
  const double cut_s = best_cpu_s([&] {
    joined = 0;
    events::IndexReader reader(sources(paths), {});
    for (auto got = reader.next(); got != events::IndexReader::Got::end; got = reader.next())
      if (got == events::IndexReader::Got::block) joined += reader.block().events;
  });
  Index built = 0;
  const double build_s = best_cpu_s([&] {
    built = 0;
    events::IndexReader reader(sources(paths), {});
    events::EventBuilder builder({}, std::vector<fs::path>(paths.size(), "data"));
    for (auto got = reader.next(); got != events::IndexReader::Got::end; got = reader.next()) {
      if (got == events::IndexReader::Got::transition) builder.apply(reader.transition());
      if (got != events::IndexReader::Got::block) continue;
      for (const auto& batch : builder.build(reader.block().number, reader.block().after, reader.block().bytes))
        built += static_cast<Index>(batch.times.size());
    }
  });
  const auto rate = [&](double s) { return 1e-6 * static_cast<double>(count) / s; };
  fmt::print("{}: {} events, {:.0f} MB of index{}\n", name, count, 1e-6 * static_cast<double>(bytes),
             sum == 0 ? "!" : "");
  fmt::print("  read alone        {:7.1f} M events/CPU-s  {:.1f} GB/CPU-s\n", rate(read_s),
             1e-9 * static_cast<double>(bytes) / read_s);
  fmt::print("  read and walk     {:7.1f} M events/CPU-s  (floor)\n", rate(walk_s));
  fmt::print("  read and join     {:7.1f} M events/CPU-s  {:.2f} of the floor{}\n", rate(cut_s), walk_s / cut_s,
             joined == count ? "" : "  WRONG");
  fmt::print("  and build batches {:7.1f} M events/CPU-s{}\n", rate(build_s), built == count ? "" : "  WRONG");
}
}  // namespace

int main(int argc, char** argv) {
  const Index count = argc > 1 ? std::atoll(argv[1]) : 2000000;
  std::string name = (fs::temp_directory_path() / "farfield_events_bench_XXXXXX").string();
  if (count < 1 || mkdtemp(name.data()) == nullptr) return 1;
  std::vector<fs::path> paths;
  for (int s = 0; s < 10; ++s) paths.push_back(write_index(name, s, count, s == 4 ? 10 : 1));
  measure("5 streams, one at a tenth of the rate", {paths.begin(), paths.begin() + 5}, count);
  measure("10 streams, one at a tenth of the rate", paths, count);
  fs::remove_all(name);
  return 0;
}
