// farfield <technique> simulate --out FILE: streamed to disk, the truth beside it.

#include <fmt/format.h>
#include <unistd.h>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/run_options.hpp"
#include "farfield/io/frame_writer.hpp"
#include "farfield/io/product_file.hpp"

namespace farfield::apps {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

fs::path truth_path(fs::path scan) {
  const auto ending = scan.extension();
  if (ending == ".cxi" || ending == ".imm" || ending == ".bin") scan.replace_extension();
  return scan += ".truth.cxi";
}

void simulate_to(const fs::path& path, const technique::TechniqueInfo& info, const technique::Verb& verb,
                 const core::OptionValues& given, const CommonOptions& common, RunObserver& observer,
                 const Session& session) {
  const double started_s = session.clock.now_s();
  core::ThreadPool pool(common.thread_count());
  const auto simulation =
      verb.simulate(given, {&pool, nullptr, &session.clock, static_cast<std::uint64_t>(common.seed), 0});
  const auto& acquisition = simulation->acquisition();
  const auto writer = io::make_frame_writer(path, acquisition);
  core::Index frames = 0;
  const auto take = [&](const model::FrameBatch& batch) {
    writer->append(batch);
    frames += static_cast<core::Index>(batch.frames.size());
    observer.reading(frames, acquisition.scan.expected_frames);
  };
  while (simulation->next(session.stop, take)) {}
  if (session.stop.stop_requested())
    throw Error(ErrorCode::cancelled, fmt::format("interrupted after {} frames; nothing was written", frames));
  writer->commit();

  auto truth = simulation->truth();
  truth.provenance.try_emplace("seed", std::to_string(common.seed));
  add_provenance(truth, info, verb, given, session);
  const auto beside = truth_path(path);
  io::write_product(beside, truth);
  auto metrics = truth.metrics;
  metrics["frames"] = static_cast<double>(frames);
  observer.summary({"finished", session.clock.now_s() - started_s, metrics, std::nullopt, {path, beside}});
}

int simulate(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
             const Session& session) {
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  Console console({common.json, common.quiet, isatty(STDERR_FILENO) == 1, false}, session.clock);
  try {
    return run_simulation(info, verb, arguments, session, console);
  } catch (const Error& e) {
    console.error(e);
    return core::traits(e.code()).exit_code;
  }
}

}  // namespace

int run_simulation(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
                   const Session& session, RunObserver& observer) {
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  const auto out = out_file_schema().make(part(arguments.given, out_file_schema())).out;
  if (out.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("`farfield {} {}` needs --out FILE (.cxi, .imm or .bin)", info.name, verb.name));
  simulate_to(out, info, verb, part(arguments.given, verb.options), common, observer, session);
  return core::kExitOk;
}

Command simulate_command(const technique::TechniqueInfo& technique, const technique::Verb& verb) {
  return {{technique.name, verb.name},
          verb.summary,
          {},
          {verb.options, out_file_schema(), common_schema()},
          [&](const Arguments& arguments, const Session& session) {
            return simulate(technique, verb, arguments, session);
          }};
}

}  // namespace farfield::apps
