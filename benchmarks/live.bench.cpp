// Live ptychography at a detector's rate: 128 x 128 u16 at 2 kHz, packed, through ZeroMQ into LSQ-ML on two threads.
// Prints what the bar asks for: frames lost, the longest queue, visits of each frame while the scan came, how old the
// picture was, whether fifty patterns show the object. The replay's messages are made before; sending them, unpacking,
// reconstruction and pictures share the cores.
//
//   bench_live [SECONDS = 6] [RATE_HZ = 2000] [THREADS = 2]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <thread>

#include "farfield/pipeline/driver.hpp"
#include "farfield/pipeline/terminal_picture.hpp"
#include "farfield/stream/dectris/series.hpp"
#include "farfield/stream/replay/replay.hpp"
#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/reconstruction.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace {

using namespace farfield;
using core::Index;
namespace pty = techniques::ptychography;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

const core::SteadyClock kClock;

double cpu_s() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

using Messages = std::vector<stream::dectris::OwnedParts>;

struct Recording {
  Messages messages;
  model::Product truth;
  model::Acquisition acquisition;  ///< with the starting probe, which a stream does not carry
};

Recording record(std::int64_t patterns) {
  core::ThreadPool pool(2);
  const core::OptionValues options{{"patterns", patterns},
                                   {"shape", std::int64_t{128}},
                                   {"scan", std::string("spiral")},
                                   {"step", 6.0},
                                   {"photons", 1e6}};
  const auto simulation = pty::simulate_verb().simulate(options, {&pool, nullptr, &kClock, 1, 0});
  Recording out;
  out.acquisition = simulation->acquisition().clone();
  const stream::ReplayOptions replay{.encode = {.protocol = stream::dectris::Protocol::v2}};
  (void)stream::replay(*simulation, replay,
                       [&](const stream::dectris::OwnedParts& message) {
                         out.messages.push_back(message);
                         return true;
                       },
                       {}, {});
  out.truth = simulation->truth();
  return out;
}

/// A detector: sends at a rate whatever happens, and knows how far it was held up.
class Detector {
public:
  Detector(const Messages& messages, double rate_hz)
      : socket_(net::ZmqKind::push, "tcp://127.0.0.1:*", {.bind = true}),
        endpoint_(socket_.endpoint()),
        thread_([this, &messages, rate_hz] { send(messages, rate_hz); }) {}
  const std::string& endpoint() const { return endpoint_; }
  /// Once all was sent.
  double latest_s() {
    thread_.join();
    return latest_s_;
  }

private:
  void send(const Messages& messages, double rate_hz) {
    const auto forever = std::make_shared<int>(0);
    std::optional<Clock::time_point> begin;
    for (std::size_t i = 0; i < messages.size(); ++i) {
      std::vector<net::ZmqPart> parts;
      for (const auto& p : messages[i]) parts.push_back({p, forever});
      if (begin) {
        const auto due = *begin + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(static_cast<double>(i) / rate_hz));
        std::this_thread::sleep_until(due);
      }
      (void)socket_.send(parts, 60s);
      if (!begin) begin = Clock::now();  // somebody listens
      const double due_s = static_cast<double>(i) / rate_hz;
      latest_s_ = std::max(latest_s_, std::chrono::duration<double>(Clock::now() - *begin).count() - due_s);
    }
  }
  net::ZmqSocket socket_;
  std::string endpoint_;
  double latest_s_ = 0;
  std::jthread thread_;
};

/// Looks on as the terminal does, and takes the times.
class Screen final : public pipeline::DriverObserver, public pipeline::PreviewSink {
public:
  explicit Screen(pipeline::FrameAccount& account) : account_(account) {}
  void show(const model::Product& product, std::int64_t) override {
    const double taken_s = kClock.now_s();
    if (const auto image = pipeline::thumbnail(product, 80, 80)) (void)pipeline::half_blocks(*image);
    const std::lock_guard lock(mutex_);
    // Until now the one before was seen.
    const auto totals = account_.totals();
    auto& oldest_s = totals.processed < totals.expected ? oldest_s_ : oldest_after_s_;
    if (shown_ > 0) oldest_s = std::max(oldest_s, kClock.now_s() - before_s_);
    before_s_ = taken_s;
    ++shown_;
  }
  void reading(Index, Index) override {
    const auto totals = account_.totals();
    most_pending_ = std::max(most_pending_, totals.pending);
  }
  Index most_pending_ = 0;
  double oldest_s_ = 0, oldest_after_s_ = 0;  ///< while the scan came, and in the passes after it
  int shown_ = 0;

private:
  pipeline::FrameAccount& account_;
  std::mutex mutex_;
  double before_s_ = 0;
};

/// A stream with the starting probe of the recording, as --like gives it.
class WithProbe final : public model::FrameSource {
public:
  WithProbe(model::FrameSource& source, const model::Acquisition& known)
      : source_(source), acquisition_(source.acquisition().clone()) {
    for (const auto& [role, array] : known.inputs) acquisition_.inputs.try_emplace(role, array);
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return source_.next(std::move(stop), take);
  }

private:
  model::FrameSource& source_;
  model::Acquisition acquisition_;
};

const core::OptionValues kReconstruct{{"refine-after-scan", std::int64_t{5}}};

void at_rate(const Recording& recording, double rate_hz, int threads) {
  const auto patterns = std::ssize(recording.messages) - 2;
  core::ThreadPool pool(threads);
  Detector detector(recording.messages, rate_hz);
  stream::SocketFeed feed(net::ZmqKind::pull, detector.endpoint());
  stream::dectris::SeriesReceiver receiver(feed, {.threads = 1, .batch_bytes = Index{16} << 20});
  const auto series = receiver.next({});
  WithProbe source(*series, recording.acquisition);
  const auto technique = pty::reconstruct_verb().analyse(kReconstruct, {&pool, nullptr, &kClock, 1, 0});
  pipeline::FrameAccount account(patterns);
  Screen screen(account);
  pipeline::DriverOptions options;
  options.iterate_while_reading = true;
  options.queue_bytes = Index{64} << 20;
  options.preview = &screen;
  options.preview_every_s = 0.5;
  const double begin_s = kClock.now_s(), begin_cpu_s = cpu_s();
  const auto outcome = pipeline::drive(source, *technique, account, screen, kClock, options, {});
  const double seconds = kClock.now_s() - begin_s, cpu = cpu_s() - begin_cpu_s;
  const auto totals = account.totals();
  const auto& m = outcome.product->metrics;
  fmt::print("{} frames of 128 x 128 u16 at {:.0f} Hz, LSQ-ML on {} threads: {:.1f} s, {:.1f} CPU s\n", patterns,
             rate_hz, threads, seconds, cpu);
  fmt::print("  {}\n", pipeline::to_text(totals));
  fmt::print("  frames lost                    {:6}   (bar 0)\n", patterns - totals.processed);
  fmt::print(
      "  most frames waiting            {:6}   ({:.1f} MB of 67; the detector was held up for {:.3f} s at most)\n",
      screen.most_pending_, static_cast<double>(screen.most_pending_) * 32768 / 1e6, detector.latest_s());
  fmt::print("  visits of a frame meanwhile    {:6.2f}   (bar >= 4)\n", m.at("visits_while_scanning"));
  fmt::print(
      "  oldest picture on the screen   {:6.2f} s (bar < 1; {} pictures; {:.2f} s in the passes after the scan)\n",
      screen.oldest_s_, screen.shown_, screen.oldest_after_s_);
  const auto compared = pty::compare(recording.truth, *outcome.product, {});
  fmt::print("  object against the truth: NRMSE {:.4f}, correlation {:.3f}, half-bit {:.2f} px\n",
             compared.metrics.at("nrmse"), compared.metrics.at("correlation"),
             compared.metrics.contains("resolution_half_bit_px") ? compared.metrics.at("resolution_half_bit_px") : 0);
}

/// Fifty patterns have come and no more: what does the picture show after how many rounds?
void first_patterns(const Recording& recording, int threads) {
  core::ThreadPool pool(threads);
  Messages few(recording.messages.begin(), recording.messages.begin() + 51);
  few.push_back(recording.messages.back());
  for (const int rounds : {5, 10, 20, 40}) {
    stream::MemoryFeed feed(few);
    stream::dectris::SeriesReceiver receiver(feed, {.late_s = 0.01});
    const auto series = receiver.next({});
    WithProbe source(*series, recording.acquisition);
    const auto technique = pty::reconstruct_verb().analyse(kReconstruct, {&pool, nullptr, &kClock, 1, 0});
    technique->begin(source.acquisition());
    while (source.next({}, [&](const model::FrameBatch& batch) {
      for (const auto& [id, values] : batch.values) technique->annotate(id, values);
      technique->push(batch.frames);
    })) {}
    technique::Observer observer;
    const double begin_s = kClock.now_s();
    for (int i = 0; i < rounds; ++i) (void)technique->step({}, observer);
    const double seconds = kClock.now_s() - begin_s;
    const auto compared = pty::compare(recording.truth, technique->snapshot(), {});
    fmt::print("  50 patterns, {:2} rounds ({:.3f} s): correlation {:.3f}, NRMSE {:.3f}, SSIM of the phase {:.3f}\n",
               rounds, seconds, compared.metrics.at("correlation"), compared.metrics.at("nrmse"),
               compared.metrics.at("ssim_phase"));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 6, rate_hz = argc > 2 ? std::atof(argv[2]) : 2000;
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2;
  if (!(seconds > 0 && seconds <= 600 && rate_hz > 0 && rate_hz <= 1e5 && threads >= 1 && threads <= 256)) {
    fmt::print(stderr, "bench_live [SECONDS] [RATE_HZ] [THREADS]\n");
    return 2;
  }
  const auto recording = record(static_cast<std::int64_t>(seconds * rate_hz));
  at_rate(recording, rate_hz, threads);
  first_patterns(recording, threads);
  return 0;
}
