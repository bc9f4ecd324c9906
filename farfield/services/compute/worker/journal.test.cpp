#include "farfield/services/compute/worker/journal.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/core/testing.hpp"

namespace farfield::services::compute {
namespace {

TaskBegin begin(const std::string& task) {
  TaskBegin b;
  b.key = {task, 1};
  b.times.assigned_s = 5;
  b.block = "b";
  return b;
}
TaskEnd done(const std::string& task) {
  TaskEnd e;
  e.key = {task, 1};
  e.ending = Ending::done;
  e.output = "[1]";
  return e;
}

TEST(Journal, TellsTheNextWorkerWhatWasDoneAndWhatWasLost) {
  const core::testing::TemporaryFolder folder;
  const std::string path = journal_path(folder.path().string(), "n1.site", 3);
  {
    Journal journal(path);
    EXPECT_EQ(journal.incarnation(), 1);
    for (const char* task : {"a", "b", "c"}) journal.begin(begin(task));
    journal.end(done("a"));
    journal.end(done("b"));
    const TaskKey key{"a", 1};
    journal.acknowledged({&key, 1});
  }
  std::ofstream(path, std::ios::app) << "{\"kind\":\"ended\",\"tas";  // cut by a kill
  const JournalContent content = read_journal(path);
  EXPECT_EQ(content.incarnation, 1);
  EXPECT_TRUE(content.begun.contains({"c", 1}));
  EXPECT_TRUE(content.ended.contains({"b", 1}));
  {
    Journal next(path);
    EXPECT_EQ(next.incarnation(), 2);
    const auto ended = next.ended();
    ASSERT_EQ(ended.size(), 3U) << "what was acknowledged may be told again";
    EXPECT_EQ(ended[1].output, "[1]");
    EXPECT_EQ(ended[2].key.task, "c");
    EXPECT_EQ(ended[2].ending, Ending::lost);
    EXPECT_EQ(ended[2].times.assigned_s, 5);
    for (const TaskEnd& e : ended) next.acknowledged({&e.key, 1});
    EXPECT_TRUE(next.empty());
  }
  const auto all = find_journals(folder.path().string());
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].node, "n1.site");
  EXPECT_EQ(all[0].place, 3);
}

TEST(Journal, KnowsEndsThatTheDiskHasNoRoomFor) {
  const core::testing::TemporaryFolder folder;
  const std::string path = journal_path(folder.path().string(), "n", 0);
  Journal journal(path);
  journal.begin(begin("a"));
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto heard = std::signal(SIGXFSZ, SIG_IGN);
  // Room for a few bytes of the line, as a disk has that fills up.
  const rlimit none{std::filesystem::file_size(path) + 5, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  EXPECT_THROW(journal.end(done("a")), core::Error);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, heard);
  EXPECT_TRUE(journal.has_ended({"a", 1}));
  ASSERT_EQ(journal.ended().size(), 1U);
  EXPECT_EQ(journal.ended()[0].output, "[1]");
  journal.end(done("b"));  // there is room again
  EXPECT_TRUE(read_journal(path).ended.contains({"b", 1})) << "the line before took it along";
}

TEST(Journal, BelongsToOneWorker) {
  const core::testing::TemporaryFolder folder;
  const std::string path = journal_path(folder.path().string(), "n", 0);
  const Journal journal(path);
  try {
    const Journal second(path);
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::conflict);
  }
}

TEST(Journal, StaysSmallUnderManyTasks) {
  const core::testing::TemporaryFolder folder;
  const std::string path = journal_path(folder.path().string(), "n", 0);
  Journal journal(path);
  journal.end(done("kept"));
  for (int i = 0; i < 20000; ++i) {
    const std::string task = "t" + std::to_string(i);
    journal.begin(begin(task));
    journal.end(done(task));
    const TaskKey key{task, 1};
    journal.acknowledged({&key, 1});
  }
  EXPECT_LT(std::filesystem::file_size(path), 2U << 20);
  EXPECT_TRUE(read_journal(path).ended.contains({"kept", 1}));
  EXPECT_TRUE(read_journal(folder.path().string() + "/none").ended.empty());
}

}  // namespace
}  // namespace farfield::services::compute
