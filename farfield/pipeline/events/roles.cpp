#include "farfield/pipeline/events/roles.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <thread>

#include "farfield/parallel/mailbox.hpp"
#include "farfield/pipeline/events/event_builder.hpp"
#include "farfield/pipeline/events/part_file.hpp"
#include "farfield/pipeline/stage_times.hpp"

namespace farfield::pipeline::events {

namespace fs = std::filesystem;
namespace xtc2 = io::xtc2;
using core::Error;
using core::ErrorCode;

namespace {

enum class Tag : std::uint8_t {
  want_block,
  block,
  end_of_blocks,
  want_batch,
  batch,
  end_of_batches,
  rows,
  taken,
  done,
  part
};

/// What a role needs of the rank that it runs on.
struct Post {
  parallel::Mailbox& box;
  void send(int to, MessageWriter&& message) { box.send(to, message.take()); }
};
MessageWriter message(Tag tag) {
  MessageWriter out;
  out.put(tag);
  return out;
}

/// Transitions that some of the peers have not seen yet.
class History {
public:
  explicit History(const std::vector<int>& peers) {
    for (const int peer : peers) seen_[peer] = 0;
  }
  void add(TransitionRecord record) { records_.push_back(std::move(record)); }
  /// Those that `peer` lacks; it has them from now on.
  std::vector<TransitionRecord> take(int peer) {
    auto& seen = seen_.at(peer);
    std::vector<TransitionRecord> out(records_.begin() + static_cast<std::ptrdiff_t>(seen - first_), records_.end());
    seen = first_ + records_.size();
    std::uint64_t least = seen;
    for (const auto& [other, count] : seen_) least = std::min(least, count);
    for (; first_ < least; ++first_) records_.pop_front();
    return out;
  }

private:
  std::deque<TransitionRecord> records_;
  std::map<int, std::uint64_t> seen_;
  std::uint64_t first_ = 0;
};

class ReaderRole {
public:
  ReaderRole(std::vector<IndexSource> sources, const RunOptions& options, const std::vector<int>& builders, Post post,
             const core::Clock& clock)
      : reader_(std::move(sources), options.index),
        history_(builders),
        builders_(builders.size()),
        post_(post),
        clock_(clock),
        patience_s_(options.patience_s),
        news_s_(clock.now_s()) {}

  void want(int from) { pending_.push_back(from); }
  /// Answers whom it can; false: nothing to do, or nothing to be had now.
  bool work() {
    bool any = false;
    while (!pending_.empty() && !over_) {
      const auto got = reader_.next();
      if (got == IndexReader::Got::waiting) {
        if (clock_.now_s() - news_s_ < patience_s_) return any;
        gave_up_ = true;
        reader_.give_up();
      } else if (got == IndexReader::Got::end) {
        over_ = true;
      } else {
        news_s_ = clock_.now_s();
        any = true;
        if (got == IndexReader::Got::transition) history_.add(reader_.transition());
        else send_block();
      }
    }
    for (; over_ && !pending_.empty(); pending_.pop_front(), ++told_) {
      auto end = message(Tag::end_of_blocks);
      Reasons faults = told_ == 0 ? reader_.faults() : Reasons();
      if (told_ == 0 && gave_up_)
        faults[fmt::format("no news of the run for {} s, which did not end", patience_s_)] = 1;
      put(end, faults);
      post_.send(pending_.front(), std::move(end));
      any = true;
    }
    return any;
  }
  bool finished() const { return told_ == builders_; }

private:
  void send_block() {
    const int to = pending_.front();
    pending_.pop_front();
    auto out = message(Tag::block);
    const auto missed = history_.take(to);
    out.put(static_cast<std::uint64_t>(missed.size()));
    for (const auto& record : missed) put(out, record);
    out.put(reader_.block().number);
    out.put(reader_.block().after.has_value());
    out.put(reader_.block().after.value_or(0));
    out.put(static_cast<std::uint64_t>(reader_.block().bytes.size()));
    for (const auto bytes : reader_.block().bytes) out.put_list(bytes);
    post_.send(to, std::move(out));
  }

  IndexReader reader_;
  History history_;
  std::size_t builders_, told_ = 0;
  Post post_;
  const core::Clock& clock_;
  double patience_s_, news_s_;
  bool over_ = false, gave_up_ = false;
  std::deque<int> pending_;
};

class BuilderRole {
public:
  BuilderRole(const RunOptions& options, const std::vector<fs::path>& data, int reader, std::vector<int> workers,
              Post post)
      : builder_({options.filter, options.complete, options.batch_events, options.batch_bytes}, data),
        history_(workers),
        reader_(reader),
        workers_(std::move(workers)),
        post_(post) {
    ask();
  }

  void take_block(MessageReader& from) {
    asked_ = false;
    for (auto n = from.get<std::uint64_t>(); n > 0; --n) {
      auto record = get_transition(from);
      builder_.apply(record);
      history_before_.push_back(std::move(record));
    }
    const auto number = from.get<std::uint64_t>();
    const bool has_after = from.get<bool>();
    const auto after = from.get<EventTime>();
    std::vector<std::span<const std::byte>> bytes(from.get<std::uint64_t>());
    for (auto& stream : bytes) stream = from.list_bytes();
    auto batches = builder_.build(number, has_after ? std::optional(after) : std::nullopt, bytes);
    // Transitions count from this block's first batch on: batches that wait before it must not see them.
    batches.front().transitions = std::move(history_before_);
    history_before_.clear();
    for (auto& batch : batches) queue_.push_back(std::move(batch));
    serve();
  }
  void end_of_blocks(MessageReader& from) {
    asked_ = false;
    ended_ = true;
    faults_ = get_reasons(from);
    serve();
  }
  void want(int from) {
    pending_.push_back(from);
    serve();
  }
  bool finished() const { return told_ == workers_.size(); }

private:
  void ask() {
    asked_ = true;
    post_.send(reader_, message(Tag::want_block));
  }
  void serve() {
    while (!pending_.empty() && !queue_.empty()) {
      Batch& batch = queue_.front();
      for (auto& record : batch.transitions) history_.add(std::move(record));
      batch.transitions = history_.take(pending_.front());
      auto out = message(Tag::batch);
      put(out, batch);
      post_.send(pending_.front(), std::move(out));
      pending_.pop_front();
      queue_.pop_front();
    }
    if (!ended_ && !asked_ && queue_.size() < 2 * workers_.size()) ask();
    for (; ended_ && queue_.empty() && !pending_.empty(); pending_.pop_front(), ++told_) {
      auto end = message(Tag::end_of_batches);
      put(end, told_ == 0 ? faults_ : Reasons());
      post_.send(pending_.front(), std::move(end));
    }
  }

  EventBuilder builder_;
  History history_;
  std::vector<TransitionRecord> history_before_;
  std::deque<Batch> queue_;
  std::deque<int> pending_;
  int reader_;
  std::vector<int> workers_;
  Post post_;
  Reasons faults_;
  std::size_t told_ = 0;
  bool asked_ = false, ended_ = false;
};

class WorkerRole {
public:
  WorkerRole(const RunOptions& options, const std::vector<fs::path>& data, int rank, int builder,
             std::vector<int> servers, Post post, const core::Clock& clock, std::stop_token stop)
      : reduction_(options.reduction, data, options.fetch, clock, std::move(stop)),
        builder_(builder),
        servers_(std::move(servers)),
        post_(post),
        clock_(clock) {
    if (!options.stage_times.empty()) {
      std::array<char, 256> host{};
      gethostname(host.data(), host.size() - 1);
      times_.emplace(options.stage_times / fmt::format("stage_times.rank{:05}", rank), rank, host.data(),
                     std::vector<std::string>{"fetch", "reduce", "send"}, clock);
    }
    ask();
  }

  void take_batch(MessageReader& from) {
    asked_ = false;
    const Batch batch = get_batch(from);
    if (unwritten_ + 1 < kMostUnwritten) ask();  // the next one comes while this one is worked on
    const double begin_s = clock_.now_s();
    const Rows rows = reduction_.take(batch, notes_);
    const double reduced_s = clock_.now_s();
    auto out = message(Tag::rows);
    put(out, rows);
    post_.send(servers_[rows.number.block % servers_.size()], std::move(out));
    ++unwritten_;
    if (times_ && !notes_.empty()) {
      const auto frame = [](const EventNote& note) { return static_cast<model::FrameId>(note.time); };
      times_->record(frame(notes_.front()), 0, begin_s, reduction_.fetched_s());
      for (const auto& note : notes_)
        times_->record(frame(note), 1, note.begin_s, note.end_s,
                       note.bad       ? StageStatus::dropped
                       : note.damaged ? StageStatus::damaged
                                      : StageStatus::ok);
      times_->record(frame(notes_.back()), 2, reduced_s, clock_.now_s());
    }
  }
  void taken() {
    --unwritten_;
    if (!asked_ && !ended_) ask();
  }
  void end_of_batches(MessageReader& from) {
    asked_ = false;
    ended_ = true;
    auto out = message(Tag::done);
    put(out, get_reasons(from));
    put(out, reduction_.sums());
    post_.send(servers_.front(), std::move(out));
    for (std::size_t s = 1; s < servers_.size(); ++s) post_.send(servers_[s], message(Tag::done));
    if (times_) times_->commit();
  }
  bool finished() const { return ended_ && unwritten_ == 0; }

private:
  static constexpr int kMostUnwritten = 4;  // bounds what the server has to hold for the order of time
  void ask() {
    asked_ = true;
    post_.send(builder_, message(Tag::want_batch));
  }

  Reduction reduction_;
  std::optional<StageTimesWriter> times_;
  std::vector<EventNote> notes_;
  int builder_, unwritten_ = 0;
  std::vector<int> servers_;
  Post post_;
  const core::Clock& clock_;
  bool asked_ = false, ended_ = false;
};

/// Server number `place`: of N servers it has the blocks place, place + N, place + 2 N ...
class ServerRole {
public:
  ServerRole(const RunOptions& options, const fs::path& out, std::size_t place, std::vector<int> servers,
             std::size_t workers, Post post)
      : out_(out), place_(place), servers_(std::move(servers)), workers_(workers), post_(post) {
    if (place_ == 0) file_.emplace(out, names(options));
    if (servers_.size() > 1) part_.emplace(part_path(out, place));
  }
  ServerRole(const ServerRole&) = delete;
  ServerRole& operator=(const ServerRole&) = delete;
  ~ServerRole() {
    std::error_code ignored;
    if (place_ == 0 && part_)
      for (std::size_t s = 0; s < servers_.size(); ++s) fs::remove(part_path(out_, s), ignored);
  }

  void take_rows(int from, MessageReader& in) {
    auto rows = get_rows(in);
    const auto number = rows.number;
    waiting_.emplace(number, std::pair(from, std::move(rows)));
    for (auto first = waiting_.begin(); first != waiting_.end() && is_next(first->first); first = waiting_.begin()) {
      if (part_) part_->append(first->second.second);
      else write(first->second.second);
      post_.send(first->second.first, message(Tag::taken));
      last_ = first->first;
      waiting_.erase(first);
    }
  }
  /// A worker has sent all. The first server has its sums and the faults of the indices.
  void done(MessageReader& in) {
    if (place_ == 0) {
      for (const auto& [reason, count] : get_reasons(in)) totals_.index_faults[reason] += count;
      for (const auto& [name, sum] : get_sums(in))
        if (!add(sums_[name], sum))
          throw Error(ErrorCode::conflict,
                      fmt::format("{} has another shape on another worker: it cannot be summed", name));
    }
    if (++done_ < workers_) return;
    if (!waiting_.empty())
      throw Error(ErrorCode::internal, fmt::format("{} batches wait for one that nobody has", waiting_.size()));
    if (part_) part_->hand_over();
    if (place_ > 0) post_.send(servers_.front(), message(Tag::part));
    else end_if_all_is_there();
  }
  /// Another server has handed its part over.
  void part() {
    ++parts_;
    end_if_all_is_there();
  }
  bool finished() const { return place_ == 0 ? ended_ : done_ == workers_; }
  const EventTotals& totals() const { return totals_; }

private:
  static std::vector<std::string> names(const RunOptions& options) {
    std::vector<std::string> out;
    for (const auto& name : options.reduction.values) out.push_back(name.text());
    return out;
  }
  bool is_next(const BatchNumber& number) const {
    if (!last_) return number.block == place_ && number.part == 0;
    return last_->part + 1 < last_->parts ? number.block == last_->block && number.part == last_->part + 1
                                          : number.block == last_->block + servers_.size() && number.part == 0;
  }
  void write(const Rows& rows) {
    file_->append(rows);
    totals_.joined += rows.joined;
    totals_.processed += static_cast<Index>(rows.times.size());
    totals_.damaged += rows.damaged;
    totals_.reads += rows.reads;
    totals_.fetched_bytes += rows.fetched_bytes;
    for (const auto& [reason, count] : rows.rejected) totals_.rejected[reason] += count;
    for (const auto& [reason, count] : rows.bad) totals_.bad[reason] += count;
  }
  // Blocks in their order, which is that of time.
  void merge_parts() {
    std::deque<PartReader> parts;
    for (std::size_t s = 0; s < servers_.size(); ++s) parts.emplace_back(part_path(out_, s));
    for (std::uint64_t block = 0;; ++block) {
      auto& part = parts[block % parts.size()];
      if (!part.head()) break;
      for (; part.head() && part.head()->number.block == block; part.next()) write(*part.head());
    }
    for (const auto& part : parts)
      if (part.head()) throw Error(ErrorCode::internal, "a part has blocks that no other part leads to");
  }
  void end_if_all_is_there() {
    if (done_ < workers_ || parts_ + 1 < servers_.size()) return;
    if (part_) merge_parts();
    file_->commit(sums_, totals_);
    ended_ = true;
  }

  fs::path out_;
  std::size_t place_;
  std::vector<int> servers_;
  std::optional<ResultFile> file_;   // the first server's
  std::optional<PartWriter> part_;   // where there are several
  Sums sums_;
  EventTotals totals_;
  std::map<BatchNumber, std::pair<int, Rows>> waiting_;
  std::optional<BatchNumber> last_;
  std::size_t workers_, done_ = 0, parts_ = 0;
  bool ended_ = false;
  Post post_;
};

/// The data of a small detector are read in place of the index of its stream.
std::vector<IndexSource> open_sources(const xtc2::RunFiles& files, const std::vector<std::string>& small) {
  std::vector<IndexSource> sources;
  std::vector<bool> found(small.size(), false);
  for (const auto& stream : files.streams) {
    auto index = open_index(stream.index);
    bool in_place = false;
    if (!small.empty()) {
      xtc2::DatagramReader reader(index.read);
      xtc2::NamesTable table;
      xtc2::Contents contents;
      if (const auto first = reader.next()) xtc2::read_contents(*first, table, contents);
      for (std::size_t i = 0; i < small.size(); ++i)
        for (const auto& [id, names] : table)
          if (names->detector == small[i]) in_place = found[i] = true;
    }
    sources.push_back(in_place ? open_index(stream.data) : std::move(index));
  }
  for (std::size_t i = 0; i < small.size(); ++i)
    if (!found[i]) throw Error(ErrorCode::not_found, fmt::format("no stream has a detector {}", small[i]));
  return sources;
}

}  // namespace

RolePlan plan_roles(int size, int builders, int servers) {
  if (size < 1 || builders < 1 || servers < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} ranks with {} event builders and {} servers; all must be "
                                                         ">= 1",
                                                         size, builders, servers));
  if (size == 1) return {0, {0}, {0}, {0}};
  if (size == 2) return {0, {0}, {1}, {0}};
  if (size == 3) return {0, {1}, {2}, {0}};
  RolePlan plan;
  const int serving = std::min(servers, size - 3), building = std::min(builders, size - 2 - serving);
  for (int rank = 1; rank < size; ++rank)
    (rank <= building ? plan.builders : rank < size - serving ? plan.workers : plan.servers).push_back(rank);
  // A builder without a worker would keep its blocks.
  while (plan.builders.size() > plan.workers.size()) {
    plan.workers.insert(plan.workers.begin(), plan.builders.back());
    plan.builders.pop_back();
  }
  return plan;
}

std::optional<EventTotals> reduce_run(const xtc2::RunFiles& files, const RunOptions& options, const fs::path& out,
                                      parallel::Communicator& communicator, const core::Clock& clock,
                                      std::stop_token stop) {
  const int rank = communicator.rank();
  const RolePlan plan = plan_roles(communicator.size(), options.builders, options.servers);
  Post post{parallel::mailbox(communicator)};
  std::vector<fs::path> data;
  for (const auto& stream : files.streams) data.push_back(stream.data);
  const auto builder_of = [&](std::size_t worker) { return plan.builders[worker % plan.builders.size()]; };

  std::optional<ReaderRole> reader;
  std::optional<BuilderRole> builder;
  std::optional<WorkerRole> worker;
  std::optional<ServerRole> server;
  if (rank == plan.reader)
    reader.emplace(open_sources(files, options.small_detectors), options, plan.builders, post, clock);
  for (std::size_t s = 0; s < plan.servers.size(); ++s)
    if (rank == plan.servers[s]) server.emplace(options, out, s, plan.servers, plan.workers.size(), post);
  for (std::size_t w = 0; w < plan.workers.size(); ++w)
    if (rank == plan.workers[w]) worker.emplace(options, data, rank, builder_of(w), plan.servers, post, clock, stop);
  if (std::find(plan.builders.begin(), plan.builders.end(), rank) != plan.builders.end()) {
    std::vector<int> mine;
    for (std::size_t w = 0; w < plan.workers.size(); ++w)
      if (builder_of(w) == rank) mine.push_back(plan.workers[w]);
    builder.emplace(options, data, plan.reader, mine, post);
  }

  // A rank that waits for longer than the reader may wait for a file and a worker for its data has lost somebody.
  constexpr double kWork_s = 600;
  const double silence_s = options.patience_s + options.fetch.patience_s + kWork_s;
  double heard_s = clock.now_s();
  while ((reader && !reader->finished()) || (builder && !builder->finished()) || (worker && !worker->finished()) ||
         (server && !server->finished())) {
    if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "interrupted");
    constexpr double kPoll_s = 0.02;
    const bool busy = reader && reader->work();
    auto mail = post.box.receive(busy ? 0 : kPoll_s);
    if (!mail) {
      if (clock.now_s() - heard_s > silence_s)
        throw Error(ErrorCode::timeout, fmt::format("rank {} has heard of nobody for {} s", rank, silence_s));
      // Alone there is nobody to wait for but the files.
      if (!busy && communicator.size() == 1) std::this_thread::sleep_for(std::chrono::duration<double>(kPoll_s));
      continue;
    }
    heard_s = clock.now_s();
    MessageReader in(mail->bytes);
    switch (in.get<Tag>()) {
      case Tag::want_block: reader.value().want(mail->from); break;
      case Tag::block: builder.value().take_block(in); break;
      case Tag::end_of_blocks: builder.value().end_of_blocks(in); break;
      case Tag::want_batch: builder.value().want(mail->from); break;
      case Tag::batch: worker.value().take_batch(in); break;
      case Tag::end_of_batches: worker.value().end_of_batches(in); break;
      case Tag::rows: server.value().take_rows(mail->from, in); break;
      case Tag::taken: worker.value().taken(); break;
      case Tag::done: server.value().done(in); break;
      case Tag::part: server.value().part(); break;
    }
  }
  post.box.flush();
  if (rank != plan.servers.front()) return std::nullopt;
  return server->totals();
}

}  // namespace farfield::pipeline::events
