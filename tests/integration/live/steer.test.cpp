// farfield live --quality | farfield steer: decisions reach a webhook and a socket, once, with their reason.

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/net/server.hpp"
#include "farfield/net/zeromq.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

using nlohmann::json;
constexpr const char* kScan = "examples/data/siemens-star/siemens-star-small.npz.bz2";

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(json::parse(line, nullptr, false));
  return out;
}
std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Steer, ALiveScanIsActedOnOnceWithItsReason) {
  const core::testing::TemporaryFolder folder;
  std::mutex mutex;
  std::vector<json> hooked;
  net::Router router;
  router.post("/steer", [&](const net::Request& request) {
    const std::lock_guard lock(mutex);
    hooked.push_back(json::parse(request.body, nullptr, false));
    net::Response done;
    done.status = 204;
    return done;
  });
  const net::Server server(net::ServerOptions{}, std::move(router));
  const auto path = [&](const char* name) { return (folder / name).string(); };
  net::ZmqSocket beamline(net::ZmqKind::pull, "ipc://" + path("beamline"), {.bind = true});
  std::ofstream(folder / "rules.toml") << "to = [\"http://127.0.0.1:" << server.port() << "/steer\", \"ipc://"
                                       << path("beamline") << "\"]\n"
                                       << R"(
[[rule]]
name = "looked at often"
when = "visits_while_scanning > 0.1 and frames.processed >= 20"
action = "stop"
[[rule]]
name = "never"
when = "frames.received > 1000 or no_such_value < 1"
action = "alarm"
[[rule]]
name = "over"
when = "last and final_cost < 10"
action = "next sample"
to = "http://127.0.0.1:1/nobody"
)";
  // The one who listens is there before the first record is sent.
  Finished steered;
  std::atomic<bool> listening{false};
  std::jthread steering([&] {
    steered = farfield({"steer", path("rules.toml"), "--source", "@ipc://" + path("quality"), "--scans", "1", "--json",
                        "--log", path("log.jsonl")},
                       {.on_output = [&](Running&, const std::string&, const std::string& err) {
                         if (err.find("listening") != std::string::npos) listening = true;
                       }});
    listening = true;
  });
  while (!listening) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::jthread detector([&] {
    EXPECT_EQ(
        farfield({"replay", kScan, "--to", "ipc://" + path("images"), "--rate", "100", "--frames", "150"}).exit_code,
        0);
  });
  const auto live = farfield({"live", "ptychography", "--source", "@ipc://" + path("images"), "--like", kScan, "--out",
                              path("out"), "--preview-every", "0.1", "--refine-after-scan", "1", "--quality",
                              "ipc://" + path("quality"), "--threads", "1"});
  EXPECT_EQ(live.exit_code, 0) << live.err;
  detector.join();
  steering.join();
  EXPECT_EQ(steered.exit_code, 0) << steered.err;

  ASSERT_EQ(hooked.size(), 1U) << steered.out;
  EXPECT_EQ(hooked[0].at("rule"), "looked at often");
  EXPECT_EQ(hooked[0].at("action"), "stop");
  EXPECT_NE(hooked[0].at("reason").get<std::string>().find("frames.processed = "), std::string::npos);
  EXPECT_GE(hooked[0].at("values").at("frames.processed"), 20);
  net::ZmqMessage message;
  ASSERT_EQ(beamline.receive(message, std::chrono::seconds(10)), net::ZmqOutcome::done);
  const auto bytes = message.parts().at(0);
  EXPECT_EQ(json::parse(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())), hooked[0]);
  EXPECT_EQ(beamline.receive(message, std::chrono::milliseconds(0)), net::ZmqOutcome::timeout);

  // Decisions stand in the log before what became of them; one that nobody took is said to be so.
  const auto log = lines_of(read(folder / "log.jsonl"));
  ASSERT_EQ(log.size(), 5U) << steered.out;
  EXPECT_EQ(log[0].at("message_type"), "decision");
  EXPECT_TRUE(log[1].at("delivered").get<bool>());
  EXPECT_TRUE(log[2].at("delivered").get<bool>());
  EXPECT_EQ(log[3].at("rule"), "over");
  EXPECT_NE(log[3].at("reason").get<std::string>().find("the scan is over"), std::string::npos);
  EXPECT_FALSE(log[4].at("delivered").get<bool>());
  EXPECT_FALSE(log[4].at("problem").get<std::string>().empty());
  EXPECT_EQ(lines_of(steered.out), log);

  // What was recorded beside the result leads to the same decisions, and is in the account.
  const auto again =
      farfield({"steer", path("rules.toml"), "--source", path("out/quality.jsonl"), "--dry-run", "--json"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  const auto decided = lines_of(again.out);
  ASSERT_EQ(decided.size(), 2U);
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_EQ(decided[i].at("rule"), log[3 * i].at("rule"));
    EXPECT_EQ(decided[i].at("record"), log[3 * i].at("record"));
    EXPECT_EQ(decided[i].at("reason"), log[3 * i].at("reason"));
    EXPECT_TRUE(decided[i].at("dry_run").get<bool>());
  }
  EXPECT_EQ(hooked.size(), 1U) << "a dry run sends nothing";
  const auto account = json::parse(read(folder / "out/frames.json"));
  EXPECT_EQ(account.at("processed"), 150);
  EXPECT_EQ(account.at("quality").at("patterns"), 150);
}

TEST(Steer, BadRulesAndSourcesAreSaidAtOnce) {
  const core::testing::TemporaryFolder folder;
  const auto rules = (folder / "rules.toml").string();
  std::ofstream(rules) << "[[rule]]\nname = \"a\"\nwhen = \"x is 3\"\naction = \"stop\"\n";
  const auto bad = farfield({"steer", rules});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_NE(bad.err.find("rules.toml, line 3"), std::string::npos) << bad.err;
  std::ofstream(rules) << "[[rule]]\nname = \"a\"\nwhen = \"x > 3\"\naction = \"stop\"\n";
  EXPECT_NE(farfield({"steer", rules, "--source", (folder / "nothing").string()}).exit_code, 0);
  EXPECT_EQ(farfield({"steer", rules, "--source", "tcp://127.0.0.1:1", "--dry-run"}).exit_code, 2);
  EXPECT_EQ(farfield({"steer", (folder / "none.toml").string()}).exit_code, 10) << "not found";
}

}  // namespace
}  // namespace farfield::testing_program
