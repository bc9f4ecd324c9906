// farfield <technique> <verb> SCAN --out DIR: frames in, a product out.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/correction_options.hpp"
#include "apps/farfield/run_options.hpp"
#include "apps/farfield/version.hpp"
#include "farfield/core/cpu.hpp"
#include "farfield/io/calibration.hpp"
#include "farfield/io/late_checksum.hpp"
#include "farfield/io/scan_file.hpp"
#include "farfield/io/sparse_frames.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/pipeline/checkpoint.hpp"
#include "farfield/pipeline/result_folder.hpp"

namespace farfield::apps {
namespace {

/// Scans beside the scan.
struct CalibrationOptions {
  std::string dark, flat;
};
const core::BoundSchema<CalibrationOptions>& calibration_schema() {
  static const auto schema = [] {
    core::BoundSchema<CalibrationOptions> s;
    s.add("dark", &CalibrationOptions::dark,
          "scan of the dark detector, of any format: its mean is taken off the frames, in place of one that the scan "
          "brings along",
          {.group = "Input"});
    s.add("flat", &CalibrationOptions::flat,
          "scan of even light, of any format: frames are divided by its mean over the mean of its pixels",
          {.group = "Input"});
    return s;
  }();
  return schema;
}

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using technique::StepState;

constexpr core::Index kBatchBytes = core::Index{16} << 20;

/// Rank 0 keeps the name; every other rank has a file of its own.
fs::path of_rank(fs::path path, int rank) {
  return rank == 0 ? path : path.replace_extension(fmt::format("rank{}{}", rank, path.extension().string()));
}

std::string word(const pipeline::Outcome& outcome) {
  if (outcome.stopped) return "interrupted";
  switch (outcome.state) {
    case StepState::converged: return "converged";
    case StepState::not_converged: return "not_converged";
    default: return "finished";
  }
}

int exit_code(const pipeline::Outcome& outcome, const pipeline::FrameTotals& frames) {
  if (outcome.stopped) return core::traits(ErrorCode::cancelled).exit_code;
  if (outcome.state == StepState::not_converged) return core::kExitNotConverged;
  return frames.dropped > 0 || frames.missing > 0 ? core::kExitPartial : core::kExitOk;
}

class Analysis {
public:
  Analysis(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
           const Session& session, parallel::Communicator& communicator, RunObserver& observer, const TaskConduct* task)
      : info_(info),
        verb_(verb),
        arguments_(arguments),
        session_(session),
        communicator_(communicator),
        observer_(observer),
        task_(task),
        common_(common_schema().make(part(arguments.given, common_schema()))),
        options_(analysis_schema().make(part(arguments.given, analysis_schema()))),
        corrections_(correction_schema().make(part(arguments.given, correction_schema()))),
        given_(part(arguments.given, verb.options)) {
    if (options_.out.empty() && !verb.out_optional)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("`farfield {} {}` needs --out DIR for its result", info.name, verb.name));
    if (options_.out.empty() && (options_.checkpoint_every_s > 0 || options_.preview_every_s > 0))
      throw Error(ErrorCode::invalid_argument,
                  "--checkpoint-every and --preview-every write to the folder given by --out");
  }

  int run() {
    const double started_s = session_.clock.now_s();
    std::optional<pipeline::ResultFolder> folder;
    if (!options_.out.empty()) folder.emplace(options_.out);

    // The reader decodes while the technique computes: two pools.
    core::ThreadPool reading_pool(common_.thread_count()), pool(common_.thread_count());
    const auto calibration = calibration_schema().make(part(arguments_.given, calibration_schema()));
    auto reading = open_options(input_schema().make(part(arguments_.given, input_schema())),
                                map_schema().make(part(arguments_.given, map_schema())), &reading_pool);
    reading.batch_bytes = kBatchBytes;
    reading.checksum = false;
    auto scan = io::with_calibrations(io::open_scan(arguments_.inputs.at(0), reading), calibration.dark,
                                      calibration.flat, reading);
    if (verb_.sparse_frames) io::make_sparse(*scan);
    const auto source = with_gain(std::move(scan), corrections_.gain);
    const auto& acquisition = source->acquisition();
    const technique::Resources resources{&pool, communicator_.size() > 1 ? &communicator_ : nullptr, &session_.clock,
                                         static_cast<std::uint64_t>(common_.seed), options_.memory_limit_bytes()};
    const auto technique = verb_.analyse(given_, resources);

    const io::LateChecksum checksum(arguments_.inputs.at(0));
    std::optional<pipeline::CheckpointFile> checkpoint;
    if (const fs::path from = resumed_from(); !from.empty()) {
      checkpoint.emplace(of_rank(from, communicator_.rank()));
      checkpoint->require(checkpoint_header(checksum.get()));
    }

    pipeline::DriverOptions driver;
    driver.corrections.sparse = verb_.sparse_frames;
    driver.corrections.dark = driver.corrections.flat = !verb_.raw_frames;
    choose(corrections_, driver.corrections);
    driver.iterate_while_reading = options_.iterate_while_reading;
    driver.communicator = &communicator_;
    driver.resume = checkpoint ? &*checkpoint : nullptr;
    bool checkpoint_written = false;
    const fs::path keep = task_ != nullptr ? task_->checkpoint : folder ? folder->checkpoint() : fs::path();
    if (!keep.empty()) {
      driver.checkpoint_every_s = task_ != nullptr ? task_->checkpoint_every_s : options_.checkpoint_every_s;
      driver.checkpoint = [&](const technique::Technique& t) {
        if (task_ != nullptr && task_->thrown_away && task_->thrown_away()) return;
        pipeline::write_checkpoint(of_rank(keep, communicator_.rank()), checkpoint_header(checksum.get()), t);
        checkpoint_written = true;
      };
    }
    std::optional<pipeline::PreviewFolder> previews;
    if (folder && options_.preview_every_s > 0) {
      previews.emplace(*folder, speaks());
      driver.preview = &*previews;
      driver.preview_every_s = options_.preview_every_s;
    } else if (task_ != nullptr && task_->preview != nullptr) {
      driver.preview = task_->preview;
      driver.preview_every_s = task_->preview_every_s;
    }

    pipeline::FrameAccount account(acquisition.scan.expected_frames);
    auto outcome = pipeline::drive(*source, *technique, account, observer_, session_.clock, driver, session_.stop);

    const auto frames = account.totals();
    Summary summary{word(outcome), session_.clock.now_s() - started_s, {}, frames, {}};
    // A task that goes on later has no result yet.
    if (outcome.product && !(outcome.stopped && task_ != nullptr)) {
      add_run_provenance(*outcome.product, checksum.get(), summary, frames);
      summary.metrics = outcome.product->metrics;
      if (folder && speaks()) summary.files = folder->write(*outcome.product, &frames);
      if (previews) previews->clear();
    }
    if (checkpoint_written && task_ == nullptr) summary.files.push_back(keep);
    observer_.summary(summary);
    if (outcome.stopped)
      observer_.note(checkpoint_written ? fmt::format("interrupted; go on with --resume {}", keep.string())
                                        : "interrupted");
    return exit_code(outcome, frames);
  }

private:
  bool speaks() const { return communicator_.rank() == 0; }

  /// Empty: from the beginning.
  fs::path resumed_from() const {
    if (task_ == nullptr) return options_.resume;
    std::error_code error;
    return task_->resume && fs::exists(of_rank(task_->checkpoint, communicator_.rank()), error) ? task_->checkpoint
                                                                                                : fs::path();
  }

  pipeline::CheckpointHeader checkpoint_header(const std::string& checksum) const {
    pipeline::CheckpointHeader header{info_.name,
                                      verb_.name,
                                      checksum,
                                      {{"version", version()},
                                       {"revision", git_revision()},
                                       {"instruction_set", std::string(core::name(core::isa()))},
                                       {"threads", std::to_string(common_.thread_count())},
                                       {"seed", std::to_string(common_.seed)},
                                       {"options", core::options_to_json(verb_.options.complete(given_))}}};
    if (const auto text = text_of(corrections_); !text.empty()) header.facts.emplace("corrections", text);
    return header;
  }

  void add_run_provenance(model::Product& product, const std::string& checksum, const Summary& summary,
                          const pipeline::FrameTotals& frames) const {
    auto& p = product.provenance;
    p.try_emplace("input", arguments_.inputs.at(0));
    p.try_emplace("checksum", checksum);
    p.try_emplace("seed", std::to_string(common_.seed));
    p.try_emplace("threads", std::to_string(common_.thread_count()));
    p.try_emplace("ranks", std::to_string(communicator_.size()));
    p.try_emplace("state", summary.state);
    p.try_emplace("frames", pipeline::to_json(frames));
    if (const auto text = text_of(corrections_); !text.empty()) p.try_emplace("corrections", text);
    if (const fs::path from = resumed_from(); !from.empty()) p.try_emplace("resumed_from", from.string());
    product.metrics.try_emplace("total_seconds", summary.seconds);
    add_provenance(product, info_, verb_, given_, session_);
  }

  const technique::TechniqueInfo& info_;
  const technique::Verb& verb_;
  const Arguments& arguments_;
  const Session& session_;
  parallel::Communicator& communicator_;
  RunObserver& observer_;
  const TaskConduct* task_;
  CommonOptions common_;
  AnalysisOptions options_;
  CorrectionChoice corrections_;
  core::OptionValues given_;
};

std::vector<core::OptionSchema> schemas_of(const technique::Verb& verb) {
  std::vector<core::OptionSchema> schemas{verb.options, analysis_schema(), input_schema(), calibration_schema()};
  if (!verb.raw_frames) schemas.push_back(correction_schema());
  if (std::find(verb.inputs.begin(), verb.inputs.end(), "qmap") != verb.inputs.end()) schemas.push_back(map_schema());
  schemas.push_back(common_schema());
  return schemas;
}

int analyse(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
            const Session& session) {
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  const auto communicator = analysis_schema().make(part(arguments.given, analysis_schema())).mpi
                                ? parallel::make_mpi()
                                : parallel::make_alone();
  Console console({common.json, common.quiet, isatty(STDERR_FILENO) == 1, communicator->rank() != 0}, session.clock);
  core::set_log_sink(make_log_sink(console, common.log_level));
  const auto fail = [&](const Error& e) {
    console.error(e);
    const int code = core::traits(e.code()).exit_code;
    std::fflush(nullptr);
    communicator->abort(code);  // the other ranks would wait for this one in vain
    return code;
  };
  int code = core::kExitOk;
  try {
    code = run_analysis(technique, verb, arguments, session, *communicator, console);
  } catch (const Error& e) {
    code = fail(e);
  } catch (const std::bad_alloc&) {
    code = fail(Error(ErrorCode::resource_exhausted, "not enough memory"));
  } catch (const std::exception& e) {
    code = fail(Error(ErrorCode::internal, e.what()));
  }
  core::set_log_sink(nullptr);
  return code;
}

}  // namespace

int run_analysis(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
                 const Session& session, parallel::Communicator& communicator, RunObserver& observer,
                 const TaskConduct* task) {
  return Analysis(technique, verb, arguments, session, communicator, observer, task).run();
}

Command analyse_command(const technique::TechniqueInfo& technique, const technique::Verb& verb) {
  return {
      {technique.name, verb.name},
      verb.summary,
      {"SCAN"},
      schemas_of(verb),
      [&](const Arguments& arguments, const Session& session) { return analyse(technique, verb, arguments, session); }};
}

}  // namespace farfield::apps
