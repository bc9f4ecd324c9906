#include "farfield/services/watch/watcher.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/watch/notices.hpp"

namespace farfield::services::watch {

using core::Error;
using core::ErrorCode;
using store::Transaction;

namespace {

const std::vector<store::Migration> kTables{{1, "scans", R"(
CREATE TABLE watch_scan (
  folder TEXT NOT NULL, id {int64} NOT NULL, name TEXT NOT NULL, complete_s {float64} NOT NULL, handled {int64} NOT NULL,
  PRIMARY KEY (folder, id));
)"}};

constexpr double kBetweenTests_s = 0.1;  // a test may open files: not for each of a thousand notices
constexpr double kLongestPatience_s = 60;
constexpr std::size_t kMostProblems = 100;

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

FileState state_of(const struct stat& status) {
  return {status.st_size, std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

/// Calls entry(name, status) for what a folder holds; nothing for one that is gone.
void for_entries(const std::string& folder, const std::function<void(const std::string&, const struct stat&)>& entry) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (!open) return;
  while (const dirent* found = ::readdir(open.get())) {
    const std::string name = found->d_name;
    struct stat status{};
    if (name != "." && name != ".." && ::fstatat(::dirfd(open.get()), found->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
      entry(name, status);
  }
}

}  // namespace

struct Watcher::State {
  struct Growing {
    Scan scan;
    bool is_folder = false;
    CompleteJudge judge;
    std::set<std::string> folders_watched;  ///< by path in the scan
    std::set<int> notices;
    std::set<std::string> open;  ///< made, and not closed since
    double look_s = 0;           ///< when to look next
    double tested_s = -1e9;
  };

  State(store::Database& db, WatcherOptions o, Handle h, const core::Clock& c)
      : database(db), options(std::move(o)), handle(std::move(h)), clock(c), names(options.pattern) {
    check(options.rule);
    if (!(options.rescan_s > 0) || !(options.patience_s > 0))
      throw Error(ErrorCode::invalid_argument, fmt::format("rescan every {} s, patience {} s: both must be > 0",
                                                           options.rescan_s, options.patience_s));
    if (options.handlers < 1)
      throw Error(ErrorCode::invalid_argument, fmt::format("{} handlers; at least 1", options.handlers));
    if (!options.wall_s) options.wall_s = system_seconds;
    std::error_code error;
    options.folder = std::filesystem::canonical(options.folder, error);  // the same folder by whichever way
    if (error)
      throw Error(ErrorCode::not_found, fmt::format("cannot watch {}: {}", o.folder.string(), error.message()));
    folder = options.folder.string();
    if (!std::filesystem::is_directory(options.folder))
      throw Error(ErrorCode::invalid_argument, fmt::format("cannot watch {}: it is no folder", folder));
    database.migrate("watch", kTables);
    for (const auto row :
         database.query("SELECT id, name, complete_s, handled FROM watch_scan WHERE folder = ?", folder)) {
      known[row.integer(0)] = row.text(1);
      if (row.integer(3) != 0) ++handled;
      else waiting.push_back({scan(row.integer(0), row.text(1), row.real(2)), 0, options.patience_s});
    }
    for (int i = 0; i < options.handlers; ++i) handlers.emplace_back([this] { hand_on(); });
    watcher = std::jthread([this] { watch(); });
  }

  ~State() {
    {
      const std::lock_guard lock(mutex);
      closing = true;
    }
    changed.notify_all();
    notices.wake();
    if (watcher.joinable()) watcher.join();
    handlers.clear();
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return storing == 0; });
  }

  Scan scan(Index id, const std::string& name, double complete_s) const {
    return {id, name, options.folder / name, fmt::format("watch:{}:{}", folder, id), complete_s};
  }

  void problem(const std::string& text) {
    core::log(core::LogLevel::warning, "watch.problem", {{"folder", folder}, {"problem", text}});
    const std::lock_guard lock(mutex);
    if (problems.size() < kMostProblems) problems.insert(text);
  }

  bool is_closing() {
    const std::lock_guard lock(mutex);
    return closing;
  }

  // --- the watching thread: all below but hand_on()
  void watch() {
    root = notices.add(folder);
    double rescan_s = 0;
    while (!is_closing()) {
      if (clock.now_s() >= rescan_s) {
        take_unstored();
        rescan();
        rescan_s = clock.now_s() + options.rescan_s;
      }
      double next_s = rescan_s;
      for (const auto& [name, growing_scan] : growing) next_s = std::min(next_s, growing_scan.look_s);
      bool lost = false;
      notices.wait(next_s - clock.now_s(), [&](const Notices::Notice& notice) {
        if (notice.kind == Notices::Notice::Kind::overflow) lost = true;
        else hear(notice);
      });
      if (lost) {  // closings among them: what is still open is asked of the kernel
        rescan_s = 0;
        for (auto& [name, growing_scan] : growing) growing_scan.open.clear();
      }
      look_at_due();
    }
  }

  void rescan() {
    std::set<std::string> there;
    for_entries(folder, [&](const std::string& name, const struct stat&) {
      there.insert(name);
      consider(name);
    });
    std::vector<std::string> gone;
    for (auto& [name, one] : growing) {
      if (!there.contains(name)) gone.push_back(name);
      one.look_s = 0;
    }
    for (const auto& name : gone) drop(name);
  }

  /// A name in the watched folder.
  void consider(const std::string& name) {
    const auto id = names.id(name);
    if (!id || growing.contains(name)) return;
    struct stat status{};
    if (::stat((options.folder / name).c_str(), &status) != 0) return;
    const bool is_folder = S_ISDIR(status.st_mode);
    if (!is_folder && !S_ISREG(status.st_mode)) return;
    const auto other = known.find(*id);
    if (other != known.end()) {
      if (other->second != name)
        problem(fmt::format("{} has the number {} of {}, and is left alone", name, *id, other->second));
      return;
    }
    known[*id] = name;
    Growing one{scan(*id, name, 0),
                is_folder,
                CompleteJudge(options.rule, (options.folder / name).string(), clock, options.wall_s),
                {},
                {},
                {},
                0,
                -1e9};
    auto& kept = growing.emplace(name, std::move(one)).first->second;
    if (is_folder) watch_folder(kept, "");
    count_growing();
  }

  /// A folder of a scan and those in it. What was made before the watch began is found by the look that follows.
  void watch_folder(Growing& one, const std::string& below) {
    if (!one.folders_watched.insert(below).second) return;
    const std::string path = below.empty() ? one.scan.path.string() : (one.scan.path / below).string();
    const int notice = notices.add(path);
    if (notice < 0) {
      if (!said_limit)
        problem("folders cannot be watched (fs.inotify.max_user_watches?): scans are looked at now and then");
      said_limit = true;
    } else {
      one.notices.insert(notice);
      by_notice[notice] = {one.scan.name, below};
    }
    for_entries(path, [&](const std::string& name, const struct stat& status) {
      if (S_ISDIR(status.st_mode)) watch_folder(one, below.empty() ? name : below + "/" + name);
    });
  }

  void drop(const std::string& name) {
    const auto place = growing.find(name);
    if (place == growing.end()) return;
    for (const int notice : place->second.notices) {
      notices.remove(notice);
      by_notice.erase(notice);
    }
    known.erase(place->second.scan.id);
    growing.erase(place);
    count_growing();
  }

  void count_growing() {
    const std::lock_guard lock(mutex);
    growing_count = std::ssize(growing);
  }

  void hear(const Notices::Notice& notice) {
    using Kind = Notices::Notice::Kind;
    if (notice.folder == root) {
      const auto place = growing.find(notice.name);
      if (notice.kind == Kind::gone) return drop(notice.name);
      if (place == growing.end()) consider(notice.name);
      else if (!place->second.is_folder) file_changed(place->second, notice.name, notice.kind);
      marker_beside(notice.name);
      return;
    }
    const auto where = by_notice.find(notice.folder);
    if (where == by_notice.end()) return;
    const auto place = growing.find(where->second.first);
    if (place == growing.end() || notice.name.empty()) return;
    Growing& one = place->second;
    const std::string path = where->second.second.empty() ? notice.name : where->second.second + "/" + notice.name;
    if (notice.is_folder && (notice.kind == Kind::appeared || notice.kind == Kind::arrived)) {
      watch_folder(one, path);
      one.look_s = 0;
    } else if (notice.is_folder) {
      one.folders_watched.erase(path);
    } else {
      file_changed(one, path, notice.kind);
    }
  }

  void file_changed(Growing& one, const std::string& path, Notices::Notice::Kind kind) {
    using Kind = Notices::Notice::Kind;
    // Of links, pipes and further names of a file no closing would ever be told.
    const auto place = one.is_folder ? one.scan.path / path : one.scan.path;
    struct stat status{};
    if (kind != Kind::appeared) one.open.erase(path);
    else if (::lstat(place.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1)
      one.open.insert(path);
    if (options.when == HandOn::first_file && kind != Kind::gone) one.look_s = 0;
    const bool is_marker = !options.rule.marker.empty() && matches(options.rule.marker, path);
    if (is_marker && kind != Kind::gone) one.look_s = 0;
    if (options.rule.test && kind != Kind::appeared)
      one.look_s = std::min(one.look_s, std::max(clock.now_s(), one.tested_s + kBetweenTests_s));
  }

  /// scan100.done beside scan100, for the marker `*.done`.
  bool has_marker_beside(const std::string& name) const {
    const auto star = options.rule.marker.find('*');
    if (star == std::string::npos) return false;
    std::string marker = options.rule.marker;
    struct stat status{};
    return ::stat((options.folder / marker.replace(star, 1, name)).c_str(), &status) == 0;
  }
  void marker_beside(const std::string& name) {
    const auto star = options.rule.marker.find('*');
    if (star == std::string::npos || !matches(options.rule.marker, name)) return;
    const std::size_t tail = options.rule.marker.size() - star - 1;
    const auto place = growing.find(name.substr(star, name.size() - star - tail));
    if (place != growing.end()) place->second.look_s = 0;
  }

  void look_at_due() {
    const double now_s = clock.now_s();
    std::vector<std::string> complete;
    for (auto& [name, one] : growing)
      if (one.look_s <= now_s && look(one)) complete.push_back(name);
    for (const auto& name : complete) {
      Scan found = growing.at(name).scan;
      found.complete_s = options.wall_s();
      drop(name);
      known[found.id] = name;
      found_complete(found);
    }
  }

  bool look(Growing& one) {
    Snapshot snapshot;
    const std::string path = one.scan.path.string();
    if (one.is_folder) {
      add_files(path, "", snapshot);
    } else {
      struct stat status{};
      if (::stat(path.c_str(), &status) == 0) snapshot[one.scan.name] = state_of(status);
    }
    one.tested_s = clock.now_s();
    if (options.when == HandOn::first_file) {
      one.look_s = clock.now_s() + 3600;  // a file's notice and each look through the folder bring it forward
      return !snapshot.empty();
    }
    try {
      // Notices tell of files opened since the folder is watched; those opened before, while it was still new, are
      // asked about.
      const auto open = [&] {
        return !one.open.empty() || std::any_of(snapshot.begin(), snapshot.end(), [&](const auto& file) {
          return is_being_written(one.is_folder ? path + "/" + file.first : path);
        });
      };
      if (one.judge.look(snapshot, open) || has_marker_beside(one.scan.name)) return true;
    } catch (const std::exception& e) {  // of the test that was handed in
      problem(fmt::format("{}: whether it is complete cannot be told: {}", one.scan.name, e.what()));
    }
    // Not before it could be quiet; a file that is kept open is asked about now and then.
    const auto quiet_s = one.judge.quiet_in_s();
    one.look_s = clock.now_s() + (quiet_s ? std::max(*quiet_s, 0.25) : 3600);
    return false;
  }

  void add_files(const std::string& path, const std::string& below, Snapshot& into) {
    for_entries(path, [&](const std::string& name, const struct stat& status) {
      const std::string inside = below.empty() ? name : below + "/" + name;
      if (S_ISDIR(status.st_mode)) add_files(path + "/" + name, inside, into);
      else into[inside] = state_of(status);
    });
  }

  /// Stored before anybody acts upon it; the watching goes on meanwhile.
  void found_complete(const Scan& found) {
    {
      const std::lock_guard lock(mutex);
      ++storing;
    }
    const auto done = [this, found](core::Result<void> result) {
      if (!result) problem(fmt::format("{} cannot be stored: {}", found.name, result.error().what()));
      const std::lock_guard lock(mutex);
      --storing;
      if (result) waiting.push_back({found, 0, options.patience_s});
      else unstored.push_back(found.id);
      changed.notify_all();
    };
    try {
      database.submit(
          [folder = folder, found](Transaction& t) {
            t.execute(
                "INSERT INTO watch_scan (folder, id, name, complete_s, handled) VALUES (?, ?, ?, ?, 0) "
                "ON CONFLICT (folder, id) DO NOTHING",
                folder, found.id, found.name, found.complete_s);
          },
          done);
    } catch (const Error& e) {
      done(tl::unexpected<Error>(e));
    }
  }

  /// Scans that the database did not take are found again by the next look.
  void take_unstored() {
    const std::lock_guard lock(mutex);
    for (const Index id : unstored) known.erase(id);
    unstored.clear();
  }

  // --- the handing threads
  struct Waiting {
    Scan scan;
    double not_before_s;
    double patience_s;
  };

  void hand_on() {
    std::unique_lock lock(mutex);
    while (!closing) {
      const double now_s = clock.now_s();
      double next_s = now_s + 3600;
      auto place = waiting.begin();
      for (; place != waiting.end() && place->not_before_s > now_s; ++place)
        next_s = std::min(next_s, place->not_before_s);
      if (place == waiting.end()) {
        changed.wait_for(lock, std::chrono::duration<double>(next_s - now_s));
        continue;
      }
      Waiting one = std::move(*place);
      waiting.erase(place);
      ++at_work;
      lock.unlock();
      std::string failed;
      try {
        handle(one.scan);
        note_handled(one.scan);
      } catch (const std::exception& e) {
        failed = fmt::format("{} could not be handed on: {}", one.scan.name, e.what());
      }
      if (!failed.empty()) problem(failed);
      lock.lock();
      --at_work;
      if (!failed.empty()) {
        one.not_before_s = clock.now_s() + one.patience_s;
        one.patience_s = std::min(2 * one.patience_s, kLongestPatience_s);
        waiting.push_back(std::move(one));
      }
    }
  }

  /// Not waited for: a scan that is handed on again after a kill has the same key.
  void note_handled(const Scan& scan) {
    {
      const std::lock_guard lock(mutex);
      ++storing;
    }
    const auto done = [this, name = scan.name](core::Result<void> result) {
      if (!result) problem(fmt::format("{} was handed on, but that is not stored: {}", name, result.error().what()));
      const std::lock_guard lock(mutex);
      --storing;
      ++handled;
      changed.notify_all();
    };
    try {
      database.submit(
          [folder = folder, id = scan.id](Transaction& t) {
            t.execute("UPDATE watch_scan SET handled = 1 WHERE folder = ? AND id = ?", folder, id);
          },
          done);
    } catch (const Error& e) {
      done(tl::unexpected<Error>(e));
    }
  }

  store::Database& database;
  WatcherOptions options;
  const Handle handle;
  const core::Clock& clock;
  const ScanName names;
  std::string folder;
  Notices notices;

  std::map<Index, std::string> known;  ///< all numbers with their scans; from here on of the watching thread
  std::map<std::string, Growing> growing;
  std::map<int, std::pair<std::string, std::string>> by_notice;
  int root = -1;
  bool said_limit = false;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Waiting> waiting;
  std::vector<Index> unstored;
  std::set<std::string> problems;
  Index storing = 0, growing_count = 0, handled = 0, at_work = 0;
  bool closing = false;
  std::vector<std::jthread> handlers;
  std::jthread watcher;
};

Watcher::Watcher(store::Database& database, WatcherOptions options, Handle handle, const core::Clock& clock)
    : state_(std::make_unique<State>(database, std::move(options), std::move(handle), clock)) {}
Watcher::~Watcher() = default;

WatcherStatus Watcher::status() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->growing_count,
          std::ssize(state_->waiting) + state_->at_work,
          state_->handled,
          {state_->problems.begin(), state_->problems.end()}};
}

}  // namespace farfield::services::watch
