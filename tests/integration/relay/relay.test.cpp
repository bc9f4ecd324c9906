#include "tests/integration/relay/relay.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

namespace farfield::testing_network {
namespace {

using Clock = std::chrono::steady_clock;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return out;
}

/// Gives back what it gets, connection by connection, and ends each as its peer does.
class Echo {
public:
  Echo() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto name = loopback(0);
    socklen_t size = sizeof name;
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&name), size) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size) != 0)
      throw std::runtime_error("no listener");
    port = ntohs(name.sin_port);
    thread_ = std::jthread([this] {
      std::vector<std::jthread> clients;
      for (int fd; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;)
        clients.emplace_back([fd] {
          std::vector<char> buffer(1 << 16);
          for (ssize_t n; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;)
            for (ssize_t done = 0; done < n;) {
              const auto m = ::send(fd, buffer.data() + done, static_cast<std::size_t>(n - done), MSG_NOSIGNAL);
              if (m <= 0) break;
              done += m;
            }
          ::close(fd);
        });
    });
  }
  ~Echo() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;

  std::uint16_t port = 0;

private:
  int listener_;
  std::jthread thread_;
};

class Client {
public:
  explicit Client(std::uint16_t port) : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto to = loopback(port);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      throw std::runtime_error("no connection");
  }
  ~Client() { ::close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool say(const std::string& text) {
    const bool all = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    if (!all) was_cut = true;
    return all;
  }
  bool hears_within(int ms) const {
    pollfd wait{fd, POLLIN, 0};
    return ::poll(&wait, 1, ms) > 0;
  }
  /// All that comes until the end or a reset.
  std::string heard(std::size_t at_most = SIZE_MAX) {
    std::string out;
    std::vector<char> buffer(1 << 16);
    while (out.size() < at_most) {
      const auto n = ::recv(fd, buffer.data(), std::min(buffer.size(), at_most - out.size()), 0);
      if (n < 0) was_cut = true;
      if (n <= 0) break;
      out.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return out;
  }

  int fd;
  /// The kernel tells a reset once: to the sender or to the receiver.
  std::atomic<bool> was_cut = false;
};

std::string noise(std::size_t bytes) {
  std::mt19937_64 random(3);
  std::string out(bytes, '\0');
  for (auto& byte : out) byte = static_cast<char>(random());
  return out;
}

TEST(Relay, PassesBytesAndEndsOn) {
  Echo echo;
  Relay relay({.port = echo.port}, {.delay_s = 0.01});
  const std::string sent = noise(6 << 20);  // more than the relay holds
  Client client(relay.port());
  std::jthread speaker([&] {
    EXPECT_TRUE(client.say(sent));
    ::shutdown(client.fd, SHUT_WR);
  });
  const std::string got = client.heard();
  EXPECT_FALSE(client.was_cut);
  EXPECT_TRUE(got == sent) << got.size() << " bytes came back";
  const auto traffic = relay.traffic();
  EXPECT_EQ(traffic.up, 6 << 20);
  EXPECT_EQ(traffic.down, 6 << 20);
  EXPECT_EQ(traffic.cuts, 0);
}

TEST(Relay, DelayHoldsBothWays) {
  Echo echo;
  Relay relay({.port = echo.port}, {.delay_s = 0.05});
  Client client(relay.port());
  const auto start = Clock::now();
  ASSERT_TRUE(client.say("a"));
  EXPECT_EQ(client.heard(1), "a");
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(100));
}

TEST(Relay, RateHolds) {
  Echo echo;
  Relay relay({.port = echo.port}, {.bytes_per_s = 1e6});
  Client client(relay.port());
  const auto start = Clock::now();
  ASSERT_TRUE(client.say(noise(100'000)));
  EXPECT_EQ(client.heard(100'000).size(), 100'000U);
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(100));
}

TEST(Relay, AStallIsSilenceAndLosesNothing) {
  Echo echo;
  Relay relay({.port = echo.port});
  Client client(relay.port());
  ASSERT_TRUE(client.say("before"));
  EXPECT_EQ(client.heard(6), "before");
  relay.stall(true);
  ASSERT_TRUE(client.say("after"));
  EXPECT_FALSE(client.hears_within(100));
  Client late(relay.port());  // taken by the kernel, heard by nobody
  ASSERT_TRUE(late.say("late"));
  EXPECT_FALSE(late.hears_within(50));
  relay.stall(false);
  EXPECT_EQ(client.heard(5), "after");
  EXPECT_EQ(late.heard(4), "late");
}

TEST(Relay, ACutResetsWhatIsOpenAndTakesNewOnes) {
  Echo echo;
  Relay relay({.port = echo.port});
  Client first(relay.port());
  ASSERT_TRUE(first.say("x"));
  EXPECT_EQ(first.heard(1), "x");
  relay.cut();
  EXPECT_EQ(relay.traffic().open, 0);
  EXPECT_EQ(first.heard(), "");
  EXPECT_TRUE(first.was_cut);
  Client second(relay.port());
  ASSERT_TRUE(second.say("y"));
  EXPECT_EQ(second.heard(1), "y");
  relay.refuse(true);
  EXPECT_EQ(second.heard(), "");
  EXPECT_TRUE(second.was_cut);
  Client third(relay.port());
  third.say("z");
  EXPECT_EQ(third.heard(), "");
  EXPECT_TRUE(third.was_cut);
  EXPECT_EQ(relay.traffic().cuts, 3);
  relay.refuse(false);
  Client fourth(relay.port());
  ASSERT_TRUE(fourth.say("w"));
  EXPECT_EQ(fourth.heard(1), "w");
}

TEST(Relay, ConnectionsLiveForSoManyBytesByTheirSeed) {
  Echo echo;
  const std::string sent = noise(400'000);
  std::vector<std::int64_t> lives[2];
  for (auto& seen : lives) {
    Relay relay({.port = echo.port}, {.mean_life_bytes = 100'000}, 7);
    for (int i = 0; i < 3; ++i) {
      const auto before = relay.traffic();
      Client client(relay.port());
      std::jthread speaker([&] { client.say(sent); });
      client.heard();
      speaker.join();
      EXPECT_TRUE(client.was_cut);
      const auto after = relay.traffic();
      seen.push_back(after.up + after.down - before.up - before.down);
      EXPECT_LE(seen.back(), 200'001);
    }
  }
  EXPECT_EQ(lives[0], lives[1]);
  EXPECT_NE(lives[0][0], lives[0][1]);
}

TEST(Relay, ConnectionsLiveForATime) {
  Echo echo;
  Relay relay({.port = echo.port}, {.mean_life_s = 0.02});
  Client client(relay.port());
  client.heard();
  EXPECT_TRUE(client.was_cut);
}

TEST(Relay, NobodyBehindItIsAReset) {
  std::uint16_t port = 0;
  { port = Echo().port; }
  Relay relay({.port = port});
  Client client(relay.port());
  EXPECT_EQ(client.heard(), "");
  EXPECT_TRUE(client.was_cut);
}

TEST(Relay, RefusesWhatIsNoAddress) {
  EXPECT_THROW(Relay({.host = "localhost", .port = 1}), std::invalid_argument);
  Echo echo;
  EXPECT_THROW(Relay({.port = 1}, {}, 1, {.port = echo.port}), std::system_error);
}

}  // namespace
}  // namespace farfield::testing_network
