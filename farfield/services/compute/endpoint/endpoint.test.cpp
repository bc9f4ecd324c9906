// Endpoints with real blocks, workers and kills; the service is none.

#include "farfield/services/compute/endpoint/endpoint.hpp"

#include <signal.h>

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/blocks/block_script.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/endpoint/testing_endpoint.hpp"
#include "farfield/services/compute/worker/confine.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using testing::call;
using testing::content;
using testing::eventually;
using Json = nlohmann::json;

using EndpointTest = testing::EndpointFixture;

TEST_F(EndpointTest, RunsTasksAndTellsTheirTimes) {
  start();
  run("t1", "echo", R"({"a":[1,2.5,"ü"]})");
  const TaskEnd e = end("t1");
  EXPECT_EQ(e.ending, Ending::done) << e.problem;
  EXPECT_EQ(Json::parse(e.output), Json::parse(R"({"a":[1,2.5,"ü"]})"));
  EXPECT_GT(e.times.assigned_s, 0);
  EXPECT_GE(e.times.started_s, e.times.assigned_s);
  EXPECT_GE(e.times.ended_s, e.times.started_s);
  EXPECT_FALSE(e.block.empty());
  EXPECT_FALSE(e.node.empty());
  run("t2", "fail", R"({"text":"no such pixel"})");
  EXPECT_EQ(end("t2").ending, Ending::failed);
  EXPECT_NE(end("t2").problem.find("no such pixel"), std::string::npos);
  run("t3", "nothing");
  EXPECT_EQ(end("t3").ending, Ending::failed);
  Assignment stranger = call("t4", "echo");
  stranger.request.experiment = "2026-1-Nobody-3";
  service_.submit(stranger);
  EXPECT_EQ(end("t4").ending, Ending::failed);
  EXPECT_TRUE(eventually([&] { return service_.capacity().idle == 2; }));
}

TEST_F(EndpointTest, AWorkerThatDiesLosesItsTaskAndIsReplaced) {
  options_.scaling.workers_per_node = 1;
  start();
  run("t1", "crash");
  const TaskEnd e = end("t1");
  EXPECT_EQ(e.ending, Ending::lost);
  EXPECT_GT(e.times.assigned_s, 0);
  run("t2", "echo");
  EXPECT_EQ(end("t2").ending, Ending::done);
  EXPECT_EQ(end("t2").block, e.block) << "in the same block";
}

TEST_F(EndpointTest, ManyShortTasksRunOnceEachThroughKillsOfEndpointAndService) {
  start();
  constexpr int kTasks = 300;
  std::vector<Assignment> all;
  for (int i = 0; i < kTasks; ++i)
    all.push_back(call(fmt::format("n{}", i), "note", fmt::format(R"({{"file":"f{}","text":"x"}})", i)));
  service_.submit(all);
  for (int round = 0; round < 4; ++round) {
    const std::size_t some = std::min<std::size_t>(service_.ended() + 20, kTasks);
    eventually([&] { return service_.ended() >= some; });
    endpoint_.reset();
    if (round % 2 == 1) service_.stop();
    if (round % 2 == 1) service_.start();
    start();
  }
  EXPECT_TRUE(eventually([&] { return service_.ended() == kTasks; })) << service_.ended();
  for (int i = 0; i < kTasks; ++i) {
    EXPECT_EQ(end(fmt::format("n{}", i)).ending, Ending::done);
    EXPECT_EQ(content(root() / fmt::format("f{}", i)), "x\n") << i;
  }
  EXPECT_TRUE(eventually([&] { return endpoint_->status().held == 0; })) << "acknowledged, forgotten";
}

TEST_F(EndpointTest, WorkersGoOnWithoutTheirEndpoint) {
  start();
  run("t1", "sleep", R"({"until":"go"})");
  run("t2", "sleep", R"({"until":"go"})");
  service_.begin({"t1", 1});
  service_.begin({"t2", 1});
  endpoint_.reset();
  release("go");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // they end while nobody listens
  start();
  EXPECT_EQ(end("t1").ending, Ending::done);
  EXPECT_EQ(end("t2").ending, Ending::done);
  EXPECT_EQ(end("t1").block, end("t2").block);
}

TEST_F(EndpointTest, TheEndsOfABlockThatIsGoneAreFoundInItsJournals) {
  options_.scaling.workers_per_node = 2;
  start();
  run("t1", "sleep", R"({"until":"go"})");
  run("t2", "sleep", R"({"until":"never"})");
  service_.begin({"t1", 1});
  service_.begin({"t2", 1});
  const std::string block = endpoint_->status().blocks.at(0);
  endpoint_.reset();
  release("go");
  const fs::path files = fs::path(options_.folder) / "blocks" / block;
  ASSERT_TRUE(eventually([&] {
    for (const auto& file : fs::directory_iterator(files))
      if (file.path().extension() == ".journal" && content(file.path()).find("\"done\"") != std::string::npos)
        return true;
    return false;
  }));
  const auto pid = read_number((files / (block + ".pid")).string());
  ASSERT_TRUE(pid);
  for (const int worker : workers()) ::kill(worker, SIGKILL);
  ::kill(-*pid, SIGKILL);  // the whole session
  start();
  EXPECT_EQ(end("t1").ending, Ending::done);
  const TaskEnd lost = end("t2");
  EXPECT_EQ(lost.ending, Ending::lost);
  EXPECT_FALSE(lost.problem.empty());
}

TEST_F(EndpointTest, TasksAreCancelled) {
  options_.scaling.workers_per_node = 1;
  start();
  run("t1", "sleep", R"({"until":"never"})");
  service_.begin({"t1", 1});
  run("t2", "echo");
  service_.say(Cancel{{"t2"}});
  EXPECT_EQ(end("t2").ending, Ending::cancelled);
  service_.say(Cancel{{"t1"}});
  EXPECT_EQ(end("t1").ending, Ending::cancelled);
}

TEST_F(EndpointTest, ABlockThatMustGoKeepsCheckpointsAndTheTaskGoesOn) {
  options_.scaling.workers_per_node = 1;
  options_.scaling.walltime_s = 3;  // the worker is asked to leave after two
  options_.notice_s = 1;
  start();
  run("t1", "resume", R"({"until":"go"})");
  EXPECT_EQ(end("t1").ending, Ending::interrupted);
  Assignment again = call("t1", "resume", R"({"until":"go"})");
  again.key.attempt = 2;
  again.resume = true;
  service_.submit(again);
  release("go");
  const TaskEnd e = end("t1", 2);
  EXPECT_EQ(e.ending, Ending::done);
  EXPECT_EQ(e.output, R"({"begun":2})");
  EXPECT_NE(e.block, end("t1").block);
  EXPECT_TRUE(eventually([&] { return !fs::exists(options_.folder + "/tasks/2026-1-Garcia-1/t1"); }));
}

TEST_F(EndpointTest, ATaskThatNeedsMoreThanABlockHasIsRefused) {
  options_.scaling.walltime_s = 100;
  start();
  Assignment a = call("t1", "echo");
  a.request.resources.walltime_s = 1000;
  service_.submit(a);
  EXPECT_EQ(end("t1").ending, Ending::failed);
  EXPECT_NE(end("t1").problem.find("1000"), std::string::npos);
  a = call("t2", "echo");
  a.request.resources.gpu_slots = 1;
  service_.submit(a);
  EXPECT_EQ(end("t2").ending, Ending::failed);
}

TEST_F(EndpointTest, ProgressLogAndWatchedPreviewsAreStreamed) {
  start();
  run("t1", "show", R"({"until":"go"})");
  service_.begin({"t1", 1});
  EXPECT_TRUE(eventually([&] { return service_.progress("t1") == 0.5; }));
  EXPECT_TRUE(eventually([&] { return service_.log() == std::vector<std::string>{"a line"}; }));
  EXPECT_TRUE(service_.previews().empty());
  service_.say(Watch{"t1", true});
  ASSERT_TRUE(eventually([&] { return service_.previews().size() == 1; }));
  EXPECT_EQ(service_.previews()[0].task, "t1");
  EXPECT_EQ(service_.previews()[0].bytes, "picture");
  release("go");
  EXPECT_EQ(end("t1").ending, Ending::done);
}

TEST_F(EndpointTest, LargeOutputsGoToTheServiceByThemselves) {
  start();
  run("t1", "large", R"({"bytes":3000000})");
  const TaskEnd e = end("t1");
  EXPECT_EQ(e.ending, Ending::done) << e.problem;
  const Json reference = Json::parse(e.output);
  EXPECT_EQ(reference["$ref"], "/api/v1/tasks/t1/output");
  EXPECT_EQ(reference["bytes"], 3000002);
  EXPECT_EQ(service_.output("t1").size(), 3000002U);
}

TEST_F(EndpointTest, BlocksComeWithTasksAndGoWhenIdle) {
  options_.scaling.workers_per_node = 1;
  options_.scaling.max_blocks = 2;
  options_.scaling.idle_s = 0.5;
  start();
  EXPECT_TRUE(endpoint_->status().blocks.empty());
  for (int i = 0; i < 4; ++i) run(fmt::format("t{}", i), "sleep", R"({"until":"go"})");
  EXPECT_TRUE(eventually([&] { return endpoint_->status().capacity.workers == 2; }));
  EXPECT_EQ(endpoint_->status().blocks.size(), 2U) << "never more";
  release("go");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(end(fmt::format("t{}", i)).ending, Ending::done);
  EXPECT_TRUE(eventually([&] { return endpoint_->status().blocks.empty(); }));
}

TEST_F(EndpointTest, AnUrgentTaskGoesBeforeWhatWaits) {
  options_.scaling.workers_per_node = 1;
  start();
  run("first", "sleep", R"({"until":"go"})");
  service_.begin({"first", 1});
  for (int i = 0; i < 5; ++i) run(fmt::format("n{}", i), "note", R"({"file":"order","text":"normal"})");
  Assignment urgent = call("u", "note", R"({"file":"order","text":"urgent"})");
  urgent.request.priority = Priority::urgent;
  service_.submit(urgent);
  EXPECT_TRUE(eventually([&] { return endpoint_->status().queued == 6; }));
  release("go");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(end(fmt::format("n{}", i)).ending, Ending::done);
  EXPECT_EQ(content(root() / "order").substr(0, 7), "urgent\n");
}

TEST_F(EndpointTest, TasksSeeTheirExperimentAndNoOther) {
  if (confinement() == ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  std::ofstream(root() / "mine") << "mine";
  const fs::path other = folder_.path() / "experiments/2026-1-Other-2/theirs";
  std::ofstream(other) << "theirs";
  fs::create_symlink(other, root() / "link");
  start();
  const auto read = [&](const std::string& task, const fs::path& path) {
    run(task, "read", Json{{"path", path.string()}}.dump());
    return end(task).output;
  };
  EXPECT_EQ(read("t1", root() / "mine"), "\"mine\"");
  EXPECT_EQ(read("t2", other), "\"cannot read\"");
  EXPECT_EQ(read("t3", root() / "link"), "\"cannot read\"");
  EXPECT_EQ(read("t4", options_.folder + "/endpoint.db"), "\"cannot read\"");

  // A program that a user registered, too: the kernel refuses it, whoever it runs as.
  Assignment command = call("t5", "cat", Json{{"path", other.string()}}.dump());
  command.function.kind = FunctionKind::command;
  command.function.command = {"cat"};
  service_.submit(command);
  const Json result = Json::parse(end("t5").output);
  EXPECT_NE(result["exit"], 0);
  EXPECT_EQ(result["out"], "");
  EXPECT_NE(result["err"].get<std::string>().find("Permission denied"), std::string::npos) << result;
  command.key.task = "t6";
  command.request.arguments = Json{{"path", (root() / "mine").string()}}.dump();
  service_.submit(command);
  EXPECT_EQ(Json::parse(end("t6").output)["out"], "mine");
}

TEST_F(EndpointTest, WhatAProgramLeavesRunningEndsWithItsTask) {
  if (confinement() == ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  start();
  Assignment leaves = call("t1", "leaves");
  leaves.function.kind = FunctionKind::command;
  leaves.function.command = {"sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"};
  service_.submit(leaves);
  const TaskEnd e = end("t1");
  ASSERT_EQ(e.ending, Ending::done) << e.problem;
  const int left = std::stoi(Json::parse(e.output)["out"].get<std::string>());
  EXPECT_NE(::kill(left, 0), 0) << "process " << left << " runs on";
}

TEST_F(EndpointTest, WithoutConfinementProgramsAreRefused) {
  options_.confine = false;
  start();
  run("t1", "echo");
  EXPECT_EQ(end("t1").ending, Ending::done);
  Assignment command = call("t2", "cat");
  command.function.kind = FunctionKind::command;
  command.function.command = {"true"};
  service_.submit(command);
  EXPECT_EQ(end("t2").ending, Ending::failed);
  EXPECT_NE(end("t2").problem.find("confine"), std::string::npos);
}

TEST_F(EndpointTest, WorkersOfOtherMachinesComeByTls) {
  const std::string addresses = run_command({"hostname", "-I"}, {}, std::chrono::seconds(60)).out;
  const std::string address = addresses.substr(0, addresses.find_first_of(" \n"));
  if (address.empty()) FARFIELD_SKIP("this machine has no address but its own");
  options_.address = address;
  start();
  run("t1", "echo");
  EXPECT_EQ(end("t1").ending, Ending::done);
  EXPECT_TRUE(fs::exists(options_.folder + "/worker.pem"));
  endpoint_.reset();
  start();
  run("t2", "echo");
  EXPECT_EQ(end("t2").block, end("t1").block);
}

TEST_F(EndpointTest, StrangersAreNoWorkers) {
  start();
  run("t1", "echo");
  const std::string block = end("t1").block, port = content(options_.folder + "/port");
  const auto code = [&](const std::string& secret) {
    net::WebSocketOptions options;
    options.headers.add("Authorization", "Bearer " + secret);
    try {
      net::connect_websocket("ws://127.0.0.1:" + port + "/blocks/" + block, {}, options);
    } catch (const core::Error& e) {
      return e.code();
    }
    return core::ErrorCode::internal;
  };
  EXPECT_EQ(code(""), core::ErrorCode::unauthenticated);
  EXPECT_EQ(code(std::string(64, '0')), core::ErrorCode::unauthenticated);
  const fs::path settings = fs::path(options_.folder) / "blocks" / block / "block.json";
  EXPECT_EQ(fs::status(settings).permissions() & fs::perms::all, fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(EndpointTest, OneProcessForAFolder) {
  start();
  try {
    Endpoint second(options_, make_local_blocks());
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::conflict);
  }
}

}  // namespace
}  // namespace farfield::services::compute
