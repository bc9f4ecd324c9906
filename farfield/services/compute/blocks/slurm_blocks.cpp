// Blocks as jobs of a Slurm cluster, by its commands. Slurm forgets jobs: the queue shows them for MinJobAge after
// their end, accounting (where there is some) for long, and the block's own exit file for ever; they are asked in this
// order, and a job that none of them knows is lost, not "done".

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <set>
#include <sstream>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/blocks/block_script.hpp"
#include "farfield/services/compute/command.hpp"

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;

/// "1-02:03:04" as sbatch wants it.
std::string slurm_time(double seconds) {
  const auto s = static_cast<std::int64_t>(std::ceil(seconds));
  return fmt::format("{}-{:02}:{:02}:{:02}", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
}

std::string first_line(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  return line.empty() ? "no message" : line;
}

std::vector<std::string> split(const std::string& line, char by) {
  std::vector<std::string> parts;
  std::istringstream in(line);
  for (std::string part; std::getline(in, part, by);) parts.push_back(part);
  return parts;
}

BlockState state_of(const std::string& word) {
  // "CANCELLED by 0" and "CANCELLED+" are CANCELLED.
  const std::string w = word.substr(0, word.find_first_of(" +"));
  const std::map<std::string, BlockState> known{
      {"PENDING", BlockState::queued},       {"CONFIGURING", BlockState::queued},
      {"REQUEUED", BlockState::queued},      {"REQUEUE_FED", BlockState::queued},
      {"REQUEUE_HOLD", BlockState::queued},  {"SPECIAL_EXIT", BlockState::queued},
      {"RESV_DEL_HOLD", BlockState::queued}, {"RUNNING", BlockState::running},
      {"COMPLETING", BlockState::running},   {"SUSPENDED", BlockState::running},
      {"STOPPED", BlockState::running},      {"SIGNALING", BlockState::running},
      {"STAGE_OUT", BlockState::running},    {"RESIZING", BlockState::running},
      {"COMPLETED", BlockState::done},       {"FAILED", BlockState::failed},
      {"NODE_FAIL", BlockState::failed},     {"OUT_OF_MEMORY", BlockState::failed},
      {"BOOT_FAIL", BlockState::failed},     {"REVOKED", BlockState::failed},
      {"CANCELLED", BlockState::cancelled},  {"TIMEOUT", BlockState::timed_out},
      {"DEADLINE", BlockState::timed_out},   {"PREEMPTED", BlockState::preempted},
  };
  const auto it = known.find(w);
  // A state of a later Slurm: the job is there, so it is not lost.
  return it != known.end() ? it->second : BlockState::queued;
}

class SlurmBlocks final : public BlockProvider {
public:
  explicit SlurmBlocks(SlurmOptions options) : options_(std::move(options)) {}

  std::string submit(const BlockRequest& r) override {
    validate(r);
    std::vector<std::string> header{fmt::format("#SBATCH --job-name={}", r.name),
                                    fmt::format("#SBATCH --nodes={}", r.nodes),
                                    "#SBATCH --ntasks-per-node=1",
                                    fmt::format("#SBATCH --time={}", slurm_time(r.walltime_s)),
                                    "#SBATCH --requeue",
                                    "#SBATCH --open-mode=append"};
    if (r.cores > 0) header.push_back(fmt::format("#SBATCH --cpus-per-task={}", r.cores));
    if (r.gpus > 0) header.push_back(fmt::format("#SBATCH --gres=gpu:{}", r.gpus));
    for (const auto& [option, word] : {std::pair{"partition", &r.partition}, std::pair{"account", &r.account},
                                       std::pair{"qos", &r.qos}, std::pair{"reservation", &r.reservation}})
      if (!word->empty()) header.push_back(fmt::format("#SBATCH --{}={}", option, *word));
    header.insert(header.end(), r.extra.begin(), r.extra.end());
    const BlockFiles files = files_of(r);
    // One task on each node; on a single node the batch step is that task, 150 ms sooner.
    const auto launcher =
        r.nodes > 1 ? std::vector<std::string>{"srun", "--kill-on-bad-exit=0"} : std::vector<std::string>{};
    try {
      write_script(r, header, launcher);
    } catch (const Error& e) {
      // The script of a submission whose answer never came, and which Slurm never saw, is in nobody's way.
      if (e.code() != ErrorCode::conflict || read_number(files.exit()) || !find(r.folder, r.name).empty()) throw;
      std::remove(files.script().c_str());
      write_script(r, header, launcher);
    }
    const CommandResult result =
        run("sbatch", {"--parsable", "--output=" + files.output(), "--chdir=" + r.folder, files.script()});
    if (result.exit_code != 0) {
      std::remove(files.script().c_str());
      throw Error(is_away(result) ? ErrorCode::unavailable : ErrorCode::invalid_argument,
                  fmt::format("Slurm took no job: {}", first_line(result.err)))
          .at("block " + r.name);
    }
    const std::string job = result.out.substr(0, result.out.find_first_of(";\n"));
    if (job.empty() || !std::all_of(job.begin(), job.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
      throw Error(ErrorCode::unavailable, fmt::format("sbatch gave no job id but \"{}\"", first_line(result.out)));
    return job + ":" + files.base;
  }

  std::string find(const std::string& folder, const std::string& name) override {
    const BlockFiles files{folder + "/" + name};
    const CommandResult queue = squeue({"--name=" + name, "--states=all"}, "%i|%Z");
    for (const std::string& line : split(queue.out, '\n')) {
      const auto fields = split(line, '|');
      if (fields.size() >= 2 && fields[1] == folder) return fields[0] + ":" + files.base;
    }
    const CommandResult past = run("sacct", {"--name=" + name, "--allocations", "--noheader", "--parsable2",
                                             "--starttime=now-30days", "--format=JobID,WorkDir"});
    if (past.exit_code == 0)
      for (const std::string& line : split(past.out, '\n')) {
        const auto fields = split(line, '|');
        if (fields.size() >= 2 && fields[1] == folder) return fields[0] + ":" + files.base;
      }
    return {};
  }

  std::map<std::string, BlockStatus> query(std::span<const std::string> ids) override {
    std::map<std::string, std::string> id_of;  // by job
    std::map<std::string, BlockStatus> all;
    for (const std::string& id : ids) {
      try {
        id_of[parse_job(id)] = id;
      } catch (const Error& e) {  // of another provider, which had this folder before
        all[id].reason = e.message();
      }
    }
    if (id_of.empty()) return all;
    // All users' jobs are asked for: squeue fails for a list in which it knows none.
    const CommandResult queue = squeue({"--states=all"}, "%i|%T|%r|%N");
    for (const std::string& line : split(queue.out, '\n')) {
      const auto fields = split(line, '|');
      if (fields.size() < 3 || !id_of.contains(fields[0])) continue;
      BlockStatus& s = all[id_of[fields[0]]];
      s = {state_of(fields[1]), fields[2] == "None" ? "" : fields[2], fields.size() > 3 ? fields[3] : "", 0};
      if (s.state == BlockState::queued && fields[2] == "BeginTime") lift_hold(fields[0], s);
    }
    std::string unknown;
    for (const auto& [job, id] : id_of)
      if (!all.contains(id)) unknown += (unknown.empty() ? "" : ",") + job;
    if (unknown.empty()) return all;
    const CommandResult past = run("sacct", {"--jobs=" + unknown, "--allocations", "--noheader", "--parsable2",
                                             "--format=JobID,State,Reason,NodeList"});
    if (past.exit_code == 0)  // else there is no accounting
      for (const std::string& line : split(past.out, '\n')) {
        const auto fields = split(line, '|');
        if (fields.size() < 2 || !id_of.contains(fields[0])) continue;
        all[id_of[fields[0]]] = {state_of(fields[1]), fields.size() > 2 && fields[2] != "None" ? fields[2] : "",
                                 fields.size() > 3 ? fields[3] : "", 0};
      }
    for (const auto& [job, id] : id_of) {
      if (all.contains(id)) continue;
      BlockStatus& s = all[id];
      if (const auto code = read_number(BlockFiles{parse_id(id).base}.exit())) {
        s.state = *code == 0 ? BlockState::done : BlockState::failed;
        s.reason = fmt::format("exit code {}, by its own file", *code);
      } else {
        s.reason = "Slurm does not know the job, and it left no exit code";
      }
    }
    return all;
  }

  void cancel(const std::string& id) override {
    // TERM goes to the job's steps and, with --full, to its script, which passes it on; Slurm kills after its KillWait.
    const CommandResult result = run("scancel", {"--full", parse_job(id)});
    if (result.exit_code != 0 && is_away(result))
      throw Error(ErrorCode::unavailable, fmt::format("cannot cancel: {}", first_line(result.err))).at("block " + id);
  }

private:
  static std::string parse_job(const std::string& id) {
    const std::string job = parse_id(id).first;
    if (!std::all_of(job.begin(), job.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
      throw Error(ErrorCode::not_found, fmt::format("\"{}\" is not the id of a Slurm block", id));
    return job;
  }

  CommandResult run(const std::string& program, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), options_.programs.empty() ? program : options_.programs + "/" + program);
    try {
      return run_command(arguments, options_.environment,
                         std::chrono::milliseconds(static_cast<std::int64_t>(options_.patience_s * 1000)));
    } catch (Error& e) {
      if (e.code() == ErrorCode::not_found && program == "sacct") return {127, "", e.message()};
      throw Error(ErrorCode::unavailable, fmt::format("Slurm cannot be asked: {}", e.message()));
    }
  }
  CommandResult squeue(std::vector<std::string> which, const std::string& format) const {
    which.insert(which.end(), {"--noheader", "--format=" + format});
    const CommandResult result = run("squeue", std::move(which));
    if (result.exit_code != 0)
      throw Error(ErrorCode::unavailable, fmt::format("Slurm's queue cannot be read: {}", first_line(result.err)));
    return result;
  }
  /// A controller that cannot be reached, as opposed to a job that it does not like.
  static bool is_away(const CommandResult& r) {
    for (const char* sign : {"Unable to contact", "Connection refused", "Socket timed out", "Zero Bytes", "munge",
                             "Munge", "try again", "temporarily unable"})
      if (r.err.find(sign) != std::string::npos) return true;
    return false;
  }
  /// A requeued job waits two minutes before it may start again; one that was never started waits for what its user
  /// said.
  void lift_hold(const std::string& job, BlockStatus& s) const {
    const CommandResult shown = run("scontrol", {"--oneliner", "show", "job", job});
    const std::size_t at = shown.out.find("Restarts=");
    s.restarts = at == std::string::npos ? 0 : std::atoi(shown.out.c_str() + at + 9);
    if (s.restarts > 0) run("scontrol", {"update", "JobId=" + job, "StartTime=now"});
  }

  SlurmOptions options_;
};

}  // namespace

std::unique_ptr<BlockProvider> make_slurm_blocks(const SlurmOptions& options) {
  return std::make_unique<SlurmBlocks>(options);
}

}  // namespace farfield::services::compute
