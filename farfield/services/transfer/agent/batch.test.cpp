// Small files that travel together: what the agent takes from the network, and trees with files that fail among those
// that do not.

#include "farfield/services/transfer/agent/batch.hpp"

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/copy_small.hpp"
#include "farfield/services/transfer/job.hpp"
#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/testing.hpp"
#include "farfield/services/transfer/testing_provider.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

const std::string kExperiment = "2026-1-Garcia-1234";

WholeFile whole(const std::string& path, const std::string& content) {
  const auto bytes = std::as_bytes(std::span(content));
  return {path,
          {std::ssize(content), 1'700'000'000'000'000'000, "tag"},
          0640,
          {bytes.begin(), bytes.end()},
          codec::crc32c(bytes)};
}

std::string head(const std::string& path, Index bytes, std::uint32_t crc32c = 0) {
  return fmt::format(R"({{"path":"{}","version":{{"size_bytes":{},"mtime_ns":0,"tag":""}},"mode":420,"crc32c":{}}})",
                     path, bytes, crc32c) +
         "\n";
}

/// The files that a batch tells, read in pieces of so many bytes.
std::map<std::string, std::string> read(const std::string& body, std::size_t piece, const std::string& not_this = "-") {
  std::map<std::string, std::string> files;
  wire::BatchParser parser([&](const wire::FileHead& h) { return h.path != not_this; },
                           [&](const wire::FileHead& h, std::span<const std::byte> bytes) {
                             files[h.path].assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                           });
  for (std::size_t at = 0; at < body.size(); at += piece)
    parser.put(std::as_bytes(std::span(body)).subspan(at, std::min(piece, body.size() - at)));
  parser.end();
  return files;
}

TEST(Batch, IsReadInPiecesOfAnySize) {
  const std::map<std::string, std::string> files{
      {"a", "content"}, {"b/\xc3\xa9 \"\\", ""}, {"c", "{\"path\":\n\n"}, {"d", testing::random_text(5000, 1)}};
  std::vector<WholeFile> sent;
  for (const auto& [path, content] : files) sent.push_back(whole(path, content));
  const std::string body = wire::format_batch(sent);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1000}, body.size()})
    EXPECT_EQ(read(body, piece), files) << piece;
  auto without = files;
  without.erase("c");
  EXPECT_EQ(read(body, 13, "c"), without);
  EXPECT_TRUE(read("", 1).empty());
}

TEST(Batch, WhatIsNoneIsAnError) {
  const auto code = [](const std::string& body) { return caught([&] { read(body, 100); }).code; };
  EXPECT_EQ(read(head("a", 1) + "x", 100).size(), 1U);
  for (const auto& body :
       {std::string("\n"), std::string("{}\n"), std::string("nonsense\n"), std::string("[]\n"), std::string(1, '\0'),
        head("a", -1), head("a", 5) + "four", head("a", 1) + "xy", head("a", kLargestStored + 1),
        std::string(R"({"path":5,"version":{"size_bytes":0,"mtime_ns":0,"tag":""},"mode":420,"crc32c":0})") + "\n",
        std::string(R"({"path":"a","version":{"size_bytes":0,"mtime_ns":0,"tag":""},"mode":4095,"crc32c":0})") + "\n",
        std::string(R"({"path":"a","version":{"size_bytes":1e9,"mtime_ns":0,"tag":""},"mode":1,"crc32c":0})") + "\n",
        std::string(1 << 20, 'x'), head("a", 0).substr(0, 20)})
    EXPECT_EQ(code(body), ErrorCode::corrupt_data) << body.substr(0, 100);
  std::string many;
  for (std::size_t i = 0; i < kMostStored; ++i) many += head("a" + std::to_string(i), 0);
  EXPECT_EQ(read(many, 1000).size(), kMostStored);
  EXPECT_EQ(code(many + head("b", 0)), ErrorCode::corrupt_data);
}

class Together : public ::testing::Test {
protected:
  Together() {
    fs::create_directories(folder_ / "here/scan");
    fs::create_directories(folder_ / "there");
    here_ = std::make_unique<testing::HookedProvider>(local_provider(folder_ / "here", {false}));
    there_ = std::make_shared<testing::HookedProvider>(local_provider(folder_ / "there", {false}));
    start();
    agent_ = agent_provider({server_->origin(), kExperiment, {}, {}});
  }
  void start(std::uint16_t port = 0) {
    net::Router router;
    add_agent_routes(router, {{kExperiment, there_}},
                     [this](const net::Request& request, Right right, const std::string&, const std::string& path) {
                       const std::lock_guard lock(mutex_);
                       ++requests_[request.route];
                       if (right == Right::write) written_.insert(path);
                       if (path.find("not-yours") != std::string::npos)
                         throw core::Error(ErrorCode::forbidden, "not yours");
                     });
    net::ServerOptions options;
    options.port = port;
    server_ = std::make_unique<net::Server>(options, std::move(router));
  }
  std::string write_here(const std::string& path, std::size_t bytes) const {
    std::string content = testing::random_text(bytes, bytes);
    testing::write_plain(folder_ / "here" / path, content);
    return content;
  }
  JobResult run(const JobOptions& options = {}) {
    JobObserver nobody;
    return run_job(*here_, *agent_, {{"scan", "scan", true}}, options, nobody, clock_, {});
  }
  int requests(const std::string& route) {
    const std::lock_guard lock(mutex_);
    int all = 0;
    for (const auto& [name, times] : requests_)
      if (name.ends_with(route)) all += times;
    return all;
  }
  /// Sends the body as it is; the answer of the agent.
  net::ClientResponse send(const std::string& body) const {
    net::Client client(server_->origin());
    return client.send({.method = "PUT", .target = "/transfer/v1/" + kExperiment + "/files", .body = body});
  }
  std::set<std::string> names_there() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "there"))
      if (!entry.is_directory()) names.insert(fs::relative(entry.path(), folder_ / "there"));
    return names;
  }

  testing::TemporaryFolder folder_;
  core::SteadyClock clock_;
  std::mutex mutex_;
  std::map<std::string, int> requests_;
  std::set<std::string> written_;
  std::unique_ptr<testing::HookedProvider> here_;
  std::shared_ptr<testing::HookedProvider> there_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<Provider> agent_;
};

TEST_F(Together, FilesArriveAsTheyWouldAlone) {
  const std::string content = testing::random_text(100'000, 5);
  const auto stored = agent_->store({whole("a", content), whole("b", "")}, true);
  ASSERT_EQ(stored.size(), 2U);
  EXPECT_FALSE(stored[0].error);
  EXPECT_EQ(stored[0].digests, agent_->digests("a", true));
  EXPECT_EQ(stored[1].digests, agent_->digests("b", true));
  EXPECT_EQ(testing::read_plain(folder_ / "there/a"), content);
  const auto entry = agent_->stat("a");
  EXPECT_EQ(entry->version.mtime_ns, 1'700'000'000'000'000'000);
  EXPECT_EQ(entry->mode, 0640U);
  EXPECT_TRUE(agent_->store({}, false).empty());
}

TEST_F(Together, OneThatFailsDoesNotSpoilTheOthers) {
  fs::create_directory(folder_ / "there/folder");
  fs::create_directory_symlink("..", folder_ / "there/up");
  auto damaged = whole("damaged", "content");
  damaged.crc32c ^= 1;
  const auto stored = agent_->store({whole("a", "1"), damaged, whole("not-yours", "2"), whole("folder", "3"),
                                     whole("up/escaped", "4"), whole("no/such/folder", "5"), whole("z", "6")},
                                    false);
  ASSERT_EQ(stored.size(), 7U);
  const auto code = [&](std::size_t i) { return stored[i].error ? stored[i].error->code() : ErrorCode::internal; };
  EXPECT_FALSE(stored[0].error);
  EXPECT_EQ(code(1), ErrorCode::unavailable);
  EXPECT_EQ(code(2), ErrorCode::forbidden);
  EXPECT_TRUE(stored[3].error);
  EXPECT_EQ(code(4), ErrorCode::forbidden);
  EXPECT_EQ(code(5), ErrorCode::not_found);
  EXPECT_FALSE(stored[6].error);
  EXPECT_EQ(names_there(), (std::set<std::string>{"a", "z"}));
  EXPECT_FALSE(fs::exists(folder_ / "escaped"));
}

TEST_F(Together, NamesThatLeadOutAreRefusedEach) {
  std::string body;
  const std::vector<std::string> bad{"../escaped", "/etc/escaped", "a/../../escaped", "a\\u0000b", "a\\nb", "", "a//b"};
  for (const auto& path : bad) body += head(path, 1) + "x";
  body += head("good", 1, codec::crc32c(std::as_bytes(std::span("x", 1)))) + "x";
  const auto response = send(body);
  ASSERT_EQ(response.status, 200) << response.body;
  const auto stored = wire::stored(wire::parse(response.body), bad.size() + 1);
  for (std::size_t i = 0; i < bad.size(); ++i) {
    ASSERT_TRUE(stored[i].error) << bad[i];
    EXPECT_EQ(stored[i].error->code(), ErrorCode::invalid_argument) << bad[i];
  }
  EXPECT_FALSE(stored.back().error);
  EXPECT_EQ(names_there(), std::set<std::string>{"good"});
  // Nor does the other side send them.
  EXPECT_EQ(caught([&] { agent_->store({whole("../x", "")}, false); }).code, ErrorCode::invalid_argument);
  EXPECT_EQ(caught([&] { agent_->store({whole("\xff", "")}, false); }).code, ErrorCode::invalid_argument);
}

TEST_F(Together, HostileRequests) {
  const auto sum = [](std::string_view text) { return codec::crc32c(std::as_bytes(std::span(text))); };
  for (const auto& body : {head("a", 10) + "short", std::string("nonsense\n"), std::string(1 << 20, '{'),
                           head("a", kLargestStored + 1), head("a", 0) + "left over"})
    EXPECT_EQ(send(body).status, 422) << body.substr(0, 100);
  // A name that comes twice is stored twice, in their order, as by two requests.
  const auto twice = send(head("twice", 1, sum("1")) + "1" + head("twice", 2, sum("22")) + "22");
  EXPECT_EQ(twice.status, 200) << twice.body;
  EXPECT_EQ(testing::read_plain(folder_ / "there/twice"), "22");
  EXPECT_EQ(send("").status, 200);
}

TEST_F(Together, AnswersAreNotTrusted) {
  const auto code = [](const char* text) { return caught([&] { wire::stored(wire::parse(text), 1); }).code; };
  for (const auto* text : {"{}", R"({"files":{}})", R"({"files":[]})", R"({"files":[{},{}]})", R"({"files":[{}]})",
                           R"({"files":[5]})", R"({"files":[{"digests":{"size_bytes":-1}}]})"})
    EXPECT_EQ(code(text), ErrorCode::corrupt_data) << text;
  EXPECT_TRUE(wire::stored(wire::parse(R"({"files":[{"error":{"code":"io","message":"x"}}]})"), 1)[0].error);
  EXPECT_TRUE(wire::stored(wire::parse(R"({"files":[{"error":5}]})"), 1)[0].error);
}

TEST_F(Together, ATreeWithFilesThatFail) {
  std::map<std::string, std::string> contents;
  for (int i = 0; i < 300; ++i) {
    const std::string path = fmt::format("scan/f{:03}", i);
    contents[path] = write_here(path, static_cast<std::size_t>(i) * 37);
  }
  write_here("scan/not-yours", 10);
  contents["scan/large"] = write_here("scan/large", (1 << 20) + 1);
  fs::create_directories(folder_ / "there/scan/f007");  // cannot be replaced by a file
  contents.erase("scan/f007");
  JobOptions options;
  options.copy.sha256 = true;
  const auto result = run(options);
  EXPECT_FALSE(result.error) << result.error->what();
  EXPECT_EQ(result.progress.files_copied, 300);
  EXPECT_EQ(result.progress.files_failed, 2);
  for (const Unit& unit : result.failed) EXPECT_TRUE(unit.source == "scan/not-yours" || unit.source == "scan/f007");
  for (const auto& [path, content] : contents)
    EXPECT_EQ(testing::read_plain(folder_ / "there" / path), content) << path;
  EXPECT_EQ(names_there().size(), 300U);
  EXPECT_TRUE(written_.contains("scan/f299"));  // asked for each path
}

TEST_F(Together, ASourceThatFailsOrChanges) {
  for (int i = 0; i < 20; ++i) write_here(fmt::format("scan/f{}", i), 100);
  std::atomic<int> opened{0};
  here_->hooks.before_open = [&](const std::string& path) {
    if (path == "scan/f3") throw core::Error(ErrorCode::io, "a bad sector");
    if (path == "scan/f4" && opened++ == 0)
      testing::write_plain(folder_ / "here/scan/f4", "longer than " + std::string(100, '!'));
  };
  std::vector<SmallFile> files;
  for (int i = 0; i < 20; ++i) files.push_back({fmt::format("scan/f{}", i), fmt::format("g{}", i), 100});
  std::atomic<Index> moved{0};
  const auto results = copy_small(*here_, files, *agent_, {}, {nullptr, &moved, {}});
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(results[i].has_value(), i != 3 && i != 4) << i;
  EXPECT_EQ(moved, 1800);
  EXPECT_EQ(results[0]->bytes_moved, 100);
  EXPECT_EQ(results[0]->source, here_->stat("scan/f0")->version);
  EXPECT_EQ(names_there().size(), 18U);
}

/// Each further question might wait for as long as connections may.
TEST_F(Together, ASourceThatIsAwayIsNotAskedForEachFile) {
  int opened = 0;
  here_->hooks.before_open = [&](const std::string&) {
    if (++opened > 2) throw core::Error(ErrorCode::unavailable, "nobody there");
  };
  std::vector<SmallFile> files;
  for (int i = 0; i < 20; ++i) {
    write_here(fmt::format("f{}", i), 100);
    files.push_back({fmt::format("f{}", i), fmt::format("g{}", i), 100});
  }
  const auto results = copy_small(*here_, files, *agent_, {}, {});
  EXPECT_EQ(opened, 3);
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(results[i].has_value(), i < 2) << i;
}

TEST_F(Together, AStopIsHeard) {
  write_here("scan/f", 100);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(caught([&] {
              copy_small(*here_, {{"scan/f", "f", 100}}, *agent_, {}, {nullptr, nullptr, stop.get_token()});
            }).code,
            ErrorCode::cancelled);
}

/// The agent goes away in the middle of a request, some of whose files are there; a later job stores all.
TEST_F(Together, ACutInTheMiddle) {
  std::map<std::string, std::string> contents;
  for (int i = 0; i < 200; ++i) {
    const std::string path = fmt::format("scan/f{:03}", i);
    contents[path] = write_here(path, 20'000);
  }
  const std::uint16_t port = server_->port();
  std::atomic<int> commits{0};
  std::atomic<bool> cut{false};
  there_->hooks.before_commit = [&] {
    if (++commits > 30) {
      cut = true;
      throw core::Error(ErrorCode::unavailable, "the machine goes down");
    }
  };
  JobOptions options;
  options.attempts = 1;
  const auto first = run(options);
  EXPECT_TRUE(cut);
  ASSERT_TRUE(first.error);
  EXPECT_EQ(first.error->code(), ErrorCode::unavailable);
  EXPECT_EQ(std::ssize(names_there()), 30);  // nothing is there in part
  server_->stop(0);
  EXPECT_EQ(run(options).error->code(), ErrorCode::unavailable);
  there_->hooks.before_commit = {};
  start(port);
  options.sync = Sync::mtime;
  const auto second = run(options);
  EXPECT_TRUE(second.ok());
  EXPECT_EQ(second.progress.files_skipped, 30);
  EXPECT_EQ(second.progress.files_copied, 170);
  for (const auto& [path, content] : contents)
    EXPECT_EQ(testing::read_plain(folder_ / "there" / path), content) << path;
}

/// The connection breaks while files are on their way: which are there is not known, and all are sent again.
TEST_F(Together, ALostConnection) {
  for (int i = 0; i < 100; ++i) write_here(fmt::format("scan/f{:03}", i), 20'000);
  const std::uint16_t port = server_->port();
  std::atomic<int> commits{0};
  std::jthread away;
  there_->hooks.before_commit = [&] {
    if (++commits == 20)
      away = std::jthread([&, old = std::shared_ptr<net::Server>(std::move(server_))] {
        old->stop(0);
        start(port);
      });
  };
  JobOptions options;
  options.attempts = 6;
  const auto result = run(options);
  EXPECT_TRUE(result.ok()) << (result.error ? result.error->what() : "");
  EXPECT_EQ(result.progress.files_copied, 100);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(testing::read_plain(folder_ / "there" / fmt::format("scan/f{:03}", i)),
              testing::read_plain(folder_ / "here" / fmt::format("scan/f{:03}", i)));
  if (away.joinable()) away.join();
}

TEST_F(Together, AnAgentThatDoesNotKnowItTakesThemOneByOne) {
  for (int i = 0; i < 50; ++i) write_here(fmt::format("scan/f{}", i), 100);
  net::Router old;
  old.put("/transfer/v1/{experiment}/content", [](const net::Request& request) {
    EXPECT_NE(request.query("path"), nullptr);
    return net::Response::of(200, "application/json", R"({"size_bytes":100,"crc32c":0,"sha256":""})");
  });
  old.post("/transfer/v1/{experiment}/folder",
           [](const net::Request&) { return net::Response::of(200, "application/json", "{}"); });
  const net::Server server({}, std::move(old));
  const auto agent = agent_provider({server.origin(), kExperiment, {}, {}});
  EXPECT_TRUE(agent->stores_many());
  JobObserver nobody;
  const auto result = run_job(*here_, *agent, {{"scan", "scan", true}}, {}, nobody, clock_, {});
  EXPECT_FALSE(agent->stores_many());
  EXPECT_EQ(result.progress.files_copied, 50);
}

TEST_F(Together, ManyFilesAreFewRequests) {
  for (int i = 0; i < 400; ++i) write_here(fmt::format("scan/f{}", i), 100);
  JobOptions options;
  options.concurrency = 1;
  EXPECT_TRUE(run(options).ok());
  EXPECT_EQ(requests("/files") + requests("/content"), 400);  // each path is asked about
  EXPECT_GT(requests("/files"), 0);
}

}  // namespace
}  // namespace farfield::services::transfer
