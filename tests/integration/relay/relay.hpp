#pragma once
// A bad network between two programs: a TCP relay that passes bytes on later, slower, not at all, or only for a while.
// Where the kernel has no netem this makes the delay, the stalls and the cuts; rates can also be set with tbf.

#include <cstdint>
#include <memory>
#include <string>

namespace farfield::testing_network {

struct Address {
  std::string host = "127.0.0.1";  ///< IPv4, as numbers
  std::uint16_t port = 0;          ///< of a listener: 0 takes a free one
};

/// What the network does to each direction of each connection.
struct Weather {
  double delay_s = 0;          ///< each byte arrives this much later; up to 4 MiB are under way
  double bytes_per_s = 0;      ///< 0: no limit
  double mean_life_bytes = 0;  ///< a connection is cut after 0 to twice as many bytes, both ways together; 0: never
  double mean_life_s = 0;      ///< a connection is cut after 0 to twice as long; 0: never
};

struct Traffic {
  std::int64_t connections = 0;  ///< taken so far
  std::int64_t open = 0;         ///< of them still open
  std::int64_t cuts = 0;         ///< connections that the relay reset
  std::int64_t up = 0;           ///< bytes given to the target
  std::int64_t down = 0;         ///< bytes given to clients
};

/// Listens at once, on a thread of its own, until it is destroyed. All functions may be called from any thread; what
/// they change holds when they return.
class Relay {
public:
  /// Throws std::system_error where `listen` is taken, std::invalid_argument for an address that is not one. Lives of
  /// connections are drawn from `seed`.
  Relay(const Address& target, const Weather& weather = {}, std::uint64_t seed = 1, const Address& listen = {});
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  std::uint16_t port() const;
  /// Delay and rate also of bytes that come from now on over connections already open; lives of new connections.
  void set(const Weather& weather);
  /// As if every packet were lost: connections stay, nothing passes, and closing is not told either.
  void stall(bool stalled);
  /// Resets all connections; new ones are taken.
  void cut();
  /// Resets all connections, and new ones as soon as they come, until it is taken back.
  void refuse(bool refused);
  Traffic traffic() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::testing_network
