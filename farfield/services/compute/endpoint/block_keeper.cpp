#include "farfield/services/compute/endpoint/block_keeper.hpp"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/services/auth/secret.hpp"

namespace farfield::services::compute {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::LogLevel;
using Clock = std::chrono::steady_clock;

struct BlockKeeper::State {
  State(std::unique_ptr<BlockProvider> p, EndpointTables& t, const Options& o, Events e)
      : provider(std::move(p)), tables(t), options(o), events(std::move(e)) {}

  struct Block {
    BlockRow row;
    bool uncertain = false;  ///< nobody knows whether the provider has it
    bool ran = false, ended = false;
    BlockStatus status{};
  };

  void run() {
    auto next_look = Clock::now();
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait_until(lock, next_look, [&] { return stop || !errands.empty(); });
      if (stop) return;
      std::deque<std::function<void()>> now;
      now.swap(errands);
      lock.unlock();
      for (const auto& errand : now) attempt(errand);
      if (Clock::now() >= next_look) {
        attempt([&] { settle(); });
        attempt([&] { look(); });
        next_look =
            Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.poll_s));
      }
      lock.lock();
    }
  }

  /// A provider or a disk that is away now is asked again at the next look.
  void attempt(const std::function<void()>& errand) const {
    try {
      errand();
    } catch (const std::exception& e) {
      core::log(LogLevel::warning, "blocks_not_seen", {{"reason", e.what()}});
    }
  }

  void add(std::function<void()> errand) {
    const std::lock_guard lock(mutex);
    errands.push_back(std::move(errand));
    wake.notify_all();
  }

  std::string folder(const std::string& block) const { return options.folder + "/" + block; }

  void prepare(const BlockRow& row) const {
    BlockSettings settings = options.settings;
    settings.block = row.name;
    settings.secret = row.secret;
    settings.link += "/blocks/" + row.name;
    write_settings(folder(row.name), settings);
  }

  void submit(const BlockRow& row) {
    Block& block = blocks[row.name];
    block.row = row;
    block.uncertain = true;
    try {
      fs::create_directories(folder(row.name));
      fs::permissions(folder(row.name), fs::perms::owner_all);
      prepare(row);
      tables.keep(row);
      hand_in(block);
    } catch (const Error& e) {
      if (e.code() == ErrorCode::unavailable) throw;  // settle() tries again
      refuse(row.name, e.what());
    } catch (const fs::filesystem_error& e) {
      refuse(row.name, e.what());
    }
  }

  void hand_in(Block& block) {
    BlockRequest request = block.row.urgent ? options.urgent : options.normal;
    request.name = block.row.name;
    request.folder = folder(request.name);
    request.command.push_back(request.folder);
    block.row.id = provider->submit(request);
    block.uncertain = false;
    tables.keep(block.row);
    core::log(LogLevel::info, "block_submitted", {{"block", block.row.name}, {"id", block.row.id}});
    events.submitted(block.row.name);
  }

  void refuse(const std::string& name, const std::string& why) {
    core::log(LogLevel::error, "block_refused", {{"block", name}, {"reason", why}});
    blocks.erase(name);
    {
      const std::lock_guard lock(mutex);
      secrets.erase(name);
    }
    events.refused(name, why);
    forget_row(name);
  }

  /// A row that stays is forgotten at a later look: until then another process of the endpoint would take it for a
  /// block.
  void forget_row(const std::string& name) {
    unforgotten.insert(name);
    tables.forget_block(name);
    unforgotten.erase(name);
  }

  /// Blocks of which only the provider knows whether it has them, and rows that could not be removed.
  void settle() {
    for (const std::string& name : std::set<std::string>(unforgotten)) forget_row(name);
    std::vector<std::string> names;
    for (const auto& [name, block] : blocks)
      if (block.uncertain) names.push_back(name);
    for (const std::string& name : names) {
      Block& block = blocks[name];
      const std::string id = provider->find(folder(name), name);
      if (!id.empty()) {
        block.row.id = id;
        block.uncertain = false;
        tables.keep(block.row);
        events.submitted(name);
        continue;
      }
      try {
        hand_in(block);
      } catch (const Error& e) {
        if (e.code() == ErrorCode::unavailable) throw;
        refuse(name, e.what());
      }
    }
  }

  void look() {
    std::vector<std::string> ids;
    for (const auto& [name, block] : blocks)
      if (!block.uncertain && !block.ended) ids.push_back(block.row.id);
    if (ids.empty()) return;
    const auto all = provider->query(ids);
    for (auto& [name, block] : blocks) {
      const auto found = all.find(block.row.id);
      if (block.uncertain || block.ended || found == all.end()) continue;
      const BlockStatus& now = found->second;
      const bool again = block.ran && now.state == BlockState::queued;
      if (now.state != block.status.state)
        core::log(LogLevel::info, "block",
                  {{"block", name}, {"state", std::string(name_of(now.state))}, {"reason", now.reason}});
      block.status = now;
      if (now.state == BlockState::running) block.ran = true;
      if (!again && !has_ended(now.state)) continue;
      const auto journals = read_journals(name);  // throws: at the next look
      block.ran = false;
      block.ended = has_ended(now.state);
      events.ended(name, now, again, journals);
    }
  }

  std::map<WorkerId, JournalContent> read_journals(const std::string& block) const {
    std::map<WorkerId, JournalContent> all;
    for (const JournalName& j : find_journals(folder(block))) all[{block, j.node, j.place}] = read_journal(j.path);
    return all;
  }

  std::unique_ptr<BlockProvider> provider;
  EndpointTables& tables;
  const Options& options;
  Events events;
  std::map<std::string, Block> blocks;  ///< of the thread
  std::set<std::string> unforgotten;    ///< the same
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> errands;
  std::map<std::string, std::string> secrets;
  bool stop = false;
  std::thread thread;
};

BlockKeeper::BlockKeeper(std::unique_ptr<BlockProvider> provider, EndpointTables& tables, Options options,
                         Events events)
    : options_(std::move(options)), found_(tables.blocks()) {
  fs::create_directories(options_.folder);
  fs::permissions(options_.folder, fs::perms::owner_all);
  state_ = std::make_unique<State>(std::move(provider), tables, options_, std::move(events));
  for (const BlockRow& row : found_) {
    State::Block& block = state_->blocks[row.name];
    block.row = row;
    block.uncertain = row.id.empty();
    fs::create_directories(folder(row.name));
    state_->prepare(row);
    state_->secrets[row.name] = row.secret;
  }
  state_->thread = std::thread([s = state_.get()] { s->run(); });
}

BlockKeeper::~BlockKeeper() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
    state_->wake.notify_all();
  }
  state_->thread.join();
}

std::string BlockKeeper::open(bool urgent) {
  BlockRow row;
  // Names of an endpoint's blocks are never used again.
  row.name = fmt::format("{}-{}", options_.prefix, auth::random_hex(6));
  row.urgent = urgent;
  row.secret = auth::random_hex(32);
  {
    const std::lock_guard lock(state_->mutex);
    state_->secrets[row.name] = row.secret;
  }
  state_->add([s = state_.get(), row] { s->submit(row); });
  return row.name;
}

void BlockKeeper::cancel(const std::string& name) {
  state_->add([s = state_.get(), name] {
    const auto block = s->blocks.find(name);
    if (block != s->blocks.end() && !block->second.uncertain && !block->second.ended)
      s->provider->cancel(block->second.row.id);
  });
}

void BlockKeeper::forget(const std::string& name) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->secrets.erase(name);
  }
  state_->add([s = state_.get(), name] {
    s->blocks.erase(name);
    std::error_code ignored;
    fs::remove(settings_path(s->folder(name)), ignored);  // and the secret with it
    s->forget_row(name);
  });
}

std::string BlockKeeper::secret(const std::string& block) const {
  const std::lock_guard lock(state_->mutex);
  const auto secret = state_->secrets.find(block);
  return secret == state_->secrets.end() ? std::string() : secret->second;
}

}  // namespace farfield::services::compute
