// Tasks through an endpoint, a block and warm workers of the program itself; the service is played.

#include "apps/farfield/task_runner.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "apps/farfield/version.hpp"
#include "farfield/codec/zstd.hpp"
#include "farfield/core/error.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/net/zeromq.hpp"
#include "farfield/services/compute/blocks/block.hpp"
#include "farfield/services/compute/blocks/testing_slurm.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/endpoint/testing_endpoint.hpp"
#include "farfield/services/compute/worker/confine.hpp"

namespace farfield::apps {
namespace {

namespace compute = services::compute;
namespace fs = std::filesystem;
using compute::testing::content;
using compute::testing::eventually;
using core::ErrorCode;
using nlohmann::json;

const std::string kExperiment = "2026-1-Garcia-1";

std::string program() { return (fs::read_symlink("/proc/self/exe").parent_path() / "farfield").string(); }

class TasksOfTheProgram : public ::testing::Test {
protected:
  TasksOfTheProgram() {
    fs::create_directories(root());
    fs::create_directories(folder_ / "experiments/2026-1-Other-2");
    options_.name = "test";
    options_.folder = (folder_ / "endpoint").string();
    options_.service = service_.origin();
    options_.command = {program(), "worker"};
    options_.roots.prefix = (folder_ / "experiments").string();
    options_.readable = {fs::path(program()).parent_path().string()};
    options_.normal.environment = {{"FARFIELD_WORKER_THREADS", "1"},
                                   {"FARFIELD_MPIRUN", "mpirun --bind-to none"},
                                   {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                   {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                   {"OMPI_MCA_btl", "self,vader"},
                                   {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
                                   {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
                                   {"OMPI_MCA_mpi_yield_when_idle", "1"}};
    options_.poll_s = 0.2;
    start();
  }
  ~TasksOfTheProgram() override { EXPECT_TRUE(endpoint_->end_blocks(60)); }
  void start() { endpoint_ = std::make_unique<compute::Endpoint>(options_, compute::make_local_blocks({2})); }

  fs::path root() const { return folder_ / "experiments" / kExperiment; }
  compute::Assignment task(const std::string& id, const std::string& function, const json& arguments) const {
    compute::Assignment a;
    a.key = {id, 1};
    a.function.name = a.request.function = function;
    a.function.kind = compute::FunctionKind::verb;
    a.request.endpoint = "test";
    a.request.experiment = kExperiment;
    a.request.arguments = arguments.dump();
    return a;
  }
  compute::TaskEnd run(const compute::Assignment& a) {
    service_.submit(a);
    return service_.end(a.key);
  }
  compute::TaskEnd run(const std::string& id, const std::string& function, const json& arguments) {
    return run(task(id, function, arguments));
  }
  compute::Assignment command(const std::string& id, std::vector<std::string> argv, const json& arguments) const {
    compute::Assignment a = task(id, "mine", arguments);
    a.function.kind = compute::FunctionKind::command;
    a.function.command = std::move(argv);
    return a;
  }
  /// The same by a person, in another folder.
  void type(const std::vector<std::string>& words) const {
    std::string line = "cd " + compute::shell_quoted((folder_ / "typed").string()) + " && " + program();
    for (const std::string& word : words) line += " " + compute::shell_quoted(word);
    fs::create_directories(folder_ / "typed");
    const auto result = compute::run_command({"sh", "-c", line + " --threads=1"}, {}, std::chrono::seconds(100));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  /// The datasets of two results are the same to the last bit; times and command lines are not.
  static void expect_same(const fs::path& a, const fs::path& b) {
    const auto first = io::read_product(a.string()), second = io::read_product(b.string());
    ASSERT_EQ(first.datasets.size(), second.datasets.size());
    ASSERT_GT(first.datasets.size(), 0U);
    for (std::size_t i = 0; i < first.datasets.size(); ++i) {
      EXPECT_EQ(first.datasets[i].name, second.datasets[i].name);
      if (first.datasets[i].name.find("seconds") != std::string::npos) continue;
      const auto &left = first.datasets[i].data, &right = second.datasets[i].data;
      ASSERT_EQ(left.shape(), right.shape()) << first.datasets[i].name;
      EXPECT_EQ(std::memcmp(left.data(), right.data(), static_cast<std::size_t>(left.bytes())), 0)
          << first.datasets[i].name;
    }
  }

  core::testing::TemporaryFolder folder_;
  compute::testing::FakeService service_;
  compute::EndpointOptions options_;
  std::unique_ptr<compute::Endpoint> endpoint_;
};

TEST_F(TasksOfTheProgram, VerbsGiveTheSameBytesAsTheCommandLine) {
  const auto simulated = run("t1", "farfield.ptychography.simulate",
                             {{"out", "input/scan1.cxi"}, {"shape", 64}, {"patterns", 60}, {"seed", 3}});
  ASSERT_EQ(simulated.ending, compute::Ending::done) << simulated.problem;
  const auto reconstructed = run("t2", "farfield.ptychography.reconstruct",
                                 {{"inputs", {"input/scan1.cxi"}}, {"out", "recon/1"}, {"iterations", 4}});
  ASSERT_EQ(reconstructed.ending, compute::Ending::done) << reconstructed.problem;
  const auto mean = run("t3", "farfield.statistics.mean", {{"inputs", {"input/scan1.cxi"}}, {"out", "mean/1"}});
  ASSERT_EQ(mean.ending, compute::Ending::done) << mean.problem;

  type({"ptychography", "simulate", "--out=scan1.cxi", "--shape=64", "--patterns=60", "--seed=3"});
  type({"ptychography", "reconstruct", "scan1.cxi", "--out=recon", "--iterations=4"});
  type({"statistics", "mean", "scan1.cxi", "--out=mean"});
  expect_same(root() / "recon/1/result.cxi", folder_ / "typed/recon/result.cxi");
  expect_same(root() / "mean/1/result.cxi", folder_ / "typed/mean/result.cxi");
  const json output = json::parse(reconstructed.output);
  EXPECT_TRUE(output.at("metrics").is_object());
  EXPECT_NE(output.dump().find("recon/1/result.cxi"), std::string::npos) << output;
  // The picture that a person gets is there, too.
  EXPECT_EQ(content(root() / "recon/1/object_phase.png"), content(folder_ / "typed/recon/object_phase.png"));

  EXPECT_EQ(run("t4", "farfield.ptychography.reconstruct", {{"inputs", {"input/none.cxi"}}, {"out", "recon/2"}}).ending,
            compute::Ending::failed);
  EXPECT_EQ(run("t5", "farfield.ptychography.reconstruct", {{"inputs", {"../2026-1-Other-2/x"}}, {"out", "r"}}).ending,
            compute::Ending::failed);
  EXPECT_NE(run("t6", "farfield.ptychography.simulate", {{"out", "a.cxi"}, {"shap", 32}}).problem.find("shape"),
            std::string::npos);
  EXPECT_EQ(run("t7", "farfield.echo", {{"a", 1}}).output, R"({"a":1})");
}

TEST_F(TasksOfTheProgram, AnInterruptedReconstructionGoesOnBitByBit) {
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 60}}).ending,
            compute::Ending::done);
  const json arguments{{"inputs", {"scan.cxi"}}, {"out", "recon"}, {"iterations", 1000}};
  compute::Assignment a = task("t2", "farfield.ptychography.reconstruct", arguments);
  service_.submit(a);
  ASSERT_TRUE(eventually([&] { return service_.progress("t2") > 0; }));
  ASSERT_TRUE(endpoint_->end_blocks(60));  // as a scheduler does that wants its nodes back
  endpoint_.reset();
  start();
  ASSERT_EQ(service_.end(a.key).ending, compute::Ending::interrupted);
  EXPECT_FALSE(fs::exists(root() / "recon/result.cxi"));
  a.key.attempt = 2;
  a.resume = true;
  const auto end = run(a);
  ASSERT_EQ(end.ending, compute::Ending::done) << end.problem;
  type({"ptychography", "simulate", "--out=scan.cxi", "--shape=64", "--patterns=60"});
  type({"ptychography", "reconstruct", "scan.cxi", "--out=recon", "--iterations=1000"});
  expect_same(root() / "recon/result.cxi", folder_ / "typed/recon/result.cxi");
}

/// A detector at its rate, played by the program from a scan of the experiment; it listens at a free port.
class Detector {
public:
  Detector(const std::string& scan, double rate_hz, const std::vector<std::string>& more = {}) {
    {
      const net::ZmqSocket free(net::ZmqKind::push, "tcp://127.0.0.1:*", {.bind = true});
      endpoint_ = free.endpoint();
    }
    thread_ = std::jthread([=, endpoint = endpoint_] {
      std::vector<std::string> line{program(), "replay", scan, "--to=@" + endpoint, fmt::format("--rate={}", rate_hz)};
      line.insert(line.end(), more.begin(), more.end());
      (void)compute::run_command(line, {}, std::chrono::seconds(100));
    });
  }
  const std::string& endpoint() const { return endpoint_; }

private:
  std::string endpoint_;
  std::jthread thread_;
};

TEST_F(TasksOfTheProgram, ALiveScanIsATaskWithProgressPreviewsAndItsAccount) {
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 150}}).ending,
            compute::Ending::done);
  const Detector detector((root() / "scan.cxi").string(), 100);
  compute::Assignment a = task("t2", "farfield.live.ptychography",
                               {{"source", detector.endpoint()},
                                {"like", "scan.cxi"},
                                {"out", "live/1"},
                                {"refine-after-scan", 2},
                                {"quality", "live/quality.jsonl"}});
  fs::create_directories(root() / "live");
  service_.submit(a);
  (void)service_.begin(a.key);
  service_.say(compute::Watch{"t2", true});
  EXPECT_TRUE(eventually([&] { return service_.progress("t2") > 0 && service_.progress("t2") < 1; }));
  EXPECT_TRUE(eventually([&] { return !service_.previews().empty(); }));
  EXPECT_FALSE(service_.has_ended(a.key)) << "the pictures come while the scan does";
  const auto end = service_.end(a.key);
  ASSERT_EQ(end.ending, compute::Ending::done) << end.problem;
  const json output = json::parse(end.output);
  EXPECT_EQ(output.at("frames").at("processed"), 150);
  EXPECT_EQ(output.at("frames").at("missing"), 0);
  EXPECT_EQ(json::parse(content(root() / "live/1/frames.json")).at("processed"), 150);
  EXPECT_TRUE(fs::exists(root() / "live/1/result.cxi"));
  EXPECT_FALSE(content(root() / "live/quality.jsonl").empty());
  // Sockets anywhere, files in the experiment.
  for (const char* option : {"like", "positions", "quality"})
    EXPECT_EQ(run(std::string("bad-") + option, "farfield.live.ptychography",
                  {{"source", "tcp://127.0.0.1:1"}, {"out", "live/2"}, {option, "../2026-1-Other-2/x"}})
                  .ending,
              compute::Ending::failed);
}

TEST_F(TasksOfTheProgram, ALiveTaskThatHasToLeaveKeepsWhatItHasAndGoesOnWithWhatStillComes) {
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 200}}).ending,
            compute::Ending::done);
  const Detector detector((root() / "scan.cxi").string(), 40);
  compute::Assignment a = task("t2", "farfield.live.statistics",
                               {{"source", detector.endpoint()}, {"out", "live"}, {"queue", 1}, {"silence", 10}});
  service_.submit(a);
  ASSERT_TRUE(eventually([&] { return service_.progress("t2") > 0.1; }));
  ASSERT_TRUE(endpoint_->end_blocks(60));
  endpoint_.reset();
  start();
  ASSERT_EQ(service_.end(a.key).ending, compute::Ending::interrupted);
  const json before = json::parse(content(root() / "live/frames.json"));
  EXPECT_GT(before.at("processed"), 0);
  a.key.attempt = 2;
  a.resume = true;
  const auto end = run(a);
  ASSERT_EQ(end.ending, compute::Ending::done) << end.problem;
  const json after = json::parse(content(root() / "live_part2/frames.json"));
  EXPECT_GT(after.at("processed"), 0);
  // No frame is in both: what one took the socket does not give to another.
  EXPECT_LE(before.at("processed").get<int>() + after.at("processed").get<int>(), 200);
  EXPECT_EQ(json::parse(content(root() / "live/frames.json")), before) << "what was there stays";
}

TEST_F(TasksOfTheProgram, WhoLooksSeesPicturesAndNumbers) {
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 60}}).ending,
            compute::Ending::done);
  const compute::Assignment a = task("t2", "farfield.ptychography.reconstruct",
                                     {{"inputs", {"scan.cxi"}}, {"out", "recon"}, {"iterations", 100000}});
  service_.submit(a);
  ASSERT_TRUE(eventually([&] { return service_.progress("t2") > 0; }));
  EXPECT_TRUE(service_.previews().empty()) << "nobody looks";
  service_.say(compute::Watch{"t2", true});
  const auto find = [&](const std::string& name) -> std::optional<compute::Preview> {
    for (const compute::Preview& p : service_.previews())
      if (p.name == name) return p;
    return std::nullopt;
  };
  ASSERT_TRUE(eventually([&] { return find("object_phase") && find("object_phase.raw"); }));
  service_.say(compute::Cancel{{"t2"}});
  EXPECT_EQ(service_.end(a.key).ending, compute::Ending::cancelled);
  EXPECT_EQ(find("object_phase")->bytes.substr(1, 3), "PNG");
  const compute::Preview phase = *find("object_phase.raw");
  ASSERT_EQ(phase.shape.size(), 2U);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(phase.shape[0] * phase.shape[1]));
  EXPECT_TRUE(codec::zstd_decode(std::as_bytes(std::span(phase.bytes)), std::as_writable_bytes(std::span(values))));
  EXPECT_GT(std::set<std::uint16_t>(values.begin(), values.end()).size(), 100U) << "a picture, not a plane";
  EXPECT_GT(phase.step, 0);
}

TEST_F(TasksOfTheProgram, CommandsTakePathsOfTheirExperimentOnly) {
  if (compute::confinement() == compute::ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  std::ofstream(root() / "in.txt") << "hello\n";
  std::ofstream(folder_ / "experiments/2026-1-Other-2/secret.txt") << "secret\n";
  const auto copied = run(command("t1", {"cp", "{in:from}", "{out:to}"}, {{"from", "in.txt"}, {"to", "sub/out.txt"}}));
  EXPECT_EQ(copied.ending, compute::Ending::done) << copied.problem;
  EXPECT_EQ(content(root() / "sub/out.txt"), "hello\n");
  EXPECT_EQ(copied.output, R"({"exit_code":0})");

  const std::vector<std::string> read{"cat", "{in:from}"};
  EXPECT_EQ(run(command("t2", read, {{"from", "../2026-1-Other-2/secret.txt"}})).ending, compute::Ending::failed);
  EXPECT_EQ(run(command("t3", read, {{"from", "/etc/passwd"}})).ending, compute::Ending::failed);
  // Nor by a path that is none of the template's: here the kernel says no.
  const std::string secret = (folder_ / "experiments/2026-1-Other-2/secret.txt").string();
  const auto refused = run(command("t4", {"cat", "{path}"}, {{"path", secret}}));
  EXPECT_EQ(refused.ending, compute::Ending::failed);
  EXPECT_NE(refused.problem.find("Permission denied"), std::string::npos) << refused.problem;
  for (const std::string& line : service_.log()) EXPECT_EQ(line.find("secret\n"), std::string::npos);

  // Each element is one argument, whatever it holds; what a program writes for its caller is the output.
  const auto said =
      run(command("t5", {"sh", "-c", "printf '{{\"said\":\"%s\"}' \"$1\" > $FARFIELD_OUTPUT", "sh", "{text}"},
                  {{"text", "a b; $(id)"}}));
  EXPECT_EQ(said.ending, compute::Ending::done) << said.problem;
  EXPECT_EQ(json::parse(said.output), (json{{"said", "a b; $(id)"}}));
}

TEST_F(TasksOfTheProgram, UserCodeIsUnpackedOnceAndRuns) {
  if (compute::confinement() == compute::ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  const fs::path source = folder_ / "source";
  fs::create_directories(source / "lib");
  std::ofstream(source / "run.sh")
      << "#!/bin/sh\n. $FARFIELD_CODE/lib/part.sh\necho \"{\\\"n\\\": $(count \"$1\")}\" > $FARFIELD_OUTPUT\n";
  std::ofstream(source / "lib/part.sh") << "count() { wc -l < \"$1\"; }\n";
  fs::permissions(source / "run.sh", fs::perms::owner_all);
  const std::string archive = (folder_ / "code.tar.zst").string();
  const auto made =
      compute::run_command({"tar", "--zstd", "-cf", archive, "-C", source.string(), "."}, {}, std::chrono::seconds(60));
  if (made.exit_code != 0) FARFIELD_SKIP("no tar with zstd");
  const auto sum = compute::run_command({"sha256sum", archive}, {}, std::chrono::seconds(60)).out.substr(0, 64);
  service_.add_archive(sum, content(archive));
  std::ofstream(root() / "lines") << "1\n2\n3\n";
  compute::Assignment a = command("t1", {"./run.sh", "{in:file}"}, {{"file", "lines"}});
  a.function.kind = compute::FunctionKind::code;
  a.function.archive = sum;
  const auto end = run(a);
  EXPECT_EQ(end.ending, compute::Ending::done) << end.problem;
  EXPECT_EQ(end.output, R"({"n":3})");
  a.key.task = "t2";
  EXPECT_EQ(run(a).ending, compute::Ending::done);
  a.key.task = "t3";
  a.function.archive = std::string(64, '0');
  EXPECT_EQ(run(a).ending, compute::Ending::failed);
}

TEST_F(TasksOfTheProgram, SeveralRanksShareATask) {
  if (version_text().find("MPI on") == std::string::npos) FARFIELD_SKIP("built without MPI (FARFIELD_WITH_MPI)");
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 60}}).ending,
            compute::Ending::done);
  compute::Assignment a =
      task("t2", "farfield.ptychography.reconstruct", {{"inputs", {"scan.cxi"}}, {"out", "recon"}, {"iterations", 3}});
  a.request.resources.ranks = 2;
  const auto end = run(a);
  ASSERT_EQ(end.ending, compute::Ending::done) << end.problem;
  EXPECT_EQ(io::read_product((root() / "recon/result.cxi").string()).provenance.at("ranks"), "2");
  EXPECT_TRUE(json::parse(end.output).contains("metrics"));
}

TEST_F(TasksOfTheProgram, RanksOfATaskAreSpreadOverTheNodesOfItsBlock) {
  if (version_text().find("MPI on") == std::string::npos) FARFIELD_SKIP("built without MPI (FARFIELD_WITH_MPI)");
  std::string why;
  const auto* cluster = compute::testing::SlurmCluster::get(why);
  if (cluster == nullptr) FARFIELD_SKIP(why);
  ASSERT_EQ(run("t1", "farfield.ptychography.simulate", {{"out", "scan.cxi"}, {"shape", 64}, {"patterns", 60}}).ending,
            compute::Ending::done);
  ASSERT_TRUE(endpoint_->end_blocks(60));
  endpoint_.reset();
  options_.folder = (folder_ / "cluster").string();  // blocks of one folder have one provider
  options_.scaling.nodes_per_block = 2;
  options_.normal.cores = 4;
  // Two nodes on one machine: shared memory would take them for one.
  options_.normal.environment.erase("OMPI_MCA_btl");
  options_.normal.environment["FARFIELD_MPIRUN"] =
      "mpirun --mca btl self,tcp --mca btl_tcp_if_include lo --bind-to none";
  const std::string config = cluster->environment().at("SLURM_CONF");
  options_.readable.push_back(fs::path(config).parent_path().string());
  endpoint_ =
      std::make_unique<compute::Endpoint>(options_, compute::make_slurm_blocks({"", cluster->environment(), 60}));
  compute::Assignment a =
      task("t2", "farfield.ptychography.reconstruct", {{"inputs", {"scan.cxi"}}, {"out", "recon"}, {"iterations", 3}});
  a.request.resources.ranks = 4;
  a.request.resources.nodes = 2;
  const auto end = run(a);
  std::string said;
  for (const std::string& line : service_.log()) said += line + "\n";
  ASSERT_EQ(end.ending, compute::Ending::done) << end.problem << said;
  EXPECT_EQ(io::read_product((root() / "recon/result.cxi").string()).provenance.at("ranks"), "4");
}

TEST(TaskTemplate, MembersPathsAndBraces) {
  const core::testing::TemporaryFolder folder;
  fs::create_directories(folder / "root");
  std::ofstream(folder / "root/f") << "x";
  const fs::path root = folder / "root";
  EXPECT_EQ(expanded("-n={n}", R"({"n":5})", root), "-n=5");
  EXPECT_EQ(expanded("{{{a}}", R"({"a":"x"})", root), "{x}");
  EXPECT_EQ(expanded("{list}", R"({"list":[1,2]})", root), "[1,2]");
  EXPECT_EQ(expanded("{in:p}", R"({"p":"f"})", root), (root / "f").string());
  EXPECT_EQ(expanded("{out:p}", R"({"p":"new/g"})", root), (root / "new/g").string());
  const auto code = [&](const std::string& element, const std::string& arguments) {
    try {
      expanded(element, arguments, root);
    } catch (const core::Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code("{b}", R"({"a":1})"), ErrorCode::invalid_argument);
  EXPECT_EQ(code("{a", R"({"a":1})"), ErrorCode::invalid_argument);
  EXPECT_EQ(code("{in:p}", R"({"p":"none"})"), ErrorCode::not_found);
  EXPECT_EQ(code("{in:p}", R"({"p":"../root/../.."})"), ErrorCode::forbidden);
  EXPECT_EQ(code("{out:p}", R"({"p":"/etc/x"})"), ErrorCode::forbidden);
}

TEST(VerbFunctions, HaveASchemaForEachVerb) {
  const auto all = verb_functions();
  const auto found =
      std::find_if(all.begin(), all.end(), [](const auto& f) { return f.name == "farfield.ptychography.reconstruct"; });
  ASSERT_NE(found, all.end());
  const json schema = json::parse(found->input_schema);
  EXPECT_EQ(schema.at("required"), json{"inputs"});
  EXPECT_TRUE(schema.at("properties").contains("iterations"));
  EXPECT_TRUE(schema.at("properties").contains("out"));
  EXPECT_FALSE(schema.at("properties").contains("resume")) << "the worker's business";
  for (const char* name : {"farfield.live.ptychography", "farfield.live.ptychography.frc", "farfield.live.xpcs",
                           "farfield.live.statistics"}) {
    const auto live = std::find_if(all.begin(), all.end(), [&](const auto& f) { return f.name == name; });
    ASSERT_NE(live, all.end()) << name;
    const json options = json::parse(live->input_schema).at("properties");
    EXPECT_TRUE(options.contains("source") && options.contains("out")) << name;
    EXPECT_FALSE(options.contains("inputs") || options.contains("picture")) << name;
  }
}

}  // namespace
}  // namespace farfield::apps
