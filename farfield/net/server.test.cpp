// What the server does with good and with bad clients, over the loopback interface.

#include "farfield/net/server.hpp"

#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <mutex>

#include "farfield/net/event_stream.hpp"
#include "farfield/net/range.hpp"
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

Router echo() {
  Router router;
  router.get("/hello", [](const Request&) { return Response::text(200, "hello"); });
  router.post("/echo", [](const Request& r) { return Response::of(200, "application/octet-stream", r.body); });
  router.get("/echo", [](const Request& r) {
    const auto* text = r.query("text");
    return Response::text(200, text == nullptr ? "nothing" : *text);
  });
  router.get("/item/{id}", [](const Request& r) -> Response {
    if (r.parameter("id") == "gone") throw Error(ErrorCode::not_found, "no such item");
    if (r.parameter("id") == "bug") throw std::runtime_error("secret detail");
    return Response::text(200, r.parameter("id"));
  });
  return router;
}

struct ByteCount final : Upload {
  std::string text = {};
  std::uint64_t bytes = 0;
  testing::PatternCheck check;
  void write(std::span<const std::byte> piece) override { check.write(piece); }
  Response finish() override { return Response::text(200, check.good() ? std::to_string(check.at()) : "damaged"); }
};

TEST(Server, AnswersOverOneKeptConnection) {
  Server server({}, echo());
  Client client(server.origin());
  for (int i = 0; i < 10; ++i) {
    const auto response = client.send({.target = "/echo?text=n%20" + std::to_string(i)});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "n " + std::to_string(i));
  }
  EXPECT_EQ(client.send({.method = "POST", .target = "/echo", .body = std::string(100'000, 'x')}).body.size(),
            100'000U);
  EXPECT_EQ(server.statistics().connections, 1);
  EXPECT_EQ(server.statistics().requests, 11);
}

TEST(Server, StatusOfEveryKind) {
  Server server({}, echo());
  Client client(server.origin());
  const auto status = [&](std::string method, std::string target) {
    return client.send({.method = std::move(method), .target = std::move(target)}).status;
  };
  EXPECT_EQ(status("GET", "/nowhere"), 404);
  EXPECT_EQ(status("DELETE", "/hello"), 405);
  EXPECT_EQ(*client.send({.method = "DELETE", .target = "/echo"}).headers.find("Allow"), "GET, POST");
  EXPECT_EQ(status("GET", "/item/gone"), 404);
  const auto bug = client.send({.target = "/item/bug"});
  EXPECT_EQ(bug.status, 500);
  EXPECT_THAT(bug.body, Not(HasSubstr("secret")));
  const auto head = client.send({.method = "HEAD", .target = "/hello"});
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(*head.headers.find("Content-Length"), "5");
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(client.send({.target = "/hello"}).body, "hello");  // on the same connection
}

TEST(Server, AnswersPipelinedRequestsInOrder) {
  Server server({}, echo());
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes += "GET /item/" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  bytes += "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  bytes += "GET /item/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  const auto answers = answer(server.port(), bytes);
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("\r\n\r\n" + std::to_string(i) + "HTTP/1.1", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_THAT(answers, HasSubstr("\r\n\r\nabcdeHTTP/1.1"));
  EXPECT_THAT(answers, EndsWith("\r\n\r\nlast"));
}

TEST(Server, ClientPipelinesInOrder) {
  Server server({}, echo());
  Client client(server.origin());
  core::Index next = 0;
  client.pipeline(
      500, 16,
      [](core::Index i) {
        return ClientRequest{.method = i % 3 == 0 ? "HEAD" : "GET", .target = "/item/" + std::to_string(i)};
      },
      [&](core::Index i, const ClientResponse& response) {
        EXPECT_EQ(i, next++);
        EXPECT_EQ(response.body, i % 3 == 0 ? "" : std::to_string(i));
      });
  EXPECT_EQ(next, 500);
  EXPECT_EQ(client.send({.target = "/hello"}).body, "hello");
  EXPECT_EQ(server.statistics().connections, 1);
}

TEST(Server, PipelineErrorsLeaveNothingBehind) {
  Server server({}, echo());
  Client client(server.origin());
  const auto make = [](core::Index i) { return ClientRequest{.target = "/item/" + std::to_string(i)}; };
  const auto refuse = [](core::Index i, const ClientResponse&) {
    if (i == 20) throw Error(ErrorCode::cancelled, "enough");
  };
  EXPECT_THROW(client.pipeline(100, 8, make, refuse), Error);
  EXPECT_EQ(client.send({.target = "/hello"}).body, "hello");
}

TEST(Server, LargeBodiesStreamBothWays) {
  Router router = echo();
  router.get("/known", [](const Request&) {
    return Response::stream("application/octet-stream", std::make_unique<testing::PatternSource>(50'000'001),
                            50'000'001);
  });
  router.get("/unknown", [](const Request&) {
    return Response::stream("application/octet-stream", std::make_unique<testing::PatternSource>(5'000'001));
  });
  router.upload("PUT", "/data", [](const Request&) { return std::make_unique<ByteCount>(); });
  Server server({.body_bytes = 1000}, std::move(router));  // the limit is not for uploads
  Client client(server.origin());
  for (const auto& [target, size] : {std::pair("/known", 50'000'001U), std::pair("/unknown", 5'000'001U)}) {
    testing::PatternCheck check;
    EXPECT_EQ(client.send({.target = target}, check).status, 200);
    EXPECT_TRUE(check.good());
    EXPECT_EQ(check.at(), size);
  }
  testing::PatternSource known(20'000'003), unknown(7'000'001);
  EXPECT_EQ(client.send({.method = "PUT", .target = "/data", .source = &known, .length = 20'000'003}).body, "20000003");
  EXPECT_EQ(client.send({.method = "PUT", .target = "/data", .source = &unknown}).body, "7000001");
  EXPECT_EQ(server.statistics().connections, 1);
}

TEST(Server, UploadsInAnyPiecesIntoSlowSinks) {
  struct Slow final : Upload {
    testing::PatternCheck check;
    void write(std::span<const std::byte> piece) override {
      const auto before = check.at();
      check.write(piece);
      if (before / 200'000 != check.at() / 200'000) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    Response finish() override { return Response::text(200, check.good() ? std::to_string(check.at()) : "damaged"); }
  };
  Router router = echo();
  router.upload("PUT", "/slow", [](const Request&) { return std::make_unique<Slow>(); });
  Server server({}, std::move(router));
  for (const std::size_t piece : {1UL, 7UL, 1000UL, 70'000UL, 600'000UL}) {
    // Chunks of one size, sent in pieces of another, and a second request right behind.
    const std::size_t size = piece == 1 ? 3000 : 2'000'000;
    std::string bytes = "PUT /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (std::size_t at = 0; at < size; at += piece) {
      const std::size_t n = std::min(piece, size - at);
      char head[32];
      std::snprintf(head, sizeof head, "%zx\r\n", n);
      bytes += head;
      for (std::size_t i = 0; i < n; ++i) bytes += testing::pattern(at + i);
      bytes += "\r\n";
    }
    bytes += "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    RawSocket socket(server.port());
    for (std::size_t at = 0; at < bytes.size(); at += 100'003) socket.send(std::string_view(bytes).substr(at, 100'003));
    const auto answers = socket.read_all();
    EXPECT_THAT(answers, HasSubstr("\r\n\r\n" + std::to_string(size) + "HTTP/1.1 200")) << piece;
    EXPECT_THAT(answers, EndsWith("hello")) << piece;
  }
}

TEST(Server, ARefusedUploadSaysWhy) {
  Router router = echo();
  router.upload("PUT", "/never",
                [](const Request&) -> std::unique_ptr<Upload> { throw Error(ErrorCode::forbidden, "not for you"); });
  struct DiskFull final : Upload {
    void write(std::span<const std::byte>) override { throw Error(ErrorCode::resource_exhausted, "disk full"); }
    Response finish() override { return {}; }
  };
  router.upload("PUT", "/full", [](const Request&) { return std::make_unique<DiskFull>(); });
  Server server({}, std::move(router));
  Client client(server.origin());
  for (const auto& [target, status] : {std::pair("/never", 403), std::pair("/full", 507)}) {
    testing::PatternSource source(100'000'000);
    const auto response = client.send({.method = "PUT", .target = target, .source = &source, .length = 100'000'000});
    EXPECT_EQ(response.status, status);
  }
  struct Broken final : BodySource {
    std::size_t read(std::span<std::byte>) override { throw Error(ErrorCode::io, "bad sector"); }
  } broken;
  try {
    client.send({.method = "PUT", .target = "/full", .source = &broken, .length = 10});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "bad sector");
  }
  EXPECT_EQ(client.send({.target = "/hello"}).status, 200);
}

TEST(Server, ABrokenOffUploadIsNotFinished) {
  static std::atomic<int> finished, destroyed;
  finished = destroyed = 0;
  struct Watched final : Upload {
    ~Watched() override { ++destroyed; }
    void write(std::span<const std::byte>) override {}
    Response finish() override {
      ++finished;
      return {};
    }
  };
  Router router;
  router.upload("PUT", "/x", [](const Request&) { return std::make_unique<Watched>(); });
  Server server({}, std::move(router));
  {
    RawSocket socket(server.port());
    socket.send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
  }
  EXPECT_TRUE(eventually([] { return destroyed == 1; }));
  EXPECT_EQ(finished, 0);
}

TEST(Server, ASourceThatFailsCutsTheResponseOff) {
  struct Failing final : BodySource {
    int pieces = 3;
    std::size_t read(std::span<std::byte> into) override {
      if (--pieces < 0) throw Error(ErrorCode::io, "disk");
      return into.size();
    }
  };
  Router router;
  router.get("/chunks", [](const Request&) { return Response::stream("x/y", std::make_unique<Failing>()); });
  router.get("/length",
             [](const Request&) { return Response::stream("x/y", std::make_unique<Failing>(), 10'000'000); });
  Server server({}, std::move(router));
  Client client(server.origin());
  for (const auto* target : {"/chunks", "/length"}) {
    try {
      client.send({.target = target});
      FAIL() << target;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unavailable) << e.what();
    }
  }
}

TEST(Server, RangesOfAFile) {
  testing::TemporaryFolder folder;
  const auto path = folder / "data";
  {
    std::ofstream file(path, std::ios::binary);
    for (int i = 0; i < 100'000; ++i) file.put(testing::pattern(static_cast<std::uint64_t>(i)));
  }
  Router router;
  router.get("/data", [path](const Request& request) {
    return serve_range(request, 100'000, "\"v1\"", "application/octet-stream", [&](const ByteRange& range) {
      return file_source(::open(path.c_str(), O_RDONLY | O_CLOEXEC), range);
    });
  });
  Server server({}, std::move(router));
  Client client(server.origin());
  testing::PatternCheck check(90'000);
  auto response =
      client.send({.target = "/data", .headers = {{"Range", "bytes=90000-"}, {"If-Range", "\"v1\""}}}, check);
  EXPECT_EQ(response.status, 206);
  EXPECT_EQ(*response.headers.find("Content-Range"), "bytes 90000-99999/100000");
  EXPECT_TRUE(check.good());
  EXPECT_EQ(check.at(), 100'000U);
  // It has changed since: everything.
  EXPECT_EQ(client.send({.target = "/data", .headers = {{"Range", "bytes=9-"}, {"If-Range", "\"v0\""}}}).body.size(),
            100'000U);
  EXPECT_EQ(client.send({.target = "/data", .headers = {{"Range", "bytes=100000-"}}}).status, 416);
  EXPECT_EQ(client.send({.target = "/data", .headers = {{"If-None-Match", "\"v1\""}}}).status, 304);
  EXPECT_EQ(client.send({.method = "HEAD", .target = "/data"}).status, 200);
  std::filesystem::resize_file(path, 50'000);
  EXPECT_THROW(client.send({.target = "/data"}), Error);
}

TEST(Server, EventStreamsReachTheViewerAndEnd) {
  std::mutex mutex;
  std::vector<std::shared_ptr<EventStream>> viewers;
  Router router;
  router.get("/events", [&](const Request&) {
    auto stream = std::make_shared<EventStream>();
    stream->send({"welcome", "", ""});
    const std::lock_guard lock(mutex);
    viewers.push_back(stream);
    return Response::event_stream(stream);
  });
  Server server({.idle_timeout_s = 0.2}, std::move(router));  // no limit to a viewer's patience
  Client client(server.origin());
  struct Sink final : BodySink {
    explicit Sink(std::function<void(const Event&)> f) : parser(std::move(f)) {}
    void write(std::span<const std::byte> b) override {
      parser.write({reinterpret_cast<const char*>(b.data()), b.size()});
    }
    EventParser parser;
  };
  std::vector<std::string> seen;
  Sink sink([&](const Event& event) {
    seen.push_back(event.data);
    const std::lock_guard lock(mutex);
    if (seen.size() == 1) viewers[0]->send({"first", "", ""});
    else if (seen.size() < 1000) viewers[0]->send({std::to_string(seen.size()), "", ""});
    else viewers[0]->close();
  });
  EXPECT_EQ(client.send({.target = "/events"}, sink).status, 200);
  EXPECT_EQ(seen.size(), 1000U);
  EXPECT_EQ(seen.back(), "999");

  std::atomic<bool> gone = false;
  {
    RawSocket socket(server.port());
    socket.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(socket.read_until("welcome"), HasSubstr("text/event-stream"));
    const std::lock_guard lock(mutex);
    viewers[1]->on_close([&] { gone = true; });
  }
  EXPECT_TRUE(eventually([&] { return gone.load(); }));  // the viewer has closed its page
}

TEST(Server, StopsGracefully) {
  std::promise<void> begun, go_on;
  auto waiting = go_on.get_future().share();
  Router router = echo();
  router.get("/slow", [&](const Request&) {
    begun.set_value();
    waiting.wait();
    return Response::text(200, "done");
  });
  router.get("/events", [](const Request&) { return Response::event_stream(std::make_shared<EventStream>()); });
  auto server = std::make_unique<Server>(ServerOptions{}, std::move(router));
  const auto origin = server->origin();
  RawSocket viewer(server->port()), idle(server->port());
  viewer.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
  viewer.read_until("\r\n\r\n");
  auto slow = std::async(std::launch::async, [&] { return Client(origin).send({.target = "/slow"}); });
  begun.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { server->stop(20); });
  EXPECT_EQ(viewer.read_all(), "0\r\n\r\n");
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  go_on.set_value();
  EXPECT_EQ(slow.get().body, "done");
  stopped.wait();
  EXPECT_THROW(Client(origin).send({.target = "/hello"}), Error);
}

TEST(Server, ManyConnectionsAtOnce) {
  Server server({}, echo());
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      Client client(server.origin());
      for (int i = 0; i < 100; ++i) {
        const auto text = std::to_string(1000 * t + i);
        if (client.send({.method = "POST", .target = "/echo", .body = text}).body == text) ++good;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 800);
}

TEST(Server, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(Server({.address = "localhost"}, {}), Error);
  EXPECT_THROW(Server({.io_threads = 0}, {}), Error);
  EXPECT_THROW(Server({.header_timeout_s = 0}, {}), Error);
  Server server({}, {});
  try {
    Server second({.port = server.port()}, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
    EXPECT_THAT(e.what(), HasSubstr(std::to_string(server.port())));
  }
}

}  // namespace
}  // namespace farfield::net
