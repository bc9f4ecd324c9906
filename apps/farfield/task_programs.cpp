#include "apps/farfield/task_programs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/bytes.hpp"
#include "farfield/services/compute/worker/child.hpp"

extern char** environ;

namespace farfield::apps {
namespace {

namespace compute = services::compute;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr core::Index kLargestOutput = core::Index{1} << 30;

/// What programs of tasks are told of this process's environment: where programs and libraries are, the scheduler's
/// and MPI's words, but not the scheduler's key. Nothing else is their business.
std::map<std::string, std::string> environment(const compute::Work& work) {
  std::map<std::string, std::string> all{{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LANG", "C.UTF-8"}};
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry = *e;
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    for (const char* known :
         {"PATH=", "LANG=", "LD_LIBRARY_PATH=", "MODULEPATH=", "TZ=", "SLURM", "OMPI_", "PMIX_", "UCX_", "FI_", "OMP_"})
      if (entry.starts_with(known) && !entry.starts_with("SLURM_JWT="))
        all[std::string(entry.substr(0, equals))] = entry.substr(equals + 1);
  }
  all["HOME"] = all["TMPDIR"] = work.own_folder();
  all["FARFIELD_TASK"] = work.key.task;
  all["FARFIELD_TASK_FOLDER"] = work.folder;
  if (!work.root.empty()) all["FARFIELD_EXPERIMENT_FOLDER"] = work.root;
  if (work.resume) all["FARFIELD_RESUME"] = "1";
  if (!work.devices.empty()) all["CUDA_VISIBLE_DEVICES"] = fmt::format("{}", fmt::join(work.devices, ","));
  return all;
}

/// `argv` on the ranks of the task.
std::vector<std::string> on_ranks(const compute::Work& work, const TaskRunnerOptions& options,
                                  std::vector<std::string> argv, std::map<std::string, std::string>& variables) {
  if (work.ranks <= 1) return argv;
  std::vector<std::string> all = options.mpirun;
  all.insert(all.end(), {"-np", std::to_string(work.ranks)});
  if (work.nodes.size() > 1)
    all.insert(all.end(),
               {"--map-by", fmt::format("ppr:{}:node", (work.ranks + static_cast<int>(work.nodes.size()) - 1) /
                                                           static_cast<int>(work.nodes.size()))});
  all.insert(all.end(), argv.begin(), argv.end());
  // The step that starts the other nodes shares the block with the one that this worker runs in.
  variables["SLURM_OVERLAP"] = "1";
  variables.try_emplace("OMPI_MCA_btl_vader_backing_directory", work.folder);
  variables.try_emplace("OMPI_MCA_orte_tmpdir_base", work.folder);
  variables.try_emplace("OMPI_MCA_odls_base_sigkill_timeout", "20");  // time for a checkpoint
  return all;
}

compute::WorkEnd ended(const compute::ChildEnd& child, const std::string& name) {
  compute::WorkEnd end;
  if (child.exit_code == 0) return end;
  end.ending = child.stopped ? compute::Ending::interrupted : compute::Ending::failed;
  end.problem = fmt::format("{} ended with exit code {}{}{}", name, child.exit_code,
                            child.last_line.empty() ? "" : ": ", child.last_line);
  return end;
}

}  // namespace

std::vector<std::string> typed(const Command& command, const Arguments& arguments) {
  std::vector<std::string> words{"farfield"};
  words.insert(words.end(), command.words.begin(), command.words.end());
  words.insert(words.end(), arguments.inputs.begin(), arguments.inputs.end());
  for (const auto& [name, value] : arguments.given) words.push_back(fmt::format("--{}={}", name, core::to_text(value)));
  return words;
}

compute::WorkEnd run_program(const compute::Work& work, const TaskRunnerOptions& options, compute::Reporter& reporter,
                             const std::stop_token& stop) {
  compute::ChildProgram program;
  program.environment = environment(work);
  // Without the scheduler's words mpirun stays on this node, where the program is confined.
  if (work.ranks > 1) std::erase_if(program.environment, [](const auto& v) { return v.first.starts_with("SLURM"); });
  if (!work.code.empty()) {
    program.environment["FARFIELD_CODE"] = work.code;
    program.environment["PATH"] = work.code + ":" + program.environment["PATH"];
  }
  for (const auto& [name, value] : work.function.environment) program.environment[name] = value;
  const fs::path output = fs::path(work.folder) / "output.json";
  std::error_code error;
  fs::remove(output, error);
  program.environment["FARFIELD_OUTPUT"] = output.string();
  std::vector<std::string> argv;
  for (const std::string& element : work.function.command) argv.push_back(expanded(element, work.arguments, work.root));
  if (argv.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("function {} has no command", work.function.name));
  if (!work.code.empty() && argv[0].find('/') != std::string::npos && !argv[0].starts_with('/'))
    argv[0] = work.code + "/" + argv[0];
  program.arguments = on_ranks(work, options, std::move(argv), program.environment);
  const auto child = compute::run_child(program, [&](const std::string& line) { reporter.log(line); }, stop);
  compute::WorkEnd end = ended(child, work.function.name);
  if (end.ending != compute::Ending::done) return end;
  if (!fs::exists(output, error)) {
    end.output = R"({"exit_code":0})";
    return end;
  }
  if (!fs::is_regular_file(fs::symlink_status(output, error))) {  // a pipe would hold the worker for ever
    end.ending = compute::Ending::failed;
    end.problem = fmt::format("what {} made of $FARFIELD_OUTPUT is not a file", work.function.name);
    return end;
  }
  const auto bytes = io::read_file(output, kLargestOutput);
  end.output.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!json::accept(end.output)) {
    end.ending = compute::Ending::failed;
    end.problem = fmt::format("what {} wrote to $FARFIELD_OUTPUT is not JSON", work.function.name);
    end.output = "null";
  }
  return end;
}

compute::WorkEnd run_ranks(const Command& command, const Arguments& arguments, const compute::Work& work,
                           const TaskRunnerOptions& options, compute::Reporter& reporter, const std::stop_token& stop) {
  if (command.find("mpi") == nullptr)
    throw Error(ErrorCode::unsupported, fmt::format("{} runs on one rank only", command.name()));
  Arguments all = arguments;
  all.given["mpi"] = all.given["json"] = all.given["quiet"] = true;
  all.given["checkpoint-every"] = 60.0;
  if (const auto out = all.given.find("out"); work.resume && out != all.given.end()) {
    const fs::path checkpoint = fs::path(std::get<std::string>(out->second)) / "checkpoint.ffc";
    std::error_code error;
    if (fs::exists(checkpoint, error)) all.given["resume"] = checkpoint.string();
  }
  std::vector<std::string> argv = typed(command, all);
  argv[0] = fs::read_symlink("/proc/self/exe").string();
  compute::ChildProgram program;
  program.environment = environment(work);
  program.arguments = on_ranks(work, options, std::move(argv), program.environment);
  program.grace = std::chrono::seconds(25);
  std::string output = "null", problem;
  const auto child = compute::run_child(
      program,
      [&](const std::string& line) {
        const json said = json::parse(line, nullptr, false);
        const std::string type = said.is_object() ? said.value("message_type", "") : "";
        if (type == "iteration") {
          const double done = said.value("iteration", 0.0), planned = said.value("iterations", 0.0);
          reporter.progress(planned > 0 ? done / planned : 0, fmt::format("{}/{}", done, planned));
        } else if (type == "summary") {
          json summary = said;
          summary.erase("message_type");
          output = summary.dump();
        } else if (type == "error") {
          problem = said.value("message", "");
        } else {
          reporter.log(line);
        }
      },
      stop);
  compute::WorkEnd end = ended(child, command.name());
  // Partial results and those that did not converge are results.
  if (child.exit_code == core::kExitPartial || child.exit_code == core::kExitNotConverged) end = {};
  if (!problem.empty() && end.ending == compute::Ending::failed) end.problem = problem;
  end.output = output;
  return end;
}

}  // namespace farfield::apps
