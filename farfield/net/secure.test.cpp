// TLS, and WebSockets over it and without.

#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <sstream>

#include "farfield/net/testing.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;
using ::testing::ElementsAre;
using testing::eventually;
using ::testing::HasSubstr;
using testing::RawSocket;
using ::testing::StartsWith;

class Secure : public ::testing::Test {
protected:
  void SetUp() override { make_self_signed(identity, {"127.0.0.1", "localhost"}); }
  testing::TemporaryFolder folder;
  TlsIdentity identity{folder / "cert.pem", folder / "key.pem"};
  TlsTrust trust{identity.certificate};
  static Router hello() {
    Router router;
    router.get("/hello", [](const Request& r) { return Response::text(200, r.secure ? "secure" : "plain"); });
    return router;
  }
  static ErrorCode failure(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  }
};

TEST_F(Secure, ACertificateOfOnesOwn) {
  const auto info = read_certificate(identity.certificate);
  EXPECT_THAT(info.names, ElementsAre("127.0.0.1", "localhost"));
  EXPECT_NEAR(info.days_left, 825, 0.1);
  EXPECT_EQ(info.sha256.size(), 64U);
  struct stat status{};
  ASSERT_EQ(::stat(identity.key.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_THROW(make_self_signed(identity, {}), Error);
  EXPECT_THROW(make_self_signed(identity, {"a,DNS:b"}), Error);
  EXPECT_THROW(make_self_signed({folder / "no/c", folder / "no/k"}, {"a"}), Error);
}

TEST_F(Secure, RequestsAndLargeBodies) {
  Router router = hello();
  router.get("/large", [](const Request&) {
    return Response::stream("application/octet-stream", std::make_unique<testing::PatternSource>(20'000'001),
                            20'000'001);
  });
  struct Count final : Upload {
    testing::PatternCheck check;
    void write(std::span<const std::byte> piece) override { check.write(piece); }
    Response finish() override { return Response::text(200, check.good() ? std::to_string(check.at()) : "damaged"); }
  };
  router.upload("PUT", "/large", [](const Request&) { return std::make_unique<Count>(); });
  Server server({.tls = identity}, std::move(router));
  EXPECT_THAT(server.origin(), StartsWith("https://"));
  Client client(server.origin(), {.trust = trust});
  // An upload first: what TLS itself sends after the handshake is no answer to it.
  testing::PatternSource first(20'000'001);
  EXPECT_EQ(client.send({.method = "PUT", .target = "/large", .source = &first, .length = 20'000'001}).body,
            "20000001");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.send({.target = "/hello"}).body, "secure");
  testing::PatternCheck check;
  EXPECT_EQ(client.send({.target = "/large"}, check).status, 200);
  EXPECT_TRUE(check.good());
  EXPECT_EQ(check.at(), 20'000'001U);
  testing::PatternSource source(20'000'001);
  EXPECT_EQ(client.send({.method = "PUT", .target = "/large", .source = &source, .length = 20'000'001}).body,
            "20000001");
  EXPECT_EQ(server.statistics().connections, 1);
}

TEST_F(Secure, OnlyTheTrustedAreTrusted) {
  Server server({.tls = identity}, hello());
  // Not in the system's store; signed by somebody else; made for another name.
  EXPECT_EQ(failure([&] { Client(server.origin()).send({.target = "/hello"}); }), ErrorCode::forbidden);
  const TlsIdentity other{folder / "other.pem", folder / "other.key"};
  make_self_signed(other, {"127.0.0.1"});
  EXPECT_EQ(failure([&] { Client(server.origin(), {.trust = {other.certificate}}).send({.target = "/hello"}); }),
            ErrorCode::forbidden);
  make_self_signed(other, {"beam.example", "10.0.0.1"});
  Server misnamed({.tls = other}, hello());
  EXPECT_EQ(failure([&] { Client(misnamed.origin(), {.trust = {other.certificate}}).send({.target = "/hello"}); }),
            ErrorCode::forbidden);
  Client by_name("https://localhost:" + std::to_string(server.port()), {.trust = trust});
  EXPECT_EQ(by_name.send({.target = "/hello"}).body, "secure");
}

TEST_F(Secure, AuthoritiesMayBeGivenAsText) {
  Server server({.tls = identity}, hello());
  std::ostringstream pem;
  pem << std::ifstream(identity.certificate).rdbuf();
  EXPECT_EQ(Client(server.origin(), {.trust = {.pem = pem.str()}}).send({.target = "/hello"}).body, "secure");
  make_self_signed({folder / "other.pem", folder / "other.key"}, {"127.0.0.1"});
  std::ostringstream other;
  other << std::ifstream(folder / "other.pem").rdbuf();
  Client stranger(server.origin(), {.trust = {.pem = other.str()}});
  EXPECT_EQ(failure([&] { stranger.send({.target = "/hello"}); }), ErrorCode::forbidden);
  EXPECT_EQ(failure([&] { Client("https://127.0.0.1:1", {.trust = {.pem = "no certificate"}}); }),
            ErrorCode::corrupt_data);
}

TEST_F(Secure, KeysThatOthersCanReadAreRefused) {
  ::chmod(identity.key.c_str(), 0640);
  EXPECT_EQ(failure([&] { Server server({.tls = identity}, hello()); }), ErrorCode::forbidden);
  ::chmod(identity.key.c_str(), 0600);
  const TlsIdentity other{folder / "other.pem", folder / "other.key"};
  make_self_signed(other, {"127.0.0.1"});
  EXPECT_EQ(failure([&] { Server server({.tls = {identity.certificate, other.key}}, hello()); }),
            ErrorCode::corrupt_data);
  EXPECT_EQ(failure([&] { Server server({.tls = {folder / "none", identity.key}}, hello()); }), ErrorCode::not_found);
  std::ofstream(folder / "text") << "no certificate";
  EXPECT_EQ(failure([&] { Server server({.tls = {folder / "text", identity.key}}, hello()); }),
            ErrorCode::corrupt_data);
}

TEST_F(Secure, ANewCertificateIsTakenUpWithoutAStop) {
  Server server({.tls = identity}, hello());
  make_self_signed(identity, {"127.0.0.1"});
  EXPECT_EQ(failure([&] { Client(server.origin(), {.trust = trust}).send({.target = "/hello"}); }),
            ErrorCode::forbidden);
  server.reload_tls();
  EXPECT_EQ(Client(server.origin(), {.trust = trust}).send({.target = "/hello"}).body, "secure");
}

TEST_F(Secure, PlainTextAndSilenceAtATlsPort) {
  Server server({.tls = identity}, hello());
  EXPECT_EQ(testing::answer(server.port(), "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").find("HTTP/1.1 200"),
            std::string::npos);
  EXPECT_EQ(Client(server.origin(), {.trust = trust}).send({.target = "/hello"}).body, "secure");
}

/// Both ends of a WebSocket, and what they have heard.
struct Heard {
  std::mutex mutex;
  std::vector<std::string> messages;
  std::vector<bool> binary;
  std::string closed;
  WebSocket::Events events() {
    return {[this](std::string message, bool is_binary) {
              const std::lock_guard lock(mutex);
              messages.push_back(std::move(message));
              binary.push_back(is_binary);
            },
            [this](const std::string& reason) {
              const std::lock_guard lock(mutex);
              closed = reason;
            }};
  }
  bool count(std::size_t n) {
    const std::lock_guard lock(mutex);
    return messages.size() >= n;
  }
  std::string end() {
    const std::lock_guard lock(mutex);
    return closed;
  }
};

class Sockets : public Secure, public ::testing::WithParamInterface<bool> {
protected:
  void start(WebSocketLimits limits = {}) {
    Router router;
    router.websocket("/echo/{name}", [this](const Request& request) {
      if (request.parameter("name") == "secret") throw Error(ErrorCode::forbidden, "not for you");
      const auto* token = request.headers.find("Authorization");
      if (token == nullptr || *token != "Bearer x") throw Error(ErrorCode::unauthenticated, "who are you");
      auto peer = std::make_shared<std::shared_ptr<WebSocket>>();
      auto events = heard.events();
      events.message = [this, peer, count = events.message](std::string message, bool binary) {
        (*peer)->send(message, binary);
        count(std::move(message), binary);
      };
      return WebSocketSession{std::move(events), [this, peer](std::shared_ptr<WebSocket> socket) {
                                *peer = socket;
                                const std::lock_guard lock(mutex);
                                here = std::move(socket);
                              }};
    });
    ServerOptions options{.websocket = limits};
    if (GetParam()) options.tls = identity;
    server = std::make_unique<Server>(options, std::move(router));
  }
  std::shared_ptr<WebSocket> connect(Heard& ear, const std::string& target = "/echo/a",
                                     const std::string& token = "Bearer x") {
    WebSocketOptions options{.trust = trust, .limits = {.idle_s = 5}};
    if (!token.empty()) options.headers.add("Authorization", token);
    return connect_websocket(server->origin() + target, ear.events(), options);
  }
  std::mutex mutex;
  std::shared_ptr<WebSocket> here;  // the server's end
  Heard heard;                      // by the server
  std::unique_ptr<Server> server;
};
INSTANTIATE_TEST_SUITE_P(PlainAndTls, Sockets, ::testing::Bool());

TEST_P(Sockets, MessagesBothWaysInOrder) {
  start();
  Heard ear;
  const auto socket = connect(ear);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(socket->send(std::to_string(i), i % 2 == 0));
  EXPECT_TRUE(socket->send(std::string(3'000'000, 'x'), true));
  ASSERT_TRUE(eventually([&] { return ear.count(1001); }));
  for (std::size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(ear.messages[i], std::to_string(i));
    EXPECT_EQ(ear.binary[i], i % 2 == 0);
  }
  EXPECT_EQ(ear.messages[1000].size(), 3'000'000U);
  socket->close(1000, "enough");
  EXPECT_TRUE(eventually([&] { return heard.end() == "closed with 1000: enough"; })) << heard.end();
  EXPECT_TRUE(eventually([&] { return socket->closed(); }));
  EXPECT_FALSE(socket->send_text("late"));
}

TEST_P(Sockets, RefusalsSayWhy) {
  start();
  Heard ear;
  EXPECT_EQ(failure([&] { connect(ear, "/echo/secret"); }), ErrorCode::forbidden);
  EXPECT_EQ(failure([&] { connect(ear, "/echo/a", ""); }), ErrorCode::unauthenticated);
  EXPECT_EQ(failure([&] { connect(ear, "/nowhere"); }), ErrorCode::not_found);
  EXPECT_EQ(failure([&] { connect_websocket("ws://127.0.0.1:1/", ear.events()); }), ErrorCode::unavailable);
  Client client(server->origin(), {.trust = trust});
  EXPECT_EQ(client.send({.target = "/echo/a"}).status, 426);
}

TEST_P(Sockets, DroppingTheHandleEndsTheConnection) {
  start();
  Heard ear;
  auto socket = connect(ear);
  socket->send_text("a");
  ASSERT_TRUE(eventually([&] { return ear.count(1); }));
  socket.reset();
  EXPECT_NE(ear.end(), "");  // no callback comes after this
  EXPECT_TRUE(eventually([&] { return heard.end() != ""; }));
}

TEST_P(Sockets, AStoppingServerSaysSo) {
  start();
  Heard ear;
  const auto socket = connect(ear);
  socket->send_text("a");
  ASSERT_TRUE(eventually([&] { return ear.count(1); }));
  server->stop(5);
  EXPECT_TRUE(eventually([&] { return ear.end() == "closed with 1001: the server stops"; })) << ear.end();
}

TEST_P(Sockets, TooLongMessagesEndTheConnection) {
  start({.message_bytes = 1000});
  Heard ear;
  const auto socket = connect(ear);
  socket->send(std::string(1001, 'x'), true);
  EXPECT_TRUE(eventually([&] { return ear.end() != ""; }));
  EXPECT_EQ(heard.messages.size(), 0U);
}

TEST_P(Sockets, TheLatestWins) {
  start({.queued_bytes = 10'000'000});
  Heard ear;
  std::promise<void> go_on;
  auto waiting = go_on.get_future().share();
  auto events = ear.events();
  events.message = [&, count = events.message](std::string message, bool binary) {
    waiting.wait();  // a viewer who has stopped reading
    count(std::move(message), binary);
  };
  WebSocketOptions options{.trust = trust, .headers = {{"Authorization", "Bearer x"}}};
  const auto socket = connect_websocket(server->origin() + "/echo/a", events, options);
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return here != nullptr;
  }));
  int sent = 0;
  for (; sent < 2000; ++sent) EXPECT_TRUE(here->send_latest("probe", std::to_string(sent) + std::string(100'000, ' ')));
  EXPECT_LE(here->queued_bytes(), 1'000'000);
  EXPECT_FALSE(here->send(std::string(10'000'001, ' '), true));  // what must not be lost is refused, not forgotten
  go_on.set_value();
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(ear.mutex);
    return !ear.messages.empty() && ear.messages.back().starts_with("1999 ");
  }));
  EXPECT_LT(ear.messages.size(), 2000U);
}

TEST_P(Sockets, QuickMessagesStayOnTheConnectionsThreadInOrderWithOthers) {
  start();
  Heard ear;
  std::vector<std::thread::id> by;
  auto events = ear.events();
  events.quick_bytes = 100;
  std::shared_ptr<WebSocket> socket;
  events.message = [&, count = events.message](std::string message, bool binary) {
    by.push_back(std::this_thread::get_id());
    const bool last = message == "last";
    if (last) {
      const std::lock_guard lock(mutex);
      socket.reset();  // its own thread does not wait for itself
    }
    count(std::move(message), binary);
  };
  WebSocketOptions options{.trust = trust, .headers = {{"Authorization", "Bearer x"}}};
  {
    const std::lock_guard lock(mutex);
    socket = connect_websocket(server->origin() + "/echo/a", events, options);
    for (int i = 0; i < 100; ++i)
      socket->send_text(std::string(i % 2 == 0 ? 100 : 101, static_cast<char>('0' + i % 10)));
    socket->send_text("last");
  }
  ASSERT_TRUE(eventually([&] { return ear.count(101) && !ear.end().empty(); }));
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(ear.messages[i][0], static_cast<char>('0' + i % 10));
    EXPECT_EQ(by[i], by[i % 2]);
  }
  EXPECT_NE(by[0], by[1]);
  EXPECT_EQ(by[100], by[0]);
}

TEST_P(Sockets, AHandlerThatThrowsEndsItsConnectionOnly) {
  start();
  Heard ear, other;
  auto events = ear.events();
  events.message = [](const std::string&, bool) { throw std::runtime_error("bug"); };
  WebSocketOptions options{.trust = trust, .headers = {{"Authorization", "Bearer x"}}};
  const auto socket = connect_websocket(server->origin() + "/echo/a", events, options);
  const auto well = connect(other);
  socket->send_text("a");
  EXPECT_TRUE(eventually([&] { return ear.end().find("bug") != std::string::npos; }));
  well->send_text("b");
  EXPECT_TRUE(eventually([&] { return other.count(1); }));
}

TEST(WebSocket, OneThatCouldNotBeTakenIsClosed) {
  std::shared_ptr<WebSocket> kept;
  std::promise<std::string> closed;
  Router router;
  router.websocket("/s", [&](const Request&) {
    WebSocketSession session;
    session.open = [&](std::shared_ptr<WebSocket> socket) {
      kept = std::move(socket);
      throw std::runtime_error("no room");
    };
    session.events.closed = [&](const std::string& reason) { closed.set_value(reason); };
    return session;
  });
  Server server({}, std::move(router));
  Heard ear;
  const auto socket = connect_websocket(server.origin() + "/s", ear.events());
  auto reason = closed.get_future();
  ASSERT_EQ(reason.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_THAT(reason.get(), HasSubstr("no room"));
  EXPECT_TRUE(kept->closed());
  EXPECT_FALSE(kept->send_text("into the void"));
  EXPECT_TRUE(eventually([&] { return !ear.end().empty(); }));
}

TEST(WebSocket, BadFramesEndTheConnection) {
  Router router;
  router.websocket("/s", [](const Request&) { return WebSocketSession{}; });
  Server server({.websocket = {.idle_s = 5}}, std::move(router));
  const std::string upgrade =
      "GET /s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  // RFC 6455: not masked; a reserved bit; an unknown operation; a length of 2^63; a text that is no UTF-8.
  for (const std::string& frame :
       {std::string("\x81\x01"
                    "a"),
        std::string("\xc1\x81\0\0\0\0"
                    "a",
                    7),
        std::string("\x83\x80\0\0\0\0", 6), std::string("\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 14),
        std::string("\x81\x81\0\0\0\0\xff", 7)}) {
    RawSocket socket(server.port());
    socket.send(upgrade);
    // The key and its answer are RFC 6455's own example.
    EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    socket.send(frame);
    socket.shut_down_sending();
    EXPECT_THAT(socket.read_all(), StartsWith("\x88"));  // a closing frame
  }
  EXPECT_TRUE(eventually([&] { return server.statistics().connections == 0; }));
}

}  // namespace
}  // namespace farfield::net
