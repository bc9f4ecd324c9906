#include "tests/integration/chaos/account.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;

std::string bytes(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::set<std::string> files_below(const fs::path& folder) {
  std::set<std::string> out;
  if (!fs::exists(folder)) return out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (!entry.is_directory()) out.insert(fs::relative(entry.path(), folder));
  return out;
}

/// How often each is there, with zeros for those that have to be.
std::map<std::string, int> tally(const std::vector<std::string>& expected) {
  std::map<std::string, int> out;
  for (const auto& one : expected) out[one] = 0;
  return out;
}

void check_log(const LoggedRun& run, const std::vector<std::string>& states, Account& account) {
  const std::string who = fmt::format("run {} of {}", run.id, run.scan);
  auto entered = tally(states);
  std::map<std::string, int> ends;  // by key of the action
  std::int64_t expected = 1;
  for (const auto& event : run.events) {
    if (event.number > expected) account.lose(fmt::format("{}: events {} to {}", who, expected, event.number - 1));
    if (event.number < expected) account.find_twice(fmt::format("{}: event {}", who, event.number));
    expected = event.number + 1;
    if (event.kind == "StateEntered") ++entered[event.state];
    if (event.kind == "ActionScheduled" && !ends.emplace(event.key, 0).second)
      account.find_twice(fmt::format("{}: action {} scheduled", who, event.key));
    if (event.kind != "ActionEnded") continue;
    if (event.status != "SUCCEEDED") account.lose(fmt::format("{}: action {}: {}", who, event.key, event.status));
    if (++ends[event.key] > 1) account.find_twice(fmt::format("{}: end of action {}", who, event.key));
  }
  for (const auto& [key, times] : ends)
    if (times == 0) account.lose(fmt::format("{}: end of action {}", who, key));
  for (const auto& [state, times] : entered) {
    if (times == 0) account.lose(fmt::format("{}: state {}", who, state));
    if (times > 1) account.find_twice(fmt::format("{}: state {}, {} times", who, state, times));
  }
}

}  // namespace

void Account::lose(const std::string& what) {
  ++lost;
  faults.push_back("lost: " + what);
}
void Account::find_twice(const std::string& what) {
  ++doubled;
  faults.push_back("doubled: " + what);
}

LoggedEvent parse_event(const std::string& json_line) {
  const auto line = nlohmann::json::parse(json_line, nullptr, false);
  if (!line.is_object() || line.value("message_type", "") != "event" || !line.contains("number"))
    throw std::runtime_error("no event: " + json_line);
  LoggedEvent out{line["number"], line["kind"], {}, {}, {}};
  const auto body = line.value("body", nlohmann::json::object());
  if (out.kind == "ActionScheduled" || out.kind == "ActionEnded") {
    out.key = body.at("key");
    out.status = body.value("status", "");
  }
  if (out.kind == "StateEntered") out.state = body.at("state");
  return out;
}

std::vector<LedgerLine> read_ledger(const fs::path& file) {
  std::vector<LedgerLine> out;
  if (!fs::exists(file)) return out;
  std::string text = bytes(file);
  text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    LedgerLine read;
    std::string more;
    if (!(words >> read.what >> read.scan) || words >> more ||
        (read.what != "begin" && read.what != "end" && read.what != "twice"))
      throw std::runtime_error("no line of a ledger: " + line);
    out.push_back(read);
  }
  return out;
}

void check_runs(const std::vector<std::string>& scans, const std::vector<LoggedRun>& runs,
                const std::vector<std::string>& states, Account& account) {
  auto count = tally(scans);
  for (const auto& run : runs) {
    ++count[run.scan];
    if (run.status == "SUCCEEDED") ++account.runs;
    else account.lose(fmt::format("run {} of {} is {}", run.id, run.scan, run.status));
    check_log(run, states, account);
  }
  for (const auto& [scan, times] : count) {
    if (times == 0) account.lose("run of " + scan);
    if (times > 1) account.find_twice(fmt::format("{} runs of {}", times, scan));
  }
}

void check_ledger(const std::vector<std::string>& scans, const std::vector<LedgerLine>& ledger,
                  const std::map<std::string, int>& attempts, Account& account) {
  auto begun = tally(scans), ended = tally(scans);
  for (const auto& line : ledger) {
    if (line.what == "begin") ++begun[line.scan];
    else if (line.what == "end") ++ended[line.scan];
    else account.find_twice(fmt::format("the command of {} at work twice at the same time", line.scan));
  }
  for (const auto& [scan, times] : ended) {
    const auto found = attempts.find(scan);
    const int tried = found == attempts.end() ? 0 : found->second;
    if (times == 0) account.lose("side effect of " + scan);
    if (begun[scan] > tried)
      account.find_twice(fmt::format("the command of {} began {} times in {} attempts", scan, begun[scan], tried));
    if (times > begun[scan])
      account.find_twice(fmt::format("side effect of {}: {} ends, begun {} times", scan, times, begun[scan]));
  }
}

void check_files(const fs::path& expected, const fs::path& found, Account& account) {
  const auto wanted = files_below(expected), there = files_below(found);
  for (const auto& name : wanted) {
    if (!there.contains(name)) account.lose("file " + name);
    else if (bytes(expected / name) != bytes(found / name)) account.lose("the right bytes of " + name);
  }
  for (const auto& name : there)
    if (!wanted.contains(name)) account.find_twice("a file that nobody asked for: " + name);
}

}  // namespace farfield::chaos
