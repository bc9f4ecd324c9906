#include "farfield/services/flow/simple_actions.hpp"

#include <fmt/core.h>

#include <chrono>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/expression.hpp"
#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

double now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

double seconds_of(const Json& body, const char* name, double fallback) {
  if (!body.contains(name)) return fallback;
  const Json& v = body[name];
  if (!v.is_number() || !(v.get<double>() >= 0) || v.get<double>() > 366 * 86400.0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} {} must be a number of seconds from 0 to 366 days", name, v.dump()));
  return v.get<double>();
}

/// Succeeds at a time: one thread for all actions.
class Delayed : public ActionProvider {
public:
  Delayed() : thread_([this] { work(); }) {}
  ~Delayed() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void cancel(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    waiting_.erase(key);
  }

protected:
  void succeed_at(double at_s, const ActionRequest& request, const std::string& details, const Notify& notify) {
    ActionUpdate update;
    update.key = request.key;
    update.state = ActionUpdate::State::succeeded;
    update.start_s = request.scheduled_s;
    update.completion_s = at_s;
    update.details = details;
    if (at_s <= now_s()) {
      notify(update);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      waiting_[request.key] = {at_s, std::move(update), notify};
    }
    wake_.notify_all();
  }

private:
  struct Waiting {
    double at_s = 0;
    ActionUpdate update;
    Notify notify;
  };

  void work() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const double t_s = now_s();
      double next_s = std::numeric_limits<double>::infinity();
      std::vector<Waiting> due;
      for (auto it = waiting_.begin(); it != waiting_.end();)
        if (it->second.at_s <= t_s) {
          due.push_back(std::move(it->second));
          it = waiting_.erase(it);
        } else {
          next_s = std::min(next_s, it->second.at_s);
          ++it;
        }
      lock.unlock();
      for (const Waiting& one : due) one.notify(one.update);
      lock.lock();
      if (!due.empty() || stopping_) continue;  // others may have come meanwhile
      if (waiting_.empty()) wake_.wait(lock);
      else wake_.wait_for(lock, std::chrono::duration<double>(std::clamp(next_s - now_s(), 0.0, 1.0)));
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::string, Waiting> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

class Wait final : public Delayed {
public:
  void start(const ActionRequest& request, const Notify& notify) override {
    const Json body = parse_json(request.body, "the body");
    if (!body.is_object() || !body.contains("seconds"))
      throw Error(ErrorCode::invalid_argument, "the body must be {\"seconds\": N}");
    const double seconds = seconds_of(body, "seconds", 0);
    succeed_at(request.scheduled_s + seconds, request, to_text({{"seconds", seconds}}), notify);
  }
};

class Echo final : public Delayed {
public:
  void start(const ActionRequest& request, const Notify& notify) override {
    const Json body = parse_json(request.body, "the body");
    if (!body.is_object()) throw Error(ErrorCode::invalid_argument, "the body must be an object with echo_string");
    const Json details{{"Hello", "World"}, {"hello", body.value("echo_string", Json(""))}};
    succeed_at(request.scheduled_s + seconds_of(body, "sleep_time", 0), request, to_text(details), notify);
  }
};

class Evaluate final : public ActionProvider {
public:
  void start(const ActionRequest& request, const Notify& notify) override {
    const Json body = parse_json(request.body, "the body");
    if (!body.is_object() || !body.contains("expression") || !body["expression"].is_string())
      throw Error(ErrorCode::invalid_argument, "the body must have an expression");
    const auto expression = core::value_or_throw(Expression::parse(body["expression"].get_ref<const std::string&>()));
    const Json arguments = body.value("arguments", Json::object()), context = Json::object();
    ActionUpdate update;
    update.key = request.key;
    update.start_s = update.completion_s = now_s();
    try {
      update.details = to_text({{"result", expression.evaluate({arguments, context})}});
      update.state = ActionUpdate::State::succeeded;
    } catch (const FlowException& e) {
      update.state = ActionUpdate::State::failed;
      update.cause = e.name + ": " + e.cause;
    }
    notify(update);
  }
  void cancel(const std::string& /*key*/) override {}
};
}  // namespace

std::shared_ptr<ActionProvider> wait_actions() { return std::make_shared<Wait>(); }
std::shared_ptr<ActionProvider> expression_actions() { return std::make_shared<Evaluate>(); }
std::shared_ptr<ActionProvider> echo_actions() { return std::make_shared<Echo>(); }

Providers simple_providers() {
  Providers providers;
  providers.add("wait", urls_of("wait"), wait_actions());
  providers.add("expression", urls_of("expression"), expression_actions());
  providers.add("echo", urls_of("echo"), echo_actions());
  return providers;
}

}  // namespace farfield::services::flow
