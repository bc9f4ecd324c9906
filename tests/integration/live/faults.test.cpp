// A live run for a long time while everything goes wrong that may: gaps, duplicates, disorder, series that are aborted,
// a detector that restarts, a consumer that is killed and started again. Memory stays flat, the account of each series
// closes, and each frame is in its result exactly once. A minute and a half; an hour in the long form (FARFIELD_LONG).

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/net/zeromq.hpp"
#include "farfield/stream/replay/replay.hpp"

namespace farfield::tests {
namespace {

namespace fs = std::filesystem;
using core::Index;
using nlohmann::json;
using namespace std::chrono_literals;

constexpr Index kSide = 64, kFrames = 3000;  // six seconds of a detector
constexpr double kRate_hz = 500;

/// What each pixel of a frame holds: the mean of a series tells which frames are in it.
std::uint16_t value_of(model::FrameId id) { return static_cast<std::uint16_t>(1 + id * id % 997); }

/// Frames that say who they are; announces more than it has where it is aborted.
class Numbered final : public model::FrameSource {
public:
  explicit Numbered(Index frames) : frames_(frames), pixels_(kSide * kSide) {
    acquisition_.source = "numbered";
    acquisition_.detector.ny = acquisition_.detector.nx = kSide;
    acquisition_.detector.dtype = core::DType::u16;
    acquisition_.scan.expected_frames = kFrames;
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (at_ == frames_ || stop.stop_requested()) return false;
    std::fill(pixels_.begin(), pixels_.end(), value_of(at_));
    model::FrameBatch batch;
    batch.frames.push_back({at_++, {core::DType::u16, pixels_.data(), kSide, kSide, kSide}});
    take(batch);
    return true;
  }

private:
  Index frames_, at_ = 0;
  std::vector<std::uint16_t> pixels_;
  model::Acquisition acquisition_;
};

/// What was done to a series.
struct Played {
  std::set<model::FrameId> sent;
  Index duplicated = 0;
  bool cut = false;  ///< the detector restarted in the middle of it
  bool consumer = false;  ///< the consumer was killed in the middle of it, or had frames of it when it was
};

/// The program, its memory looked at while it lives.
class Consumer {
public:
  Consumer(const fs::path& folder, const std::string& endpoint, int number)
      : out_(folder / fmt::format("consumer_{}", number)) {
    const std::string log = (folder / fmt::format("consumer_{}.log", number)).string();
    const std::vector<std::string> words{
        FARFIELD_PROGRAM, "live", "statistics", "--source", endpoint,          "--out", out_.string(), "--series", "0",
        "--silence",      "4",    "--threads",  "1",        "--preview-every", "0.5"};
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      ::dup2(file, STDOUT_FILENO);
      ::dup2(file, STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Consumer() { (void)end(SIGKILL); }
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  const fs::path& out() const { return out_; }
  bool alive() const { return pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0; }
  /// MB in memory.
  double memory() const {
    std::ifstream status(fmt::format("/proc/{}/status", pid_));
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
    return 0;
  }
  /// The status that it ended with.
  int end(int signal) {
    if (pid_ <= 0) return 0;
    int status = 0;
    ::kill(pid_, signal);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

private:
  fs::path out_;
  pid_t pid_ = -1;
};

std::unique_ptr<net::ZmqSocket> detector_at(const std::string& endpoint) {
  for (int i = 0;; ++i) try {
      return std::make_unique<net::ZmqSocket>(net::ZmqKind::push, endpoint,
                                              net::ZmqOptions{.bind = true, .linger = 5000ms});
    } catch (const core::Error&) {  // the address of the one before is given up by a thread of ZeroMQ
      if (i == 200) throw;
      std::this_thread::sleep_for(10ms);
    }
}

TEST(LiveFaults, MemoryIsFlatTheAccountClosesAndEachFrameCountsOnce) {
  const bool long_form = std::getenv("FARFIELD_LONG") != nullptr;
  const int series = long_form ? 600 : 14;
  const core::testing::TemporaryFolder folder;
  auto socket = detector_at("tcp://127.0.0.1:*");
  const std::string endpoint = socket->endpoint();
  int consumers = 1;
  auto consumer = std::make_unique<Consumer>(folder.path(), endpoint, consumers);
  std::vector<fs::path> outs{consumer->out()};
  std::map<int, Played> played;
  std::vector<double> memory;  // of the consumer that lives now
  double worst_growth = 0, most = 0;
  const auto judge_memory = [&] {
    // Warm after three series. Then the last third must not be above the third after that.
    const std::size_t warm = 3 * 12, n = memory.size();
    if (n < 2 * warm) return;
    const auto part = static_cast<std::ptrdiff_t>((n - warm) / 3);
    const double before = *std::max_element(memory.begin() + warm, memory.begin() + warm + part),
                 after = *std::max_element(memory.end() - part, memory.end());
    worst_growth = std::max(worst_growth, after - before);
  };

  for (int n = 1; n <= series; ++n) {
    // 1 clean, 2 faulty, 3 consumer killed, 4 faulty, 5 aborted, 6 detector restarts in the middle, 7 faulty.
    const int kind = (n - 1) % 7 + 1;
    const bool kill = kind == 3 && (n == 3 || n % 70 == 3);  // rarely, so that a consumer grows old
    Played& p = played[n];
    p.cut = kind == 6;
    p.consumer = kill;
    stream::ReplayOptions options;
    options.encode.protocol = n % 2 == 0 ? stream::dectris::Protocol::v1 : stream::dectris::Protocol::v2;
    options.series = {n, fmt::format("faults-{}", n)};
    options.rate_hz = kRate_hz;
    options.seed = static_cast<std::uint64_t>(n);
    if (kind == 2 || kind == 4 || kind == 7) {
      options.gaps = options.duplicates = 0.01;
      options.disorder = 8;
      options.jitter = 0.5;
    }
    Numbered source(kind == 5 ? kFrames / 2 : kFrames);
    std::stop_source stop;
    Index messages = 0;
    const auto sent = stream::replay(
        source, options,
        [&](const stream::dectris::OwnedParts& message) {
          std::vector<net::ZmqPart> parts;
          for (const auto& part : message) parts.push_back({part});
          ++messages;
          if (messages % 250 == 0 && consumer->alive()) memory.push_back(consumer->memory());
          if (kill && messages == kFrames / 2) {
            judge_memory();
            memory.clear();
            (void)consumer->end(SIGKILL);
            consumer = std::make_unique<Consumer>(folder.path(), endpoint, ++consumers);
            outs.push_back(consumer->out());
          }
          if (p.cut && messages == kFrames / 2) stop.request_stop();
          return socket->send(parts, 30s) == net::ZmqOutcome::done;
        },
        [&](model::FrameId id, const model::Values&) {
          p.sent.insert(id);
          return true;
        },
        stop.get_token());
    p.duplicated = sent.duplicated;
    ASSERT_TRUE(consumer->alive()) << "series " << n;
    if (p.cut) {  // without a word: what it had sent is on its way, what follows comes from another socket
      socket.reset();
      socket = detector_at(endpoint);
    }
  }
  // The last series is whole once its folder is there.
  const auto folder_of = [&](int n) -> std::vector<fs::path> {
    std::vector<fs::path> found;
    for (const auto& out : outs)
      if (std::error_code none; fs::exists(out, none))
        for (const auto& entry : fs::directory_iterator(out))
          if (entry.path().filename().string().starts_with(fmt::format("series_{}_", n)) &&
              fs::exists(entry.path() / "result.cxi"))
            found.push_back(entry.path());
    return found;
  };
  for (int i = 0; i < 600 && folder_of(series).empty(); ++i) std::this_thread::sleep_for(50ms);
  judge_memory();
  most = memory.empty() ? 0 : *std::max_element(memory.begin(), memory.end());
  const int status = consumer->end(SIGTERM);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 130) << "a clean end where it is asked for: " << status;

  Index frames = 0;
  for (const auto& [n, p] : played) {
    const auto found = folder_of(n);
    // Killed without a chance to write, the first of two consumers leaves nothing; the second has what came after.
    ASSERT_EQ(found.size(), 1U) << "series " << n;
    std::ifstream file(found[0] / "frames.json");
    const json account = json::parse(file, nullptr, false);
    const auto count = [&](const char* name) { return account.at(name).get<Index>(); };
    const auto context = fmt::format("series {}: {}", n, account.dump());
    EXPECT_EQ(count("received"), count("processed") + count("dropped") + count("pending")) << context;
    EXPECT_EQ(count("pending") + count("dropped"), 0) << context;
    const auto distinct = static_cast<Index>(p.sent.size());
    frames += count("processed");
    if (p.consumer) {
      EXPECT_LE(count("processed"), distinct) << context;
      EXPECT_GT(count("processed"), 0) << context;
      continue;
    }
    EXPECT_EQ(count("expected"), kFrames) << context;
    EXPECT_EQ(count("received") + count("missing"), count("expected")) << context;
    if (p.cut) {  // ZeroMQ gives what it could not deliver to nobody else
      EXPECT_LE(count("processed"), distinct) << context;
      continue;
    }
    EXPECT_EQ(count("processed"), distinct) << context;
    EXPECT_EQ(count("duplicates"), p.duplicated) << context;
    double sum = 0;
    for (const auto id : p.sent) sum += value_of(id);
    const auto product = io::read_product(found[0] / "result.cxi");
    const auto mean = product.find("mean")->data.to<double, 2>();
    EXPECT_NEAR(mean(0, 0), sum / static_cast<double>(distinct), 1e-4) << context;
    EXPECT_EQ(mean(0, 0), mean(kSide - 1, kSide - 1));
  }
  // An hour of growth would show; the allocator's own ups and downs are a few MB.
  EXPECT_LT(worst_growth, 10) << "MB; most: " << most;
  EXPECT_LT(most, 500) << "MB";
  fmt::print("{} series, {} frames, {} consumers; at most {:.0f} MB, growth {:.1f} MB\n", series, frames, consumers,
             most, worst_growth);
}

}  // namespace
}  // namespace farfield::tests
