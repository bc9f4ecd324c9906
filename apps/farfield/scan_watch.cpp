#include "apps/farfield/scan_watch.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>

#include "apps/farfield/flow_host.hpp"
#include "apps/farfield/flow_options.hpp"
#include "apps/farfield/host_name.hpp"
#include "farfield/codec/checksum.hpp"
#include "farfield/core/text.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
namespace watch = services::watch;
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr std::size_t kMostEarly = 1000;

/// Of this user and this prefix.
fs::path state_file(const fs::path& prefix) {
  const char *state = std::getenv("XDG_STATE_HOME"), *home = std::getenv("HOME");
  if ((state == nullptr || *state == '\0') && (home == nullptr || *home == '\0'))
    throw Error(ErrorCode::invalid_argument, "neither XDG_STATE_HOME nor HOME is set: say --state");
  const fs::path folder =
      (state != nullptr && *state != '\0' ? fs::path(state) : fs::path(home) / ".local/state") / "farfield";
  fs::create_directories(folder);
  std::string name = prefix.string();
  for (char& c : name)
    if (c == '/' || static_cast<unsigned char>(c) < 33) c = '-';
  return folder / ("watch" + name.substr(0, 200) + ".db");
}

void fill(json& value, const std::map<std::string, std::string>& words) {
  if (value.is_string()) {
    auto& text = value.get_ref<std::string&>();
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      bool found = false;
      for (const auto& [name, word] : words)
        if (text.compare(at, name.size(), name) == 0) {
          out += word;
          at += name.size();
          found = true;
          break;
        }
      if (!found) out += text[at++];
    }
    text = out;
  } else if (value.is_structured()) {
    for (auto& inner : value) fill(inner, words);
  }
}

/// Empty for a scan that is a file itself.
std::string largest_file(const fs::path& scan) {
  std::string name;
  std::uintmax_t most = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(scan, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    const bool is_file = at->is_regular_file(gone) && !at->is_symlink(gone);
    const auto size = is_file ? at->file_size(gone) : 0;
    if (!is_file || gone || (!name.empty() && size <= most)) continue;
    most = size;
    name = fs::relative(at->path(), scan, gone).string();
  }
  return name;
}

std::string text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json parsed(const std::string& body) {
  auto value = json::parse(body, nullptr, false);
  if (!value.is_object()) throw Error(ErrorCode::corrupt_data, "the answer of the service is no JSON object");
  return value;
}

std::string target(const char* kind, const std::string& id) {
  return fmt::format("/api/v1/{}/{}", kind, net::percent_encode(id));
}

}  // namespace

std::string deployed_flow(const ServiceClient& client, const std::string& flow) {
  if (!flow.ends_with(".json") && flow.find('/') == std::string::npos) {
    (void)client.call("GET", target("flows", flow));
    return flow;
  }
  const std::string definition = read_text(flow), title = fs::path(flow).stem().string();
  const json wanted = json::parse(definition, nullptr, false);
  const json whoami = parsed(client.call("GET", "/api/v1/whoami"));
  std::string me = whoami.value("subject", "");
  if (me.starts_with("user:")) me.erase(0, 5);
  for (const json& one : parsed(client.call("GET", "/api/v1/flows?limit=1000")).value("flows", json::array())) {
    if (one.value("title", "") != title || one.value("owner", "") != me) continue;
    const std::string id = one.value("id", "");
    if (parsed(client.call("GET", target("flows", id))).value("definition", json()) == wanted) return id;
    break;
  }
  try {
    return parsed(client.call("POST", "/api/v1/flows", text({{"title", title}, {"definition", definition}})))
        .value("id", "");
  } catch (Error& e) {
    throw e.at(flow);
  }
}

std::string request_id(const watch::Scan& scan, const std::string& host, const std::string& flow) {
  const std::string whole = fmt::format("{}\n{}\n{}", host, flow, scan.key);
  return "watch:" + codec::sha256_hex(std::as_bytes(std::span(whole)));
}

std::string run_input(const std::string& given, const watch::Scan& scan, const std::string& inside,
                      const std::optional<watch::CompleteRule>& follow) {
  json input = json::parse(given, nullptr, false);
  if (!input.is_object()) throw Error(ErrorCode::invalid_argument, "the input of runs must be a JSON object");
  const std::string before = inside.empty() || inside.ends_with('/') ? inside : inside + "/";
  const std::string id = std::to_string(scan.id), path = before + "input/" + scan.name, result = before + "recon/" + id;
  const std::string file = largest_file(scan.path);
  fill(input, {{"{id}", id}, {"{name}", scan.name}, {"{path}", path}, {"{result}", result}, {"{file}", file}});
  if (!input.contains("scan"))
    input["scan"] = {{"id", scan.id},
                     {"name", scan.name},
                     {"path", path},
                     {"result", result},
                     {"file", file},
                     {"follow", follow ? json{{"marker", follow->marker}, {"quiet_s", follow->quiet_s}} : json(false)}};
  return text(input);
}

bool has_frames(const std::string& scan, std::int64_t frames, const std::string& dataset) {
  std::int64_t there = 0;
  const auto count = [&](const fs::path& file) {
    try {
      if (!io::hdf5::File::is_hdf5(file)) return;
      const auto found = io::hdf5::File::open(file).find_dataset(dataset);
      if (found && found->rank() > 0) there += found->shape().front();
    } catch (const Error&) {
      return;  // still being written
    }
  };
  std::error_code error;
  if (fs::is_directory(scan, error)) {
    for (const auto& entry : fs::recursive_directory_iterator(scan, error)) {
      const auto extension = entry.path().extension();
      if (entry.is_regular_file(error) && (extension == ".h5" || extension == ".hdf5" || extension == ".nxs"))
        count(entry.path());
    }
  } else {
    count(scan);
  }
  return there >= frames;
}

const core::BoundSchema<ScanWatchOptions>& watch_schema() {
  static const auto schema = [] {
    using O = ScanWatchOptions;
    core::BoundSchema<O> s;
    s.add("flow", &O::flow, "what each scan starts: id of a flow, or a file, which is deployed", {.group = "Runs"});
    s.add("input", &O::input,
          "of each run: JSON object or a file with one, in whose texts {id}, {name}, {path}, {result} and {file} stand "
          "for the scan's number, its name, input/NAME, recon/NUMBER and its largest file; \"scan\" with all of them "
          "is added",
          {.group = "Runs"});
    s.add("tags", &O::tags, "of each run besides the scan's name, between commas", {.group = "Runs"});
    s.add("inside", &O::inside, "where PREFIX is inside the root that the agent exports; none: it is the root",
          {.group = "Runs"});
    s.add("service", &O::service, "URL of the service", {.group = "Service"});
    s.add("identity", &O::identity, "service identity with the scope farfield; none: who has logged in",
          {.group = "Service"});
    s.add("secret-file", &O::secret_file, "file with its secret, readable by its owner only", {.group = "Service"});
    s.add("authority", &O::authority, "for an identity: certificate (PEM) of the service or of its authority",
          {.group = "Service"});
    s.add("pattern", &O::pattern, "regular expression of names that are scans, with one group: the number",
          {.group = "Scans"});
    s.add("marker", &O::marker, "a scan is complete when it holds a file of this name, or *.NAME lies beside it",
          {.group = "Scans"});
    s.add("quiet", &O::quiet_s, "... or when it has not changed for so long and nothing is open; 0: never for that",
          {.min = 0, .unit = "s", .group = "Scans"});
    s.add("start", &O::start,
          "the run: when the scan is complete, or at its first file; then the flow's transfer has to follow the scan "
          "until it is complete (\"follow\", see docs/howto/write-a-flow.md)",
          {.choices = {"complete", "first-file"}, .group = "Scans"});
    s.add("frames", &O::frames, "... or when its HDF5 files hold so many frames; 0: they are not counted",
          {.min = 0, .group = "Scans"});
    s.add("dataset", &O::dataset, "that holds the frames, along its first axis", {.group = "Scans"});
    s.add("rescan", &O::rescan_s, "look through the whole folder this often",
          {.min = 0.1, .unit = "s", .group = "Scans"});
    s.add("state", &O::state, "SQLite file of what was handled; none: below $XDG_STATE_HOME/farfield",
          {.group = "Scans"});
    s.add("json", &O::json, "one JSON object a line on stdout", {.group = "Output"});
    s.add("log-level", &O::log_level, "least level that is logged",
          {.choices = {"debug", "info", "warning", "error"}, .group = "Output"});
    return s;
  }();
  return schema;
}

struct ScanWatch::State {
  State(const std::string& given, const ScanWatchOptions& o, ServiceClient c, std::function<void(const News&)> t)
      : options(o), prefix(fs::absolute(given).lexically_normal()), client(std::move(c)), tell(std::move(t)) {
    if (prefix.filename().empty()) prefix = prefix.parent_path();
    if (o.flow.empty()) throw Error(ErrorCode::invalid_argument, "which flow? (--flow)");
    const auto first = o.input.find_first_not_of(" \t\n");
    if (first == std::string::npos || o.input[first] != '{') options.input = read_text(o.input);
    (void)run_input(options.input, {}, o.inside);
    if (o.start == watch::HandOn::first_file && o.frames > 0)
      throw Error(ErrorCode::invalid_argument,
                  "--frames says when a scan is complete to this watch alone: with --start first-file the transfer has "
                  "to find it, by --marker or --quiet");
    std::error_code error;
    for (const char* folder : {"input", "recon"}) {
      fs::create_directories(prefix / folder, error);
      if (error)
        throw Error(ErrorCode::io, "cannot make the folder: " + error.message()).at((prefix / folder).string());
    }
    flow = deployed_flow(client, o.flow);
    if (o.start == watch::HandOn::first_file) warn_where_nothing_follows();
    database = store::Database::open("sqlite:" + (o.state.empty() ? state_file(prefix).string() : o.state));
  }

  /// The transfer of a flow that follows nothing would carry what there is of the scan, and leave it at that.
  void warn_where_nothing_follows() {
    const auto definition = parsed(client.call("GET", target("flows", flow))).value("definition", json());
    if (definition.dump().find("\"follow") == std::string::npos)
      core::log(
          core::LogLevel::warning, "watch.nothing_follows",
          {{"flow", flow}, {"problem", "its runs start at the first file, and no transfer of it has \"follow\""}});
  }

  watch::CompleteRule rule() const { return {options.marker, options.quiet_s, {}}; }

  watch::WatcherOptions watcher_options() const {
    watch::WatcherOptions w;
    w.folder = prefix / "input";
    w.pattern = options.pattern;
    w.rule = rule();
    w.when = options.start;
    if (options.frames > 0)
      w.rule.test = [frames = options.frames, dataset = options.dataset](const std::string& path) {
        return has_frames(path, frames, dataset);
      };
    w.rescan_s = options.rescan_s;
    return w;
  }

  /// Exactly one run for each scan: the service knows the key, also after a crash of either side.
  void start(const watch::Scan& scan) {
    auto tags = core::between_commas(options.tags);
    tags.push_back(scan.name);
    const auto follow = options.start == watch::HandOn::first_file ? std::optional(rule()) : std::nullopt;
    const json body{{"input", json::parse(run_input(options.input, scan, options.inside, follow))},
                    {"label", scan.name},
                    {"tags", tags},
                    {"request_id", request_id(scan, host_name(), flow)}};
    const auto answer = parsed(client.call("POST", target("flows", flow) + "/runs", text(body)));
    const std::string id = answer.value("id", "");
    tell({scan.name, id, "", ""});
    News end;
    {
      const std::lock_guard lock(mutex);
      if (const auto ended = ended_early.extract(id)) end = ended.mapped();
      else runs[id] = scan.name;
    }
    end.scan = scan.name;
    if (!end.run.empty()) tell(end);
  }

  /// Says how runs end; only for people, so that nothing is lost where a change is.
  void follow(const std::stop_token& stop) {
    try {
      client.follow(
          "/api/v1/events",
          [this](const net::Event& event) {
            const auto run = json::parse(event.data, nullptr, false);
            if (event.name != "run" || !run.is_object() || run.value("status", "ACTIVE") == "ACTIVE") return true;
            const std::string error = run.value("error", "");
            News end{"", run.value("id", ""), run.value("status", ""),
                     error.empty() ? "" : error + ": " + run.value("cause", "")};
            {
              const std::lock_guard lock(mutex);
              const auto found = runs.find(end.run);
              if (found == runs.end()) {  // somebody else's, or the news of its start is still on its way
                if (ended_early.size() >= kMostEarly) ended_early.clear();
                ended_early[end.run] = end;
                return true;
              }
              end.scan = found->second;
              runs.erase(found);
            }
            tell(end);
            return true;
          },
          stop);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::cancelled)
        core::log(core::LogLevel::warning, "watch.not_followed", {{"error", e.what()}});
    }
  }

  ScanWatchOptions options;
  fs::path prefix;
  ServiceClient client;
  std::function<void(const News&)> tell;
  std::string flow;
  std::unique_ptr<store::Database> database;
  std::mutex mutex;
  std::map<std::string, std::string> runs;  ///< active ones -> scans
  std::map<std::string, News> ended_early;
  std::jthread follower;
  std::unique_ptr<watch::Watcher> watcher;
};

ScanWatch::ScanWatch(const std::string& prefix, const ScanWatchOptions& options, ServiceClient client,
                     const core::Clock& clock, std::function<void(const News&)> tell)
    : state_(std::make_unique<State>(prefix, options, std::move(client), std::move(tell))) {
  State* s = state_.get();
  s->follower = std::jthread([s](const std::stop_token& stop) { s->follow(stop); });
  s->watcher = std::make_unique<watch::Watcher>(
      *s->database, s->watcher_options(), [s](const watch::Scan& scan) { s->start(scan); }, clock);
}
ScanWatch::~ScanWatch() = default;

watch::WatcherStatus ScanWatch::status() const { return state_->watcher->status(); }
const std::string& ScanWatch::flow() const { return state_->flow; }

}  // namespace farfield::apps
