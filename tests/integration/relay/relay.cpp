#include "tests/integration/relay/relay.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace farfield::testing_network {
namespace {
using Time = std::chrono::steady_clock::time_point;

constexpr std::size_t kPiece = 64 << 10, kUnderWay = 4 << 20;

std::chrono::nanoseconds seconds(double s) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(s, 1e9) * 1e9));
}

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

class Descriptor {
public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

private:
  int fd_;
};

sockaddr_in resolved(const Address& address) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(address.port);
  if (::inet_pton(AF_INET, address.host.c_str(), &out.sin_addr) != 1)
    throw std::invalid_argument("'" + address.host + "' is not an IPv4 address");
  return out;
}

/// Closing sends a reset, so that the peer sees a connection that broke, not one that ended.
void reset_when_closed(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

struct Piece {
  Time due;
  std::string bytes;  ///< empty: the end of the stream
  std::size_t given = 0;
};

/// One direction of a connection.
struct Way {
  std::deque<Piece> pieces;
  std::size_t under_way = 0;
  Time free_at{};       ///< when the line has taken what came before
  bool ended = false;   ///< no more comes
  bool closed = false;  ///< and that was passed on
};

struct Connection {
  std::array<Descriptor, 2> ends;  ///< client, target
  std::array<Way, 2> ways;         ///< from client, from target
  bool connecting = true;
  Time dies = Time::max();
  double bytes_left = -1;  ///< negative: no limit
};

enum class Fate { goes_on, is_over, broke };

}  // namespace

struct Relay::State {
  State(const Address& to, const Weather& how, std::uint64_t seed, const Address& at)
      : target(resolved(to)), weather(how), random(seed) {
    listener = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (listener.get() < 0) fail("socket");
    const int yes = 1;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    auto name = resolved(at);
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) fail("bind");
    if (::listen(listener.get(), 512) != 0) fail("listen");
    socklen_t size = sizeof name;
    if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) fail("getsockname");
    port = ntohs(name.sin_port);
    bell = Descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (bell.get() < 0) fail("eventfd");
    thread = std::thread([this] { loop(); });
  }
  ~State() {
    {
      std::scoped_lock lock(mutex);
      stopping = true;
    }
    ring();
    thread.join();
  }

  void ring() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(bell.get(), &one, sizeof one);
  }

  double up_to_twice(double mean) { return std::uniform_real_distribution<double>(0, 2 * mean)(random); }

  void cut_all() {
    traffic.cuts += static_cast<std::int64_t>(connections.size());
    connections.clear();
  }

  void accept_one(Time now) {
    Descriptor client(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client.get() < 0) return;
    reset_when_closed(client.get());
    ++traffic.connections;
    if (refused) {
      ++traffic.cuts;
      return;
    }
    Connection made;
    made.ends = {std::move(client), Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
    const int fd = made.ends[1].get();
    if (fd < 0) return;
    reset_when_closed(fd);
    const int yes = 1;
    for (const auto& end : made.ends) ::setsockopt(end.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof target) == 0) made.connecting = false;
    else if (errno != EINPROGRESS) return;
    if (weather.mean_life_s > 0) made.dies = now + seconds(up_to_twice(weather.mean_life_s));
    if (weather.mean_life_bytes > 0) made.bytes_left = up_to_twice(weather.mean_life_bytes);
    connections.emplace(next++, std::move(made));
  }

  bool take(Connection& c, std::size_t from, Time now) {
    Way& way = c.ways[from];
    std::string bytes(kPiece, '\0');
    const auto n = ::recv(c.ends[from].get(), bytes.data(), bytes.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    bytes.resize(static_cast<std::size_t>(n));
    way.ended = n == 0;
    Time due = now + seconds(weather.delay_s);
    if (weather.bytes_per_s > 0) {
      way.free_at = std::max(way.free_at, now) + seconds(static_cast<double>(n) / weather.bytes_per_s);
      due = std::max(due, way.free_at + seconds(weather.delay_s));
    }
    // A change of the weather does not let later bytes overtake.
    if (!way.pieces.empty()) due = std::max(due, way.pieces.back().due);
    way.under_way += bytes.size();
    way.pieces.push_back({due, std::move(bytes)});
    return true;
  }

  bool give(Connection& c, std::size_t from, Time now) {
    Way& way = c.ways[from];
    const int to = c.ends[1 - from].get();
    while (!way.pieces.empty() && way.pieces.front().due <= now) {
      Piece& piece = way.pieces.front();
      if (piece.bytes.empty()) {
        ::shutdown(to, SHUT_WR);
        way.closed = true;
      } else {
        std::size_t many = piece.bytes.size() - piece.given;
        if (c.bytes_left >= 0) many = std::min(many, static_cast<std::size_t>(c.bytes_left) + 1);
        const auto n = ::send(to, piece.bytes.data() + piece.given, many, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        (from == 0 ? traffic.up : traffic.down) += n;
        piece.given += static_cast<std::size_t>(n);
        way.under_way -= static_cast<std::size_t>(n);
        if (c.bytes_left >= 0) {
          c.bytes_left -= static_cast<double>(n);
          if (c.bytes_left < 0) return false;
        }
        if (piece.given < piece.bytes.size()) continue;
      }
      way.pieces.pop_front();
    }
    return true;
  }

  Fate serve(Connection& c, std::array<short, 2> seen, Time now) {
    if (now >= c.dies) return Fate::broke;
    if (c.connecting) {
      if (seen[0] & (POLLERR | POLLHUP)) return Fate::broke;
      if (seen[1] == 0) return Fate::goes_on;
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(c.ends[1].get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return Fate::broke;
      c.connecting = false;
    }
    for (std::size_t from = 0; from < 2; ++from) {
      if (seen[from] & POLLERR) return Fate::broke;
      if ((seen[from] & (POLLIN | POLLHUP)) && !c.ways[from].ended && c.ways[from].under_way < kUnderWay &&
          !take(c, from, now))
        return Fate::broke;
      if (!give(c, from, now)) return Fate::broke;
    }
    return c.ways[0].closed && c.ways[1].closed ? Fate::is_over : Fate::goes_on;
  }

  /// What to wait for at each end, and until when.
  std::array<short, 2> wanted(const Connection& c, Time now, Time& until) const {
    until = std::min(until, c.dies);
    if (c.connecting) return {0, POLLOUT};
    std::array<short, 2> events{};
    for (std::size_t from = 0; from < 2; ++from) {
      const Way& way = c.ways[from];
      if (!way.ended && way.under_way < kUnderWay) events[from] |= POLLIN;
      if (way.pieces.empty()) continue;
      if (way.pieces.front().due <= now) events[1 - from] |= POLLOUT;
      else until = std::min(until, way.pieces.front().due);
    }
    return events;
  }

  void loop() {
    std::vector<pollfd> waits;
    std::vector<std::uint64_t> whose;
    std::unique_lock lock(mutex);
    while (!stopping) {
      const Time before = std::chrono::steady_clock::now();
      Time until = Time::max();
      waits.assign({{bell.get(), POLLIN, 0}, {stalled ? -1 : listener.get(), POLLIN, 0}});
      whose.clear();
      if (!stalled)
        for (const auto& [id, c] : connections) {
          const auto events = wanted(c, before, until);
          whose.push_back(id);
          for (std::size_t end = 0; end < 2; ++end)
            // An end that said all it had, and to which nothing is to be given, would wake us again and again.
            waits.push_back({events[end] == 0 && c.ways[end].ended ? -1 : c.ends[end].get(), events[end], 0});
        }
      int limit_ms = -1;
      if (until != Time::max()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - before).count();
        limit_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
      }
      lock.unlock();
      const int ready = ::poll(waits.data(), waits.size(), limit_ms);
      lock.lock();
      if (ready < 0) continue;
      if (waits[0].revents != 0) {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto n = ::read(bell.get(), &count, sizeof count);
      }
      if (stalled) continue;
      const Time now = std::chrono::steady_clock::now();
      for (std::size_t i = 0; i < whose.size(); ++i) {
        const auto found = connections.find(whose[i]);
        if (found == connections.end()) continue;  // cut while we waited
        const auto fate = serve(found->second, {waits[2 + 2 * i].revents, waits[3 + 2 * i].revents}, now);
        if (fate == Fate::goes_on) continue;
        if (fate == Fate::broke) ++traffic.cuts;
        else
          for (const auto& end : found->second.ends) {
            const linger off{0, 0};  // it ended: what the kernel still holds is delivered
            ::setsockopt(end.get(), SOL_SOCKET, SO_LINGER, &off, sizeof off);
          }
        connections.erase(found);
      }
      if (waits[1].revents != 0) accept_one(now);
    }
  }

  const sockaddr_in target;
  Weather weather;
  std::mt19937_64 random;
  Descriptor listener, bell;
  std::uint16_t port = 0;

  std::mutex mutex;  ///< guards all that follows, `weather` and `random`
  std::map<std::uint64_t, Connection> connections;
  std::uint64_t next = 0;
  Traffic traffic;
  bool stalled = false, refused = false, stopping = false;
  std::thread thread;
};

Relay::Relay(const Address& target, const Weather& weather, std::uint64_t seed, const Address& listen)
    : state_(std::make_unique<State>(target, weather, seed, listen)) {}
Relay::~Relay() = default;

std::uint16_t Relay::port() const { return state_->port; }

void Relay::set(const Weather& weather) {
  {
    std::scoped_lock lock(state_->mutex);
    state_->weather = weather;
  }
  state_->ring();
}

void Relay::stall(bool stalled) {
  {
    std::scoped_lock lock(state_->mutex);
    state_->stalled = stalled;
  }
  state_->ring();
}

void Relay::cut() {
  {
    std::scoped_lock lock(state_->mutex);
    state_->cut_all();
  }
  state_->ring();
}

void Relay::refuse(bool refused) {
  {
    std::scoped_lock lock(state_->mutex);
    state_->refused = refused;
    if (refused) state_->cut_all();
  }
  state_->ring();
}

Traffic Relay::traffic() const {
  std::scoped_lock lock(state_->mutex);
  Traffic out = state_->traffic;
  out.open = static_cast<std::int64_t>(state_->connections.size());
  return out;
}

}  // namespace farfield::testing_network
