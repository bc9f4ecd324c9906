#pragma once
// What may be said after the chaos: whether every scan has its run, every action its one end, every side effect its
// reason, every picture its bytes. Functions of what was written down, so that each claim can be seen to fail.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace farfield::chaos {

/// An event as `farfield flow log RUN --json` prints it; what the kind does not have is empty.
struct LoggedEvent {
  std::int64_t number = 0;  ///< from 1
  std::string kind;
  std::string key, status;  ///< of ActionScheduled, ActionEnded
  std::string state;        ///< of StateEntered
};
/// A line of that command. Throws std::runtime_error for one that is no event.
LoggedEvent parse_event(const std::string& json_line);

struct LoggedRun {
  std::string id;
  std::string scan;  ///< that it was started for
  std::string status;
  std::vector<LoggedEvent> events;
};

/// What the command of a flow wrote into the ledger: one line each time that it began, ended, or found itself at work
/// for that scan already ("begin scan100", "end scan100", "twice scan100").
struct LedgerLine {
  std::string what, scan;
};
/// A last line without its end was cut by a kill and is left out. Throws std::runtime_error for any other line.
std::vector<LedgerLine> read_ledger(const std::filesystem::path& file);

struct Account {
  int runs = 0;     ///< that succeeded
  int lost = 0;     ///< scans, actions, side effects or pictures that are missing
  int doubled = 0;  ///< of them, what is there once too often
  std::vector<std::string> faults;  ///< one line for each that is lost or doubled

  void lose(const std::string& what);
  void find_twice(const std::string& what);
};

/// Each scan has one run, which succeeded; its log has no gap, enters each of `states` once and ends each action that
/// it scheduled once, with success.
void check_runs(const std::vector<std::string>& scans, const std::vector<LoggedRun>& runs,
                const std::vector<std::string>& states, Account& account);

/// Each scan's command ended, was never at work twice at the same time, and began no more often than the service says
/// that its task was tried (`attempts`, by scan): every repetition is a worker that was lost, and known to be.
void check_ledger(const std::vector<std::string>& scans, const std::vector<LedgerLine>& ledger,
                  const std::map<std::string, int>& attempts, Account& account);

/// `found` holds the files of `expected` below each scan's folder, with the same bytes, and no others.
void check_files(const std::filesystem::path& expected, const std::filesystem::path& found, Account& account);

}  // namespace farfield::chaos
