// The stream of a detector beside what it cannot avoid: unpacking alone, and the same messages through bare ZeroMQ.
// Frames are the recorded one of an EIGER 4M (tests/data), 1.17 MB packed, 8.97 MB unpacked.
// `bench_stream [seconds]`; figures are medians of passes, in turn.

#include <fmt/format.h>

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
constexpr int kFrames = 60;

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

double seconds_of(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double raw_zeromq(const Messages& messages) {
  Sender sender(messages);
  return seconds_of([&] {
    net::ZmqSocket pull(net::ZmqKind::pull, sender.endpoint(), {.high_water_mark = 16});
    net::ZmqMessage message;
    for (std::size_t i = 0; i < messages.size(); ++i) (void)pull.receive(message, 60s);
  });
}

double unpack_alone(const std::vector<std::byte>& blob, core::ThreadPool& pool) {
  const stream::dectris::PackedPixels packed{
      core::DType::u16, kNy, kNx, stream::dectris::Compression::bitshuffle_lz4, false, blob};
  std::vector<std::vector<std::byte>> out(static_cast<std::size_t>(pool.size()), std::vector<std::byte>(kNy * kNx * 2));
  return seconds_of([&] {
    pool.for_each(kFrames, [&](Index, int thread) {
      core::value_or_throw(stream::dectris::unpack(packed, out[static_cast<std::size_t>(thread)]));
    });
  });
}

double whole(const Messages& messages, core::ThreadPool& pool) {
  Sender sender(messages);
  return seconds_of([&] {
    stream::SocketFeed feed(net::ZmqKind::pull, sender.endpoint(), {.high_water_mark = 16});
    stream::dectris::SeriesReceiver receiver(feed, {.pool = &pool, .batch_bytes = Index{32} << 20});
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

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
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
    std::vector<double> raw, alone, all;
    for (const auto begin = Clock::now();
         all.size() < 3 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds / 2;) {
      raw.push_back(raw_zeromq(messages));
      alone.push_back(unpack_alone(blob, pool));
      all.push_back(whole(messages, pool));
    }
    const double r = median(raw), a = median(alone), w = median(all);
    fmt::print(
        "stream {}: ZeroMQ alone {:.0f} frames/s, unpacking alone {:.0f} ({:.2f} GB/s), "
        "socket -> unpack -> correct -> account -> nothing {:.0f}: {:.2f} of the slower (bar 0.8)\n",
        protocol == stream::dectris::Protocol::v1 ? "v1" : "v2", kFrames / r, kFrames / a, kGigabytes / a, kFrames / w,
        std::max(r, a) / w);
  }
  return 0;
}
