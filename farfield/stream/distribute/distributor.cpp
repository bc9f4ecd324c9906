#include "farfield/stream/distribute/distributor.hpp"

#include <fmt/format.h>

#include <optional>

#include "farfield/core/log.hpp"
#include "farfield/stream/dectris/message.hpp"

namespace farfield::stream {

using core::Error;
using core::ErrorCode;
using std::chrono::milliseconds;

namespace {

enum class Kind { start, image, end, unreadable };

Kind kind_of(const Envelope& message) {
  const auto parsed = dectris::parse(message.parts);
  if (!parsed) return Kind::unreadable;
  if (std::holds_alternative<dectris::SeriesStart>(parsed->content)) return Kind::start;
  return std::holds_alternative<dectris::SeriesEnd>(parsed->content) ? Kind::end : Kind::image;
}

/// Few, so that what waits does so where it is counted.
constexpr int kInSocket = 4;
constexpr milliseconds kPatience{100};
constexpr Index kReleaseEvery = 64;

}  // namespace

class Distributor::Outlet {
public:
  explicit Outlet(OutletOptions options)
      : options_(std::move(options)), socket_(open(options_.endpoint)), endpoint_(socket_.endpoint()) {
    if (options_.policy == OutletPolicy::spool) spool_.emplace(options_.spool, options_.spool_options);
    thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
  }

  /// Of the source's thread.
  void offer(const Envelope& message, Kind kind, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool image = kind == Kind::image || kind == Kind::unreadable;
    if (spool_) {
      // An outlet whose disk refuses goes on without it.
      bool taken = false;
      try {
        taken = spool_->append(message);
      } catch (const Error& e) {
        core::log(core::LogLevel::error, "spool_failed", {{"outlet", endpoint_}, {"reason", e.what()}});
      }
      if (!taken && image) ++counts_.dropped;
      changed_.notify_all();
      return;
    }
    const auto room = [&] { return queue_.empty() || held_ + message.bytes() <= options_.queue_bytes; };
    if (options_.policy == OutletPolicy::block) {
      if (!changed_.wait(lock, stop, room)) return;
    } else if (image && !room()) {
      // Headers and ends are small, and what follows needs them.
      ++counts_.dropped;
      return;
    }
    held_ += message.bytes();
    queue_.push_back({message, kind});
    changed_.notify_all();
  }

  /// Waits until all was sent; false when stopped before.
  bool drain(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    return changed_.wait(lock, stop, [&] { return waiting() == 0 && !busy_; });
  }

  OutletCounts counts() const {
    const std::lock_guard lock(mutex_);
    auto out = counts_;
    out.endpoint = endpoint_;
    out.waiting = waiting();
    return out;
  }

private:
  struct Item {
    Envelope message;
    Kind kind = Kind::image;
  };

  static net::ZmqSocket open(const std::string& text) {
    const auto endpoint = parse_endpoint(text);
    return {net::ZmqKind::push, endpoint.address, {.bind = endpoint.bind, .high_water_mark = kInSocket}};
  }

  Index waiting() const { return spool_ ? spool_->unread() : std::ssize(queue_); }

  std::optional<Item> take() {
    Item item;
    if (spool_) {
      try {
        if (!spool_->next(item.message)) return std::nullopt;
      } catch (const Error& e) {
        if (e.code() == ErrorCode::corrupt_data) {  // this message was passed over
          core::log(core::LogLevel::warning, "message_unreadable", {{"from", endpoint_}, {"reason", e.what()}});
          ++counts_.dropped;
        } else {
          // Nobody knows where the next message begins: what waits there is lost, what comes waits in memory.
          core::log(core::LogLevel::error, "spool_lost",
                    {{"outlet", endpoint_}, {"messages", std::to_string(spool_->unread())}, {"reason", e.what()}});
          counts_.dropped += spool_->unread();
          spool_.reset();
        }
        changed_.notify_all();
        return std::nullopt;
      }
      item.kind = kind_of(item.message);
    } else {
      if (queue_.empty()) return std::nullopt;
      item = std::move(queue_.front());
      queue_.pop_front();
      held_ -= item.message.bytes();
    }
    busy_ = true;
    changed_.notify_all();
    return item;
  }

  void run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::optional<Item> item;
      {
        std::unique_lock lock(mutex_);
        (void)changed_.wait_for(lock, stop, milliseconds(500), [&] { return waiting() > 0; });
        item = take();
      }
      // Of the series that is passed on, which may be older than the one that comes.
      if (item && item->kind == Kind::start) header_ = item->message;
      // Who is there is looked at while nothing comes, too.
      const int connected = socket_.peers().connected;
      const bool sent = item && pass_on(*item, stop);
      if (item && item->kind == Kind::end) header_.reset();
      const std::lock_guard lock(mutex_);
      busy_ = false;
      counts_.connected = connected;
      if (item && item->kind != Kind::start && item->kind != Kind::end) {
        counts_.images += sent ? 1 : 0;
        counts_.dropped += sent ? 0 : 1;
      }
      if (sent) counts_.bytes += item->message.bytes();
      if (spool_ && item && (++unreleased_ >= kReleaseEvery || spool_->unread() == 0)) {
        unreleased_ = 0;
        try {
          spool_->release();
        } catch (const Error& e) {
          // After a restart these messages come twice; now they were sent.
          core::log(core::LogLevel::error, "spool_failed", {{"outlet", endpoint_}, {"reason", e.what()}});
        }
      }
      changed_.notify_all();
    }
  }

  /// False: stopped, or nobody is there and nothing is kept for who may come.
  bool pass_on(const Item& item, const std::stop_token& stop) {
    for (;;) {
      if (!greet(item.kind, stop)) return false;
      // A socket without a peer would keep the message, and give it to the next one before its header.
      const bool alone = socket_.peers().connected == 0;
      if (!alone && send(item.message, stop)) return true;
      if (stop.stop_requested() || (alone && options_.policy == OutletPolicy::drop)) return false;
      if (alone) std::this_thread::sleep_for(milliseconds(2));
    }
  }

  /// Whoever has connected since the last message gets the header of the series that runs.
  bool greet(Kind next, const std::stop_token& stop) {
    const auto connections = socket_.peers().connections;
    if (connections == greeted_) return true;
    greeted_ = connections;
    if (next == Kind::start) return true;
    while (header_ && !send(*header_, stop))
      if (stop.stop_requested() || socket_.peers().connected == 0) return !stop.stop_requested();
    return true;
  }

  bool send(const Envelope& message, const std::stop_token& stop) {
    std::vector<net::ZmqPart> parts;
    for (const auto& part : message.parts) parts.push_back({part, message.owner});
    return socket_.send(parts, kPatience, stop) == net::ZmqOutcome::done;
  }

  OutletOptions options_;
  net::ZmqSocket socket_;  // of the outlet's thread
  std::string endpoint_;
  std::int64_t greeted_ = 0;  // likewise
  std::optional<Envelope> header_;  // likewise
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Item> queue_;
  std::optional<Spool> spool_;
  Index held_ = 0, unreleased_ = 0;
  bool busy_ = false;
  OutletCounts counts_;
  std::jthread thread_;
};

Distributor::Distributor(Feed& source, std::vector<OutletOptions> outlets) : source_(source) {
  if (outlets.empty()) throw Error(ErrorCode::invalid_argument, "a distributor needs at least one outlet");
  for (auto& options : outlets) outlets_.push_back(std::make_unique<Outlet>(std::move(options)));
}

Distributor::~Distributor() = default;

void Distributor::run(std::stop_token stop) {
  Envelope message;
  while (!stop.stop_requested()) {
    FeedOutcome outcome = FeedOutcome::timeout;
    try {
      outcome = source_.receive(message, milliseconds(1000), stop);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      const std::lock_guard lock(mutex_);
      ++counts_.messages;
      ++counts_.unreadable;
    }
    if (outcome == FeedOutcome::ended) break;
    if (outcome != FeedOutcome::message) continue;
    const auto kind = kind_of(message);
    {
      const std::lock_guard lock(mutex_);
      ++counts_.messages;
      counts_.bytes += message.bytes();
      counts_.images += kind == Kind::image ? 1 : 0;
      counts_.unreadable += kind == Kind::unreadable ? 1 : 0;
    }
    for (const auto& outlet : outlets_) outlet->offer(message, kind, stop);
  }
  for (const auto& outlet : outlets_) (void)outlet->drain(stop);
}

DistributorCounts Distributor::counts() const {
  DistributorCounts out;
  {
    const std::lock_guard lock(mutex_);
    out = counts_;
  }
  for (const auto& outlet : outlets_) out.outlets.push_back(outlet->counts());
  return out;
}

}  // namespace farfield::stream
