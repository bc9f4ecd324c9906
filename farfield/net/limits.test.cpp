// Malformed, oversized, slow and too many requests; requests made to be read differently by two programs.

#include <fmt/format.h>

#include "farfield/net/testing.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;
using testing::answer;
using ::testing::EndsWith;
using testing::eventually;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawSocket;
using ::testing::StartsWith;

Router simple() {
  Router router;
  router.get("/hello", [](const Request&) { return Response::text(200, "hello"); });
  router.post("/echo", [](const Request& r) { return Response::text(200, r.body); });
  struct Sink final : Upload {
    void write(std::span<const std::byte>) override {}
    Response finish() override { return {}; }
  };
  router.upload("PUT", "/up", [](const Request&) { return std::make_unique<Sink>(); });
  router.get("/evil", [](const Request& r) {
    Response response = Response::text(200, "x");
    response.headers.add("Location", *r.query("to"));
    return response;
  });
  return router;
}

std::string status_line(std::string_view text) { return std::string(text.substr(0, text.find("\r\n"))); }

TEST(Limits, MalformedRequestsAreRefusedAndTheConnectionClosed) {
  Server server({}, simple());
  const std::pair<const char*, const char*> cases[] = {
      {"\x16\x03\x01\x02 TLS to a plain port\r\n\r\n", "400"},
      {"GET\r\n\r\n", "400"},
      {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", "505"},
      {"GET /hello HTTP/1.1\r\n\r\n", "400"},                               // no Host
      {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},         // two
      {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", "400"},                   // blank before the colon
      {"GET /hello HTTP/1.1\r\nHost: x\r\nX: a\x01z\r\n\r\n", "400"},
      {"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
      {"GET /%2e%2e/etc HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
      {"GET /a%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
      {"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
      // Request smuggling: length given twice, length and chunks, chunk sizes that overflow or are no numbers.
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "400"},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", "417"},
  };
  for (const auto& [bytes, status] : cases) {
    RawSocket socket(server.port());
    socket.send(bytes);
    socket.shut_down_sending();
    EXPECT_THAT(socket.read_all(), StartsWith(fmt::format("HTTP/1.1 {} ", status))) << bytes;
  }
  EXPECT_EQ(Client(server.origin()).send({.target = "/hello"}).status, 200);
}

TEST(Limits, NothingIsInjectedIntoAResponse) {
  Server server({}, simple());
  const auto text =
      answer(server.port(), "GET /evil?to=a%0d%0aSet-Cookie:%20x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(text, Not(HasSubstr("Set-Cookie")));
}

TEST(Limits, OversizedHeadersAndBodies) {
  Server server({.header_bytes = 1000, .body_bytes = 1000}, simple());
  const auto line = [&](const std::string& bytes) { return status_line(answer(server.port(), bytes)); };
  EXPECT_THAT(line("GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(2000, 'a') + "\r\n\r\n"), HasSubstr(" 431 "));
  EXPECT_THAT(line("GET /" + std::string(200'000, 'a')), HasSubstr(" 431 "));  // a line that never ends
  EXPECT_THAT(line("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"), HasSubstr(" 413 "));
  EXPECT_THAT(
      line("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'a')),
      HasSubstr(" 413 "));
  // The head of a chunk that never ends.
  EXPECT_THAT(
      line("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(200'000, 'a')),
      HasSubstr(" 400 "));
  EXPECT_THAT(line("PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(400'000, 'a')),
              HasSubstr(" 400 "));
  // Told at once, not after a terabyte.
  EXPECT_THAT(line("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"), HasSubstr(" 413 "));
  EXPECT_EQ(Client(server.origin()).send({.method = "POST", .target = "/echo", .body = std::string(1000, 'a')}).status,
            200);
}

TEST(Limits, ExpectationsAreMetBeforeTheBody) {
  Server server({.body_bytes = 100}, simple());
  RawSocket socket(server.port());
  socket.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send("abc");
  EXPECT_THAT(socket.read_all(), EndsWith("\r\n\r\nabc"));
  EXPECT_THAT(
      answer(server.port(), "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n"),
      StartsWith("HTTP/1.1 413 "));
}

TEST(Limits, SlowClientsAreEnded) {
  Server server({.header_timeout_s = 0.2, .body_timeout_s = 0.2, .idle_timeout_s = 0.2, .keep_alive_s = 0.2}, simple());
  EXPECT_EQ(answer(server.port(), ""), "");  // says nothing at all
  EXPECT_THAT(answer(server.port(), "GET /hello HT"), StartsWith("HTTP/1.1 408 "));
  EXPECT_THAT(answer(server.port(), "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"),
              StartsWith("HTTP/1.1 408 "));
  // A byte now and then does not help: the time is for the whole header.
  RawSocket slow(server.port());
  std::atomic<bool> closed = false;
  std::thread drip([&] {
    slow.send("GET /hello HTTP/1.1\r\nX: ");
    while (!closed) {
      slow.send("a");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  EXPECT_THAT(slow.read_all(), StartsWith("HTTP/1.1 408 "));
  closed = true;
  drip.join();
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 0; }));
  EXPECT_GE(server.statistics().timed_out, 3);
}

TEST(Limits, AReaderThatStopsReadingIsEnded) {
  Router router;
  router.get("/large", [](const Request&) {
    return Response::stream("application/octet-stream", std::make_unique<testing::PatternSource>(1ULL << 40),
                            1ULL << 40);
  });
  Server server({.idle_timeout_s = 0.2}, std::move(router));
  RawSocket socket(server.port());
  socket.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 1; }));
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 0; }));
}

TEST(Limits, TooManyRequestsOfOneClient) {
  Server server({.rate_limit = {.rate_per_s = 0.001, .burst = 5}}, simple());
  Client client(server.origin());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.send({.target = "/hello"}).status, 200);
  const auto refused = client.send({.target = "/hello"});
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(*refused.headers.find("Retry-After"), "1000");
}

TEST(Limits, TooManyConnectionsWaitTheirTurn) {
  Server server({.connections = 2}, simple());
  auto first = std::make_unique<RawSocket>(server.port()), second = std::make_unique<RawSocket>(server.port());
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 2; }));
  auto third =
      std::async(std::launch::async, [&] { return Client(server.origin()).send({.target = "/hello"}).status; });
  EXPECT_EQ(third.wait_for(std::chrono::milliseconds(150)), std::future_status::timeout);
  first.reset();
  EXPECT_EQ(third.get(), 200);
}

TEST(Limits, ErrorsHaveTheFormOfTheService) {
  ServerOptions options;
  options.error_response = [](const Error& e) {
    return Response::of(core::traits(e.code()).http_status, "application/json",
                        fmt::format("{{\"error\":\"{}\"}}", e.message()));
  };
  Server server(options, simple());
  const auto response = Client(server.origin()).send({.target = "/nowhere"});
  EXPECT_EQ(*response.headers.find("Content-Type"), "application/json");
  EXPECT_EQ(response.body, "{\"error\":\"there is nothing at /nowhere\"}");
}

/// A server of one connection that says what a test wants it to say.
class FakeServer {
public:
  explicit FakeServer(std::string says) : says_(std::move(says)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(listener_, 4);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const int peer = ::accept(listener_, nullptr, nullptr);
        if (peer < 0) return;
        char buffer[4096];
        (void)!::recv(peer, buffer, sizeof buffer, 0);
        ::send(peer, says_.data(), says_.size(), MSG_NOSIGNAL);
        ::close(peer);
      }
    });
  }
  ~FakeServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  std::string origin() const { return fmt::format("http://127.0.0.1:{}", port_); }

private:
  std::string says_;
  int listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

ErrorCode client_error(const std::string& says, ClientOptions options = {}) {
  FakeServer server(says);
  try {
    const auto response = Client(server.origin(), std::move(options)).send({});
    ADD_FAILURE() << says.substr(0, 100) << " gave " << response.status;
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST(Client, TrustsNoServer) {
  EXPECT_EQ(client_error(""), ErrorCode::unavailable);
  EXPECT_EQ(client_error("SSH-2.0-OpenSSH\r\n"), ErrorCode::corrupt_data);
  EXPECT_EQ(client_error("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ErrorCode::unavailable);
  EXPECT_EQ(client_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), ErrorCode::unavailable);
  EXPECT_EQ(client_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ErrorCode::corrupt_data);
  EXPECT_EQ(client_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(200'000, 'a')),
            ErrorCode::resource_exhausted);
  EXPECT_EQ(client_error("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + std::string(100, 'a'), {.body_bytes = 99}),
            ErrorCode::resource_exhausted);
  const auto big = client_error("HTTP/1.1 200 OK\r\nX: " + std::string(5000, 'a'), {.header_bytes = 1000});
  EXPECT_TRUE(big == ErrorCode::resource_exhausted || big == ErrorCode::corrupt_data);
  FakeServer old("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  EXPECT_EQ(Client(old.origin()).send({}).body, "until the end");
  FakeServer interim("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(Client(interim.origin()).send({}).status, 204);
}

TEST(Client, GivesUpInTimeAndWhenTold) {
  std::promise<void> end;
  auto ended = end.get_future().share();
  Router router;
  router.get("/never", [&](const Request&) {
    ended.wait();
    return Response();
  });
  Server server({}, std::move(router));
  try {
    Client(server.origin(), {.idle_timeout_s = 0.1}).send({.target = "/never"});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::timeout);
  }
  std::stop_source stop;
  auto cancelled = std::async(std::launch::async, [&] {
    try {
      Client(server.origin()).send({.target = "/never"}, stop.get_token());
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  stop.request_stop();
  EXPECT_EQ(cancelled.get(), ErrorCode::cancelled);
  end.set_value();
  try {
    Client("http://127.0.0.1:1").send({});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
  }
}

TEST(Client, GoesOnAfterTheServerClosedAKeptConnection) {
  Server server({.keep_alive_s = 0.1}, simple());
  Client client(server.origin());
  EXPECT_EQ(client.send({.target = "/hello"}).status, 200);
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 0; }));
  EXPECT_EQ(client.send({.method = "POST", .target = "/echo", .body = "b"}).body, "b");
}

TEST(Client, RefusesBadRequests) {
  Client client("http://127.0.0.1:1");
  EXPECT_THROW(client.send({.target = "no/slash"}), Error);
  EXPECT_THROW(client.send({.target = "/a b"}), Error);
  EXPECT_THROW(client.send({.target = "/a\r\nX: y"}), Error);
  EXPECT_THROW(client.send({.method = "GET / HTTP/1.1\r\nX:"}), Error);
  EXPECT_THROW(Client("http://a/path"), Error);
  EXPECT_THROW(Client("a"), Error);
}

TEST(Client, StatusesBecomeErrors) {
  for (const auto code : {ErrorCode::not_found, ErrorCode::unauthenticated, ErrorCode::forbidden, ErrorCode::conflict,
                          ErrorCode::unavailable, ErrorCode::timeout, ErrorCode::corrupt_data, ErrorCode::unsupported})
    EXPECT_EQ(status_error({core::traits(code).http_status, {}, "why\nmore"}, "GET x").code(), code);
  EXPECT_STREQ(status_error({404, {}, "why\nmore"}, "GET x").what(), "GET x: why (status 404)");
}

}  // namespace
}  // namespace farfield::net
