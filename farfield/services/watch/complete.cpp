#include "farfield/services/watch/complete.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "farfield/core/error.hpp"

namespace farfield::services::watch {
namespace {
// The clock of a file server may be behind ours: files that look this much older than needed are old in fact.
constexpr double kClockSkew_s = 60;

bool has_marker(const std::string& pattern, const Snapshot& files) {
  if (pattern.find_first_of("*?") == std::string::npos) return files.contains(pattern);
  return std::any_of(files.begin(), files.end(), [&](const auto& file) {
    return file.first.find('/') == std::string::npos && matches(pattern, file.first);
  });
}
}  // namespace

void check(const CompleteRule& rule) {
  if (!std::isfinite(rule.quiet_s))
    throw core::Error(core::ErrorCode::invalid_argument, fmt::format("quiet time {} s is not a number", rule.quiet_s));
  if (rule.marker.empty() && rule.quiet_s <= 0 && !rule.test)
    throw core::Error(core::ErrorCode::invalid_argument,
                      "nothing says when a scan is complete: give a marker file, a quiet time, or a test");
  if (rule.marker.find('/') != std::string::npos)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("marker \"{}\" must be a name, not a path", rule.marker));
}

bool matches(std::string_view pattern, std::string_view name) {
  // After a mismatch the last `*` takes one character more: linear in practice, and never exponential.
  std::size_t p = 0, n = 0, star = std::string_view::npos, star_n = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_n = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_n;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

CompleteJudge::CompleteJudge(const CompleteRule& rule, std::string path, const core::Clock& clock,
                             std::function<double()> wall_s)
    : rule_(rule), path_(std::move(path)), clock_(clock), wall_s_(std::move(wall_s)) {}

bool is_being_written(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return false;
  // A lease for reading is refused with EAGAIN exactly while the file is open for writing. Who opens it in the moment
  // that we hold the lease makes the kernel signal us: with one that is ignored, instead of SIGIO, which would end the
  // process.
  ::fcntl(file, F_SETSIG, SIGURG);
  const bool refused = ::fcntl(file, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN;
  if (!refused) ::fcntl(file, F_SETLEASE, F_UNLCK);
  ::close(file);
  return refused;
}

bool CompleteJudge::look(const Snapshot& now, const std::function<bool()>& open) {
  const double now_s = clock_.now_s();
  if (!last_ || *last_ != now) {
    const bool first = !last_;
    last_ = now;
    unchanged_since_s_ = now_s;
    if (first && !now.empty()) {
      std::int64_t newest_ns = 0;
      for (const auto& [path, file] : now) newest_ns = std::max(newest_ns, file.mtime_ns);
      const double age_s = wall_s_() - 1e-9 * static_cast<double>(newest_ns);
      if (age_s > rule_.quiet_s + kClockSkew_s) unchanged_since_s_ = now_s - age_s;
    }
  }
  if (!rule_.marker.empty() && has_marker(rule_.marker, now)) return true;
  if (rule_.test && rule_.test(path_)) return true;
  return rule_.quiet_s > 0 && !now.empty() && now_s - unchanged_since_s_ >= rule_.quiet_s && !open();
}

std::optional<double> CompleteJudge::quiet_in_s() const {
  if (rule_.quiet_s <= 0) return std::nullopt;
  return std::max(0.0, unchanged_since_s_ + rule_.quiet_s - clock_.now_s());
}

}  // namespace farfield::services::watch
