// Endpoints with blocks of a real Slurm cluster of two emulated nodes.

#include <signal.h>

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "farfield/services/compute/blocks/testing_slurm.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/endpoint/testing_endpoint.hpp"

namespace farfield::services::compute {
namespace {

using testing::call;
using testing::content;
using testing::eventually;

class SlurmEndpoint : public testing::EndpointFixture {
protected:
  void SetUp() override {
    std::string why;
    cluster_ = testing::SlurmCluster::get(why);
    if (cluster_ == nullptr) FARFIELD_SKIP(why);
    options_.scaling.workers_per_node = 1;
    options_.normal.cores = options_.urgent.cores = 4;  // a node
    options_.urgent.partition = "realtime";
    options_.poll_s = 0.2;
  }
  std::unique_ptr<BlockProvider> provider() const override {
    return make_slurm_blocks({"", cluster_->environment(), 60});
  }
  std::string jobs(const std::string& format) const {
    return run_command({"squeue", "--noheader", "--states=running,pending", "--format=" + format},
                       cluster_->environment(), std::chrono::seconds(60))
        .out;
  }
  const testing::SlurmCluster* cluster_ = nullptr;
};

TEST_F(SlurmEndpoint, GrowsToItsMaximumAndGivesBackWhatIsIdle) {
  options_.scaling.max_blocks = 2;
  options_.scaling.idle_s = 0.5;
  start();
  for (int i = 0; i < 6; ++i) run(fmt::format("t{}", i), "sleep", R"({"until":"go"})");
  EXPECT_TRUE(eventually([&] { return endpoint_->status().capacity.workers == 2; }));
  EXPECT_EQ(jobs("%T"), "RUNNING\nRUNNING\n");
  release("go");
  std::set<std::string> nodes;
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(end(fmt::format("t{}", i)).ending, Ending::done);
    nodes.insert(end(fmt::format("t{}", i)).node);
  }
  EXPECT_EQ(nodes, (std::set<std::string>{"n1", "n2"}));
  EXPECT_TRUE(eventually([&] { return endpoint_->status().blocks.empty(); }));
  EXPECT_TRUE(eventually([&] { return jobs("%T").empty(); }));
}

TEST_F(SlurmEndpoint, AnUrgentTaskPreemptsAndWhatItPreemptedGoesOn) {
  options_.scaling.nodes_per_block = 2;
  options_.scaling.max_urgent_blocks = 1;
  options_.scaling.idle_s = 0.5;
  start();
  run("t1", "resume", R"({"until":"go"})");
  run("t2", "resume", R"({"until":"go"})");
  EXPECT_NE(service_.begin({"t1", 1}).node, service_.begin({"t2", 1}).node) << "a block of two nodes";
  Assignment urgent = call("u", "echo", R"({"now":true})");
  urgent.request.priority = Priority::urgent;
  service_.submit(urgent);
  EXPECT_EQ(end("u").ending, Ending::done);
  for (const char* task : {"t1", "t2"}) EXPECT_EQ(end(task).ending, Ending::interrupted) << task;
  EXPECT_NE(end("u").block, end("t1").block);
  for (const char* task : {"t1", "t2"}) {
    Assignment again = call(task, "resume", R"({"until":"go"})");
    again.key.attempt = 2;
    again.resume = true;
    service_.submit(again);
  }
  release("go");
  for (const char* task : {"t1", "t2"}) {
    const TaskEnd e = end(task, 2);
    EXPECT_EQ(e.ending, Ending::done) << e.problem;
    EXPECT_EQ(e.output, R"({"begun":2})") << "from its checkpoint";
  }
}

TEST_F(SlurmEndpoint, TellsWhatAnUrgentTaskTakesBesidesSlurmsOwnTime) {
  const auto now_s = [] {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  };
  const auto sbatch = [&](const std::string& partition, const std::string& script) {
    const auto result =
        run_command({"sbatch", "--parsable", "--partition=" + partition, "--nodes=2", "--ntasks-per-node=1",
                     "--cpus-per-task=4", "--time=5", "--output=/dev/null", "--wrap=" + script},
                    cluster_->environment(), std::chrono::seconds(60));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out.substr(0, result.out.find('\n'));
  };
  // Slurm's own: a job that preempts one of the same size, which gives way at once.
  const std::string file = (folder_.path() / "started").string();
  const std::string filling = sbatch("preempt", "sleep 600");
  EXPECT_TRUE(eventually([&] { return jobs("%T") == "RUNNING\n"; }));
  double began_s = now_s();
  const std::string preempting = sbatch("realtime", "date +%s.%N > " + file + ".new; mv " + file + ".new " + file);
  EXPECT_TRUE(eventually([&] { return std::filesystem::exists(file); }));
  const double own_s = std::strtod(content(file).c_str(), nullptr) - began_s;
  run_command({"scancel", filling, preempting}, cluster_->environment(), std::chrono::seconds(60));
  EXPECT_TRUE(eventually([&] { return jobs("%T").empty(); }));

  options_.scaling.nodes_per_block = 2;
  options_.scaling.max_urgent_blocks = 1;
  options_.poll_s = 1;  // as it is by default
  start();
  run("t1", "resume", R"({"until":"go"})");
  run("t2", "resume", R"({"until":"go"})");
  for (const char* task : {"t1", "t2"}) service_.begin({task, 1});
  Assignment urgent = call("u", "echo", R"({"now":true})");
  urgent.request.priority = Priority::urgent;
  began_s = now_s();
  service_.submit(urgent);
  const TaskEnd e = end("u");
  EXPECT_EQ(e.ending, Ending::done) << e.problem;
  const double all_s = e.times.started_s - began_s;
  fmt::print(
      "urgent task through a full cluster: submitted to started {:.2f} s, Slurm's own {:.2f} s, besides {:.2f} s\n",
      all_s, own_s, all_s - own_s);
  RecordProperty("besides_ms", static_cast<int>(1000 * (all_s - own_s)));
  release("go");
}

TEST_F(SlurmEndpoint, KillsOfWorkersAndOfTheEndpoint) {
  start();
  run("t1", "sleep", R"({"until":"never"})");
  service_.begin({"t1", 1});
  for (const int worker : workers()) ::kill(worker, SIGKILL);
  EXPECT_EQ(end("t1").ending, Ending::lost);
  run("t2", "sleep", R"({"until":"go"})");
  EXPECT_EQ(service_.begin({"t2", 1}).block, end("t1").block) << "another worker, in its place";
  endpoint_.reset();
  release("go");
  start();
  EXPECT_EQ(end("t2").ending, Ending::done);
  EXPECT_EQ(end("t2").block, end("t1").block);
}

TEST_F(SlurmEndpoint, ABlockThatIsCancelledBySomebodyKeepsCheckpoints) {
  start();
  run("t1", "resume", R"({"until":"go"})");
  service_.begin({"t1", 1});
  run_command({"scancel", "--full", jobs("%i").substr(0, jobs("%i").find('\n'))}, cluster_->environment(),
              std::chrono::seconds(60));
  EXPECT_EQ(end("t1").ending, Ending::interrupted);
  Assignment again = call("t1", "resume", R"({"until":"go"})");
  again.key.attempt = 2;
  again.resume = true;
  service_.submit(again);
  release("go");
  EXPECT_EQ(end("t1", 2).output, R"({"begun":2})");
  EXPECT_NE(end("t1", 2).block, end("t1").block);
}

}  // namespace
}  // namespace farfield::services::compute
