// Trees through an agent, connections that are cut, and people who may not. What every provider must do is in
// provider_conformance.test.cpp.

#include "farfield/services/transfer/agent/agent.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/agent/wire.hpp"
#include "farfield/services/transfer/job.hpp"
#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/testing.hpp"
#include "farfield/services/transfer/testing_provider.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

constexpr Index kChunk = 4096;
const std::string kExperiment = "2026-1-Garcia-1234";

class AgentTest : public ::testing::Test {
protected:
  AgentTest() {
    fs::create_directories(folder_ / "here");
    fs::create_directories(folder_ / "there");
    here_ = local_provider(folder_ / "here", {false});
    start();
  }
  void start(std::uint16_t port = 0) {
    there_ = std::make_shared<testing::HookedProvider>(local_provider(folder_ / "there", {false, 2 * kChunk}));
    net::Router router;
    add_agent_routes(
        router, {{kExperiment, there_}, {"other", there_}},
        [this](const net::Request& request, Right right, const std::string& experiment, const std::string& path) {
          const std::lock_guard lock(mutex_);
          asked_.push_back({request.method, right, experiment, path});
          const std::string* token = request.headers.find("Authorization");
          if (token == nullptr) throw core::Error(ErrorCode::unauthenticated, "no token");
          if (experiment != kExperiment || (right == Right::write && *token != "Bearer member"))
            throw core::Error(ErrorCode::forbidden, "not yours");
        });
    net::ServerOptions options;
    options.port = port;
    server_ = std::make_unique<net::Server>(options, std::move(router));
  }
  std::unique_ptr<Provider> remote(const std::string& token = "member",
                                   const std::string& experiment = kExperiment) const {
    std::function<std::string()> give;
    if (!token.empty()) give = [token] { return token; };
    return agent_provider({server_->origin(), experiment, give, {}});
  }
  JobResult run(Provider& from, Provider& to, JobOptions options = {}) {
    JobObserver nobody;
    options.copy.chunk_bytes = kChunk;
    return run_job(from, to, {{"scan", "scan", true}}, options, nobody, clock_, {});
  }
  std::string write_here(const std::string& path, std::size_t bytes) const {
    std::string content = testing::random_text(bytes, bytes);
    testing::write_plain(folder_ / "here" / path, content);
    return content;
  }

  struct Asked {
    std::string method;
    Right right;
    std::string experiment, path;
  };
  testing::TemporaryFolder folder_;
  core::SteadyClock clock_;
  std::mutex mutex_;
  std::vector<Asked> asked_;
  std::unique_ptr<Provider> here_;
  std::shared_ptr<testing::HookedProvider> there_;
  std::unique_ptr<net::Server> server_;
};

TEST_F(AgentTest, ATreeThereAndBack) {
  for (int i = 0; i < 60; ++i)
    write_here("scan/sub" + std::to_string(i % 3) + "/f" + std::to_string(i), 500U * static_cast<std::size_t>(i));
  const auto agent = remote();
  JobOptions options;
  options.sync = Sync::checksum;
  const auto result = run(*here_, *agent, options);
  EXPECT_TRUE(result.ok()) << (result.failed.empty() ? "" : result.failed[0].error->what());
  EXPECT_EQ(result.progress.files_copied, 60);
  fs::create_directories(folder_ / "back");
  const auto back = local_provider(folder_ / "back", {false});
  EXPECT_EQ(run(*agent, *back).progress.files_copied, 60);
  for (int i = 0; i < 60; ++i) {
    const std::string path = "scan/sub" + std::to_string(i % 3) + "/f" + std::to_string(i);
    EXPECT_EQ(testing::read_plain(folder_ / "back" / path), testing::read_plain(folder_ / "here" / path));
  }
  EXPECT_EQ(run(*here_, *agent, options).progress.files_skipped, 60);
}

TEST_F(AgentTest, BetweenTwoExperimentsOfAgents) {
  const std::string content = write_here("scan/f", 5 * kChunk);
  const auto agent = remote();
  EXPECT_TRUE(run(*here_, *agent).ok());
  JobObserver nobody;
  EXPECT_TRUE(run_job(*agent, *agent, {{"scan/f", "copy/f", false}}, {}, nobody, clock_, {}).ok());
  EXPECT_EQ(testing::read_plain(folder_ / "there/copy/f"), content);
}

TEST_F(AgentTest, AnAgentThatIsGoneAndBackGoesOnAtTheChunk) {
  const std::string content = write_here("f", 40 * kChunk);
  const std::uint16_t port = server_->port();
  CopyOptions options;
  options.chunk_bytes = kChunk;
  std::atomic<int> puts{0};
  there_->hooks.before_put = [&](Index, auto&, auto&) {
    if (++puts > 20) throw core::Error(ErrorCode::unavailable, "the machine goes down");
  };
  const auto agent = remote();
  EXPECT_EQ(caught([&] { copy_file(*here_, "f", *agent, "f", options, {}); }).code, ErrorCode::unavailable);
  server_->stop(0);
  EXPECT_EQ(caught([&] { (void)agent->stat("f"); }).code, ErrorCode::unavailable);
  server_.reset();
  start(port);
  EXPECT_EQ(copy_file(*here_, "f", *agent, "f", options, {}).bytes_moved, 20 * kChunk);
  EXPECT_EQ(testing::read_plain(folder_ / "there/f"), content);
}

TEST_F(AgentTest, ASessionThatWasCutOffGivesWay) {
  const std::string content = write_here("f", 8 * kChunk);
  const auto agent = remote();
  const ReceiveOptions options{{8 * kChunk, 0, ""}, kChunk, false, false};
  const auto cut_off = agent->receive("f", options);
  EXPECT_EQ(caught([&] { agent->receive("f", options); }).code, ErrorCode::conflict);
  JobOptions job;
  job.attempts = 5;
  job.copy.chunk_bytes = kChunk;
  JobObserver nobody;
  EXPECT_TRUE(run_job(*here_, *agent, {{"f", "f", false}}, job, nobody, clock_, {}).ok());
  EXPECT_EQ(testing::read_plain(folder_ / "there/f"), content);
  EXPECT_EQ(caught([&] { (void)cut_off->verify(0); }).code, ErrorCode::not_found);
}

TEST_F(AgentTest, WhatTheNetworkDamagesIsRepaired) {
  const std::string content = write_here("f", 6 * kChunk);
  const auto agent = std::make_unique<testing::HookedProvider>(remote());
  std::atomic<int> damaged{0};
  agent->hooks.before_put = [&](Index, std::vector<std::byte>& bytes, auto&) {
    if (damaged++ < 3) bytes[7] ^= std::byte{1};
  };
  CopyOptions options;
  options.chunk_bytes = kChunk;
  EXPECT_EQ(copy_file(*here_, "f", *agent, "f", options, {}).chunks_repaired, 3);
  EXPECT_EQ(testing::read_plain(folder_ / "there/f"), content);
}

TEST_F(AgentTest, EveryRequestIsAuthorised) {
  write_here("f", 3 * kChunk);
  testing::write_plain(folder_ / "there/f", "content");
  CopyOptions copy;
  copy.chunk_bytes = kChunk;
  const auto all = [&](Provider& agent, ErrorCode read, ErrorCode write) {
    if (read != ErrorCode::internal) {
      EXPECT_EQ(caught([&] { (void)agent.stat("f"); }).code, read);
      EXPECT_EQ(caught([&] { agent.list(""); }).code, read);
      EXPECT_EQ(caught([&] { agent.open("f"); }).code, read);
      EXPECT_EQ(caught([&] { agent.digests("f", false); }).code, read);
    }
    EXPECT_EQ(caught([&] { agent.make_folder("new"); }).code, write);
    EXPECT_EQ(caught([&] { agent.remove("f"); }).code, write);
    EXPECT_EQ(caught([&] { copy_file(*here_, "f", agent, "g", copy, {}); }).code, write);
    testing::write_plain(folder_ / "here/small", "x");
    EXPECT_EQ(caught([&] { copy_file(*here_, "small", agent, "g", copy, {}); }).code, write);
  };
  all(*remote(""), ErrorCode::unauthenticated, ErrorCode::unauthenticated);
  all(*remote("member", "other"), ErrorCode::forbidden, ErrorCode::forbidden);
  all(*remote("viewer"), ErrorCode::internal, ErrorCode::forbidden);
  EXPECT_EQ(remote("viewer")->stat("f")->version.size_bytes, 7);
  EXPECT_EQ(testing::read_plain(folder_ / "there/f"), "content");
  EXPECT_FALSE(fs::exists(folder_ / "there/new"));
  EXPECT_FALSE(fs::exists(folder_ / "there/g"));
  for (const auto& asked : asked_) EXPECT_EQ(asked.right, asked.method == "GET" ? Right::read : Right::write);
}

TEST_F(AgentTest, ASessionOfOneExperimentIsUnknownToAnother) {
  net::Client client(server_->origin());
  const auto send = [&](const std::string& method, const std::string& target, const std::string& body) {
    net::ClientRequest request;
    request.method = method;
    request.target = "/transfer/v1/" + target;
    request.headers.set("Authorization", "Bearer member");
    request.headers.set(wire::kChecksumHeader, "0");
    request.body = body;
    return client.send(request);
  };
  const auto begun = send(
      "POST", kExperiment + "/receive?path=f",
      R"({"version":{"size_bytes":9000,"mtime_ns":0,"tag":""},"chunk_bytes":4096,"growing":false,"sha256":false})");
  ASSERT_EQ(begun.status, 200) << begun.body;
  const std::string session = wire::text(wire::parse(begun.body), "session");
  EXPECT_EQ(send("PUT", "other/receive/" + session + "/chunk/0", "x").status, 404);
  EXPECT_EQ(send("POST", "other/receive/" + session + "/close", "{}").status, 404);
  // What no client of ours sends.
  const std::string own = kExperiment + "/receive/" + session;
  EXPECT_EQ(send("PUT", own + "/chunk/-1", "x").status, 400);
  EXPECT_EQ(send("PUT", own + "/chunk/9223372036854775807", "x").status, 400);
  EXPECT_EQ(send("PUT", own + "/chunk/0", std::string(4097, 'x')).status, 400);
  EXPECT_EQ(send("POST", own + "/keep", R"({"number":-1,"bytes":1})").status, 422);
  EXPECT_EQ(send("POST", own + "/verify", R"({"size_bytes":"all"})").status, 422);
  EXPECT_EQ(send("POST", own + "/verify", "[").status, 422);
  EXPECT_EQ(send("POST", own + "/commit", "{}").status, 422);
  EXPECT_EQ(send("POST", own + "/commit", R"({"version":{"size_bytes":1,"mtime_ns":0,"tag":""},"mode":4095})").status,
            422);
  EXPECT_EQ(send("POST", kExperiment + "/receive?path=f", R"({"chunk_bytes":0})").status, 422);
  EXPECT_EQ(send("POST", kExperiment + "/receive", "{}").status, 400);
  EXPECT_EQ(send("GET", kExperiment + "/stat?path=..%2fsecret", "").status, 400);
  EXPECT_EQ(send("GET", kExperiment + "/stat?path=%2fetc%2fpasswd", "").status, 400);
  EXPECT_EQ(send("GET", kExperiment + "/stat?path=a%00b", "").status, 400);
  EXPECT_EQ(send("DELETE", own, "").status, 200);
  EXPECT_EQ(send("DELETE", own, "").status, 404);
}

/// An agent that is not one: whatever it answers is an error, not a crash.
TEST(AgentClient, TrustsNoAnswer) {
  std::string answer;
  net::Router router;
  for (const auto* method : {"GET", "POST", "PUT", "DELETE"})
    router.add(method, "/transfer/v1/{rest...}",
               [&](const net::Request&) { return net::Response::of(200, "application/json", answer); });
  const net::Server server({}, std::move(router));
  const auto agent = agent_provider({server.origin(), "e", {}, {}});
  for (const auto* text :
       {"", "nonsense", "[]", "{}", "null", R"({"entry":5})", R"({"entry":{"name":"x"}})", R"({"entries":{}})",
        R"({"entries":[1],"refused":[]})", R"({"size_bytes":-1})", R"({"size_bytes":1e300,"crc32c":0,"sha256":""})",
        R"({"session":5})", R"({"session":"s","held":[]})",
        R"({"session":"s","held":{"version":{"size_bytes":1,"mtime_ns":0,"tag":""},"chunks":[{}]}})"}) {
    answer = text;
    if (std::string(text) != "{}" && std::string(text) != R"({"size_bytes":-1})") {
      EXPECT_EQ(caught([&] { agent->list("a"); }).code, ErrorCode::corrupt_data) << text;
    }
    EXPECT_EQ(caught([&] { agent->open("a"); }).code, ErrorCode::corrupt_data) << text;
    EXPECT_EQ(caught([&] { agent->digests("a", false); }).code, ErrorCode::corrupt_data) << text;
    EXPECT_EQ(caught([&] { agent->receive("a", {{kChunk * 2, 0, ""}, kChunk, false, false}); }).code,
              ErrorCode::corrupt_data)
        << text;
  }
  answer = R"({"session":"s","held":{"version":{"size_bytes":1,"mtime_ns":0,"tag":""},"chunks":[]}})";
  const auto receiver = agent->receive("a", {{kChunk * 2, 0, ""}, kChunk, false, false});
  for (const auto* bad : {"[2]", "[-1]", "[9223372036854775807]", "[18446744073709551615]", "[0.5]", "[0,1,0]", "{}"}) {
    answer = fmt::format(R"({{"bad":{}}})", bad);
    EXPECT_EQ(caught([&] { receiver->verify(kChunk * 2); }).code, ErrorCode::corrupt_data) << bad;
  }
  answer = R"({"bad":[1]})";
  EXPECT_EQ(receiver->verify(kChunk * 2), std::vector<Index>{1});
  answer = R"({"entry":{"name":"a","kind":"file","version":{"size_bytes":10,"mtime_ns":0,"tag":""},"mode":420}})";
  const auto reader = agent->open("a");
  std::array<std::byte, 4> small{};
  EXPECT_EQ(caught([&] { reader->read(0, small); }).code, ErrorCode::corrupt_data);  // more than was asked for
}

}  // namespace
}  // namespace farfield::services::transfer
