#include "farfield/services/compute/blocks/block_script.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/compute/command.hpp"

namespace farfield::services::compute {

using core::Error;
using core::ErrorCode;

BlockFiles files_of(const BlockRequest& r) { return {r.folder + "/" + r.name}; }

void write_script(const BlockRequest& r, const std::vector<std::string>& header,
                  const std::vector<std::string>& launcher, double walltime_s) {
  const BlockFiles files = files_of(r);
  std::string text = "#!/bin/sh\n";
  for (const std::string& line : header) text += line + "\n";
  for (const auto& [name, value] : r.environment) text += fmt::format("export {}={}\n", name, shell_quoted(value));
  text += fmt::format("cd {} || exit 1\n", shell_quoted(r.folder));
  text += fmt::format("echo $$ > {}\n", shell_quoted(files.pid()));
  std::string command;
  for (const auto* words : {&launcher, &r.command})
    for (const std::string& word : *words) command += (command.empty() ? "" : " ") + shell_quoted(word);
  const auto limit = static_cast<long>(std::ceil(walltime_s));
  // The shell waits in `wait`, which a signal interrupts: it then waits again, until the command has ended.
  text += fmt::format(
      "start=$(date +%s)\n{} &\nchild=$!\ntrap 'kill -TERM $child 2>/dev/null' TERM INT\n"
      "while :; do wait $child; code=$?; kill -0 $child 2>/dev/null || break; done\n"
      "[ {} -gt 0 ] && [ $code -ne 0 ] && [ $(($(date +%s) - start)) -ge {} ] && code=124\n"
      "echo $code > {}.part && mv {}.part {}\nexit $code\n",
      command, limit, limit, shell_quoted(files.exit()), shell_quoted(files.exit()), shell_quoted(files.exit()));

  const int file = ::open(files.script().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0700);
  if (file < 0 && errno == EEXIST)
    throw Error(ErrorCode::conflict, fmt::format("block {} is there already", r.name)).at(files.script());
  if (file < 0) throw core::system_error(errno, "cannot write " + files.script());
  std::size_t done = 0;
  bool good = true;
  while (good && done < text.size()) {
    const ssize_t n = ::write(file, text.data() + done, text.size() - done);
    if (n > 0) done += static_cast<std::size_t>(n);
    else good = errno == EINTR;
  }
  good = good && ::fsync(file) == 0;
  const int problem = errno;
  ::close(file);
  if (good) return;
  ::unlink(files.script().c_str());
  throw core::system_error(problem, "cannot write " + files.script());
}

std::optional<int> read_number(const std::string& path) {
  std::ifstream file(path);
  int number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

BlockId parse_id(const std::string& id) {
  const std::size_t slash = id.find(":/");
  if (slash == std::string::npos || slash == 0)
    throw Error(ErrorCode::not_found, fmt::format("\"{}\" is not the id of a block", id));
  return {id.substr(0, slash), id.substr(slash + 1)};
}

}  // namespace farfield::services::compute
