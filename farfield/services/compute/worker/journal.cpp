#include "farfield/services/compute/worker/journal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/compute/small_file.hpp"

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;

constexpr std::string_view kEnding = ".journal";
constexpr std::size_t kLongest = std::size_t{1} << 30;   // more is no journal
constexpr std::size_t kShorten = std::size_t{1} << 20;   // bytes after which acknowledged lines are left out

void note(const Message& line, JournalContent& content) {
  if (const auto* hello = std::get_if<Hello>(&line)) {
    std::from_chars(hello->worker.data(), hello->worker.data() + hello->worker.size(), content.incarnation);
  } else if (const auto* begun = std::get_if<Begun>(&line)) {
    for (const TaskBegin& b : begun->tasks) content.begun[b.key] = b;
  } else if (const auto* ended = std::get_if<Ended>(&line)) {
    for (const TaskEnd& e : ended->tasks) {
      content.begun.erase(e.key);
      content.ended[e.key] = e;
    }
  }
}

}  // namespace

std::string journal_path(const std::string& folder, const std::string& node, int place) {
  return fmt::format("{}/{}.{}{}", folder, node, place, kEnding);
}

std::vector<JournalName> find_journals(const std::string& folder) {
  std::vector<JournalName> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    if (!name.ends_with(kEnding)) continue;
    name.resize(name.size() - kEnding.size());
    const std::size_t dot = name.rfind('.');
    JournalName journal{entry.path().string(), name.substr(0, dot), 0};
    if (dot == std::string::npos || dot == 0) continue;
    const char* end = name.data() + name.size();
    if (std::from_chars(name.data() + dot + 1, end, journal.place).ptr == end) found.push_back(std::move(journal));
  }
  return found;
}

JournalContent read_journal(const std::string& path) {
  JournalContent content;
  std::string text;
  try {
    text = read_small(path, kLongest);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::not_found) return content;
    throw;
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    try {
      note(decode(std::string_view(text).substr(begin, end - begin)), content);
    } catch (const Error&) {  // cut by a kill, then written on by the next worker
    }
    begin = end + 1;
  }
  return content;
}

Journal::Journal(std::string path) : path_(std::move(path)) {
  const std::string lock_path = path_ + ".lock";
  lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_ < 0) throw core::system_error(errno, "cannot open " + lock_path);
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(lock_, F_OFD_SETLK, &whole) != 0) {
    const int problem = errno;
    ::close(lock_);
    if (problem != EAGAIN && problem != EACCES) throw core::system_error(problem, "cannot lock " + lock_path);
    throw Error(ErrorCode::conflict, fmt::format("another worker has {}", path_));
  }
  try {
    content_ = read_journal(path_);
    for (const auto& [key, begin] : content_.begun) {
      TaskEnd& end = content_.ended[key];
      end.key = key;
      end.problem = "its worker ended under it";
      end.times = begin.times;
      end.block = begin.block;
      end.node = begin.node;
      end.worker = begin.worker;
    }
    content_.begun.clear();
    incarnation_ = ++content_.incarnation;
    shorten();
  } catch (...) {
    if (file_ >= 0) ::close(file_);
    ::close(lock_);
    throw;
  }
}

Journal::~Journal() {
  ::close(file_);
  ::close(lock_);
}

void Journal::append(const Message& line) {
  // After a line that a full disk cut, a fresh one: the next must not go with it.
  const std::string text = (torn_ ? "\n" : "") + encode(line) + "\n";
  std::string_view rest = text;
  torn_ = true;
  while (!rest.empty()) {
    const ssize_t n = ::write(file_, rest.data(), rest.size());
    if (n < 0 && errno != EINTR) throw core::system_error(errno, "cannot write " + path_);
    if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
  }
  torn_ = false;
  bytes_ += text.size();
}

/// Writes the file anew with what counts.
void Journal::shorten() {
  Hello hello;
  hello.worker = std::to_string(incarnation_);
  std::string text = encode(hello) + "\n";
  for (const auto& [key, begin] : content_.begun) text += encode(Begun{{begin}}) + "\n";
  for (const auto& [key, end] : content_.ended) text += encode(Ended{{end}}) + "\n";
  write_private(path_, text);
  const int file = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  const int error = errno;
  if (file_ >= 0) ::close(file_);  // it has no name any more: nothing must be written to it
  file_ = file;
  if (file < 0) throw core::system_error(error, "cannot open " + path_);
  torn_ = false;
  bytes_ = text.size();
}

void Journal::begin(const TaskBegin& begin) {
  const std::lock_guard lock(mutex_);
  append(Begun{{begin}});
  content_.begun[begin.key] = begin;
}

void Journal::end(const TaskEnd& end) {
  const std::lock_guard lock(mutex_);
  // Known first: an end that the disk has no room for is still told at each greeting, and its task not begun again.
  content_.begun.erase(end.key);
  content_.ended[end.key] = end;
  append(Ended{{end}});
}

void Journal::acknowledged(std::span<const TaskKey> ends) {
  const std::lock_guard lock(mutex_);
  for (const TaskKey& key : ends) content_.ended.erase(key);
  std::size_t kept = 0;
  for (const auto& [key, end] : content_.ended) kept += end.output.size() + end.problem.size() + 400;
  if (bytes_ <= kShorten + 2 * kept) return;
  try {
    shorten();
  } catch (const core::Error&) {  // a full disk: the long file says the same, and the next time may be better
  }
}

std::vector<TaskEnd> Journal::ended() const {
  const std::lock_guard lock(mutex_);
  std::vector<TaskEnd> all;
  for (const auto& [key, end] : content_.ended) all.push_back(end);
  return all;
}

bool Journal::has_ended(const TaskKey& key) const {
  const std::lock_guard lock(mutex_);
  return content_.ended.contains(key);
}

bool Journal::empty() const {
  const std::lock_guard lock(mutex_);
  return content_.ended.empty();
}

void Journal::flush() {
  const std::lock_guard lock(mutex_);
  ::fsync(file_);
}

}  // namespace farfield::services::compute
