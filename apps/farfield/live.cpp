// farfield live TECHNIQUE [VERB] --source URI --out DIR: a running reconstruction from a detector's stream.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/correction_options.hpp"
#include "apps/farfield/live_archive.hpp"
#include "apps/farfield/live_screen.hpp"
#include "apps/farfield/quality_stream.hpp"
#include "apps/farfield/run_options.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/scan_file.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/pipeline/result_folder.hpp"
#include "farfield/pipeline/stage_times.hpp"
#include "farfield/stream/dectris/series.hpp"
#include "farfield/stream/positions/join.hpp"
#include "farfield/stream/spool/spool.hpp"

namespace farfield::apps {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using technique::StepState;

constexpr const char* kSource = "Source";
constexpr const char* kRunning = "Running";
constexpr const char* kOutput = "Output";

struct Options {
  std::string source, positions, position_names, like, channel;
  double position_time_offset_s = 0, late_s = 10, silence_s = 60;
  std::int64_t series = 1;
  std::string out, quality, archive, spool;
  std::int64_t spool_GiB = 16;
  double preview_every_s = 0.5;
  PictureKind picture = PictureKind::automatic;
  bool stage_times = false;
  pipeline::WhenFull when_full = pipeline::WhenFull::block;
  std::int64_t queue_MiB = 64;
  bool iterate_while_reading = true;
};

const core::BoundSchema<Options>& schema() {
  static const auto schema = [] {
    using O = Options;
    core::BoundSchema<O> s;
    s.add("source", &O::source,
          "where frames come from: tcp://host:port of a DECTRIS SIMPLON stream (v1 or v2; @tcp://*:port listens), or a "
          "file",
          {.group = kSource});
    s.add("channel", &O::channel, "which threshold's images; empty: the first", {.group = kSource});
    s.add("positions", &O::positions,
          "where positions come from, if not with the images: tcp://host:port or sub+tcp:// (JSON over ZeroMQ), "
          "bluesky+tcp:// (documents), or a CSV file that grows",
          {.group = kSource});
    s.add("position-names", &O::position_names,
          "names and units of that stream: NAME=NAME[:FACTOR],... as x_m=sample_x:1e-6,y_m=sample_y:1e-6",
          {.group = kSource});
    s.add("position-time-offset", &O::position_time_offset_s, "added to its times, where it is joined by time",
          {.unit = "s", .group = kSource});
    s.add("position-patience", &O::late_s, "how long positions may still come after the last frame",
          {.min = 0, .unit = "s", .group = kSource});
    s.add("like", &O::like,
          "a scan that says what the stream does not: geometry, mask, starting probe, dark and flat field",
          {.group = kSource});
    s.add("series", &O::series, "end after so many series; 0: go on until interrupted", {.min = 0, .group = kSource});
    s.add("silence", &O::silence_s, "a series that nothing came of for so long is over",
          {.min = 0.1, .unit = "s", .group = kSource});
    s.add("iterate-while-reading", &O::iterate_while_reading,
          "compute while frames come; otherwise, as from a file, when all are there", {.group = kRunning});
    s.add("when-full", &O::when_full, "when frames come faster than they are used: let the source wait, or drop them",
          {.choices = {"block", "drop"}, .group = kRunning});
    s.add("queue", &O::queue_MiB, "frames waiting for the technique",
          {.min = 1, .max = 1 << 20, .unit = "MiB", .group = kRunning});
    s.add(
        "spool", &O::spool,
        "folder on a fast disk through which messages go, so that the detector need not wait for the technique; a run "
        "that died finds there what it had not finished",
        {.group = kRunning});
    s.add("spool-size", &O::spool_GiB, "most of it on disk; then the source waits",
          {.min = 1, .max = 1 << 20, .unit = "GiB", .group = kRunning});
    s.add("out", &O::out,
          "folder for the result, metrics.json, frames.json and pictures; one below it for each of several series",
          {.group = kOutput});
    s.add("preview-every", &O::preview_every_s, "look at the state this often; 0: never",
          {.min = 0, .unit = "s", .group = kOutput});
    s.add("quality", &O::quality,
          "where records of the scan's quality go at each look, besides quality.jsonl in the folder, separated by "
          "commas: - (standard output), a file, @tcp://*:port (ZeroMQ PUB)",
          {.group = kOutput});
    s.add(
        "archive", &O::archive,
        "HDF5 file (CXI and NXmx) for the raw frames as the detector packed them, or a folder for one of each series; "
        "written whatever becomes of the analysis",
        {.group = kOutput});
    s.add("picture", &O::picture, "in the terminal: coloured half blocks, sixels, or none",
          {.choices = {"auto", "blocks", "sixel", "none"}, .group = kOutput});
    s.add("stage-times", &O::stage_times, "write stage_times.ffc to the folder: when each frame was where",
          {.group = kOutput});
    return s;
  }();
  return schema;
}

/// What `known` says and the stream does not.
void complete(model::Acquisition& a, const model::Acquisition& known) {
  const auto fill = [](auto& value, const auto& from) {
    if (!value) value = from;
  };
  fill(a.beam.energy_eV, known.beam.energy_eV);
  auto& d = a.detector;
  fill(d.distance_m, known.detector.distance_m);
  fill(d.pixel_size_y_m, known.detector.pixel_size_y_m);
  fill(d.pixel_size_x_m, known.detector.pixel_size_x_m);
  fill(d.saturation_counts, known.detector.saturation_counts);
  d.dc = known.detector.dc;
  if (d.pixel_mask.empty() && known.detector.ny == d.ny && known.detector.nx == d.nx)
    d.pixel_mask = known.detector.pixel_mask.clone();
  if (a.scan.unit == model::PositionUnit::unknown) a.scan.unit = known.scan.unit;
  for (const auto& [role, array] : known.inputs) a.inputs.try_emplace(role, array);
  for (const auto& [name, text] : known.metadata) a.metadata.try_emplace(name, text);
}

/// A source of which more is known; what comes beside its frames goes to the archive, too.
class Completed final : public model::FrameSource {
public:
  Completed(model::FrameSource& source, const model::Acquisition* known, const std::string& gain, LiveArchive& archive)
      : source_(source), archive_(archive), acquisition_(source.acquisition().clone()) {
    add_gain(acquisition_, gain);
    if (known == nullptr) return;
    complete(acquisition_, *known);
    model::validate(acquisition_, acquisition_.source);
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return source_.next(std::move(stop), [&](const model::FrameBatch& batch) {
      archive_.annotate(batch.values);
      take(batch);
    });
  }

private:
  model::FrameSource& source_;
  LiveArchive& archive_;
  model::Acquisition acquisition_;
};

class Live {
public:
  Live(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
       const Session& session, RunObserver* task = nullptr, pipeline::PreviewSink* task_previews = nullptr)
      : info_(info),
        verb_(verb),
        session_(session),
        task_previews_(task_previews),
        common_(common_schema().make(part(arguments.given, common_schema()))),
        options_(schema().make(part(arguments.given, schema()))),
        input_(input_schema().make(part(arguments.given, input_schema()))),
        maps_(map_schema().make(part(arguments.given, map_schema()))),
        corrections_(correction_schema().make(part(arguments.given, correction_schema()))),
        given_(part(arguments.given, verb.options)),
        terminal_(isatty(STDERR_FILENO) == 1),
        quality_(options_.quality),
        archive_(options_.archive, options_.series != 1),
        console_({common_.json, common_.quiet, terminal_, task != nullptr}, session.clock),
        observer_(task != nullptr ? *task : console_) {
    if (options_.source.empty()) throw Error(ErrorCode::invalid_argument, "`farfield live` needs --source URI");
    if (options_.out.empty() && !verb.out_optional)
      throw Error(ErrorCode::invalid_argument, "`farfield live` needs --out DIR for its result");
    if (!options_.archive.empty() && options_.source.find("://") == std::string::npos)
      throw Error(ErrorCode::invalid_argument, "--archive keeps what a stream sends; this source is a file already");
    if (!options_.spool.empty() && options_.source.find("://") == std::string::npos)
      throw Error(ErrorCode::invalid_argument, "--spool is for what a stream sends; this source is a file already");
    if (options_.stage_times && options_.out.empty())
      throw Error(ErrorCode::invalid_argument, "--stage-times writes to the folder given by --out");
    if (!in_task()) core::set_log_sink(make_log_sink(console_, common_.log_level));
  }
  ~Live() {
    if (!in_task()) core::set_log_sink(nullptr);
  }
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;

  int run() {
    try {
      return follow();
    } catch (const Error& e) {
      console_.error(e);
      return core::traits(e.code()).exit_code;
    }
  }

  /// Throws what goes wrong.
  int follow() {
    check_before_waiting();
    core::ThreadPool reading_pool(common_.thread_count());
    if (!options_.like.empty())
      known_ = io::open_scan(options_.like, open_options({}, {}, nullptr))->acquisition().clone();
    if (!maps_.metadata.empty()) io::xpcs::read_metadata(maps_.metadata, known_ ? *known_ : known_.emplace());
    if (!maps_.qmap.empty()) io::xpcs::read_qmap(maps_.qmap, known_ ? *known_ : known_.emplace());
    open_positions();
    if (options_.source.find("://") == std::string::npos) {
      const auto source = io::open_scan(options_.source, open_options(input_, maps_, &reading_pool));
      return series(*source, options_.out, [] { return std::string(); });
    }
    stream::SocketFeed socket(net::ZmqKind::pull, options_.source);
    std::optional<stream::SpoolFeed> spool;
    if (!options_.spool.empty())
      spool.emplace(socket, options_.spool, stream::SpoolOptions{.most_bytes = options_.spool_GiB << 30});
    stream::Feed& feed = spool ? static_cast<stream::Feed&>(*spool) : socket;
    stream::dectris::SeriesReceiver receiver(feed, {.channel = options_.channel,
                                                    .threads = reading_pool.size(),
                                                    .batch_bytes = core::Index{16} << 20,
                                                    .silence_s = options_.silence_s,
                                                    .tap = archive_.tap()});
    observer_.note(fmt::format("waiting for a series from {}", feed.name()));
    int code = core::kExitOk;
    for (std::int64_t number = 0; options_.series == 0 || number < options_.series; ++number) {
      const auto next = receiver.next(session_.stop);
      if (!next) return core::traits(ErrorCode::cancelled).exit_code;
      const auto folder =
          options_.out.empty() || options_.series == 1
              ? options_.out
              : (fs::path(options_.out) / fmt::format("series_{}_{:03}", next->id().number, number)).string();
      try {
        archive_.begin(*next, number, session_.stop);
        code = std::max(code, series(*next, folder, [&] { return said_of(receiver.counts(), next->id().number); }));
      } catch (const Error& e) {
        archive_.note("analysis_error", e.what());
        (void)archive_.finish(*next, session_.stop, console_);
        // A scan that cannot be analysed is no reason to miss the next one.
        if (options_.series == 1) throw;
        if (in_task()) observer_.warning(e.what());
        else console_.error(e);
        code = std::max(code, core::traits(e.code()).exit_code);
      }
      code = std::max(code, archive_.finish(*next, session_.stop, console_));
      // The result stands: a run that starts now begins with the next series. One that was stopped is taken up again.
      if (spool && !session_.stop.stop_requested()) spool->release(receiver.waiting());
      const auto state = next->state();
      if (state == stream::dectris::SeriesState::cut_short || state == stream::dectris::SeriesState::silent)
        observer_.warning(fmt::format("series {} was {}", next->id().number, name(state)));
      if (session_.stop.stop_requested()) break;
      open_positions();  // those of the next series
    }
    return code;
  }

private:
  bool in_task() const { return &observer_ != &console_; }

  /// What is wrong with options or folder is said now, not when the first frame comes.
  void check_before_waiting() const {
    core::ThreadPool pool(1);
    (void)verb_.analyse(given_, {&pool, nullptr, &session_.clock, 0, 0});
    if (!options_.out.empty()) const pipeline::ResultFolder folder(options_.out);
    archive_.check();
  }

  /// Before the series: what is sent early waits in the socket.
  void open_positions() {
    positions_.reset();
    if (!options_.positions.empty()) positions_ = stream::open_values(options_.positions, options_.position_names);
  }

  static std::string said_of(const stream::dectris::ReceiverCounts& counts, std::int64_t series) {
    std::string text = fmt::format("series {}: {} messages, {:.1f} MB", series, counts.messages,
                                   static_cast<double>(counts.bytes) / 1e6);
    if (counts.unreadable > 0) text += fmt::format("; {} unreadable ({})", counts.unreadable, counts.last_unreadable);
    if (counts.strays > 0) text += fmt::format("; {} images of series that were over", counts.strays);
    return text;
  }

  int series(model::FrameSource& frames, const std::string& out, const std::function<std::string()>& said) {
    const double started_s = session_.clock.now_s();
    std::optional<pipeline::ResultFolder> folder;
    if (!out.empty()) folder.emplace(out);
    std::vector<stream::ValueSource*> values;
    if (positions_) values.push_back(positions_.get());
    stream::JoinedSource joined(
        frames, values, {.time_offset_s = options_.position_time_offset_s, .late_s = options_.late_s}, session_.clock);
    Completed source(joined, known_ ? &*known_ : nullptr, corrections_.gain, archive_);
    const auto& acquisition = source.acquisition();

    core::ThreadPool pool(common_.thread_count());
    const technique::Resources resources{&pool, nullptr, &session_.clock, static_cast<std::uint64_t>(common_.seed), 0};
    const auto technique = verb_.analyse(given_, resources);

    pipeline::FrameAccount account(acquisition.scan.expected_frames);
    std::optional<pipeline::PreviewFolder> pictures;
    if (folder) pictures.emplace(*folder);
    LiveScreen screen(
        console_, options_.picture, terminal_ && !common_.json && !common_.quiet, session_.clock,
        [&] { return account.totals(); }, said, pictures ? &*pictures : nullptr);
    std::optional<pipeline::StageTimesWriter> times;
    if (options_.stage_times)
      times.emplace(folder->path() / "stage_times.ffc", 0, "live", pipeline::kStages, session_.clock);

    pipeline::DriverOptions driver;
    driver.corrections.sparse = verb_.sparse_frames;
    driver.corrections.dark = driver.corrections.flat = !verb_.raw_frames;
    choose(corrections_, driver.corrections);
    driver.iterate_while_reading = options_.iterate_while_reading;
    driver.queue_bytes = options_.queue_MiB << 20;
    driver.when_full = options_.when_full;
    driver.stage_times = times ? &*times : nullptr;
    quality_.begin(
        acquisition.source, info_.name, verb_.name, folder ? folder->path() / "quality.jsonl" : fs::path(),
        [&] { return account.totals(); }, in_task() ? task_previews_ : &screen);
    if (options_.preview_every_s > 0) {
      driver.preview = &quality_;
      driver.preview_every_s = options_.preview_every_s;
    }
    auto outcome = pipeline::drive(source, *technique, account,
                                   in_task() ? static_cast<pipeline::DriverObserver&>(observer_) : screen,
                                   session_.clock, driver, session_.stop);

    auto totals = account.totals();
    archive_.note("frames", pipeline::to_json(totals));
    const bool not_converged = outcome.state == StepState::not_converged;
    Summary summary{outcome.stopped                         ? "interrupted"
                    : not_converged                         ? "not_converged"
                    : outcome.state == StepState::converged ? "converged"
                                                            : "finished",
                    session_.clock.now_s() - started_s,
                    {},
                    totals,
                    {}};
    if (outcome.product) {
      auto& product = *outcome.product;
      auto& p = product.provenance;
      p.try_emplace("input", acquisition.source);
      p.try_emplace("seed", std::to_string(common_.seed));
      p.try_emplace("threads", std::to_string(common_.thread_count()));
      p.try_emplace("state", summary.state);
      p.try_emplace("frames", pipeline::to_json(totals));
      if (const auto text = text_of(corrections_); !text.empty()) p.try_emplace("corrections", text);
      if (const auto text = said(); !text.empty()) p.try_emplace("stream", text);
      if (!options_.positions.empty())
        p.try_emplace("positions", fmt::format("{}: {} unreadable, {} frames without", options_.positions,
                                               joined.unreadable(), joined.without_values()));
      product.metrics.try_emplace("total_seconds", summary.seconds);
      add_provenance(product, info_, verb_, given_, session_);
      summary.metrics = totals.quality = product.metrics;
      quality_.end(product.metrics);
      if (folder) summary.files = folder->write(product, &totals);
    }
    if (pictures) pictures->clear();
    if (times) {
      times->commit();
      summary.files.push_back(folder->path() / "stage_times.ffc");
    }
    observer_.summary(summary);
    if (const auto text = said(); !text.empty()) observer_.note(text);
    if (outcome.stopped) return core::traits(ErrorCode::cancelled).exit_code;
    if (not_converged) return core::kExitNotConverged;
    return totals.dropped > 0 || totals.missing > 0 ? core::kExitPartial : core::kExitOk;
  }

  const technique::TechniqueInfo& info_;
  const technique::Verb& verb_;
  const Session& session_;
  pipeline::PreviewSink* task_previews_;
  CommonOptions common_;
  Options options_;
  InputOptions input_;
  MapOptions maps_;
  CorrectionChoice corrections_;
  core::OptionValues given_;
  bool terminal_;
  QualityStream quality_;
  LiveArchive archive_;
  Console console_;
  RunObserver& observer_;  ///< the console, or the task that this is
  std::optional<model::Acquisition> known_;
  std::unique_ptr<stream::ValueSource> positions_;
};

}  // namespace

int run_live(const technique::TechniqueInfo& technique, const technique::Verb& verb, const Arguments& arguments,
             const Session& session, RunObserver& observer, pipeline::PreviewSink* previews) {
  return Live(technique, verb, arguments, session, &observer, previews).follow();
}

std::vector<Command> live_commands(const technique::TechniqueInfo& technique) {
  std::vector<Command> commands;
  for (const auto& verb : technique.verbs) {
    if (!verb.analyse) continue;
    std::vector<std::string> words{"live", technique.name};
    if (!commands.empty()) words.push_back(verb.name);  // the first verb is what a technique is for
    std::vector<core::OptionSchema> schemas{schema(), verb.options, input_schema()};
    if (!verb.raw_frames) schemas.push_back(correction_schema());
    if (std::find(verb.inputs.begin(), verb.inputs.end(), "qmap") != verb.inputs.end()) schemas.push_back(map_schema());
    schemas.push_back(common_schema());
    commands.push_back({words,
                        "live, from a detector's stream: " + verb.summary,
                        {},
                        schemas,
                        [&technique, &verb](const Arguments& arguments, const Session& session) {
                          return Live(technique, verb, arguments, session).run();
                        }});
  }
  return commands;
}

}  // namespace farfield::apps
