// A detector at one site and its analysis at another, over a network that is slow, stalls and is cut. What stalls is
// waited for; what a cut connection took along, ZeroMQ does not send again, and the account says so.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "farfield/core/testing.hpp"
#include "farfield/net/zeromq.hpp"
#include "farfield/stream/replay/replay.hpp"
#include "tests/domain/program/process.hpp"
#include "tests/integration/network/two_sites.hpp"
#include "tests/integration/relay/relay.hpp"

namespace farfield::tests {
namespace {

using core::Index;
using namespace std::chrono_literals;

constexpr Index kSide = 128, kFrames = 2000;

class Noise final : public model::FrameSource {
public:
  Noise() : pixels_(kSide * kSide) {
    acquisition_.source = "noise";
    acquisition_.detector.ny = acquisition_.detector.nx = kSide;
    acquisition_.detector.dtype = core::DType::u16;
    acquisition_.scan.expected_frames = kFrames;
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
    if (at_ == kFrames) return false;
    std::uint32_t state = static_cast<std::uint32_t>(at_) + 1;
    for (auto& p : pixels_) p = static_cast<std::uint16_t>((state = state * 1664525U + 1013904223U) >> 28);
    model::FrameBatch batch;
    batch.frames.push_back({at_++, {core::DType::u16, pixels_.data(), kSide, kSide, kSide}});
    take(batch);
    return true;
  }

private:
  Index at_ = 0;
  std::vector<std::uint16_t> pixels_;
  model::Acquisition acquisition_;
};

class LiveNetwork : public ::testing::Test {
protected:
  void SetUp() override {
    if (!sites.why_not().empty()) FARFIELD_SKIP(sites.why_not());
  }
  /// The detector sends at 500 Hz through the relay, `weather` plays with it, and the analysis says what came.
  testing_program::Finished play(const std::function<void(testing_network::Relay&)>& weather) {
    std::unique_ptr<net::ZmqSocket> socket;
    std::unique_ptr<testing_network::Relay> relay;
    sites.there([&] {
      socket = std::make_unique<net::ZmqSocket>(net::ZmqKind::push, "tcp://127.0.0.1:*",
                                                net::ZmqOptions{.bind = true, .high_water_mark = 4096, .linger = 20s});
      const auto& endpoint = socket->endpoint();
      const auto port = static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
      relay = std::make_unique<testing_network::Relay>(testing_network::Address{"127.0.0.1", port},
                                                       testing_network::Weather{.delay_s = 0.005}, 7,
                                                       testing_network::Address{TwoSites::kThere, 0});
    });
    std::jthread detector([&] {
      Noise source;
      (void)stream::replay(source, {.encode = {.protocol = stream::dectris::Protocol::v2}, .rate_hz = 500},
                           [&](const stream::dectris::OwnedParts& message) {
                             std::vector<net::ZmqPart> parts;
                             for (const auto& part : message) parts.push_back({part});
                             return socket->send(parts, 60s) == net::ZmqOutcome::done;
                           },
                           {}, {});
    });
    testing_program::Finished out;
    std::jthread trouble([&] { weather(*relay); });
    // A process of its own: ZeroMQ connects on threads that stay at the site where the first socket was made.
    sites.here([&] {
      out = testing_program::farfield({"live", "statistics", "--source",
                                       fmt::format("tcp://{}:{}", TwoSites::kThere, relay->port()), "--out",
                                       (folder / "out").string(), "--threads", "1", "--silence", "8", "--json"});
    });
    trouble.join();
    detector.join();
    return out;
  }

  static core::Index count(const testing_program::Finished& run, const char* name) {
    const auto end = run.out.find_last_not_of('\n');
    const auto begin = run.out.rfind('\n', end);
    const auto summary =
        nlohmann::json::parse(run.out.substr(begin == std::string::npos ? 0 : begin + 1), nullptr, false);
    if (!summary.is_object() || !summary.contains("frames")) return -1;
    return summary["frames"].value(name, core::Index{-1});
  }

  core::testing::TemporaryFolder folder;
  TwoSites sites{"400mbit"};
};

void pause(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST_F(LiveNetwork, StallsLoseNothing) {
  const auto got = play([](testing_network::Relay& relay) {
    for (int i = 0; i < 3; ++i) {
      pause(0.5);
      relay.stall(true);
      pause(1.5);
      relay.stall(false);
    }
  });
  EXPECT_EQ(got.exit_code, 0) << got.err;
  EXPECT_EQ(count(got, "processed"), kFrames) << got.out;
  EXPECT_EQ(count(got, "missing"), 0);
  EXPECT_EQ(count(got, "duplicates"), 0);
}

TEST_F(LiveNetwork, CutsAreSurvivedAndEveryFrameIsAccountedFor) {
  std::atomic<std::int64_t> cuts{0};
  const auto got = play([&](testing_network::Relay& relay) {
    for (int i = 0; i < 4; ++i) {
      pause(0.6);
      relay.cut();
      pause(0.1);
      relay.refuse(true);
      pause(0.2);
      relay.refuse(false);
    }
    cuts = relay.traffic().cuts;
  });
  EXPECT_GE(cuts, 4);
  EXPECT_TRUE(got.exit_code == 0 || got.exit_code == 3) << got.err;
  EXPECT_EQ(count(got, "received") + count(got, "missing"), kFrames) << got.out;
  EXPECT_EQ(count(got, "processed"), count(got, "received"));
  EXPECT_EQ(count(got, "duplicates"), 0) << "nothing twice";
  // What was in the buffers of a connection when it was cut: a few hundred kB of each.
  EXPECT_GT(count(got, "processed"), kFrames / 2);
  RecordProperty("missing", static_cast<int>(count(got, "missing")));
}

}  // namespace
}  // namespace farfield::tests
