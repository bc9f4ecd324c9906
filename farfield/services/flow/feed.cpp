#include "farfield/services/flow/feed.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "farfield/core/log.hpp"
#include "farfield/services/flow/forms.hpp"
#include "farfield/services/flow/visible.hpp"

namespace farfield::services::flow {
namespace {
using Steady = std::chrono::steady_clock;
constexpr auto kLife = std::chrono::minutes(10);
constexpr core::Index kMostQueued = 64 << 20;

/// One viewer.
struct Viewer {
  std::shared_ptr<net::EventStream> stream = std::make_shared<net::EventStream>(kMostQueued);
  std::string run_id;  ///< empty: all runs
  std::vector<std::string> names;
  std::string grant;
  Steady::time_point until = Steady::now() + kLife;

  std::mutex mutex;
  std::shared_ptr<const Machine> machine;
  std::int64_t last = 0;  ///< number of the event that was sent last
  bool caught_up = false;
  std::deque<std::shared_ptr<const RunNews>> waiting;  ///< came while the past was read

  /// Call it with `mutex` held.
  void send(const RunNews& news) {
    if (run_id.empty()) {
      if (names.empty() || may_see(news.run, names)) stream->send({to_json(news.run), "run", ""});
      return;
    }
    std::vector<StoredEvent> fresh;
    for (const StoredEvent& event : news.events)
      if (event.number > last) fresh.push_back(event);
    for (const StoredEvent& event : visible_events(std::move(fresh), *machine)) {
      stream->send({to_json(event), "event", std::to_string(event.number)});
      last = event.number;
    }
    if (news.run.status == RunStatus::active) return;
    stream->send({to_json(news.run), "run", ""});
    stream->close();
  }
};
}  // namespace

struct RunFeed::State {
  explicit State(Engine& e) : engine(e) {}

  Engine& engine;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::list<std::shared_ptr<Viewer>> viewers;
  std::deque<std::shared_ptr<const RunNews>> news;
  std::shared_ptr<void> listening;
  std::jthread thread;

  /// On the engine's thread: only what somebody looks at is copied.
  void hear(const RunNews& heard) {
    {
      const std::lock_guard lock(mutex);
      bool wanted = false;
      for (const auto& viewer : viewers) wanted = wanted || viewer->run_id.empty() || viewer->run_id == heard.run.id;
      if (!wanted) return;
      news.push_back(std::make_shared<const RunNews>(heard));
    }
    wake.notify_one();
  }

  void loop(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      wake.wait_for(lock, stop, std::chrono::seconds(1), [&] { return !news.empty(); });
      std::deque<std::shared_ptr<const RunNews>> batch;
      batch.swap(news);
      // In the same moment as the news: who comes later has read them from the database.
      const auto looking = viewers;
      lock.unlock();
      for (const auto& viewer : looking) {
        try {
          deliver(*viewer, batch);
        } catch (const std::exception& e) {
          core::log(core::LogLevel::error, "flow.feed_failed", {{"run", viewer->run_id}, {"error", e.what()}});
          viewer->stream->close();
        }
      }
      lock.lock();
      viewers.remove_if([](const auto& viewer) { return viewer->stream->closed(); });
    }
  }

  static void deliver(Viewer& viewer, const std::deque<std::shared_ptr<const RunNews>>& batch) {
    if (viewer.until <= Steady::now()) viewer.stream->close();
    const std::lock_guard lock(viewer.mutex);
    for (const auto& one : batch) {
      if (!viewer.run_id.empty() && viewer.run_id != one->run.id) continue;
      if (viewer.caught_up) viewer.send(*one);
      else viewer.waiting.push_back(one);
    }
  }

  void add(const std::shared_ptr<Viewer>& viewer) {
    const std::lock_guard lock(mutex);
    viewers.push_back(viewer);
  }
};

RunFeed::RunFeed(Engine& engine) : state_(std::make_shared<State>(engine)) {
  State* s = state_.get();
  // The engine may tell once more while the handle goes.
  s->listening = engine.listen([weak = std::weak_ptr(state_)](const RunNews& heard) {
    if (const auto state = weak.lock()) state->hear(heard);
  });
  s->thread = std::jthread([s](const std::stop_token& stop) { s->loop(stop); });
}

RunFeed::~RunFeed() {
  state_->listening.reset();
  state_->thread.request_stop();
  state_->thread.join();
  for (const auto& viewer : state_->viewers) viewer->stream->close();
}

std::shared_ptr<net::EventStream> RunFeed::follow(const std::string& run_id, std::int64_t after,
                                                  const std::string& grant) {
  const auto viewer = std::make_shared<Viewer>();
  viewer->run_id = run_id;
  viewer->grant = grant;
  viewer->last = after;
  const Records& records = state_->engine.records();
  const RunRecord first = records.run(run_id);
  viewer->machine = parse_definition(records.flow(first.flow_id, first.flow_version).definition);
  // Listening begins before the past is read: some of it comes twice, and is sent once.
  state_->add(viewer);
  try {
    RunNews past{records.run(run_id), {}};
    past.events = records.events(run_id, after);
    const std::lock_guard lock(viewer->mutex);
    viewer->send(past);
    for (const auto& one : viewer->waiting) viewer->send(*one);
    viewer->waiting.clear();
    viewer->caught_up = true;
  } catch (...) {
    viewer->stream->close();
    throw;
  }
  return viewer->stream;
}

std::shared_ptr<net::EventStream> RunFeed::follow_all(std::vector<std::string> names, const std::string& grant) {
  const auto viewer = std::make_shared<Viewer>();
  viewer->names = std::move(names);
  viewer->grant = grant;
  viewer->caught_up = true;
  state_->add(viewer);
  return viewer->stream;
}

void RunFeed::drop(const std::string& grant) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& viewer : state_->viewers)
    if (viewer->grant == grant) viewer->stream->close();
}

}  // namespace farfield::services::flow
