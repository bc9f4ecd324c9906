#pragma once
// The technique contract. A technique knows no files, sockets, clocks, loggers or JSON: frames are pushed
// in, products come out; threads, randomness, time, progress and stopping are handed to it.

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/core/options.hpp"
#include "farfield/core/thread_pool.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/model/product.hpp"

namespace farfield::parallel {
class Communicator;
}

namespace farfield::technique {

/// What step() came to.
enum class StepState {
  working,    ///< call step() again
  waiting,    ///< nothing to do until more frames or values arrive
  finished,   ///< done as the options asked
  converged,  ///< a stop rule on quality was met
  not_converged,  ///< ended without reaching what was asked for (diverged, no progress)
};

/// One report of progress; becomes one `--json` line and one row of the error curve.
struct Progress {
  std::int64_t iteration = 0;           ///< passes or units done, from 1
  std::int64_t iterations = 0;          ///< planned; 0: open end
  double seconds = 0;                   ///< since begin, planning excluded
  std::vector<std::pair<std::string, double>> values;  ///< "cost", "r_factor" ... in the order to be shown
};

struct Observer {
  virtual ~Observer() = default;
  virtual void progress(const Progress&) {}
  /// A frame that could not be used, with the reason; it is counted in the frame account.
  virtual void rejected(model::FrameId, const std::string& /*reason*/) {}
  /// Something the user should know (memory said before it starts, a doubtful geometry).
  virtual void warning(const std::string& /*message*/) {}
};

/// What a technique may use. Outlives it.
struct Resources {
  core::ThreadPool* pool = nullptr;                 ///< never null
  parallel::Communicator* communicator = nullptr;   ///< null: alone
  const core::Clock* clock = nullptr;               ///< never null
  std::uint64_t seed = 0;
  double memory_limit_bytes = 0;                    ///< 0: no limit known
};

/// Checkpoints are written and read through these: named blocks of bytes, in order.
struct Sink {
  virtual ~Sink() = default;
  virtual void put(std::string_view name, std::span<const std::byte> bytes) = 0;
};
struct Source {
  virtual ~Source() = default;
  /// Throws `corrupt_data` when the block is missing.
  virtual std::vector<std::byte> get(std::string_view name) = 0;
  virtual bool has(std::string_view name) const = 0;
};

/// One analysis of one scan; owned by one thread.
struct Technique {
  virtual ~Technique() = default;
  virtual void begin(const model::Acquisition&) = 0;             ///< geometry, shapes, metadata; once, first
  virtual void push(std::span<const model::FrameView>) = 0;      ///< frames in; views valid during the call
  virtual void annotate(model::FrameId, const model::Values&) = 0;  ///< positions, monitors; early or late
  /// No frame will come any more. Iterative techniques may have started before.
  virtual void end_of_scan() = 0;
  /// One bounded unit of work: an iteration, a slice of time. Returns soon after `stop` is requested.
  virtual StepState step(std::stop_token stop, Observer&) = 0;
  /// Complete and valid now (preview); shares no memory with what goes on changing. Throws where there is nothing yet.
  virtual model::Product snapshot() const = 0;
  virtual void save(Sink&) const = 0;  ///< checkpoint: everything to go on bit-exactly
  /// After begin(); the driver calls it before the first push and then pushes the scan from its start again,
  /// so a technique whose checkpoint holds the effect of a frame passes over that frame.
  virtual void restore(Source&) = 0;
  virtual model::Product finish(Observer&) = 0;  ///< arrays + metrics + provenance
};

/// Frames of a known object, for tests, benchmarks and demonstrations.
struct Simulation : model::FrameSource {
  virtual model::Product truth() const = 0;
};

/// One thing a technique can do. Exactly one of the three makers is set; `inputs` says what it takes:
/// {"frames"}, {"frames", "qmap"} (with a map of the pixels), {"product", "product"}, {"product..."} (one or
/// more) or {} (a simulation, a product from options alone).
struct Verb {
  std::string name;  ///< "reconstruct"
  std::string summary;  ///< one line
  core::OptionSchema options;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;  ///< names of the datasets of its product
  bool out_optional = false;  ///< analyse, combine: the metrics alone are worth running it, files may be left out
  /// analyse: takes sparse frames as they are. For all other verbs the pipeline makes them dense.
  bool sparse_frames = false;
  /// analyse: corrects dark and flat itself; the pipeline then leaves frames and acquisition.inputs as they are.
  bool raw_frames = false;
  std::function<std::unique_ptr<Technique>(const core::OptionValues&, const Resources&)> analyse{};
  std::function<model::Product(std::span<const model::Product>, const core::OptionValues&, const Resources&,
                               std::stop_token, Observer&)>
      combine{};
  std::function<std::unique_ptr<Simulation>(const core::OptionValues&, const Resources&)> simulate{};
};

struct TechniqueInfo {
  std::string name;  ///< folder and command name
  std::string summary;
  std::vector<std::string> references;  ///< DOIs
  std::vector<Verb> verbs;

  const Verb* find(std::string_view verb) const {
    for (const auto& v : verbs)
      if (v.name == verb) return &v;
    return nullptr;
  }
};

/// Every folder techniques/<name>/ defines `const TechniqueInfo& farfield::techniques::<name>::info()`;
/// the registry in apps/ is generated from the folders.

}  // namespace farfield::technique
