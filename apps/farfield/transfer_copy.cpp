// farfield transfer copy SOURCE DESTINATION

#include "apps/farfield/transfer_copy.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/job.hpp"
#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/root.hpp"
#include "farfield/services/transfer/xrootd/xrootd.hpp"

namespace farfield::apps {

namespace fs = std::filesystem;
namespace transfer = services::transfer;
using core::Error;
using core::ErrorCode;

namespace {

enum class Checksum { crc32c, sha256 };

struct CopyCommandOptions {
  transfer::Sync sync = transfer::Sync::never;
  std::string include, exclude;
  Checksum checksum = Checksum::crc32c;
  bool follow = false;
  std::string marker;
  double quiet_s = 5;
  int concurrency = 8, streams = 2, attempts = 3;
  double bandwidth_MBps = 0;
  std::string token_file, authority;
  bool json = false, quiet = false;
};

const core::BoundSchema<CopyCommandOptions>& copy_schema() {
  using O = CopyCommandOptions;
  static const auto schema = [] {
    core::BoundSchema<O> s;
    s.add("sync", &O::sync, "leave a file that is there already, by: its existence, size, size and time, checksum",
          {.choices = {"never", "exists", "size", "mtime", "checksum"}, .group = "Files"});
    s.add("include", &O::include, "only files that match one of these patterns, between commas (* ? **)",
          {.group = "Files"});
    s.add("exclude", &O::exclude, "not what matches one of these patterns, between commas", {.group = "Files"});
    s.add("checksum", &O::checksum, "CRC-32C, or also SHA-256 of what was read back",
          {.choices = {"crc32c", "sha256"}, .group = "Files"});
    s.add("follow", &O::follow, "the source is still being written: go on until it is complete",
          {.group = "Following"});
    s.add("marker", &O::marker, "complete when this file is in the source (* ?)", {.group = "Following"});
    s.add("complete-after", &O::quiet_s, "complete when nothing has changed for so long; 0: only by the marker",
          {.min = 0, .max = 1e9, .unit = "s", .group = "Following"});
    s.add("concurrency", &O::concurrency, "files at once", {.min = 1, .max = 1000, .group = "Limits"});
    s.add("streams", &O::streams, "parts of a large file at once", {.min = 1, .max = 64, .group = "Limits"});
    s.add("bandwidth", &O::bandwidth_MBps, "at most; 0: no limit",
          {.min = 0, .max = 1e9, .unit = "MB/s", .group = "Limits"});
    s.add("attempts", &O::attempts, "for a file that changes, or an agent that does not answer",
          {.min = 1, .max = 1000, .group = "Limits"});
    s.add("token-file", &O::token_file, "file with an access token for agents; read anew for each request",
          {.group = "Agents"});
    s.add("authority", &O::authority,
          "certificate (PEM) of the agents or of their authority; none: the system's authorities", {.group = "Agents"});
    s.add("json", &O::json, "one JSON object a line on stdout", {.group = "Output"});
    s.add("quiet", &O::quiet, "no progress", {.group = "Output"});
    return s;
  }();
  return schema;
}

std::string token_from(const std::string& file) {
  std::ifstream in(file);
  std::string token;
  if (!(in >> token)) throw Error(ErrorCode::unauthenticated, fmt::format("there is no token in {}", file));
  return token;
}

Place agent_place(const std::string& text, const PlaceOptions& options) {
  const auto url = core::value_or_throw(net::parse_url(text));
  const auto target = core::value_or_throw(net::parse_target(url.target));
  if (target.segments.empty() || target.segments[0].empty() || !target.query.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" must be https://HOST:PORT/EXPERIMENT/PATH", text));
  std::string path;
  for (std::size_t i = 1; i < target.segments.size(); ++i) path = transfer::join(path, target.segments[i]);
  transfer::AgentPlace agent{url.origin(), target.segments[0], {}, {}};
  if (!options.token_file.empty()) agent.token = [file = options.token_file] { return token_from(file); };
  agent.client.trust.authorities = options.authority;
  return {transfer::agent_provider(std::move(agent)), path};
}

Place xrootd_place(const std::string& text, const PlaceOptions& options) {
  const auto host = text.find("://") + 3, path = std::min(text.find('/', host), text.size());
  // The folder above is what is exported: it exists also where the last part is to be made.
  const fs::path whole = fs::path(path == text.size() ? "/" : text.substr(path)).lexically_normal();
  if (!whole.has_filename() || whole == "/")
    throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" must be roots://HOST:PORT/PATH", text));
  transfer::XRootDPlace place{text.substr(0, path), whole.parent_path().string(), {}};
  if (!options.token_file.empty()) place.token = [file = options.token_file] { return token_from(file); };
  return {transfer::xrootd_provider(std::move(place)), whole.filename().string()};
}

Place local_place(const std::string& text) {
  fs::path path = fs::absolute(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "scan100/"
  // The folder that is exported exists; what is to be made lies below.
  fs::path root = path.parent_path();
  std::error_code ignored;
  while (root.has_relative_path() && !fs::is_directory(root, ignored)) root = root.parent_path();
  const fs::path below = path.lexically_relative(root);
  return {transfer::local_provider(root), below == "." ? std::string() : below.string()};
}

/// A line now and then; warnings for files that failed.
class Watcher final : public transfer::JobObserver {
public:
  Watcher(Console& console, const core::Clock& clock, bool quiet) : console_(console), clock_(clock), quiet_(quiet) {}
  void unit(const transfer::Unit& unit) override {
    if (unit.error) console_.warning(fmt::format("{}: {}", unit.source, unit.error->what()));
  }
  void progress(const transfer::Progress& p) override {
    constexpr double kEvery_s = 10;
    if (quiet_ || clock_.now_s() - last_s_ < kEvery_s) return;
    last_s_ = clock_.now_s();
    console_.note(fmt::format("{} of {}{} files, {:.1f} MB", p.files_copied + p.files_skipped, p.files_found,
                              p.listing ? " or more" : "", 1e-6 * static_cast<double>(p.bytes_read)));
  }

private:
  Console& console_;
  const core::Clock& clock_;
  const bool quiet_;
  double last_s_ = clock_.now_s();
};

int copy(const Arguments& arguments, const Session& session) {
  const auto given = copy_schema().make(arguments.given);
  Console console({given.json, given.quiet, ::isatty(STDERR_FILENO) == 1, false}, session.clock);
  const double started_s = session.clock.now_s();
  try {
    const PlaceOptions how{given.token_file, given.authority};
    const Place from = parse_place(arguments.inputs.at(0), how), to = parse_place(arguments.inputs.at(1), how);
    transfer::JobOptions options;
    options.sync = given.sync;
    options.filter = {core::between_commas(given.include), core::between_commas(given.exclude)};
    options.concurrency = given.concurrency;
    options.bandwidth_Bps = 1e6 * given.bandwidth_MBps;
    options.attempts = given.attempts;
    options.copy.streams = given.streams;
    options.copy.sha256 = given.checksum == Checksum::sha256;
    if (!given.follow && (!given.marker.empty() || given.quiet_s != CopyCommandOptions{}.quiet_s))
      throw Error(ErrorCode::invalid_argument, "--marker and --complete-after go with --follow");
    if (given.follow) options.follow = services::watch::CompleteRule{given.marker, given.quiet_s, {}};
    const auto entry = from.provider->stat(from.path);
    // What is followed may have to come yet: then it is taken for a folder.
    const bool recursive = entry ? entry->kind == transfer::EntryKind::folder : given.follow;
    if (!entry && !given.follow) throw Error(ErrorCode::not_found, arguments.inputs[0] + " does not exist");
    Watcher observer(console, session.clock, given.quiet || given.json);
    const auto result = transfer::run_job(*from.provider, *to.provider, {{from.path, to.path, recursive}}, options,
                                          observer, session.clock, session.stop);
    if (result.error) throw *result.error;
    const auto& p = result.progress;
    Summary summary;
    summary.state = "finished";
    summary.seconds = session.clock.now_s() - started_s;
    summary.metrics = {{"files_copied", static_cast<double>(p.files_copied)},
                       {"files_skipped", static_cast<double>(p.files_skipped)},
                       {"files_failed", static_cast<double>(p.files_failed)},
                       {"bytes", static_cast<double>(p.bytes_read)},
                       {"links_left_out", static_cast<double>(p.links_left_out)},
                       {"others_left_out", static_cast<double>(p.others_left_out)}};
    console.summary(summary);
    return p.files_failed > 0 ? core::kExitPartial : core::kExitOk;
  } catch (const Error& e) {
    console.error(e);
    return core::traits(e.code()).exit_code;
  }
}

}  // namespace

Place parse_place(const std::string& text, const PlaceOptions& options) {
  if (text.empty()) throw Error(ErrorCode::invalid_argument, "a place is empty");
  if (text.starts_with("roots://") || text.starts_with("root://")) return xrootd_place(text, options);
  return text.starts_with("https://") || text.starts_with("http://") ? agent_place(text, options) : local_place(text);
}

Command transfer_copy_command() {
  return {{"transfer", "copy"},
          "a file or a folder to another place, verified; goes on where an interrupted copy was",
          {"SOURCE", "DESTINATION"},
          {copy_schema()},
          copy};
}

}  // namespace farfield::apps
