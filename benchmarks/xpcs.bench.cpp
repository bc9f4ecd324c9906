// Every bar of XPCS: 5000 frames of 512 x 512 pixels at 1.2 % occupancy, 18 dynamic and 180 static bins, 44 delays.
// Each figure stands beside its floor: one pass over the events (or the dense frames) in memory, in the same run.
// Prints a table; --markdown FILE writes it.
//
//   bench_xpcs [--quick] [--only SUBSTRING] [--markdown FILE]
//
// CPU seconds are those of the whole process, reading and threads of the pipeline included, pictures not.

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>

#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/core/clock.hpp"
#include "farfield/core/cpu.hpp"
#include "farfield/io/late_checksum.hpp"
#include "farfield/io/rigaku/rigaku.hpp"
#include "farfield/io/scan_file.hpp"
#include "farfield/io/sparse_frames.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/io/xpcs/result_file.hpp"
#include "farfield/math/random.hpp"
#include "farfield/pipeline/driver.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"
#include "farfield/techniques/xpcs/technique.hpp"

namespace {

using namespace farfield;
using core::Index;
using core::OptionValues;
namespace xpcs = techniques::xpcs;

constexpr Index kSide = 512, kPixels = kSide * kSide;
constexpr double kOccupancy = 0.0125;

double clock_s(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double cpu_s() { return clock_s(CLOCK_PROCESS_CPUTIME_ID); }
double wall_s() { return clock_s(CLOCK_MONOTONIC); }

const core::SteadyClock kClock;

// --- the table

struct Row {
  std::string what, bar, figure, floor;
  bool held = false, judged = false;
};
std::vector<Row> g_rows;
void judge(std::string what, std::string bar, std::string figure, std::string floor, bool held) {
  g_rows.push_back({std::move(what), std::move(bar), std::move(figure), std::move(floor), held, true});
  const auto& r = g_rows.back();
  fmt::print("{:<66} {:<16} {:<28} {:<34} {}\n", r.what, r.bar, r.figure, r.floor, held ? "held" : "MISSED");
  std::fflush(stdout);
}
std::string g_only;
bool wanted(const char* section) { return g_only.empty() || std::string(section).find(g_only) != std::string::npos; }

// --- the scan

/// Events of all frames, frame after frame.
struct Events {
  std::vector<model::PixelCount> all;
  std::vector<std::size_t> begin;  // frames + 1
  Index frames() const { return static_cast<Index>(begin.size()) - 1; }
  model::FrameView view(Index t) const {
    const auto i = static_cast<std::size_t>(t);
    return {t, {}, {kSide, kSide, {all.data() + begin[i], begin[i + 1] - begin[i]}}};
  }
};

/// Rings, as they stand on the detector: 18 dynamic bins of 10 static bins.
xpcs::QMap rings() {
  xpcs::QMap map;
  map.dynamic_roi_map = core::Array<std::uint32_t, 2>({kSide, kSide});
  map.static_roi_map = core::Array<std::uint32_t, 2>({kSide, kSide});
  for (Index y = 0; y < kSide; ++y)
    for (Index x = 0; x < kSide; ++x) {
      const double r = std::hypot(static_cast<double>(x) - 255.5, static_cast<double>(y) - 255.5);
      const double in = 0.04 * kSide, out = 0.49 * kSide;
      if (r < in || r >= out) continue;
      const auto s = std::min<Index>(179, static_cast<Index>((r - in) / (out - in) * 180));
      map.static_roi_map(y, x) = static_cast<std::uint32_t>(s + 1);
      map.dynamic_roi_map(y, x) = static_cast<std::uint32_t>(s / 10 + 1);
    }
  return map;
}

/// Photons of speckle of contrast 1: the brightness of a pixel is exponential and drawn anew after a random while, the
/// sooner the farther out.
Events simulate(Index frames) {
  struct Event {
    std::uint32_t frame, pixel;
  };
  std::vector<Event> events;
  for (Index p = 0; p < kPixels; ++p) {
    math::Random random(1, static_cast<std::uint64_t>(p));
    const double r = std::hypot(static_cast<double>(p % kSide) - 255.5, static_cast<double>(p / kSide) - 255.5) / 256;
    const double rate = 0.002 + 0.08 * r * r;
    double change = 0, brightness = 0;
    for (double t = 0;;) {
      if (t >= change) {
        change = t - std::log(1 - random.uniform()) / rate;
        brightness = -kOccupancy * std::log(1 - random.uniform());
      }
      const double next = t - std::log(1 - random.uniform()) / brightness;
      t = std::min(next, change);
      if (t >= static_cast<double>(frames)) break;
      if (next < change) events.push_back({static_cast<std::uint32_t>(t), static_cast<std::uint32_t>(p)});
    }
  }
  Events out;
  out.begin.assign(static_cast<std::size_t>(frames) + 1, 0);
  for (const auto& e : events) ++out.begin[e.frame + 1];
  for (std::size_t t = 1; t < out.begin.size(); ++t) out.begin[t] += out.begin[t - 1];
  out.all.resize(events.size());
  auto at = out.begin;
  for (const auto& e : events) out.all[at[e.frame]++] = {e.pixel, 1};
  return out;
}

/// The scan as files, below the temporary folder, taken away at the end.
struct Files {
  Files() : folder(std::filesystem::temp_directory_path() / fmt::format("bench_xpcs_{}", getpid())) {
    std::filesystem::create_directories(folder);
    model::Product map;
    for (auto& [name, array] : xpcs::to_inputs(rings())) map.datasets.push_back({name, array});
    io::xpcs::write_qmap(folder / "qmap.h5", map);
  }
  ~Files() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  std::filesystem::path folder;
};

void write_rigaku(const std::filesystem::path& path, const Events& events) {
  io::rigaku::EventWriter writer(path);
  for (Index t = 0; t < events.frames(); ++t) writer.append(t, events.view(t).sparse.events);
  writer.commit();
}

core::Array<std::uint16_t, 2> dense(const Events& events, Index t) {
  core::Array<std::uint16_t, 2> image({kSide, kSide});
  for (const auto& e : events.view(t).sparse.events) image.data()[e.pixel] += static_cast<std::uint16_t>(e.count);
  return image;
}

void write_hdf5(const std::filesystem::path& path, const Events& events, Index frames) {
  model::Acquisition a;
  a.detector.ny = a.detector.nx = kSide;
  a.detector.dtype = core::DType::u16;
  io::ScanWriter writer(path, a, frames);
  for (Index t = 0; t < frames; ++t) {
    const auto image = dense(events, t);
    const model::FrameView frame{t, core::AnyImage::of<std::uint16_t>(image.view())};
    writer.append({&frame, 1}, {});
  }
  writer.commit();
}

struct Spent {
  double cpu = 0, wall = 0;
};

/// Keeps this process, and the threads it starts meanwhile, on one processor. The reader has a thread of its own, so
/// that a run with `--threads 1` would else use two.
class OneProcessor {
public:
  OneProcessor() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &before_)) {
        CPU_SET(i, &one);
        break;
      }
    sched_setaffinity(0, sizeof one, &one);
  }
  ~OneProcessor() { sched_setaffinity(0, sizeof before_, &before_); }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

private:
  cpu_set_t before_{};
};

/// The program without its console and pictures: file -> pipeline -> technique -> result file.
Spent run(const std::filesystem::path& scan, const Files& files, const char* verb, const OptionValues& options,
          int threads) {
  const double cpu = cpu_s(), wall = wall_s();
  core::ThreadPool reading(threads), pool(threads);
  io::OpenOptions how;
  how.pool = &reading;
  how.batch_bytes = Index{16} << 20;
  how.frame_ny = how.frame_nx = kSide;
  how.qmap = (files.folder / "qmap.h5").string();
  how.checksum = false;
  const auto source = io::open_scan(scan, how);
  const io::LateChecksum checksum(scan);
  const auto& info = *xpcs::info().find(verb);
  if (info.sparse_frames) io::make_sparse(*source);
  const auto technique = info.analyse(options, {&pool, nullptr, &kClock, 0, 0});
  pipeline::DriverOptions driver;
  driver.corrections.sparse = info.sparse_frames;
  driver.corrections.dark = driver.corrections.flat = !info.raw_frames;
  pipeline::FrameAccount account(source->acquisition().scan.expected_frames);
  pipeline::DriverObserver observer;
  auto outcome = pipeline::drive(*source, *technique, account, observer, kClock, driver, {});
  outcome.product->provenance["checksum"] = checksum.get();
  io::xpcs::write_result(files.folder / "result.h5", *outcome.product);
  return {cpu_s() - cpu, wall_s() - wall};
}

Spent median_of(int runs, const std::function<Spent()>& f) {
  std::vector<Spent> all;
  for (int i = 0; i < runs; ++i) all.push_back(f());
  std::vector<double> cpu, wall;
  for (const auto& s : all) {
    cpu.push_back(s.cpu);
    wall.push_back(s.wall);
  }
  std::sort(cpu.begin(), cpu.end());
  std::sort(wall.begin(), wall.end());
  return {cpu[cpu.size() / 2], wall[wall.size() / 2]};
}

/// CPU seconds of one look at every event.
double events_floor(const Events& events) {
  double best = 1e9;
  std::uint64_t sum = 0;
  for (int i = 0; i < 5; ++i) {
    const double start = cpu_s();
    for (const auto& e : events.all) sum += e.pixel + e.count;
    best = std::min(best, cpu_s() - start);
  }
  if (sum == 0) fmt::print("no events\n");
  return best;
}

/// The same for the dense frames, in a buffer that no cache holds.
double frames_floor(Index frames) {
  const core::Array<std::uint64_t, 1> words({Index{1} << 25}, 1);  // 256 MiB
  std::uint64_t sum = 0;
  const double start = cpu_s();
  for (const auto w : words) sum += w;
  const double seconds = cpu_s() - start;
  if (sum == 0) fmt::print("no frames\n");
  return seconds * static_cast<double>(frames * kPixels * 2) / static_cast<double>(words.size() * 8);
}

/// Frames pushed one by one, a snapshot every second, as a live run does it.
Spent live(const Events& events, int threads) {
  core::ThreadPool pool(threads);
  const auto technique = xpcs::info().find("correlate")->analyse({}, {&pool, nullptr, &kClock, 0, 0});
  model::Acquisition a;
  a.detector.ny = a.detector.nx = kSide;
  a.scan.expected_frames = events.frames();
  a.inputs = xpcs::to_inputs(rings());
  technique::Observer observer;
  technique->begin(a);
  const double cpu = cpu_s(), wall = wall_s();
  double shown = wall;
  for (Index t = 0; t < events.frames(); ++t) {
    const auto frame = events.view(t);
    technique->push({&frame, 1});
    if (wall_s() - shown < 1) continue;
    technique->step({}, observer);
    technique->snapshot();
    shown = wall_s();
  }
  technique->end_of_scan();
  technique->finish(observer);
  return {cpu_s() - cpu, wall_s() - wall};
}

/// Compressed frames as a detector sends them, decoded by all threads, some at a time.
void live_dense(const Events& events, int threads) {
  constexpr Index kAtOnce = 128;  // enough that nothing is copied to be sorted later
  const Index frames = events.frames();
  core::ThreadPool pool(threads);
  std::vector<std::vector<std::byte>> packed(static_cast<std::size_t>(frames));
  pool.for_each(frames, [&](Index t, int) {
    const auto image = dense(events, t);
    packed[static_cast<std::size_t>(t)] =
        codec::bitshuffle_encode(std::as_bytes(std::span(image.begin(), image.end())), {});
  });
  std::vector<core::Array<std::uint16_t, 2>> images;
  for (int i = 0; i < threads; ++i) images.emplace_back(std::array<Index, 2>{kSide, kSide});
  const auto alone = [&] {
    const double start = wall_s();
    pool.for_each(frames, [&](Index t, int thread) {
      auto& image = images[static_cast<std::size_t>(thread)];
      if (!codec::bitshuffle_decode(packed[static_cast<std::size_t>(t)], {},
                                    std::as_writable_bytes(std::span(image.begin(), image.end()))))
        throw core::Error(core::ErrorCode::internal, "a frame does not decode");
    });
    return wall_s() - start;
  };

  std::vector<std::unique_ptr<model::PixelCount[]>> rooms;  // not zeroed: few of their pages are ever touched
  for (Index i = 0; i < kAtOnce; ++i)
    rooms.push_back(std::make_unique_for_overwrite<model::PixelCount[]>(static_cast<std::size_t>(kPixels)));
  const auto whole = [&] {
    const auto technique = xpcs::info().find("correlate")->analyse({}, {&pool, nullptr, &kClock, 0, 0});
    model::Acquisition a;
    a.detector.ny = a.detector.nx = kSide;
    a.scan.expected_frames = frames;
    a.inputs = xpcs::to_inputs(rings());
    technique::Observer observer;
    technique->begin(a);
    const double start = wall_s();
    double shown = start;
    std::vector<model::FrameView> views(kAtOnce);
    for (Index first = 0; first < frames; first += kAtOnce) {
      const Index count = std::min(kAtOnce, frames - first);
      pool.for_each(count, [&](Index i, int) {
        const auto at = static_cast<std::size_t>(i);
        const auto made = core::value_or_throw(
            codec::bitshuffle_sparse(packed[static_cast<std::size_t>(first + i)], {}, kPixels, {},
                                     std::span(rooms[at].get(), static_cast<std::size_t>(kPixels))));
        views[at] = {first + i, {}, {kSide, kSide, {rooms[at].get(), static_cast<std::size_t>(made)}}};
      });
      technique->push(std::span(views).first(static_cast<std::size_t>(count)));
      if (wall_s() - shown < 1) continue;
      technique->step({}, observer);
      technique->snapshot();
      shown = wall_s();
    }
    technique->end_of_scan();
    technique->finish(observer);
    return wall_s() - start;
  };
  std::vector<double> decoding, all, ratio;
  for (int i = 0; i < 3; ++i) {
    decoding.push_back(alone());
    all.push_back(whole());
    ratio.push_back(decoding.back() / all.back());
  }
  for (auto* v : {&decoding, &all, &ratio}) std::sort(v->begin(), v->end());
  const auto n = static_cast<double>(frames);
  judge(fmt::format("live, dense bitshuffle-LZ4 frames, {} threads: rate over that of decoding alone", threads),
        ">= 0.6", fmt::format("{:.2f} ({:.0f} frames/s)", ratio[1], n / all[1]),
        fmt::format("{:.0f} frames/s decoded", n / decoding[1]), ratio[1] >= 0.6);
}

std::string markdown() {
  std::string out = "| what | bar | measured | floor, same run | |\n|---|---|---|---|---|\n";
  for (const auto& r : g_rows)
    out +=
        fmt::format("| {} | {} | {} | {} | {} |\n", r.what, r.bar, r.figure, r.floor, r.held ? "held" : "**missed**");
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  bool quick = false;
  std::string table;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") quick = true;
    else if (arg == "--only" && i + 1 < argc) g_only = argv[++i];
    else if (arg == "--markdown" && i + 1 < argc) table = argv[++i];
  }
  const Index frames = quick ? 1000 : 5000;
  const int runs = quick ? 1 : 3;
  const auto events = simulate(frames);
  fmt::print("instruction set {}, {} hardware threads; {} frames, {} events\n", core::name(core::isa()),
             core::hardware_threads(), frames, events.all.size());
  const std::string floor = fmt::format("{:.3f} s, one pass over the events", events_floor(events));
  const double part = static_cast<double>(frames) / 5000;
  const Files files;
  const auto rigaku = files.folder / "scan.bin", hdf5 = files.folder / "scan.cxi";
  if (wanted("rigaku") || wanted("twotime")) write_rigaku(rigaku, events);
  if (wanted("rigaku")) {
    const auto one = median_of(runs, [&] {
      const OneProcessor pinned;
      return run(rigaku, files, "correlate", {}, 1);
    });
    judge(fmt::format("g2 of {} frames from Rigaku events: CPU s, 1 thread", frames),
          fmt::format("<= {:.2f}", 1.2 * part), fmt::format("{:.2f} s", one.cpu), floor, one.cpu <= 1.2 * part);
    const auto two = median_of(runs, [&] { return run(rigaku, files, "correlate", {}, 2); });
    judge("the same: 2 threads and processors over 1, wall time", ">= 1.8", fmt::format("{:.2f}", one.wall / two.wall),
          "", one.wall >= 1.8 * two.wall);
  }
  if (wanted("twotime")) {
    const OptionValues first{{"frames", std::string("0-999")}};
    const auto spent = median_of(runs, [&] { return run(rigaku, files, "twotime", first, 1); });
    judge("two-time of the first 1000 frames, 18 bins, with its file: CPU s", "<= 0.8",
          fmt::format("{:.2f} s", spent.cpu), floor, spent.cpu <= 0.8);
  }
  if (wanted("live")) {
    const auto spent = median_of(runs, [&] { return live(events, 2); });
    const double rate = static_cast<double>(frames) / spent.wall;
    judge("live, sparse frames one by one, a snapshot a second, 2 threads", ">= 6000 frames/s",
          fmt::format("{:.0f} frames/s, {:.2f} CPU s", rate, spent.cpu), floor, rate >= 6000);
    live_dense(events, 2);
  }
  if (wanted("dense")) {
    write_hdf5(hdf5, events, frames);
    const auto spent = median_of(runs, [&] { return run(hdf5, files, "correlate", {}, 1); });
    judge(fmt::format("g2 of {} frames from dense HDF5 u16: CPU s, 1 thread", frames),
          fmt::format("<= {:.2f}", 2.5 * part), fmt::format("{:.2f} s", spent.cpu),
          fmt::format("{:.2f} s, one pass over the frames", frames_floor(frames)), spent.cpu <= 2.5 * part);
  }
  if (!table.empty()) {
    std::ofstream file(table);
    file << markdown();
    if (!file.flush()) throw core::Error(core::ErrorCode::io, "cannot write " + table);
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
