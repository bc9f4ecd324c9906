#pragma once
// What the tests of this room share. Not part of its interface.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <string>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/server.hpp"

namespace farfield::net::testing {

/// A TCP connection that sends exactly what a test wants to send.
class RawSocket {
public:
  explicit RawSocket(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no connection");
    const timeval patience{20, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~RawSocket() { ::close(descriptor_); }
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has closed; what it said is still to be read
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  /// Until the server closes the connection.
  std::string read_all() {
    std::string out;
    for (char buffer[65536];;) {
      const ssize_t n = ::recv(descriptor_, buffer, sizeof buffer, 0);
      if (n <= 0) return out;
      out.append(buffer, static_cast<std::size_t>(n));
    }
  }
  /// Until `text` has come.
  std::string read_until(std::string_view text) {
    std::string out;
    for (char byte = 0; out.find(text) == std::string::npos && ::recv(descriptor_, &byte, 1, 0) == 1;) out += byte;
    return out;
  }
  void shut_down_sending() { ::shutdown(descriptor_, SHUT_WR); }

private:
  int descriptor_;
};

/// What the server at `port` answers to these bytes, up to the end of the connection.
inline std::string answer(std::uint16_t port, std::string_view bytes) {
  RawSocket socket(port);
  socket.send(bytes);
  return socket.read_all();
}

using core::testing::TemporaryFolder;

/// Waits for something that other threads do. False: it did not happen in 20 s.
template <class F>
bool eventually(F condition) {
  for (int i = 0; i < 4000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

/// Bytes that tell where in a stream they stand.
inline char pattern(std::uint64_t at) { return static_cast<char>(at * 2654435761U >> 13); }

class PatternSource final : public BodySource {
public:
  explicit PatternSource(std::uint64_t size, std::uint64_t at = 0) : at_(at), end_(at + size) {}
  std::size_t read(std::span<std::byte> into) override {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), end_ - at_));
    for (std::size_t i = 0; i < n; ++i) into[i] = static_cast<std::byte>(pattern(at_ + i));
    at_ += n;
    return n;
  }

private:
  std::uint64_t at_, end_;
};

class PatternCheck final : public BodySink {
public:
  explicit PatternCheck(std::uint64_t at = 0) : at_(at) {}
  void write(std::span<const std::byte> bytes) override {
    for (const std::byte b : bytes) good_ = good_ && static_cast<char>(b) == pattern(at_++);
  }
  std::uint64_t at() const { return at_; }
  bool good() const { return good_; }

private:
  std::uint64_t at_;
  bool good_ = true;
};

}  // namespace farfield::net::testing
