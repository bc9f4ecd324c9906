// Endpoints whose disk is full or read-only, whose tables cannot be written, whose service or endpoint closes each
// line; and what they clear away meanwhile.

#include <fmt/format.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "farfield/codec/checksum.hpp"
#include "farfield/codec/zstd.hpp"
#include "farfield/core/error.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/endpoint/block_keeper.hpp"
#include "farfield/services/compute/endpoint/testing_endpoint.hpp"
#include "farfield/services/compute/worker/confine.hpp"
#include "farfield/services/compute/worker/worker.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using testing::call;
using testing::content;
using testing::eventually;
using Json = nlohmann::json;

using EndpointTrouble = testing::EndpointFixture;

TEST_F(EndpointTrouble, WithoutAFolderForTasksTheyWaitAndSayWhy) {
  start();
  run("t1", "echo");
  EXPECT_EQ(end("t1").ending, Ending::done);
  EXPECT_TRUE(eventually([&] { return service_.capacity().workers == 2; }));
  // As a disk that is full, or was mounted read-only: no folder can be made there.
  const fs::path tasks = fs::path(options_.folder) / "tasks", away = fs::path(options_.folder) / "tasks.away";
  fs::rename(tasks, away);
  std::ofstream(tasks) << "not a folder";
  release("go");
  const std::string until_go = R"({"until":"go"})";  // of "resume", which needs a folder
  run("t2", "resume", until_go);
  const TaskEnd e = end("t2");
  EXPECT_EQ(e.ending, Ending::interrupted) << "not its fault: no attempt is counted";
  EXPECT_NE(e.problem.find("cannot make"), std::string::npos) << e.problem;
  EXPECT_NE(e.problem.find("Not a directory"), std::string::npos) << e.problem;
  // The other worker finds out, too, and then none takes anything any more.
  Assignment again = call("t2", "resume", until_go);
  for (again.key.attempt = 2; service_.capacity().workers > 0; ++again.key.attempt) {
    service_.submit(again);
    eventually([&] { return service_.capacity().workers == 0 || service_.has_ended(again.key); });
  }
  again.key.attempt = 100;
  service_.submit(again);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(service_.has_ended(again.key));
  fs::remove(tasks);
  fs::rename(away, tasks);
  EXPECT_EQ(service_.end(again.key).ending, Ending::done) << "goes on by itself";
}

TEST_F(EndpointTrouble, WhatIsOldGoesWhatIsHeldStays) {
  if (confinement() == ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  options_.sweep_s = 0.2;
  start();
  const fs::path tar = folder_.path() / "code.tar", script = folder_.path() / "wait";
  std::ofstream(script) << "#!/bin/sh\nuntil test -e \"$1\"; do sleep 0.02; done\n";
  fs::permissions(script, fs::perms::owner_all);
  run_command({"tar", "-cf", tar.string(), "-C", folder_.path().string(), "wait"}, {}, std::chrono::seconds(60));
  const std::string bytes = content(tar);
  const auto packed = codec::zstd_encode(std::as_bytes(std::span(bytes)));
  codec::Sha256 sum;
  sum.update(packed);
  const std::string sha256 = sum.hex();
  service_.add_archive(sha256, std::string(reinterpret_cast<const char*>(packed.data()), packed.size()));
  Assignment code = call("c", "wait", Json{{"until", (root() / "go").string()}}.dump());
  code.function.kind = FunctionKind::code;
  code.function.archive = sha256;
  code.function.command = {"wait"};
  service_.submit(code);
  run("s", "resume", R"({"until":"go"})");
  service_.begin({"c", 1});
  service_.begin({"s", 1});
  const fs::path own = options_.folder, old = own / "tasks/2026-1-Garcia-1/old", held = own / "tasks/2026-1-Garcia-1/s",
                 archive = own / "archives" / (sha256 + ".tar.zst"),
                 unused = own / "archives" / (std::string(64, 'a') + ".tar.zst");
  fs::create_directories(old);
  std::ofstream(unused) << "x";
  for (const fs::path& path : {old, unused, held, archive})
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_TRUE(eventually([&] { return !fs::exists(old) && !fs::exists(unused); }));
  EXPECT_TRUE(fs::exists(held)) << "a task runs there";
  EXPECT_TRUE(fs::exists(archive)) << "a task runs it";
  EXPECT_TRUE(fs::exists(own / "blocks" / service_.begin({"s", 1}).block / "block.json"));
  release("go");
  EXPECT_EQ(Json::parse(end("c").output)["exit"], 0);
  EXPECT_EQ(end("s").ending, Ending::done);
  fs::last_write_time(archive, fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_TRUE(eventually([&] { return !fs::exists(archive); }));
}

TEST(BlockKeeperTrouble, ARefusalIsToldThoughItsRowCannotBeRemoved) {
  const core::testing::TemporaryFolder folder;
  EndpointTables tables(folder.path().string());
  const auto database = store::Database::open("sqlite:" + (folder / "endpoint.db").string());
  struct Refusing final : BlockProvider {
    explicit Refusing(store::Database& d) : database(d) {}
    std::string submit(const BlockRequest&) override {
      database.write(
          [](store::Transaction& t) { t.execute("ALTER TABLE endpoint_block RENAME TO endpoint_block_away"); });
      throw Error(ErrorCode::invalid_argument, "no such partition");
    }
    std::string find(const std::string&, const std::string&) override { return {}; }
    std::map<std::string, BlockStatus> query(std::span<const std::string>) override { return {}; }
    void cancel(const std::string&) override {}
    store::Database& database;
  };
  std::atomic<int> refused = 0;
  BlockKeeper::Options options;
  options.folder = (folder / "blocks").string();
  options.prefix = "b";
  options.poll_s = 0.05;
  BlockKeeper::Events events;
  events.refused = [&](const std::string&, const std::string&) { ++refused; };
  BlockKeeper keeper(std::make_unique<Refusing>(*database), tables, options, events);
  const std::string name = keeper.open(false);
  EXPECT_TRUE(eventually([&] { return refused == 1; }));
  EXPECT_EQ(keeper.secret(name), "");
  database->write([](store::Transaction& t) { t.execute("ALTER TABLE endpoint_block_away RENAME TO endpoint_block"); });
  EXPECT_TRUE(eventually([&] { return tables.blocks().empty(); })) << "another process would take it for a block";
  EXPECT_EQ(refused, 1);
}

TEST(WorkerTrouble, AnEndpointThatClosesEachLineIsNotAskedWithoutAPause) {
  const core::testing::TemporaryFolder folder;
  std::atomic<int> lines = 0;
  net::Router router;
  router.websocket("/blocks/b", [&](const net::Request&) {
    ++lines;
    net::WebSocketSession session;
    session.open = [](const std::shared_ptr<net::WebSocket>& socket) { socket->close(1008, "not a worker"); };
    return session;
  });
  const net::Server server({}, std::move(router));
  BlockSettings settings;
  settings.block = "b";
  settings.link = "ws" + server.origin().substr(4) + "/blocks/b";
  settings.secret = "s";
  settings.tasks = (folder / "tasks").string();
  settings.alone_s = 1;
  settings.confine = false;
  write_settings(folder.path().string(), settings);
  struct None final : TaskRunner {
    std::vector<FunctionRecord> verbs() const override { return {}; }
    WorkEnd run(const Work&, Reporter&, const std::stop_token&, const std::stop_token&) override { return {}; }
  } none;
  // Until it has been alone for a second: an endpoint that closes each line is none.
  run_worker({folder.path().string(), "n", 0, 0}, none, {});
  EXPECT_GE(lines, 2);
  EXPECT_LE(lines, 12) << "0.05 s, 0.1 s, 0.2 s ... between them";
}

}  // namespace
}  // namespace farfield::services::compute
