#include "apps/farfield/task_runner.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/raw_previews.hpp"
#include "apps/farfield/registry.hpp"
#include "apps/farfield/run_options.hpp"
#include "apps/farfield/task_programs.hpp"
#include "apps/farfield/verb_run.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/core/text.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/pipeline/draw.hpp"

namespace farfield::apps {
namespace {

namespace compute = services::compute;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr const char* kEcho = "farfield.echo";
constexpr std::string_view kPrefix = "farfield.", kLivePrefix = "farfield.live.";

struct KnownVerb {
  const technique::TechniqueInfo* technique;
  const technique::Verb* verb;
  Command command;  ///< its inputs and options
  bool live = false;  ///< from a detector's stream
};

Command command_of(const technique::TechniqueInfo& technique, const technique::Verb& verb) {
  return verb.analyse   ? analyse_command(technique, verb)
         : verb.combine ? combine_command(technique, verb)
                        : simulate_command(technique, verb);
}

/// "farfield.live.xpcs" for the first verb, "farfield.live.ptychography.frc" for another; of `farfield live xpcs`.
std::string live_function(const Command& command) {
  std::string name(kPrefix);
  for (std::size_t i = 0; i < command.words.size(); ++i) name += (i > 0 ? "." : "") + command.words[i];
  return name;
}

/// "farfield.xpcs.correlate", "farfield.live.xpcs"
KnownVerb find_function(const std::string& name) {
  if (name.starts_with(kLivePrefix))
    for (const auto* technique : techniques())
      for (auto& command : live_commands(*technique))
        if (live_function(command) == name) {
          const auto* verb = command.words.size() > 2 ? technique->find(command.words[2]) : nullptr;
          for (std::size_t i = 0; verb == nullptr && i < technique->verbs.size(); ++i)
            if (technique->verbs[i].analyse) verb = &technique->verbs[i];
          return {technique, verb, std::move(command), true};
        }
  const std::size_t dot = name.find('.', kPrefix.size());
  if (!name.starts_with(kPrefix) || dot == std::string::npos)
    throw Error(ErrorCode::not_found, fmt::format("there is no function {}", name));
  const auto& technique = find_technique(name.substr(kPrefix.size(), dot - kPrefix.size()));
  const auto& verb = find_verb(technique, name.substr(dot + 1));
  return {&technique, &verb, command_of(technique, verb)};
}

/// Options that belong to a terminal, or to who runs the worker.
bool is_workers(const std::string& option) {
  for (const char* name :
       {"json", "quiet", "log-level", "checkpoint-every", "preview-every", "resume", "mpi", "picture"})
    if (option == name) return true;
  return false;
}

/// JSON Schema of what a verb is called with.
std::string input_schema(const Command& command) {
  json properties = json::object();
  if (!command.inputs.empty()) {
    const bool many = command.inputs.back().ends_with("...");
    json inputs{{"type", "array"},
                {"description", "paths in the experiment's folder"},
                {"items", {{"type", "string"}}},
                {"minItems", command.inputs.size()}};
    if (!many) inputs["maxItems"] = command.inputs.size();
    properties["inputs"] = inputs;
  }
  for (const auto& schema : command.options) {
    const json part = json::parse(schema.json_schema(command.name()));
    for (const auto& [name, value] : part.at("properties").items())
      if (!is_workers(name)) properties[name] = value;
  }
  json schema{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!command.inputs.empty()) schema["required"] = {"inputs"};
  return schema.dump();
}

/// A path of a task lies in its experiment. The kernel sees to that where it confines; this is for where it does not,
/// and for a message that can be understood.
void check_path(const std::string& path, const fs::path& root) {
  std::error_code error;
  const fs::path base = fs::weakly_canonical(root, error);
  const fs::path whole = fs::weakly_canonical(root / path, error);
  const auto [end, rest] = std::mismatch(base.begin(), base.end(), whole.begin(), whole.end());
  if (error || path.find('\0') != std::string::npos || end != base.end())
    throw Error(ErrorCode::forbidden, fmt::format("path \"{}\" leads out of the experiment's folder", path));
}

/// Where a live run reads and writes: sockets anywhere, files in the experiment.
void check_live_paths(const Arguments& arguments, const fs::path& root) {
  for (const char* option : {"like", "source", "positions", "quality"}) {
    const auto given = arguments.given.find(option);
    if (given == arguments.given.end()) continue;
    const auto& all = std::get<std::string>(given->second);
    for (std::size_t at = 0; at < all.size();) {
      const auto comma = std::string_view(option) == "quality" ? std::min(all.find(',', at), all.size()) : all.size();
      const auto one = all.substr(at, comma - at);
      at = comma + 1;
      if (one == "-") throw Error(ErrorCode::invalid_argument, fmt::format("{} = -: a task has no terminal", option));
      const auto scheme = one.find("://");
      if (scheme == std::string::npos) check_path(one, root);
      else if (one.substr(0, scheme).ends_with("ipc")) check_path(one.substr(scheme + 3), root);
    }
  }
}

/// What a verb is called with, from JSON. Throws `invalid_argument`.
Arguments verb_arguments(const KnownVerb& known, const compute::Work& work, int threads) {
  json body = json::parse(work.arguments, nullptr, false);
  if (!body.is_object()) throw Error(ErrorCode::invalid_argument, "arguments must be a JSON object");
  Arguments out;
  if (const auto inputs = body.find("inputs"); inputs != body.end()) {
    if (!inputs->is_array() ||
        !std::all_of(inputs->begin(), inputs->end(), [](const json& p) { return p.is_string(); }))
      throw Error(ErrorCode::invalid_argument, "\"inputs\" must be a list of paths");
    out.inputs = inputs->get<std::vector<std::string>>();
    body.erase(inputs);
  }
  const auto& names = known.command.inputs;
  const bool many = !names.empty() && names.back().ends_with("...");
  if (out.inputs.size() < names.size() || (!many && out.inputs.size() > names.size()))
    throw Error(ErrorCode::invalid_argument, fmt::format("{} takes {}{} inputs, got {}", work.function.name,
                                                         many ? "at least " : "", names.size(), out.inputs.size()));
  for (const auto& [name, value] : core::options_from_json(body.dump())) {
    const core::OptionInfo* info = known.command.find(name);
    if (info == nullptr || is_workers(name)) {
      const auto near = core::nearest_name(name, known.command.option_names());
      throw Error(ErrorCode::invalid_argument, fmt::format("{} has no option {}{}", work.function.name, name,
                                                           near ? fmt::format("; did you mean {}?", *near) : ""));
    }
    out.given[name] = core::check_option(*info, value);
  }
  if (threads > 0 && known.command.find("threads") != nullptr)
    out.given.try_emplace("threads", static_cast<std::int64_t>(threads));
  for (const std::string& path : out.inputs) check_path(path, work.root);
  for (const char* option : {"out", "qmap", "metadata", "dark", "flat", "recipe"})
    if (const auto given = out.given.find(option); given != out.given.end())
      check_path(std::get<std::string>(given->second), work.root);
  if (known.live) check_live_paths(out, work.root);
  if (const auto out_path = out.given.find("out"); out_path != out.given.end()) {
    std::error_code ignored;
    fs::create_directories((fs::path(work.root) / std::get<std::string>(out_path->second)).parent_path(), ignored);
  }
  return out;
}

json number(double v) { return std::isfinite(v) ? json(v) : json(nullptr); }

/// Progress, log and the summary of a verb, on their way to the service.
class TaskObserver final : public RunObserver {
public:
  TaskObserver(compute::Reporter& reporter, bool live) : reporter_(reporter), live_(live) {}
  void progress(const technique::Progress& p) override {
    std::string text =
        p.iterations > 0 ? fmt::format("{}/{}", p.iteration, p.iterations) : fmt::format("{}", p.iteration);
    for (const auto& [name, v] : p.values) text += fmt::format("  {} {:.5g}", name, v);
    // While the scan of a live task comes nobody knows how many passes there will be: its frames tell how far it is.
    if (p.iterations > 0) part_ = static_cast<double>(p.iteration) / static_cast<double>(p.iterations);
    reporter_.progress(part_, text);
  }
  void rejected(model::FrameId id, const std::string& reason) override {
    if (rejected_++ < kMostRejected) reporter_.log(fmt::format("frame {} dropped: {}", id, reason));
  }
  void warning(const std::string& message) override { reporter_.log("warning: " + message); }
  void reading(pipeline::Index received, pipeline::Index expected) override {
    if (expected <= 0) return;
    if (live_) part_ = static_cast<double>(received) / static_cast<double>(expected);
    reporter_.progress(part_, fmt::format("{}/{} frames read", received, expected));
  }
  void note(const std::string& text) override { reporter_.log(text); }
  void summary(const Summary& s) override {
    json out{{"state", s.state}, {"seconds", s.seconds}, {"metrics", json::object()}, {"files", json::array()}};
    for (const auto& [name, v] : s.metrics) out["metrics"][name] = number(v);
    for (const auto& file : s.files) out["files"].push_back(file.string());
    if (s.frames) out["frames"] = json::parse(pipeline::to_json(*s.frames));
    output = out.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  std::string output = "null";

private:
  static constexpr int kMostRejected = 100;
  compute::Reporter& reporter_;
  bool live_;
  double part_ = 0;
  int rejected_ = 0;
};

/// Snapshots as pictures and as numbers, while somebody looks.
class TaskPreviews final : public pipeline::PreviewSink {
public:
  explicit TaskPreviews(compute::Reporter& reporter) : reporter_(reporter) {}
  bool wanted() const override { return reporter_.watched(); }
  void show(const model::Product& product, std::int64_t iteration) override {
    for (const auto& picture : pipeline::draw(product)) {
      compute::Preview preview;
      preview.name = fs::path(picture.name).stem().string().substr(0, 64);
      preview.kind = "png";
      preview.step = iteration;
      preview.bytes.assign(reinterpret_cast<const char*>(picture.bytes.data()), picture.bytes.size());
      reporter_.preview(std::move(preview));
    }
    for (auto& preview : raw_previews(product, iteration)) reporter_.preview(std::move(preview));
  }

private:
  compute::Reporter& reporter_;
};

/// This thread, and those that it starts, have a folder of their own: paths of a task are relative to its experiment.
void enter(const std::string& folder) {
  if (::unshare(CLONE_FS) != 0) throw core::system_error(errno, "cannot have a folder of its own");
  if (::chdir(folder.c_str()) != 0) throw core::system_error(errno, "cannot enter " + folder);
}

class Runner final : public compute::TaskRunner {
public:
  explicit Runner(TaskRunnerOptions options) : options_(std::move(options)) {}

  std::vector<compute::FunctionRecord> verbs() const override { return verb_functions(); }

  compute::WorkEnd run(const compute::Work& work, compute::Reporter& reporter, const std::stop_token& cancel,
                       const std::stop_token& leave) override {
    if (work.function.kind == compute::FunctionKind::verb && work.function.name == kEcho)
      return {compute::Ending::done, work.arguments, {}};
    enter(work.root.empty() ? work.own_folder() : work.root);
    std::stop_source either;
    const std::stop_callback on_cancel(cancel, [&] { either.request_stop(); });
    const std::stop_callback on_leave(leave, [&] { either.request_stop(); });
    compute::WorkEnd end;
    if (work.function.kind != compute::FunctionKind::verb) {
      end = run_program(work, options_, reporter, either.get_token());
    } else {
      if (work.root.empty())
        throw Error(ErrorCode::invalid_argument, work.function.name + " needs an experiment, whose files it reads");
      const KnownVerb known = find_function(work.function.name);
      const Arguments arguments = verb_arguments(known, work, options_.threads);
      if (known.live && work.ranks > 1)
        throw Error(ErrorCode::unsupported, "a live run is one process; ask for more threads instead");
      end = work.ranks > 1 ? run_ranks(known.command, arguments, work, options_, reporter, either.get_token())
                           : run_here(known, arguments, work, reporter, cancel, either.get_token());
    }
    if (cancel.stop_requested()) end.ending = compute::Ending::cancelled;
    else if (leave.stop_requested() && end.ending != compute::Ending::done) end.ending = compute::Ending::interrupted;
    return end;
  }

private:
  /// Frames do not come a second time: a live task that is started again goes on with those that still come, and leaves
  /// what it wrote before it was interrupted where it is.
  static Arguments after_interruption(Arguments arguments, const compute::Work& work) {
    const auto out = arguments.given.find("out");
    if (!work.resume || out == arguments.given.end()) return arguments;
    const auto first = std::get<std::string>(out->second);
    for (int part = 2; fs::exists(fs::path(work.root) / std::get<std::string>(out->second)); ++part)
      out->second = fmt::format("{}_part{}", first, part);
    return arguments;
  }

  static compute::WorkEnd run_here(const KnownVerb& known, const Arguments& arguments, const compute::Work& work,
                                   compute::Reporter& reporter, const std::stop_token& cancel,
                                   const std::stop_token& stop) {
    const core::SteadyClock clock;
    const Session session{stop, clock, typed(known.command, arguments)};
    TaskObserver observer(reporter, known.live);
    TaskPreviews previews(reporter);
    int code = core::kExitOk;
    if (known.live) {
      code = run_live(*known.technique, *known.verb, after_interruption(arguments, work), session, observer, &previews);
    } else if (known.verb->analyse) {
      TaskConduct conduct;
      conduct.checkpoint = fs::path(work.own_folder()) / "checkpoint.ffc";
      conduct.resume = work.resume;
      conduct.thrown_away = [&] { return cancel.stop_requested(); };
      conduct.preview = &previews;
      const auto alone = parallel::make_alone();
      code = run_analysis(*known.technique, *known.verb, arguments, session, *alone, observer, &conduct);
    } else if (known.verb->combine) {
      code = run_combination(*known.technique, *known.verb, arguments, session, observer);
    } else {
      code = run_simulation(*known.technique, *known.verb, arguments, session, observer);
    }
    const bool stopped = code == core::traits(ErrorCode::cancelled).exit_code;
    return {stopped ? compute::Ending::interrupted : compute::Ending::done, observer.output, {}};
  }

  TaskRunnerOptions options_;
};

}  // namespace

std::vector<compute::FunctionRecord> verb_functions() {
  std::vector<compute::FunctionRecord> all;
  compute::FunctionRecord echo;
  echo.name = kEcho;
  echo.kind = compute::FunctionKind::verb;
  echo.summary = "gives its arguments back";
  all.push_back(echo);
  for (const auto* technique : techniques())
    for (const auto& verb : technique->verbs) {
      compute::FunctionRecord record;
      record.name = fmt::format("{}{}.{}", kPrefix, technique->name, verb.name);
      record.kind = compute::FunctionKind::verb;
      record.summary = verb.summary;
      record.input_schema = input_schema(command_of(*technique, verb));
      all.push_back(std::move(record));
    }
  for (const auto* technique : techniques())
    for (const auto& live : live_commands(*technique)) {
      compute::FunctionRecord record;
      record.name = live_function(live);
      record.kind = compute::FunctionKind::verb;
      record.summary = live.summary;
      record.input_schema = input_schema(live);
      all.push_back(std::move(record));
    }
  return all;
}

std::string expanded(const std::string& element, const std::string& arguments, const fs::path& root) {
  const json body = json::parse(arguments, nullptr, false);
  if (!body.is_object()) throw Error(ErrorCode::invalid_argument, "arguments must be a JSON object");
  std::string out;
  for (std::size_t i = 0; i < element.size(); ++i) {
    if (element[i] != '{') {
      out += element[i];
      continue;
    }
    if (element.compare(i, 2, "{{") == 0) {
      out += '{';
      ++i;
      continue;
    }
    const std::size_t end = element.find('}', i);
    if (end == std::string::npos)
      throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" has a brace that is not closed", element));
    std::string name = element.substr(i + 1, end - i - 1);
    const bool in = name.starts_with("in:"), path = in || name.starts_with("out:");
    if (path) name.erase(0, name.find(':') + 1);
    const auto member = body.find(name);
    if (member == body.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the arguments have no \"{}\", which {} needs", name, element));
    const std::string value = member->is_string() ? member->get<std::string>() : member->dump();
    if (!path) {
      if (value.find('\0') != std::string::npos)
        throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" must not hold a zero byte", name));
      out += value;
    } else {
      if (root.empty())
        throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" is a path: the task needs an experiment", name));
      check_path(value, root);
      const fs::path whole = root / value;
      std::error_code error;
      if (in && !fs::exists(whole, error))
        throw Error(ErrorCode::not_found, fmt::format("{} is not in the experiment's folder", value));
      if (!in) fs::create_directories(whole.parent_path(), error);
      out += whole.string();
    }
    i = end;
  }
  return out;
}

TaskRunnerOptions task_runner_options() {
  TaskRunnerOptions options;
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here changes the environment
    return std::string(value == nullptr ? "" : value);
  };
  options.threads = std::atoi(variable("FARFIELD_WORKER_THREADS").c_str());
  if (const std::string line = variable("FARFIELD_MPIRUN"); !line.empty()) {
    options.mpirun.clear();
    for (std::size_t begin = 0; begin < line.size();) {
      const std::size_t end = std::min(line.find(' ', begin), line.size());
      if (end > begin) options.mpirun.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return options;
}

std::unique_ptr<compute::TaskRunner> make_task_runner(const TaskRunnerOptions& options) {
  return std::make_unique<Runner>(options);
}

}  // namespace farfield::apps
