// Requests and bytes per second of the HTTP server beside a bare socket, plain and over TLS; loopback, everything in
// this process, so that client and server share the processors. "process" CPU time counts both.
//
//   bench_net --benchmark_filter=requests      one request after the other on each of 8 connections
//   bench_net --benchmark_filter=bytes         one large body over one connection

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "farfield/net/client.hpp"
#include "farfield/net/server.hpp"

namespace {
using namespace farfield;

constexpr int kConnections = 8, kRequests = 500;
constexpr std::uint64_t kBytes = 256 << 20;
constexpr std::size_t kPiece = 512 << 10;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int connect_to(std::uint16_t port) {
  const int s = ::socket(AF_INET, SOCK_STREAM, 0), on = 1;
  const auto address = loopback(port);
  if (::connect(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return s;
}

/// The floor: accepts, and runs `serve` on a thread for each connection.
class BareServer {
public:
  explicit BareServer(void (*serve)(int)) : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    auto address = loopback(0);
    ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(listener_, 64);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this, serve] {
      std::vector<std::jthread> threads;
      for (int s; (s = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        const int on = 1;
        ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        threads.emplace_back([s, serve] {
          serve(s);
          ::close(s);
        });
      }
    });
  }
  ~BareServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  BareServer(const BareServer&) = delete;
  BareServer& operator=(const BareServer&) = delete;
  std::uint16_t port = 0;

private:
  int listener_;
  std::thread thread_;
};

void send_all(int s, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::send(s, data, size, MSG_NOSIGNAL);
    if (n <= 0) return;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

void serve_echo(int s) {
  char buffer[4096];
  for (ssize_t n; (n = ::recv(s, buffer, sizeof buffer, 0)) > 0;) send_all(s, buffer, static_cast<std::size_t>(n));
}

void serve_bytes(int s) {
  const std::vector<char> piece(kPiece);
  char request = 0;
  while (::recv(s, &request, 1, 0) == 1)
    for (std::uint64_t sent = 0; sent < kBytes; sent += kPiece) send_all(s, piece.data(), kPiece);
}

struct Zeros final : net::BodySource {
  std::uint64_t left = kBytes;
  std::size_t read(std::span<std::byte> into) override {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left));
    left -= n;
    return n;
  }
};
struct Nowhere final : net::BodySink {
  void write(std::span<const std::byte>) override {}
};

class Http {
public:
  explicit Http(bool tls) {
    std::string name = (std::filesystem::temp_directory_path() / "farfield_bench_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    const net::TlsIdentity identity{folder_ / "c.pem", folder_ / "k.pem"};
    net::make_self_signed(identity, {"127.0.0.1"});
    net::Router router;
    router.get("/hello", [](const net::Request&) { return net::Response::text(200, "hello"); });
    router.get("/bytes", [](const net::Request&) {
      return net::Response::stream("application/octet-stream", std::make_unique<Zeros>(), kBytes);
    });
    struct Take final : net::Upload {
      void write(std::span<const std::byte>) override {}
      net::Response finish() override { return {}; }
    };
    router.upload("PUT", "/bytes", [](const net::Request&) { return std::make_unique<Take>(); });
    net::ServerOptions options{.handler_threads = kConnections};
    if (tls) options.tls = identity;
    server = std::make_unique<net::Server>(options, std::move(router));
    trust = {identity.certificate};
  }
  ~Http() {
    server.reset();
    std::filesystem::remove_all(folder_);
  }
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;
  std::unique_ptr<net::Server> server;
  net::TlsTrust trust;

private:
  std::filesystem::path folder_;
};

/// `one` runs kRequests requests; on each of kConnections threads at once.
template <class F>
void on_all(F one) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < kConnections; ++i) threads.emplace_back([&one, i] { one(i); });
}

void requests(benchmark::State& state, std::int64_t rounds) {
  state.counters["requests"] =
      benchmark::Counter(static_cast<double>(rounds * kConnections * kRequests), benchmark::Counter::kIsRate);
}

void requests_bare_socket(benchmark::State& state) {
  const BareServer server(serve_echo);
  std::vector<int> sockets;
  for (int i = 0; i < kConnections; ++i) sockets.push_back(connect_to(server.port));
  for (auto _ : state)
    on_all([&](int i) {
      char buffer[256] = {};
      for (int n = 0; n < kRequests; ++n) {
        send_all(sockets[static_cast<std::size_t>(i)], buffer, 100);
        for (ssize_t got = 0; got < 100;) got += ::recv(sockets[static_cast<std::size_t>(i)], buffer, sizeof buffer, 0);
      }
    });
  requests(state, state.iterations());
  for (const int s : sockets) ::close(s);
}

void requests_http(benchmark::State& state) {
  const Http http(state.range(0) != 0);
  std::vector<std::unique_ptr<net::Client>> clients;
  for (int i = 0; i < kConnections; ++i)
    clients.push_back(std::make_unique<net::Client>(http.server->origin(), net::ClientOptions{.trust = http.trust}));
  for (auto _ : state)
    on_all([&](int i) {
      for (int n = 0; n < kRequests; ++n) clients[static_cast<std::size_t>(i)]->send({.target = "/hello"});
    });
  requests(state, state.iterations());
}

void requests_http_pipelined(benchmark::State& state) {
  const Http http(state.range(0) != 0);
  std::vector<std::unique_ptr<net::Client>> clients;
  for (int i = 0; i < kConnections; ++i)
    clients.push_back(std::make_unique<net::Client>(http.server->origin(), net::ClientOptions{.trust = http.trust}));
  for (auto _ : state)
    on_all([&](int i) {
      clients[static_cast<std::size_t>(i)]->pipeline(
          kRequests, 32, [](core::Index) { return net::ClientRequest{.target = "/hello"}; },
          [](core::Index, const net::ClientResponse&) {});
    });
  requests(state, state.iterations());
}

void bytes_bare_socket(benchmark::State& state) {
  const BareServer server(serve_bytes);
  const int s = connect_to(server.port);
  std::vector<char> buffer(kPiece);
  for (auto _ : state) {
    send_all(s, "x", 1);
    for (std::uint64_t got = 0; got < kBytes;)
      got += static_cast<std::uint64_t>(::recv(s, buffer.data(), buffer.size(), 0));
  }
  ::close(s);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBytes));
}

void bytes_http_download(benchmark::State& state) {
  const Http http(state.range(0) != 0);
  net::Client client(http.server->origin(), {.trust = http.trust});
  Nowhere sink;
  for (auto _ : state) client.send({.target = "/bytes"}, sink);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBytes));
}

void bytes_http_upload(benchmark::State& state) {
  const Http http(state.range(0) != 0);
  net::Client client(http.server->origin(), {.trust = http.trust});
  for (auto _ : state) {
    Zeros zeros;
    client.send({.method = "PUT", .target = "/bytes", .source = &zeros, .length = kBytes});
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBytes));
}

BENCHMARK(requests_bare_socket)->UseRealTime()->MeasureProcessCPUTime();
BENCHMARK(requests_http)->ArgName("tls")->Arg(0)->Arg(1)->UseRealTime()->MeasureProcessCPUTime();
BENCHMARK(requests_http_pipelined)->ArgName("tls")->Arg(0)->Arg(1)->UseRealTime()->MeasureProcessCPUTime();
BENCHMARK(bytes_bare_socket)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
BENCHMARK(bytes_http_download)
    ->ArgName("tls")
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(bytes_http_upload)
    ->ArgName("tls")
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);
}  // namespace

BENCHMARK_MAIN();
