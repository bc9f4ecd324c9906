#pragma once
// A technique's verb run to its end: by a command of a person, or by a worker in a task. Both give the same bytes.

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/farfield/command.hpp"
#include "farfield/pipeline/driver.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::apps {

/// What a computation came to.
struct Summary {
  std::string state;  ///< "finished", "converged", "not_converged", "interrupted"
  double seconds = 0;
  std::map<std::string, double> metrics;
  std::optional<pipeline::FrameTotals> frames;
  std::vector<std::filesystem::path> files;
};

/// Hears how a verb gets on.
struct RunObserver : pipeline::DriverObserver {
  virtual void summary(const Summary& summary) = 0;
  /// Text for people.
  virtual void note(const std::string& text) = 0;
};

/// How an analysis in a task differs from one at a terminal.
struct TaskConduct {
  std::filesystem::path checkpoint;  ///< gone on from where it is there and `resume`
  bool resume = false;
  double checkpoint_every_s = 60;
  std::function<bool()> thrown_away{};  ///< stopped for good: no checkpoint is written
  pipeline::PreviewSink* preview = nullptr;
  double preview_every_s = 1;
};

/// These return the exit code, and throw what goes wrong. Paths are relative to the calling thread's folder.
int run_analysis(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
                 const Session& session, parallel::Communicator& communicator, RunObserver& observer,
                 const TaskConduct* task = nullptr);
int run_combination(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
                    const Session& session, RunObserver& observer);
int run_simulation(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
                   const Session& session, RunObserver& observer);

/// `farfield live` without a terminal: from the socket to the result. Snapshots are shown to `previews` (null: nobody).
int run_live(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
             const Session& session, RunObserver& observer, pipeline::PreviewSink* previews);

}  // namespace farfield::apps
