// The stream of a detector beside what it cannot avoid: unpacking alone, and the same messages through bare ZeroMQ.
// Frames are the recorded one of an EIGER 4M (tests/data), 1.17 MB packed, 8.97 MB unpacked.
// `bench_stream [seconds]`; figures are medians of passes, in turn.

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "farfield/core/thread_pool.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/pipeline/driver.hpp"
#include "farfield/stream/dectris/encode.hpp"
#include "farfield/stream/dectris/series.hpp"

namespace {

using namespace farfield;
using core::Index;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr Index kNy = 2167, kNx = 2070;
constexpr int kFrames = 240;

std::vector<std::byte> recorded() {
  std::ifstream file("tests/data/dectris_v1/frame_0.bs16-lz4", std::ios::binary);
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(chars));
  return {bytes.begin(), bytes.end()};
}

/// Takes everything and does nothing.
class Nothing final : public technique::Technique {
public:
  void begin(const model::Acquisition&) override {}
  void push(std::span<const model::FrameView> frames) override { frames_ += std::ssize(frames); }
  void annotate(model::FrameId, const model::Values&) override {}
  void end_of_scan() override { ended_ = true; }
  technique::StepState step(std::stop_token, technique::Observer&) override {
    return ended_ ? technique::StepState::finished : technique::StepState::waiting;
  }
  model::Product snapshot() const override { return {}; }
  void save(technique::Sink&) const override {}
  void restore(technique::Source&) override {}
  model::Product finish(technique::Observer&) override { return {}; }
  Index frames_ = 0;

private:
  bool ended_ = false;
};

using Messages = std::vector<stream::dectris::OwnedParts>;

/// The recorded frame again and again, without packing it anew.
Messages series(stream::dectris::Protocol protocol, const std::vector<std::byte>& blob) {
  model::Acquisition a;
  a.detector.ny = kNy;
  a.detector.nx = kNx;
  a.detector.dtype = core::DType::u16;
  a.scan.expected_frames = kFrames;
  const stream::dectris::Encoder encoder(a, {1, "bench"}, {.protocol = protocol, .values = false});
  std::vector<std::byte> pixels(kNy * kNx * 2);
  core::value_or_throw(stream::dectris::unpack(
      {core::DType::u16, kNy, kNx, stream::dectris::Compression::bitshuffle_lz4, false, blob}, pixels));
  Messages out{encoder.start()};
  for (int i = 0; i < kFrames; ++i)
    out.push_back(encoder.image({i, {core::DType::u16, pixels.data(), kNy, kNx, kNx}}, {}));
  out.push_back(encoder.end());
  return out;
}

/// Sends all messages to whoever connects, without a copy.
class Sender {
public:
  explicit Sender(const Messages& messages)
      : socket_(net::ZmqKind::push, "tcp://127.0.0.1:*", {.bind = true, .high_water_mark = 16}),
        endpoint_(socket_.endpoint()),
        thread_([this, &messages] {
          const auto forever = std::make_shared<int>(0);
          for (const auto& message : messages) {
            std::vector<net::ZmqPart> parts;
            for (const auto& p : message) parts.push_back({p, forever});
            (void)socket_.send(parts, 60s);
          }
        }) {}
  const std::string& endpoint() const { return endpoint_; }

private:
  net::ZmqSocket socket_;
  std::string endpoint_;
  std::jthread thread_;
};

struct Took {
  double wall_s = 0, cpu_s = 0;  ///< cpu_s: of all threads, the sender's, too
};

double cpu_now_s() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Took time_of(const std::function<void()>& work) {
  const auto begin = Clock::now();
  const double cpu_s = cpu_now_s();
  work();
  return {std::chrono::duration<double>(Clock::now() - begin).count(), cpu_now_s() - cpu_s};
}

Took raw_zeromq(const Messages& messages) {
  Sender sender(messages);
  return time_of([&] {
    net::ZmqSocket pull(net::ZmqKind::pull, sender.endpoint(), {.high_water_mark = 16});
    net::ZmqMessage message;
    for (std::size_t i = 0; i < messages.size(); ++i) (void)pull.receive(message, 60s);
  });
}

/// What whole() unpacks, from the same memory: a frame that was just received is in no cache.
Took unpack_alone(const Messages& messages, core::ThreadPool& pool) {
  std::vector<std::vector<std::byte>> out(static_cast<std::size_t>(pool.size()), std::vector<std::byte>(kNy * kNx * 2));
  std::vector<std::vector<std::span<const std::byte>>> parts(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) parts[i].assign(messages[i].begin(), messages[i].end());
  return time_of([&] {
    pool.for_each(kFrames, [&](Index i, int thread) {
      const auto message = core::value_or_throw(stream::dectris::parse(parts[static_cast<std::size_t>(i) + 1]));
      const auto& image = std::get<stream::dectris::SeriesImage>(message.content);
      core::value_or_throw(
          stream::dectris::unpack(image.channels.front().pixels, out[static_cast<std::size_t>(thread)]));
    });
  });
}

Took whole(const Messages& messages, int threads) {
  Sender sender(messages);
  return time_of([&] {
    stream::SocketFeed feed(net::ZmqKind::pull, sender.endpoint(), {.high_water_mark = 16});
    stream::dectris::SeriesReceiver receiver(feed, {.threads = threads, .batch_bytes = Index{1} << 20});
    const auto source = receiver.next({});
    Nothing nothing;
    pipeline::FrameAccount account(kFrames);
    pipeline::DriverObserver observer;
    const core::SteadyClock clock;
    (void)pipeline::drive(*source, nothing, account, observer, clock,
                          {.iterate_while_reading = true, .queue_bytes = Index{64} << 20}, {});
    const auto totals = account.totals();
    if (totals.processed != kFrames || totals.missing != 0) {
      fmt::print(stderr, "the account does not close: {}\n", pipeline::to_text(totals));
      std::exit(1);
    }
  });
}

/// Of wall and CPU time, each for itself.
Took median(const std::vector<Took>& all) {
  const auto of = [&](double Took::* member) {
    std::vector<double> values;
    for (const auto& took : all) values.push_back(took.*member);
    std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
    return values[values.size() / 2];
  };
  return {of(&Took::wall_s), of(&Took::cpu_s)};
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;
  const auto blob = recorded();
  if (blob.empty()) {
    fmt::print(stderr, "run in the root of the repository: tests/data/dectris_v1/frame_0.bs16-lz4 is read\n");
    return 1;
  }
  core::ThreadPool pool(core::hardware_threads());
  constexpr double kGigabytes = static_cast<double>(kFrames) * kNy * kNx * 2 / 1e9;
  fmt::print("{} frames of an EIGER 4M through TCP loopback, {} threads\n", kFrames, pool.size());
  for (const auto protocol : {stream::dectris::Protocol::v1, stream::dectris::Protocol::v2}) {
    const auto messages = series(protocol, blob);
    std::vector<Took> raw, alone, all;
    for (const auto begin = Clock::now();
         all.size() < 3 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds / 2;) {
      raw.push_back(raw_zeromq(messages));
      alone.push_back(unpack_alone(messages, pool));
      all.push_back(whole(messages, pool.size()));
    }
    const Took r = median(raw), a = median(alone), w = median(all);
    fmt::print(
        "stream {}: ZeroMQ alone {:.0f} frames/s, unpacking alone {:.0f} ({:.2f} GB/s), "
        "socket -> unpack -> correct -> account -> nothing {:.0f}: {:.2f} of the slower (bar 0.8); "
        "CPU ms a frame {:.2f}, {:.2f}, {:.2f}\n",
        protocol == stream::dectris::Protocol::v1 ? "v1" : "v2", kFrames / r.wall_s, kFrames / a.wall_s,
        kGigabytes / a.wall_s, kFrames / w.wall_s, std::max(r.wall_s, a.wall_s) / w.wall_s, 1e3 * r.cpu_s / kFrames,
        1e3 * a.cpu_s / kFrames, 1e3 * w.cpu_s / kFrames);
  }
  return 0;
}
