// Every claim of the account is broken once here, so that a clean account means something.

#include "tests/integration/chaos/account.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "farfield/store/testing.hpp"

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;

const std::vector<std::string> kScans{"scan1", "scan2"}, kStates{"In", "Back"};

LoggedRun good_run(const std::string& scan) {
  LoggedRun run{"run-" + scan, scan, "SUCCEEDED", {}};
  const auto add = [&](const std::string& kind, const std::string& key, const std::string& status,
                       const std::string& state) {
    run.events.push_back({static_cast<std::int64_t>(run.events.size()) + 1, kind, key, status, state});
  };
  add("RunStarted", "", "", "");
  for (const auto& state : kStates) {
    add("StateEntered", "", "", state);
    add("ActionScheduled", scan + state, "", "");
    add("ActionEnded", scan + state, "SUCCEEDED", "");
    add("StateExited", "", "", "");
  }
  add("RunSucceeded", "", "", "");
  return run;
}

Account judged(const std::vector<LoggedRun>& runs) {
  Account account;
  check_runs(kScans, runs, kStates, account);
  return account;
}

/// The account after one change of good runs.
Account broken(const std::function<void(std::vector<LoggedRun>&)>& change) {
  std::vector<LoggedRun> runs{good_run("scan1"), good_run("scan2")};
  change(runs);
  return judged(runs);
}

TEST(Account, IsCleanWhenAllIsWell) {
  const auto account = judged({good_run("scan1"), good_run("scan2")});
  EXPECT_EQ(account.runs, 2);
  EXPECT_TRUE(account.faults.empty()) << account.faults[0];
}

TEST(Account, FindsWhatIsLost) {
  const std::vector<std::function<void(std::vector<LoggedRun>&)>> losses{
      [](auto& runs) { runs.pop_back(); },
      [](auto& runs) { runs[0].status = "FAILED"; },
      [](auto& runs) { runs[0].status = "ACTIVE"; },
      [](auto& runs) { runs[1].events.erase(runs[1].events.begin() + 1); },  // a gap, and a state
      [](auto& runs) { runs[1].events[3].kind = "StateExited"; },            // an action without its end
      [](auto& runs) { runs[1].events[3].status = "FAILED"; },
      [](auto& runs) { runs[1].events[1].kind = "StateExited"; },
  };
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto account = broken(losses[i]);
    EXPECT_GE(account.lost, 1) << "loss " << i;
    EXPECT_EQ(account.doubled, 0) << "loss " << i;
  }
}

TEST(Account, FindsWhatIsThereTwice) {
  const auto again = [](LoggedRun& run, std::size_t event) {
    auto copy = run.events[event];
    copy.number = static_cast<std::int64_t>(run.events.size()) + 1;
    run.events.push_back(copy);
  };
  const std::vector<std::function<void(std::vector<LoggedRun>&)>> repetitions{
      [](auto& runs) { runs.push_back(good_run("scan1")); },
      [](auto& runs) {
        runs.push_back(good_run("scan3"));
        runs.push_back(good_run("scan3"));
      },
      [&](auto& runs) { again(runs[0], 1); },  // a state
      [&](auto& runs) { again(runs[0], 2); },  // a scheduled action
      [&](auto& runs) { again(runs[0], 3); },  // the end of an action
      [](auto& runs) { runs[0].events.push_back(runs[0].events.back()); },
  };
  for (std::size_t i = 0; i < repetitions.size(); ++i) {
    const auto account = broken(repetitions[i]);
    EXPECT_GE(account.doubled, 1) << "repetition " << i;
    EXPECT_EQ(account.lost, 0) << "repetition " << i;
  }
}

TEST(Account, EverySideEffectNeedsItsReason) {
  struct Case {
    std::vector<LedgerLine> more;
    int attempts, lost, doubled;
  };
  const std::vector<Case> cases{
      {{{"begin", "scan2"}, {"end", "scan2"}}, 1, 0, 0},
      {{{"begin", "scan2"}, {"begin", "scan2"}, {"end", "scan2"}}, 2, 0, 0},  // its worker was lost: known
      {{{"begin", "scan2"}, {"begin", "scan2"}, {"end", "scan2"}}, 1, 0, 1},  // nobody knows why it began again
      {{{"begin", "scan2"}, {"end", "scan2"}, {"end", "scan2"}}, 2, 0, 1},
      {{{"begin", "scan2"}, {"twice", "scan2"}, {"end", "scan2"}}, 2, 0, 1},
      {{{"begin", "scan2"}}, 1, 1, 0},
      {{}, 1, 1, 0},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::vector<LedgerLine> ledger{{"begin", "scan1"}, {"end", "scan1"}};
    ledger.insert(ledger.end(), cases[i].more.begin(), cases[i].more.end());
    Account account;
    check_ledger(kScans, ledger, {{"scan1", 1}, {"scan2", cases[i].attempts}}, account);
    EXPECT_EQ(account.lost, cases[i].lost) << "case " << i;
    EXPECT_EQ(account.doubled, cases[i].doubled) << "case " << i;
  }
}

TEST(Account, ComparesBytes) {
  const store::testing::TemporaryFolder folder;
  const auto write = [&](const char* name, const char* text) {
    fs::create_directories((folder.path() / name).parent_path());
    std::ofstream(folder.path() / name) << text;
  };
  const auto account = [&] {
    Account out;
    check_files(folder.path() / "expected", folder.path() / "found", out);
    return out;
  };
  write("expected/1/a.png", "picture");
  EXPECT_EQ(account().lost, 1);
  write("found/1/a.png", "pictur3");
  EXPECT_EQ(account().lost, 1);
  write("found/1/a.png", "picture");
  EXPECT_TRUE(account().faults.empty());
  write("found/1/.a.png.part", "");
  EXPECT_EQ(account().doubled, 1);
}

TEST(Account, ReadsLedgersAndEvents) {
  const store::testing::TemporaryFolder folder;
  const auto file = folder.path() / "ledger";
  EXPECT_TRUE(read_ledger(file).empty());
  std::ofstream(file) << "begin scan1\nend scan1\nbegin sca";
  EXPECT_EQ(read_ledger(file).size(), 2U);
  std::ofstream(file) << "begin scan1\nbegin scan1 end scan1\n";
  EXPECT_THROW(read_ledger(file), std::runtime_error);
  const auto event = parse_event(
      R"({"message_type": "event", "run": "r", "number": 3, "kind": "ActionEnded", "body": {"frame": 0, "key": "k", "status": "FAILED"}})");
  EXPECT_EQ(event.number, 3);
  EXPECT_EQ(event.key, "k");
  EXPECT_EQ(event.status, "FAILED");
  EXPECT_THROW(parse_event("{}"), std::runtime_error);
}

}  // namespace
}  // namespace farfield::chaos
