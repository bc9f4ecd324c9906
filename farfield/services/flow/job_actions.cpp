#include "farfield/services/flow/job_actions.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/services/flow/json.hpp"
#include "farfield/services/flow/work_queue.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

constexpr double kPatience_s = 1;  ///< between tries while a database is away

struct Action {
  ActionRequest request;
  ActionProvider::Notify notify;
  std::vector<Jobs::Job> jobs;
  std::vector<std::string> ids;  ///< empty: not yet submitted
  std::vector<std::optional<JobEnd>> ends;
  bool over = false;             ///< told, cancelled or replaced
};

ActionUpdate refusal(const ActionRequest& request, const Error& error) {
  ActionUpdate update;
  update.key = request.key;
  update.state = ActionUpdate::State::refused;
  if (error.code() == ErrorCode::unauthenticated) update.error = kNoToken;
  update.cause = error.what();
  return update;
}

class JobActions final : public ActionProvider, public std::enable_shared_from_this<JobActions> {
public:
  JobActions(std::unique_ptr<Jobs> jobs, int threads) : jobs_(std::move(jobs)), queue_(threads) {}
  /// News may come once more while the listening ends.
  void listen() {
    listening_ = jobs_->listen([weak = weak_from_this()](const std::string& id, const std::optional<JobEnd>& end) {
      if (const auto self = weak.lock()) self->heard(id, end);
    });
  }

  /// Nothing is at work afterwards. News on its way elsewhere may hold this for a moment longer, also on a thread of
  /// the queue, which could not wait for itself.
  void close() {
    listening_.reset();
    queue_.close();
  }

  void start(const ActionRequest& request, const Notify& notify) override {
    const auto action = std::make_shared<Action>();
    action->request = request;
    action->notify = notify;
    {
      const std::lock_guard lock(mutex_);
      auto& known = actions_[request.key];
      if (known) drop(*known);  // the engine has asked again: it is told anew
      known = action;
    }
    queue_.add([this, action](const std::stop_token&) { prepare(action); });
  }

  void cancel(const std::string& key) override {
    std::vector<std::string> ids;
    {
      const std::lock_guard lock(mutex_);
      const auto found = actions_.find(key);
      if (found == actions_.end()) return;
      ids = found->second->ids;
      drop(*found->second);
      actions_.erase(found);
    }
    cancel_jobs(ids);
  }

  void release(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    if (const auto found = actions_.find(key); found != actions_.end()) {
      drop(*found->second);
      actions_.erase(found);
    }
  }

  void give_up(const std::function<bool(const std::string& key)>& is_over) override {
    std::vector<std::string> ids;
    for (const Jobs::Open& job : jobs_->open())
      if (is_over(job.key)) ids.push_back(job.id);
    if (!ids.empty()) core::log(core::LogLevel::info, "flow.jobs_given_up", {{"jobs", std::to_string(ids.size())}});
    cancel_jobs(ids);
  }

private:
  using Held = std::shared_ptr<Action>;

  /// With `mutex_` held: nothing is told of it any more.
  void drop(Action& action) {
    action.over = true;
    for (const std::string& id : action.ids) by_id_.erase(id);
  }

  void cancel_jobs(const std::vector<std::string>& ids) {
    for (const std::string& id : ids)
      if (!id.empty()) queue_.add([this, id](const std::stop_token&) { cancel_job(id); });
  }
  void cancel_job(const std::string& id) {
    try {
      jobs_->cancel(id);
    } catch (const Error& e) {
      if (!core::traits(e.code()).retryable) throw;
      queue_.add([this, id](const std::stop_token&) { cancel_job(id); }, kPatience_s);
    }
  }

  void prepare(const Held& action) {
    attempt(
        action,
        [&] {
          auto jobs = jobs_->prepare(action->request);
          {
            const std::lock_guard lock(mutex_);
            if (action->over) return;
            action->ids.resize(jobs.size());
            action->ends.resize(jobs.size());
            action->jobs = std::move(jobs);
          }
          for (std::size_t i = 1; i < action->jobs.size(); ++i)
            queue_.add([this, action, i](const std::stop_token&) { submit(action, i); });
          submit(action, 0);
        },
        [this, action] { prepare(action); });
  }

  void submit(const Held& action, std::size_t i) {
    attempt(
        action,
        [&] {
          {
            const std::lock_guard lock(mutex_);
            if (action->over) return;
          }
          const std::string id = action->jobs[i].submit();
          bool given_up = false;
          {
            const std::lock_guard lock(mutex_);
            given_up = action->over;
            if (!given_up) {
              action->ids[i] = id;
              by_id_[id] = {action, i};
            }
          }
          if (given_up) {
            // Given up while it was submitted. Where the engine has asked again, it goes on under the same id.
            const bool replaced = [&] {
              const std::lock_guard lock(mutex_);
              const auto known = actions_.find(action->request.key);
              return known != actions_.end() && known->second != action;
            }();
            if (!replaced) cancel_job(id);
            return;
          }
          // It may have ended before anybody listened for this id.
          if (const auto end = jobs_->look(id)) heard(id, end);
        },
        [this, action, i] { submit(action, i); });
  }

  /// Again, while the database is away; refused for any other reason.
  template <class Try>
  void attempt(const Held& action, const Try& attempted, const std::function<void()>& again) {
    try {
      attempted();
    } catch (const Error& e) {
      if (core::traits(e.code()).retryable) queue_.add([again](const std::stop_token&) { again(); }, kPatience_s);
      else refuse(action, e);
    } catch (const std::exception& e) {  // or it would wait for its time limit
      refuse(action, Error(ErrorCode::internal, e.what()));
    }
  }
  void refuse(const Held& action, const Error& error) {
    if (!take_over(*action)) return;
    action->notify(refusal(action->request, error));
    cancel_jobs(left_of(*action));
  }

  /// Whether the caller is the one who tells the end of it.
  bool take_over(Action& action) {
    const std::lock_guard lock(mutex_);
    if (action.over) return false;
    drop(action);
    return true;
  }

  /// Jobs of an action that is over which were submitted before it was, and have not ended. What is being submitted
  /// sees by itself that it is given up.
  std::vector<std::string> left_of(const Action& action) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> left;
    for (std::size_t i = 0; i < action.ids.size(); ++i)
      if (!action.ends[i]) left.push_back(action.ids[i]);
    return left;
  }

  void heard(const std::string& id, const std::optional<JobEnd>& end) {
    std::unique_lock lock(mutex_);
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return;
    const auto [action, i] = found->second;
    if (!end) {
      lock.unlock();
      ActionUpdate alive;
      alive.key = action->request.key;
      action->notify(alive);
      return;
    }
    action->ends[i] = end;
    const bool all = std::all_of(action->ends.begin(), action->ends.end(), [](const auto& e) { return e && e->good; });
    if (end->good && !all) return;
    // Details may cost a look elsewhere, and this is whoever tells the news.
    queue_.add([this, held = action](const std::stop_token&) { conclude(held); });
  }

  void conclude(const Held& action) {
    std::vector<std::string> ids;
    std::vector<std::optional<JobEnd>> ends;
    {
      const std::lock_guard lock(mutex_);
      if (action->over) return;
      ids = action->ids;
      ends = action->ends;
    }
    attempt(
        action,
        [&] {
          ActionUpdate update;
          update.key = action->request.key;
          update.action_id = ids.front();
          update.state = ActionUpdate::State::succeeded;
          for (const auto& end : ends) {
            if (!end) continue;
            if (end->start_s > 0)
              update.start_s = update.start_s > 0 ? std::min(update.start_s, end->start_s) : end->start_s;
            update.completion_s = std::max(update.completion_s, end->end_s);
            if (end->good) continue;
            update.state = ActionUpdate::State::failed;
            if (update.cause.empty()) update.cause = end->problem;
          }
          update.details = jobs_->details(action->request, ids, ends);
          if (!take_over(*action)) return;
          action->notify(update);
          cancel_jobs(left_of(*action));
        },
        [this, action] { conclude(action); });
  }

  std::unique_ptr<Jobs> jobs_;
  std::mutex mutex_;
  std::map<std::string, Held> actions_;  ///< by key
  std::map<std::string, std::pair<Held, std::size_t>> by_id_;
  WorkQueue queue_;
  std::shared_ptr<void> listening_;
};
}  // namespace

std::shared_ptr<ActionProvider> job_actions(std::unique_ptr<Jobs> jobs, int threads) {
  auto actions = std::make_shared<JobActions>(std::move(jobs), threads);
  actions->listen();
  const auto held = std::shared_ptr<JobActions>(actions.get(), [actions](JobActions* one) { one->close(); });
  return held;
}

}  // namespace farfield::services::flow
