#pragma once
// Ports for the services of a test.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

namespace farfield::testing_program {

/// The first of three in a row at which nobody listens.
inline int free_ports() {
  const auto is_free = [](int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<std::uint16_t>(port));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
    ::close(fd);
    return free;
  };
  for (int port = 22000 + ::getpid() % 8000; port < 32000; port += 3)
    if (is_free(port) && is_free(port + 1) && is_free(port + 2)) return port;
  return 0;
}

}  // namespace farfield::testing_program
