#include "farfield/services/compute/broker/broker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "farfield/core/log.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/compute/broker/broker_state.hpp"
#include "farfield/services/compute/broker/files.hpp"
#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
using Seconds = std::chrono::duration<double>;

constexpr std::string_view kOwn = "farfield.";
constexpr std::size_t kLongestOwner = 128, kLongestKey = 200;
constexpr long long kMostListed = 10'000;
constexpr int kForgottenAtOnce = 500;

/// Seconds since 1970 that only go forward: the system's clock is read once, so that a jump of it moves no deadline.
std::function<double()> steady_wall() {
  return [base_s = Seconds(std::chrono::system_clock::now().time_since_epoch()).count(),
          start = std::chrono::steady_clock::now()] {
    return base_s + Seconds(std::chrono::steady_clock::now() - start).count();
  };
}

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::invalid_argument, what); }

/// "{member}", "{in:member}", "{out:member}", "{{".
void check_template(const std::string& argument) {
  for (std::size_t at = 0; (at = argument.find('{', at)) != std::string::npos;) {
    if (argument.compare(at, 2, "{{") == 0) {
      at += 2;
      continue;
    }
    const std::size_t end = argument.find('}', at);
    std::string_view name =
        end == std::string::npos ? std::string_view() : std::string_view(argument).substr(at + 1, end - at - 1);
    for (const std::string_view path : {"in:", "out:"})
      if (name.starts_with(path)) name.remove_prefix(path.size());
    if (!is_name(name))
      refuse(
          fmt::format("argument {:?} of the command: after '{{' comes the name of a member and '}}', or another '{{'",
                      argument.substr(0, 200)));
    at = end + 1;
  }
}

std::shared_ptr<const Function> compiled(FunctionRecord record) {
  auto schema = InputSchema::parse(record.input_schema);
  return std::make_shared<const Function>(Function{std::move(record), std::move(schema)});
}

std::string full_name(const FunctionRecord& f) { return fmt::format("{}@{}", f.name, f.version); }
}  // namespace

Verbs compiled_verbs(const std::vector<FunctionRecord>& records) {
  Verbs out;
  for (const FunctionRecord& record : records) {
    if (record.kind != FunctionKind::verb || !record.name.starts_with(kOwn)) continue;
    try {
      out.emplace(record.name, compiled(record));
    } catch (const Error& e) {
      core::log(core::LogLevel::warning, "verb_left_out", {{"function", record.name}, {"error", e.what()}});
    }
  }
  return out;
}

Broker::State::State(store::Database& db, BrokerOptions o) : records(db), options(std::move(o)) {
  if (!options.wall_s) options.wall_s = steady_wall();
}

void Broker::State::recover() {
  for (FunctionRecord& record : records.functions()) {
    const std::string name = record.name;
    functions[name].push_back(compiled(std::move(record)));
  }
  for (EndpointRecord& record : records.endpoints()) {
    Endpoint& endpoint = endpoints[record.name];
    endpoint.verbs = compiled_verbs(record.verbs);
    endpoint.record = std::move(record);
  }
  for (TaskRecord& record : records.open_tasks()) {
    auto task = std::make_shared<Task>();
    static_cast<TaskRecord&>(*task) = std::move(record);
    task->uncertain = true;
    const TaskStatus& s = task->status;
    task->function = find_function(s.request.function);
    deadlines.emplace(task->deadline_s(), s.id);
    endpoints[s.request.endpoint].ready.insert(Endpoint::order(s));
    last_id = std::max(last_id, s.id);
    live.emplace(s.id, std::move(task));
  }
}

void Broker::State::post(std::function<void()> input) {
  {
    const std::lock_guard lock(mutex);
    if (stopping) return;
    inbox.push_back(std::move(input));
  }
  wake.notify_one();
}

/// Time in ms, a number that counts up, and randomness: ids sort by submission, which is kind to an index, too.
std::string Broker::State::new_id() {
  const auto now_ms = static_cast<long long>(options.wall_s() * 1e3);
  const std::string stem = fmt::format("{:012x}", now_ms);
  long long count = 0;
  std::string time = stem;
  if (last_id.size() >= 17 && last_id.compare(0, 12, stem) >= 0) {
    time = last_id.substr(0, 12);
    count = std::stoll(last_id.substr(12, 5), nullptr, 16) + 1;
    if (count > 0xFFFFF) {
      time = fmt::format("{:012x}", std::stoll(time, nullptr, 16) + 1);
      count = 0;
    }
  }
  last_id = fmt::format("{}{:05x}{}", time, count, auth::random_hex(8));
  return last_id;
}

std::shared_ptr<const Function> Broker::State::find_function(const std::string& name) const {
  const auto wanted = parse_function_name(name);
  if (!wanted) return nullptr;
  const auto versions = functions.find(wanted->name);
  if (versions == functions.end()) return nullptr;
  if (wanted->version == 0) return versions->second.back();
  for (const auto& function : versions->second)
    if (function->record.version == wanted->version) return function;
  return nullptr;
}

TaskStatus Broker::State::snapshot(const Task& task) const {
  TaskStatus s = task.status;
  if (s.state == TaskState::queued && s.message.empty()) {
    const auto endpoint = endpoints.find(s.request.endpoint);
    if (endpoint == endpoints.end() || !endpoint->second.line)
      s.message = fmt::format("waits for the endpoint {}, which is not connected", s.request.endpoint);
    else s.message = "waits for room";
  }
  return s;
}

std::optional<TaskRecord> Broker::State::look(const std::string& id) const {
  {
    const std::lock_guard lock(mutex);
    if (const auto task = live.find(id); task != live.end()) {
      TaskRecord out = *task->second;
      out.status = snapshot(*task->second);
      return out;
    }
    if (const auto task = ended.find(id); task != ended.end()) return task->second;
  }
  return records.task(id);
}

Broker::Broker(store::Database& database, BrokerOptions options)
    : state_(std::make_shared<State>(database, std::move(options))) {
  make_folders(state_->options.folder);
  state_->recover();
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

Broker::~Broker() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->inbox.clear();
  }
  state_->wake.notify_all();
  state_->changed.notify_all();
  state_->thread.join();
  for (auto& [name, endpoint] : state_->endpoints)
    if (endpoint.line) endpoint.line->close("the service ends");
}

const std::string& Broker::folder() const { return state_->options.folder; }

FunctionRecord Broker::register_function(FunctionRecord f) {
  // Out and in again: what could not be read from the database is refused.
  f.version = 1;
  f.created_s = state_->options.wall_s();
  f = function_from(to_json(f), ErrorCode::invalid_argument);
  if (f.name.starts_with(kOwn))
    refuse(fmt::format("function {}: names that begin with {} are the program's own", f.name, kOwn));
  if (f.kind == FunctionKind::verb)
    refuse(fmt::format("function {}: only a command or code can be registered", f.name));
  if (f.owner.empty()) refuse("a function must have an owner");
  for (const std::string& argument : f.command) check_template(argument);
  if (f.kind == FunctionKind::code && !has_archive(state_->options.folder, f.archive))
    throw Error(ErrorCode::not_found, fmt::format("there is no archive {}; it is uploaded first", f.archive));
  (void)compiled(f);  // its schema
  auto function = compiled(state_->records.add_function(std::move(f)));
  const std::lock_guard lock(state_->mutex);
  auto& versions = state_->functions[function->record.name];
  const auto place = std::lower_bound(versions.begin(), versions.end(), function, [](const auto& a, const auto& b) {
    return a->record.version < b->record.version;
  });
  if (place == versions.end() || (*place)->record.version != function->record.version) versions.insert(place, function);
  return function->record;
}

FunctionRecord Broker::function(const std::string& name) const {
  const std::lock_guard lock(state_->mutex);
  if (const auto function = state_->find_function(name)) return function->record;
  for (const auto& [ignored, endpoint] : state_->endpoints)
    if (const auto verb = endpoint.verbs.find(name); verb != endpoint.verbs.end()) return verb->second->record;
  throw Error(ErrorCode::not_found, fmt::format("there is no function {:?}", name.substr(0, 200)));
}

std::vector<FunctionRecord> Broker::functions() const {
  const std::lock_guard lock(state_->mutex);
  std::map<std::string, FunctionRecord> out;
  for (const auto& [ignored, endpoint] : state_->endpoints)
    for (const auto& [name, verb] : endpoint.verbs) out.emplace(name, verb->record);
  for (const auto& [name, versions] : state_->functions) out.insert_or_assign(name, versions.back()->record);
  std::vector<FunctionRecord> list;
  for (auto& [name, record] : out) list.push_back(std::move(record));
  return list;
}

std::string Broker::submit(const TaskRequest& request, const std::string& key) {
  auto answer = std::make_shared<std::promise<core::Result<std::string>>>();
  auto future = answer->get_future();
  submit(request, key, [answer](core::Result<std::string> result) { answer->set_value(std::move(result)); });
  return core::value_or_throw(future.get());  // the database answers within its patience
}

void Broker::submit(const TaskRequest& request, const std::string& key, Submitted submitted) {
  // Out and in again: what could not be read from the database is refused.
  const TaskRequest checked = request_from(to_json(request), ErrorCode::invalid_argument);
  if (checked.owner.empty() || checked.owner.size() > kLongestOwner) refuse("a task must have an owner");
  if (key.size() > kLongestKey || key.find('\0') != std::string::npos)
    refuse(
        fmt::format("the key of a submission has {} bytes; at most {} are allowed, no NUL", key.size(), kLongestKey));
  const auto task = std::make_shared<Task>();
  TaskStatus& s = task->status;
  s.request = checked;
  std::shared_ptr<const Function> function;
  {
    const std::lock_guard lock(state_->mutex);
    const auto endpoint = state_->endpoints.find(checked.endpoint);
    if (endpoint == state_->endpoints.end())
      throw Error(ErrorCode::not_found, fmt::format("there is no endpoint {:?}", checked.endpoint));
    const bool verb = checked.function.starts_with(kOwn);
    const auto& verbs = endpoint->second.verbs;
    if (const auto known = verbs.find(checked.function); verb && known != verbs.end()) function = known->second;
    // An endpoint that has not been there yet may have it.
    if (verb && !function && !verbs.empty())
      throw Error(ErrorCode::not_found,
                  fmt::format("endpoint {} has no function {:?}", checked.endpoint, checked.function));
    if (!verb) {
      function = task->function = state_->find_function(checked.function);
      if (!function) throw Error(ErrorCode::not_found, fmt::format("there is no function {:?}", checked.function));
      s.request.function = full_name(function->record);
    }
    s.id = state_->new_id();
  }
  if (function) {
    const std::string& owner = function->record.experiment;
    if (!owner.empty() && owner != checked.experiment)
      throw Error(ErrorCode::forbidden,
                  fmt::format("function {} belongs to experiment {}", function->record.name, owner));
    function->schema.check(
        parse_json(checked.arguments, "the arguments", ErrorCode::invalid_argument, kLongestArguments));
  }
  if (function && function->record.kind == FunctionKind::code) {
    const std::lock_guard lock(state_->archives);
    if (!use_archive(state_->options.folder, function->record.archive))
      throw Error(ErrorCode::not_found,
                  fmt::format("the archive {} of function {} was not used for long, and removed; it "
                              "has to be uploaded again",
                              function->record.archive, function->record.name));
  }
  s.attempt = 1;
  s.times.submitted_s = state_->options.wall_s();
  auto id = std::make_shared<std::string>();
  state_->records.database().submit(
      [task, key, id, asked = to_text(to_json(checked))](store::Transaction& t) {
        *id = Records::insert_task(t, *task, asked, key);
      },
      [weak = state_->weak_from_this(), task, id, submitted = std::move(submitted)](core::Result<void> result) {
        const auto state = weak.lock();
        if (result && state && *id == task->status.id) {
          {
            const std::lock_guard lock(state->mutex);
            state->live.emplace(*id, task);
            state->deadlines.emplace(task->deadline_s(), *id);
            const std::string& endpoint = task->status.request.endpoint;
            state->endpoints[endpoint].ready.insert(Endpoint::order(task->status));
            state->inbox.push_back([state = state.get(), task, endpoint] {
              state->tell(TaskEvent::Kind::submitted, *task);
              state->to_place.insert(endpoint);
            });
          }
          state->wake.notify_one();
        }
        if (!submitted) return;
        if (result) submitted(*id);
        else submitted(tl::unexpected<Error>(result.error()));
      });
}

TaskStatus Broker::status(const std::string& id) const {
  if (is_name(id))
    if (auto task = state_->look(id)) return std::move(task->status);
  throw Error(ErrorCode::not_found, fmt::format("there is no task {:?}", id.substr(0, 100)));
}

std::vector<TaskStatus> Broker::list(const std::string& owner, long long at_most, const std::string& experiment,
                                     const Visible& visible) const {
  at_most = std::clamp(at_most, 0LL, kMostListed);
  std::vector<TaskStatus> tasks;
  // Pages, as some of what is stored may not be seen.
  for (std::string before; std::ssize(tasks) < at_most;) {
    auto page = state_->records.tasks(owner, experiment, at_most, before);
    const bool last = std::ssize(page) < at_most;
    if (!last) before = page.back().id;
    for (TaskStatus& task : page)
      if (std::ssize(tasks) < at_most && (!visible || visible(task.request.experiment)))
        tasks.push_back(std::move(task));
    if (last) break;
  }
  const std::lock_guard lock(state_->mutex);
  for (TaskStatus& task : tasks)
    if (const auto live = state_->live.find(task.id); live != state_->live.end())
      task = state_->snapshot(*live->second);
  return tasks;
}

std::vector<std::pair<std::string, std::string>> Broker::open_under(const std::string& beginning) const {
  return state_->records.open_under(beginning);
}

std::string Broker::output(const std::string& id) const {
  const TaskStatus s = status(id);
  if (s.state != TaskState::done)
    throw Error(ErrorCode::conflict, fmt::format("task {} is {}: it has no output", id, name_of(s.state)));
  const auto reference = output_reference(s.output, id);
  return reference ? read_output(folder(), {id, s.attempt}) : s.output;
}

std::string Broker::log(const std::string& id) const {
  if (is_name(id))
    if (auto task = state_->look(id)) return std::move(task->log);
  throw Error(ErrorCode::not_found, fmt::format("there is no task {:?}", id.substr(0, 100)));
}

void Broker::cancel(const std::string& id) {
  (void)status(id);
  auto answer = std::make_shared<std::promise<core::Result<void>>>();
  auto future = answer->get_future();
  state_->post([state = state_.get(), id, answer] {
    const auto task = state->live.find(id);
    if (task == state->live.end()) answer->set_value({});
    else state->cancel(task->second, [answer](core::Result<void> result) { answer->set_value(std::move(result)); });
  });
  answer.reset();  // a broker that stops meanwhile breaks the promise
  try {
    core::value_or_throw(future.get());
  } catch (const std::future_error&) {
    throw Error(ErrorCode::unavailable, fmt::format("the service ends; task {} was not cancelled", id));
  }
}

void Broker::clean() {
  State& s = *state_;
  if (s.options.keep_s <= 0) return;
  const double now_s = s.options.wall_s();
  for (std::vector<std::string> gone(1); !gone.empty();) {
    gone = s.records.forget_ended(now_s - s.options.keep_s, now_s, kForgottenAtOnce);
    const std::lock_guard lock(s.mutex);
    for (const std::string& id : gone) s.ended.erase(id);
  }
  for (const std::string& task : remove_outputs(s.options.folder, s.options.keep_s,
                                                [&](const std::string& task) { return s.look(task).has_value(); }))
    core::log(core::LogLevel::info, "output_removed", {{"task", task}});
  std::set<std::string> used;
  const std::lock_guard one_at_a_time(s.archives);
  {
    const std::lock_guard lock(s.mutex);
    for (const auto& [id, task] : s.live)
      if (task->function) used.insert(task->function->record.archive);
  }
  for (const std::string& sha256 : remove_archives(s.options.folder, s.options.keep_s, used))
    core::log(core::LogLevel::info, "archive_removed", {{"archive", sha256}});
}

TaskStatus Broker::wait(const std::string& id, double seconds) const {
  {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, Seconds(std::clamp(seconds, 0.0, 1e6)),
                             [&] { return state_->stopping || !state_->live.contains(id); });
  }
  return status(id);
}

std::shared_ptr<void> Broker::listen(Listener listener) {
  const std::lock_guard lock(state_->mutex);
  const int handle = state_->next_handle++;
  state_->listeners.emplace(handle, std::make_shared<const Listener>(std::move(listener)));
  return {nullptr, [weak = std::weak_ptr(state_), handle](void*) {
            const auto state = weak.lock();
            if (!state) return;
            std::shared_ptr<const Listener> last;  // ends outside the lock
            const std::lock_guard guard(state->mutex);
            const auto place = state->listeners.find(handle);
            if (place == state->listeners.end()) return;
            last = std::move(place->second);
            state->listeners.erase(place);
          }};
}

void Broker::register_endpoint(const std::string& name, const std::string& owner) {
  if (!is_name(name))
    refuse(fmt::format("endpoint {:?}: a name has 1 to {} letters, digits, '_', '-', '.', the first a letter or digit",
                       name.substr(0, 200), kLongestName));
  if (owner.empty() || owner.size() > kLongestOwner) refuse("an endpoint must have an owner");
  state_->records.add_endpoint(name, owner);
  const std::lock_guard lock(state_->mutex);
  EndpointRecord& record = state_->endpoints[name].record;
  record.name = name;
  record.owner = owner;
}

std::vector<EndpointStatus> Broker::endpoints() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<EndpointStatus> out;
  for (const auto& [name, e] : state_->endpoints) {
    EndpointStatus status{name, e.record.owner, e.line != nullptr, e.since_s, e.capacity, e.record.program};
    status.queued = static_cast<long long>(e.ready.size() + e.held.size());
    status.placed = static_cast<long long>(e.there.size());
    out.push_back(std::move(status));
  }
  return out;
}

std::optional<Preview> Broker::preview(const std::string& task, const std::string& name) const {
  std::shared_ptr<const std::string> message;
  {
    const std::lock_guard lock(state_->mutex);
    const auto live = state_->live.find(task);
    if (live == state_->live.end()) return std::nullopt;
    const auto place = live->second->previews.find(name);
    if (place == live->second->previews.end()) return std::nullopt;
    message = place->second;
  }
  return decode_preview(*message);
}

}  // namespace farfield::services::compute
