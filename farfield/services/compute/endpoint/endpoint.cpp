#include "farfield/services/compute/endpoint/endpoint.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/services/compute/endpoint/block_keeper.hpp"
#include "farfield/services/compute/endpoint/carrier.hpp"
#include "farfield/services/compute/endpoint/folder_lock.hpp"
#include "farfield/services/compute/endpoint/service_link.hpp"
#include "farfield/services/compute/endpoint/worker_server.hpp"
#include "farfield/services/compute/worker/confine.hpp"
#include "farfield/services/compute/worker/large_output.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::LogLevel;
using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;

constexpr auto kHousekeeping = milliseconds(100);
constexpr auto kSweepEvery = std::chrono::hours(6);
constexpr double kLeavePatience_s = 60;  ///< then the provider is asked to end a block that was asked to leave
constexpr double kLongestFailurePause_s = 300;
constexpr std::size_t kMostInMessage = 4096;  ///< tasks
constexpr std::size_t kMostForgotten = 256;   ///< ends in store of which rows and workers are freed together
constexpr std::size_t kMostBytesInMessage = std::size_t{4} << 20;

double now_s() { return duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

void check(const EndpointOptions& o) {
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (o.name.empty() || o.name.size() > 64 || o.name.find_first_not_of(kName) != std::string::npos ||
      o.name[0] == '.' || o.name[0] == '-')
    throw Error(ErrorCode::invalid_argument,
                fmt::format("endpoint name \"{}\" must be 1 to 64 letters, digits, '-', '_' or '.'", o.name));
  if (o.command.empty()) throw Error(ErrorCode::internal, "an endpoint needs a command for its blocks");
  if (o.slots_per_device < 1 || o.slots_per_device > 1024)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("slots for each GPU {} must be 1 to 1024", o.slots_per_device));
  validate(o.scaling);
}

template <class T, class Size, class Send>
void in_pieces(std::vector<T>& items, Size size, Send send) {
  std::vector<T> piece;
  std::size_t bytes = 0;
  for (T& item : items) {
    bytes += size(item);
    piece.push_back(std::move(item));
    if (piece.size() < kMostInMessage && bytes < kMostBytesInMessage) continue;
    send(std::exchange(piece, {}));
    bytes = 0;
  }
  if (!piece.empty()) send(std::move(piece));
}

}  // namespace

struct Endpoint::State {
  State(EndpointOptions o, std::unique_ptr<BlockProvider> provider)
      : options((check(o), std::move(o))),
        lock(options.folder),
        tables(options.folder, !provider->on_this_machine()),
        dispatcher(limits()) {
    for (const char* part : {"tasks", "archives"}) fs::create_directories(fs::path(options.folder) / part);
    options.folder = fs::canonical(options.folder).string();
    listen();
    keep_blocks(std::move(provider));
    carrier.emplace(CarrierOptions{options.service, options.token, options.trust, options.folder});
    loop_thread = std::thread([this] { loop(); });
    ServiceLink::Events heard;
    heard.opened = [this](int line, std::shared_ptr<net::WebSocket> socket) {
      post([this, line, socket = std::move(socket)]() mutable { service_opened(line, std::move(socket)); });
    };
    heard.message = [this](int line, const std::string& text) {
      try {
        post([this, line, message = decode(text)] { from_service(line, message); });
      } catch (const Error& e) {
        core::log(LogLevel::error, "service_speaks_nonsense", {{"reason", e.what()}});
        post([this, line] {
          if (line == service_line && service) service->close(1008, "not understood");
        });
      }
    };
    heard.closed = [this](int line) { post([this, line] { service_closed(line); }); };
    link.emplace(ServiceLinkOptions{options.service, options.name, options.token, options.trust}, heard);
  }

  ~State() {
    link.reset();
    {
      const std::lock_guard guard(mutex);
      stop = true;
      wake.notify_all();
    }
    loop_thread.join();
    server->stop();
    events.clear();  // connections go before the server that made them
    lines.clear();
    server.reset();
    carrier.reset();
    keeper.reset();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // ---- making

  DispatcherLimits limits() const {
    const int devices = options.devices.empty() ? options.normal.gpus : static_cast<int>(options.devices.size());
    return {options.scaling.walltime_s - options.notice_s, options.scaling.nodes_per_block,
            options.scaling.nodes_per_block * options.scaling.workers_per_node, devices * options.slots_per_device,
            options.confine && confinement() != ConfinedBy::nothing};
  }

  void listen() {
    WorkerServer::Events heard;
    heard.secret = [this](const std::string& block) { return keeper_ready ? keeper->secret(block) : std::string(); };
    heard.message = [this](const std::shared_ptr<WorkerLine>& line, const Message& message) {
      post([this, line, message] { from_worker(line, message); });
    };
    heard.preview = [this](std::string message) { relay(std::move(message)); };
    heard.closed = [this](const std::shared_ptr<WorkerLine>& line) { post([this, line] { worker_gone(line); }); };
    server.emplace(options.folder, options.address, options.port, heard);
  }

  void keep_blocks(std::unique_ptr<BlockProvider> provider) {
    BlockKeeper::Options how;
    how.folder = options.folder + "/blocks";
    how.prefix = options.name.substr(0, 40);
    how.poll_s = options.poll_s;
    how.normal = options.normal;
    how.urgent = options.urgent;
    for (BlockRequest* request : {&how.normal, &how.urgent}) {
      request->command = options.command;
      request->nodes = options.scaling.nodes_per_block;
      request->walltime_s = options.scaling.walltime_s;
    }
    BlockSettings& s = how.settings;
    s.link = server->link();
    s.certificate = server->certificate();
    s.workers = options.scaling.workers_per_node;
    s.nodes = options.scaling.nodes_per_block;
    s.walltime_s = options.scaling.walltime_s;
    s.notice_s = options.notice_s;
    s.alone_s = options.alone_s;
    s.tasks = options.folder + "/tasks";
    s.archives = options.folder + "/archives";
    s.roots = options.roots;
    s.devices = options.devices;
    s.slots_per_device = options.slots_per_device;
    s.slots = fmt::format("/dev/shm/farfield-{}-{}", ::geteuid(), options.name);
    s.readable = options.readable;
    s.confine = options.confine;

    BlockKeeper::Events heard;
    heard.submitted = [this](const std::string& block) { post([this, block] { blocks[block].submitted = true; }); };
    heard.refused = [this](const std::string& block, const std::string&) {
      post([this, block] {
        blocks.erase(block);
        failed();
      });
    };
    heard.ended = [this](const std::string& block, const BlockStatus& how_it_is, bool again,
                         const std::map<WorkerId, JournalContent>& journals) {
      post([this, block, how_it_is, again, journals] { block_ended(block, how_it_is, again, journals); });
    };
    keeper.emplace(std::move(provider), tables, how, heard);
    keeper_ready = true;
    for (const BlockRow& row : keeper->found()) {
      Block& block = blocks[row.name];
      block.urgent = row.urgent;
      block.submitted = !row.id.empty();
      block.opened_s = now_s();
      dispatcher.block_opened(row.name, row.urgent);
    }
    std::set<std::string> gone;
    for (const Handover& handover : tables.handovers()) {
      dispatcher.restored(handover);
      if (!blocks.contains(handover.worker.block)) gone.insert(handover.worker.block);
    }
    // A block is forgotten only once nothing of its tasks was left open: these were waiting for another one.
    for (const std::string& block : gone) dispatcher.block_ended(block, "it is gone", {});
  }

  // ---- the loop: everything that changes state runs on it

  void post(std::function<void()> event) {
    const std::lock_guard guard(mutex);
    events.push_back(std::move(event));
    wake.notify_one();
  }

  void loop() {
    auto next_look = Clock::now();
    auto next_sweep = Clock::now() + kHousekeeping;
    for (int i = 0; i < options.scaling.init_blocks - static_cast<int>(blocks.size()); ++i) open(false);
    for (;;) {
      std::vector<std::function<void()>> now;
      {
        std::unique_lock guard(mutex);
        wake.wait_until(guard, next_look, [&] { return stop || !events.empty(); });
        if (stop) return;
        now.swap(events);
      }
      for (const auto& event : now) event();
      const bool look = Clock::now() >= next_look;
      turn(look);
      if (!look) continue;
      next_look = Clock::now() + kHousekeeping;
      keep_house();
      if (Clock::now() < next_sweep) continue;
      next_sweep =
          Clock::now() + std::min<Clock::duration>(kSweepEvery, std::chrono::duration_cast<Clock::duration>(
                                                                    duration<double>(std::max(options.sweep_s, 0.1))));
      carrier->look_for_old(options.sweep_s, [this](const Carrier::Old& old) { post([this, old] { sweep(old); }); });
    }
  }

  /// What is old goes, but for what tasks, blocks and downloads hold now.
  void sweep(Carrier::Old old) {
    std::erase_if(old.blocks, [&](const std::string& name) { return blocks.contains(name); });
    std::erase_if(old.archives, [&](const std::string& sha256) {
      return fetching.contains(sha256) || dispatcher.needs_archive(sha256);
    });
    std::erase_if(old.tasks, [&](const auto& task) { return dispatcher.knows(task.second); });
    carrier->remove(old);
  }

  /// Places what can be placed, stores what must be stored, tells what may be told. Rows of ended tasks are removed
  /// with what is stored anyhow, or when it is time to `look` after things.
  void turn(bool look) {
    auto handovers = Clock::now() >= storable ? dispatcher.place(now_s()) : std::vector<Handover>{};
    auto orders = dispatcher.take_orders();
    forgotten.rows.insert(forgotten.rows.end(), orders.forget.begin(), orders.forget.end());
    for (auto& [worker, keys] : orders.acknowledge) {
      auto& all = forgotten.by_worker[worker];
      all.insert(all.end(), keys.begin(), keys.end());
      forgotten.ends += keys.size();
    }
    if (!handovers.empty() || look || forgotten.ends >= kMostForgotten) store(std::move(handovers));
    if (look || acknowledged.ends >= kMostForgotten) tell_acknowledged();
    for (auto& [worker, tasks] : orders.assign)
      in_pieces(
          tasks, [](const Assignment& a) { return a.request.arguments.size() + 1000; },
          [&, id = &worker](std::vector<Assignment> piece) { tell(*id, Assign{std::move(piece)}); });
    for (auto& [worker, tasks] : orders.cancel) tell(worker, Cancel{std::move(tasks)});
    for (auto& [worker, watch] : orders.watch) tell(worker, watch);
    if (!orders.begun.empty()) tell_begun(orders.begun, orders.ended);
    if (!orders.ended.empty()) tell_ended(orders.ended);
    if (!orders.finished.empty()) carrier->remove_tasks(std::move(orders.finished));
  }

  /// Ends that the service has stored: their rows are removed, then their workers hear of it.
  struct Forgotten {
    std::vector<TaskKey> rows{};
    std::map<WorkerId, std::vector<TaskKey>> by_worker{};
    std::size_t ends = 0;

    void add(Forgotten&& other) {
      rows.insert(rows.end(), other.rows.begin(), other.rows.end());
      for (auto& [worker, keys] : other.by_worker) {
        auto& all = by_worker[worker];
        all.insert(all.end(), keys.begin(), keys.end());
      }
      ends += other.ends;
    }
  };

  void store(std::vector<Handover> handovers) {
    const auto over = std::make_shared<Forgotten>(std::exchange(forgotten, {}));
    if (handovers.empty() && over->rows.empty()) return acknowledged.add(std::move(*over));
    const auto placed = std::make_shared<const std::vector<Handover>>(std::move(handovers));
    tables.change(*placed, over->rows, [this, placed, over](const core::Result<void>& done) {
      post([this, placed, over, problem = done ? "" : std::string(done.error().what())] {
        if (problem.empty()) {
          dispatcher.stored(*placed, now_s());
          over->rows.clear();
          acknowledged.add(std::move(*over));
          return;
        }
        core::log(LogLevel::error, "tasks_not_stored", {{"reason", problem}});
        storable = Clock::now() + std::chrono::seconds(1);
        dispatcher.not_stored(*placed, now_s());
        forgotten.add(std::move(*over));  // another time
      });
    });
  }

  void tell_acknowledged() {
    for (auto& [worker, keys] : std::exchange(acknowledged, {}).by_worker) {
      for (const TaskKey& key : keys)
        if (outputs.erase(key) > 0) carrier->remove_output(keeper->folder(worker.block), key);
      in_pieces(
          keys, [](const TaskKey&) { return std::size_t{64}; },
          [&, id = &worker](std::vector<TaskKey> piece) { tell(*id, Stored{std::move(piece)}); });
    }
  }

  void tell(const WorkerId& worker, const Message& message) {
    const auto line = lines.find(worker);
    // What cannot be sent closes the line; the worker greets anew and is compared with.
    if (line != lines.end() && !line->second->socket->send_text(encode(message))) line->second->socket->close();
  }

  bool tell_service(const Message& message) { return service && service->send_text(encode(message)); }

  /// A beginning whose end goes out in the same turn is told by the end.
  void tell_begun(std::vector<TaskBegin>& begun, const std::vector<TaskEnd>& ended) {
    std::set<TaskKey> over;
    for (const TaskEnd& end : ended) over.insert(end.key);
    std::erase_if(begun, [&](const TaskBegin& b) { return over.contains(b.key); });
    in_pieces(
        begun, [](const TaskBegin&) { return std::size_t{300}; },
        [&](std::vector<TaskBegin> piece) { tell_service(Begun{std::move(piece)}); });
  }

  /// Ends with a large output wait until the service has it.
  void tell_ended(std::vector<TaskEnd>& ended) {
    if (!service) return;  // told when it is there again
    std::vector<TaskEnd> now;
    for (TaskEnd& end : ended) {
      const auto bytes = noted_bytes(end.output);
      if (!bytes) {
        now.push_back(std::move(end));
        continue;
      }
      const auto known = outputs.find(end.key);
      if (known != outputs.end() && known->second.there) {
        end.output = known->second.reference;
        now.push_back(std::move(end));
      } else if (known == outputs.end()) {
        outputs[end.key] = {};
        carry(end);
      }
    }
    in_pieces(
        now, [](const TaskEnd& e) { return e.output.size() + e.problem.size() + 500; },
        [&](std::vector<TaskEnd> piece) { tell_service(Ended{std::move(piece)}); });
  }

  void carry(const TaskEnd& end) {
    carrier->put_output(keeper->folder(end.block), end.key,
                        [this, end](const std::string& reference, const std::string& problem) {
                          post([this, end, reference, problem] {
                            TaskEnd told = end;
                            told.output = reference;
                            if (!problem.empty()) {  // the file is gone, or the service refuses it
                              told.ending = Ending::failed;
                              told.problem = problem;
                              told.output = "null";
                            }
                            outputs[end.key] = {true, told.output};
                            tell_service(Ended{{told}});
                          });
                        });
  }

  // ---- the service

  void service_opened(int line, std::shared_ptr<net::WebSocket> socket) {
    service_line = line;
    {
      const std::lock_guard guard(service_mutex);
      service = std::move(socket);
    }
    Hello hello;
    hello.program = options.program;
    hello.known = dispatcher.known();
    hello.verbs = options.verbs;
    hello.capacity = told_capacity = capacity();
    tell_service(hello);
    dispatcher.repeat();
  }

  void service_closed(int line) {
    if (line != service_line) return;
    const std::lock_guard guard(service_mutex);
    service.reset();
  }

  void from_service(int line, const Message& message) {
    if (line != service_line) return;
    if (const auto* assign = std::get_if<Assign>(&message)) {
      for (const Assignment& a : assign->tasks) offer(a);
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
      for (const std::string& task : cancel->tasks) dispatcher.cancelled(task);
    } else if (const auto* stored = std::get_if<Stored>(&message)) {
      dispatcher.acknowledged(stored->ends);
    } else if (const auto* watch = std::get_if<Watch>(&message)) {
      dispatcher.watched(watch->task, watch->on);
    } else if (const auto* leave = std::get_if<Leave>(&message)) {
      core::log(LogLevel::warning, "service_sends_away", {{"reason", leave->reason}});
    }
  }

  void offer(const Assignment& a) {
    const bool ready = a.function.kind != FunctionKind::code || carrier->has_archive(a.function.archive);
    dispatcher.offered(a, ready);
    if (ready || !fetching.insert(a.function.archive).second) return;
    carrier->fetch_archive(a.function.archive,
                           [this, archive = a.function.archive](const std::string& problem, bool systems) {
                             post([this, archive, problem, systems] {
                               fetching.erase(archive);
                               if (problem.empty()) dispatcher.code_arrived(archive);
                               else dispatcher.code_missing(archive, problem, systems);
                             });
                           });
  }

  // ---- workers

  /// A preview goes through, the latest wins; on the worker's own thread.
  void relay(std::string message) {
    std::shared_ptr<net::WebSocket> to;
    {
      const std::lock_guard guard(service_mutex);
      to = service;
    }
    if (!to) return;
    try {
      const Preview preview = decode_preview(message);
      to->send_latest(preview.task + "/" + preview.name, std::move(message));
    } catch (const Error& e) {
      core::log(LogLevel::warning, "preview_not_understood", {{"reason", e.what()}});
    }
  }

  void from_worker(const std::shared_ptr<WorkerLine>& line, const Message& message) {
    if (const auto* hello = std::get_if<Hello>(&message)) return greet(line, *hello);
    if (!line->id) return;  // it has not said who it is
    const WorkerId& id = *line->id;
    // It has another line now, or its block has ended: what was under way then must not make it known again.
    if (const auto current = lines.find(id); current == lines.end() || current->second != line) return;
    if (const auto* begun = std::get_if<Begun>(&message)) {
      for (const TaskBegin& b : begun->tasks) dispatcher.began(id, of(b, id));
    } else if (const auto* ended = std::get_if<Ended>(&message)) {
      for (const TaskEnd& e : ended->tasks) dispatcher.ended(id, of(e, id), now_s());
    } else if (std::holds_alternative<Progressed>(message) || std::holds_alternative<Logged>(message)) {
      tell_service(message);
    } else if (const auto* capacity_now = std::get_if<CapacityNow>(&message)) {
      if (capacity_now->capacity.workers == 0) dispatcher.takes_no_more(id);
    }
  }
  /// Where it ran is what the endpoint knows, not what was said.
  template <class T>
  static T of(T told, const WorkerId& id) {
    told.block = id.block;
    told.node = id.node;
    return told;
  }

  void greet(const std::shared_ptr<WorkerLine>& line, const Hello& hello) {
    const auto block = blocks.find(line->block);
    Dispatcher::Greeting g;
    g.id = {line->block, hello.node, 0};
    const char* end = hello.worker.data() + hello.worker.size();
    const auto [dot, bad] = std::from_chars(hello.worker.data(), end, g.id.place);
    if (block == blocks.end() || block->second.ended || bad != std::errc() || dot == end || *dot != '.' ||
        std::from_chars(dot + 1, end, g.incarnation).ptr != end || hello.protocol != kProtocol) {
      line->socket->close(1008, "not a worker of a block of this endpoint");
      return;
    }
    g.known = hello.known;
    g.leaves_s = now_s() + hello.capacity.longest_s;
    g.gpu_slots = hello.capacity.gpu_slots;
    g.takes_work = hello.capacity.workers > 0;
    if (const auto old = lines.find(g.id); old != lines.end() && old->second != line) old->second->socket->close();
    line->id = g.id;
    lines[g.id] = line;
    if (!std::exchange(block->second.seen, true)) failures = 0;
    dispatcher.greeted(g, now_s());
    if (block->second.leaving) line->socket->send_text(encode(Leave{"the block is given back"}));
  }

  void worker_gone(const std::shared_ptr<WorkerLine>& line) {
    if (!line->id) return;
    const auto current = lines.find(*line->id);
    if (current == lines.end() || current->second != line) return;
    lines.erase(current);
    dispatcher.disconnected(*line->id);
  }

  // ---- blocks

  struct Block {
    bool urgent = false, submitted = false, seen = false, leaving = false, ended = false;
    double opened_s = 0, leave_by_s = 0;
  };

  void open(bool urgent) {
    const std::string name = keeper->open(urgent);
    Block& block = blocks[name];
    block.urgent = urgent;
    block.opened_s = now_s();
    dispatcher.block_opened(name, urgent);
  }

  void failed() {
    failures = std::min(failures + 1, 30);
    open_again_s = now_s() + std::min(kLongestFailurePause_s, std::pow(2.0, failures));
  }

  void block_ended(const std::string& name, const BlockStatus& end, bool again,
                   const std::map<WorkerId, JournalContent>& journals) {
    const auto block = blocks.find(name);
    if (block == blocks.end() || block->second.ended) return;
    const std::string why =
        end.reason.empty() ? std::string(name_of(end.state)) : fmt::format("{}, {}", name_of(end.state), end.reason);
    std::map<WorkerId, JournalContent> told = journals;
    for (auto& [id, journal] : told)
      for (auto& [key, task] : journal.ended) task = of(task, id);
    dispatcher.block_ended(name, again ? "requeued" : why, told);
    for (auto line = lines.begin(); line != lines.end();) {
      if (line->first.block != name) {
        ++line;
        continue;
      }
      line->second->socket->close();
      line = lines.erase(line);
    }
    if (again) return dispatcher.block_opened(name, block->second.urgent);
    block->second.ended = true;
    if (!block->second.seen && !block->second.leaving) failed();
  }

  void leave(const std::string& name, Block& block) {
    if (block.leaving) return;
    block.leaving = true;
    block.leave_by_s = now_s() + (block.seen ? kLeavePatience_s : 0);
    dispatcher.block_leaves(name);
    for (const auto& [id, line] : lines)
      if (id.block == name) line->socket->send_text(encode(Leave{"the block is given back"}));
  }

  void keep_house() {
    const double now = now_s();
    const Dispatcher::Queue queue = dispatcher.queue();
    if (queue.tasks > 0) last_queued_s = now;
    std::vector<BlockLoad> loads;
    for (auto& [name, block] : blocks) {
      if (block.ended) continue;
      const Dispatcher::Load load = dispatcher.load(name);
      const double unused = load.workers > 0 ? load.idle_since_s : std::max(block.opened_s, last_queued_s);
      loads.push_back({name, block.urgent, block.leaving, load.busy, load.busy > 0 ? 0 : unused});
      if (block.leaving && now > block.leave_by_s) {
        keeper->cancel(name);
        block.leave_by_s = now + kLeavePatience_s;
      }
    }
    if (ending) {
      for (auto& [name, block] : blocks)
        if (!block.ended) leave(name, block);
    } else {
      const ScalingDecision decision = decide(options.scaling, loads, queue.work, queue.urgent, now);
      if (now >= open_again_s) {
        for (int i = 0; i < decision.start; ++i) open(false);
        for (int i = 0; i < decision.start_urgent; ++i) open(true);
      }
      for (const std::string& name : decision.leave) leave(name, blocks[name]);
      // An idle block whose walltime is too short for what waits is in the way of a fresh one.
      for (auto& [name, block] : blocks) {
        const Dispatcher::Load load = dispatcher.load(name);
        if (!block.ended && load.workers > 0 && load.busy == 0 && load.leaves_s - now < queue.longest_s)
          leave(name, block);
      }
    }
    for (auto block = blocks.begin(); block != blocks.end();) {
      if (block->second.ended && !dispatcher.needs(block->first)) {
        keeper->forget(block->first);
        block = blocks.erase(block);
      } else {
        ++block;
      }
    }
    const Capacity have = capacity();
    if (!same(have, told_capacity) && tell_service(CapacityNow{have})) told_capacity = have;
    const std::lock_guard guard(mutex);
    status.connected = service != nullptr;
    status.capacity = have;
    status.blocks.clear();
    for (const auto& [name, block] : blocks)
      if (!block.ended) status.blocks.push_back(name);
    status.queued = queue.tasks;
    status.held = dispatcher.known().size();
  }

  Capacity capacity() const {
    const int per_block = options.scaling.nodes_per_block * options.scaling.workers_per_node;
    Capacity c;
    int live = 0;
    for (const auto& [name, block] : blocks) {
      if (block.ended) continue;
      ++live;
      const Dispatcher::Load load = dispatcher.load(name);
      c.workers += load.workers;
      c.idle += load.idle;
      if (load.workers == 0 && !block.leaving) c.starting += per_block;
      if (load.workers > 0) c.longest_s = std::max(c.longest_s, load.leaves_s - now_s());
    }
    c.most = options.scaling.max_blocks * per_block;
    if (live < options.scaling.max_blocks) c.longest_s = options.scaling.walltime_s - options.notice_s;
    c.longest_s = std::max(0.0, c.longest_s);
    const DispatcherLimits l = limits();
    c.gpu_slots = l.gpu_slots;
    c.nodes_per_block = options.scaling.nodes_per_block;
    c.confines = l.confines;
    return c;
  }
  /// Walltime runs down all the time: that alone is no news.
  static bool same(const Capacity& a, const Capacity& b) {
    return a.workers == b.workers && a.idle == b.idle && a.starting == b.starting && a.most == b.most &&
           std::abs(a.longest_s - b.longest_s) < 10;
  }

  EndpointOptions options;
  FolderLock lock;

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::function<void()>> events;
  Endpoint::Status status;
  bool stop = false;
  EndpointTables tables;  ///< posts events until it has gone

  // Of the loop.
  Dispatcher dispatcher;
  std::map<std::string, Block> blocks;
  std::map<WorkerId, std::shared_ptr<WorkerLine>> lines;
  struct Output {
    bool there = false;
    std::string reference{};
  };
  std::map<TaskKey, Output> outputs;  ///< large ones: on their way, or with the service
  std::set<std::string> fetching;     ///< archives
  Forgotten forgotten;                ///< to be removed from disk
  Forgotten acknowledged;             ///< removed; to be told
  Clock::time_point storable{};       ///< after a failure of the disk
  Capacity told_capacity;
  int service_line = 0, failures = 0;
  double open_again_s = 0, last_queued_s = 0;
  bool ending = false;

  std::mutex service_mutex;  ///< the loop changes `service`, under it; others read it, under it
  std::shared_ptr<net::WebSocket> service;

  std::atomic<bool> keeper_ready = false;
  std::optional<BlockKeeper> keeper;
  std::optional<Carrier> carrier;
  std::optional<WorkerServer> server;
  std::optional<ServiceLink> link;
  std::thread loop_thread;
};

Endpoint::Endpoint(EndpointOptions options, std::unique_ptr<BlockProvider> provider)
    : state_(std::make_unique<State>(std::move(options), std::move(provider))) {}
Endpoint::~Endpoint() = default;

Endpoint::Status Endpoint::status() const {
  const std::lock_guard guard(state_->mutex);
  return state_->status;
}

bool Endpoint::end_blocks(double patience_s) {
  State& s = *state_;
  s.post([&s] { s.ending = true; });
  const auto until = Clock::now() + duration<double>(patience_s);
  for (;;) {
    std::promise<bool> none;
    auto answer = none.get_future();
    s.post([&s, &none] {
      none.set_value(std::all_of(s.blocks.begin(), s.blocks.end(), [](const auto& b) { return b.second.ended; }));
    });
    if (answer.get()) return true;
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

}  // namespace farfield::services::compute
