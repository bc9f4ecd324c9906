#include "farfield/services/compute/blocks/testing_slurm.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <csignal>

#include <chrono>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/services/compute/blocks/block_script.hpp"
#include "farfield/services/compute/command.hpp"

namespace farfield::services::compute::testing {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
}  // namespace

const SlurmCluster* SlurmCluster::get(std::string& why) {
  static std::string reason;
  static const std::unique_ptr<SlurmCluster> cluster = []() -> std::unique_ptr<SlurmCluster> {
    if (::geteuid() != 0) {
      reason = "a cluster of one's own needs root";
      return nullptr;
    }
    for (const char* program : {"munged", "slurmctld", "slurmd", "sbatch", "squeue"}) try {
        run_command({program, "--version"}, {}, 20s);
      } catch (const core::Error& e) {
        reason = fmt::format("no Slurm on this machine: {}", e.message());
        return nullptr;
      }
    try {
      return std::unique_ptr<SlurmCluster>(new SlurmCluster);
    } catch (const core::Error& e) {
      reason = e.what();
      return nullptr;
    }
  }();
  why = reason;
  return cluster.get();
}

SlurmCluster::SlurmCluster() : folder_(fs::temp_directory_path() / fmt::format("farfield-slurm-{}", ::getpid())) {
  fs::remove_all(folder_);
  for (const char* part : {"state", "spool", "log", "run", "dev"}) fs::create_directories(folder_ / part);
  fs::permissions(folder_, fs::perms(0755));
  fs::permissions(folder_ / "run", fs::perms(0755));
  const std::string f = folder_.string();
  {
    std::ofstream key(folder_ / "munge.key", std::ios::binary);
    std::random_device random;
    for (int i = 0; i < 256; ++i) key.put(static_cast<char>(random()));
  }
  fs::permissions(folder_ / "munge.key", fs::perms(0400));
  for (const char* gpu : {"gpu0", "gpu1"})  // devices, as Slurm wants them, but of /dev/null
    if (::mknod((folder_ / "dev" / gpu).c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
      throw core::Error(core::ErrorCode::unavailable, "no device files can be made here");
  const int port = 20000 + static_cast<int>(::getpid() % 20000);
  std::ofstream(folder_ / "gres.conf") << fmt::format("NodeName=n[1-2] Name=gpu File={}/dev/gpu[0-1]\n", f);
  std::ofstream(folder_ / "cgroup.conf") << "CgroupPlugin=cgroup/v1\n";
  std::ofstream(folder_ / "slurm.conf") << fmt::format(
      "ClusterName=farfield\nSlurmctldHost=localhost(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n"
      "AuthType=auth/munge\nAuthInfo=socket={0}/run/munge.sock\nCredType=cred/munge\n"
      "SlurmctldPort={1}\nSlurmdPort={2}\nStateSaveLocation={0}/state\nSlurmdSpoolDir={0}/spool/%n\n"
      "SlurmctldPidFile={0}/run/slurmctld.pid\nSlurmdPidFile={0}/run/slurmd.%n.pid\n"
      "SlurmctldLogFile={0}/log/slurmctld.log\nSlurmdLogFile={0}/log/slurmd.%n.log\n"
      "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n"
      "MpiDefault=none\nSwitchType=switch/none\nGresTypes=gpu\nSelectType=select/cons_tres\n"
      "SelectTypeParameters=CR_Core\nPreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
      "SchedulerType=sched/backfill\n"
      "SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0\n"
      "ReturnToService=2\nKillWait=5\nMinJobAge=300\nSlurmdParameters=config_overrides\n"
      "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none\n"
      "NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={3} CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN\n"
      "NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={4} CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN\n"
      "PartitionName=preempt Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=60 State=UP\n"
      "PartitionName=realtime Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP\n",
      f, port, port + 1, port + 2, port + 3);
  const auto start = [&](std::vector<std::string> arguments) {
    const CommandResult r = run_command(arguments, environment(), 60s);
    if (r.exit_code != 0)
      throw core::Error(core::ErrorCode::unavailable, fmt::format("{} did not start: {}", arguments[0], r.err));
  };
  start({"munged", "--force", "--key-file=" + f + "/munge.key", "--socket=" + f + "/run/munge.sock",
         "--pid-file=" + f + "/run/munged.pid", "--log-file=" + f + "/log/munged.log",
         "--seed-file=" + f + "/munge.seed"});
  start({"slurmctld", "-f", f + "/slurm.conf", "-c"});
  for (const char* node : {"n1", "n2"}) start({"slurmd", "-f", f + "/slurm.conf", "-N", node});
  for (int i = 0; i < 300; ++i) {
    const CommandResult r = run_command({"sinfo", "--noheader", "--states=idle", "--format=%D"}, environment(), 60s);
    if (r.exit_code == 0 && r.out.find('2') != std::string::npos) return;
    std::this_thread::sleep_for(100ms);
  }
  throw core::Error(core::ErrorCode::unavailable, "the nodes did not come up; see " + f + "/log");
}

SlurmCluster::~SlurmCluster() {
  for (const char* file : {"slurmd.n1.pid", "slurmd.n2.pid", "slurmctld.pid", "munged.pid"}) end_process(file);
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void SlurmCluster::end_process(const std::string& pid_file) const {
  const auto pid = read_number((folder_ / "run" / pid_file).string());
  if (!pid || *pid <= 1) return;
  ::kill(*pid, SIGTERM);
  for (int i = 0; i < 100 && ::kill(*pid, 0) == 0; ++i) std::this_thread::sleep_for(50ms);
}

}  // namespace farfield::services::compute::testing
