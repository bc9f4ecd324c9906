#include "farfield/services/compute/worker/launcher.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "farfield/core/testing.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/endpoint/testing_endpoint.hpp"
#include "farfield/services/compute/worker/journal.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;

/// A block whose workers die at once: a folder is where their journal should be.
class BrokenBlock : public ::testing::Test {
protected:
  BrokenBlock() {
    settings_.block = "b";
    settings_.link = "ws://127.0.0.1:1/blocks/b";
    settings_.secret = "s";
    settings_.walltime_s = 3600;
    fs::create_directories(journal_path(folder(), node_name(), 0));
  }
  std::string folder() const { return folder_.path().string(); }
  CommandResult run() const {
    write_settings(folder(), settings_);
    auto command = testing::block_command();
    command.push_back(folder());
    return run_command(command, {}, std::chrono::seconds(120));
  }
  core::testing::TemporaryFolder folder_;
  BlockSettings settings_;
};

TEST_F(BrokenBlock, EndsWhenItsWorkersCannotStart) {
  settings_.alone_s = 0.2;
  EXPECT_EQ(run().exit_code, 1) << "long before its walltime";
}

TEST_F(BrokenBlock, EndsWhenItsEndpointHasForgottenIt) {
  settings_.alone_s = 3600;
  auto end = std::async(std::launch::async, [&] { return run(); });
  EXPECT_TRUE(testing::eventually([&] { return fs::exists(journal_path(folder(), node_name(), 0) + ".lock"); }))
      << "a worker was there";
  fs::remove(settings_path(folder()));
  EXPECT_EQ(end.get().exit_code, 1);
}

}  // namespace
}  // namespace farfield::services::compute
