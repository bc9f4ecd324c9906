// The parts that need no socket: ranges, routes, rate limits, event streams.

#include "farfield/net/event_stream.hpp"
#include "farfield/net/range.hpp"
#include "farfield/net/rate_limiter.hpp"
#include "farfield/net/router.hpp"
#include "farfield/net/testing.hpp"

namespace farfield::net {
namespace {
using core::ErrorCode;
using ::testing::ElementsAre;

std::optional<ByteRange> range(std::string_view field, std::uint64_t size) { return parse_range(field, size).value(); }

TEST(Range, SelectsWhatTheRfcSays) {
  EXPECT_EQ(range("bytes=0-0", 10), (ByteRange{0, 1}));
  EXPECT_EQ(range("bytes=2-5", 10), (ByteRange{2, 4}));
  EXPECT_EQ(range("bytes=7-", 10), (ByteRange{7, 3}));
  EXPECT_EQ(range("bytes=7-100", 10), (ByteRange{7, 3}));
  EXPECT_EQ(range("bytes=-3", 10), (ByteRange{7, 3}));
  EXPECT_EQ(range("bytes=-30", 10), (ByteRange{0, 10}));
}

TEST(Range, WhatIsNoSingleByteRangeIsIgnored) {
  for (const auto* field : {"", "bytes", "items=0-1", "bytes=1-2,4-5", "bytes=5-2", "bytes=a-b", "bytes=--1", "bytes=-",
                            "bytes=1-x", "bytes=99999999999999999999-"})
    EXPECT_EQ(range(field, 10), std::nullopt) << field;
}

TEST(Range, OutsideIsAnError) {
  for (const auto* field : {"bytes=10-", "bytes=10-12", "bytes=-0"})
    EXPECT_EQ(parse_range(field, 10).error().code(), ErrorCode::invalid_argument) << field;
  EXPECT_FALSE(parse_range("bytes=-5", 0));
}

TEST(Range, ContentRangeReadsWhatItWrites) {
  const auto read = parse_content_range(content_range({100, 50}, 1000));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->range, (ByteRange{100, 50}));
  EXPECT_EQ(read->size, 1000U);
  for (const auto* field :
       {"", "bytes 1-2", "bytes 5-2/10", "bytes 0-10/10", "bytes */10", "items 0-1/2", "bytes 0/1-2"})
    EXPECT_FALSE(parse_content_range(field)) << field;
}

Request request_of(std::string_view method, std::string_view target) {
  Request request;
  request.method = method;
  request.target = target;
  request.decoded = parse_target(target).value();
  return request;
}

Router::Action const* find(const Router& router, Request& request) {
  std::string allowed;
  return router.find(request, allowed);
}

TEST(Router, ParametersAndPrecedence) {
  const Handler handler = [](const Request&) { return Response(); };
  Router router;
  router.get("/tasks/{id}", handler).get("/tasks/new", handler).get("/files/{path...}", handler).get("/", handler);
  auto request = request_of("GET", "/tasks/a%20b");
  ASSERT_TRUE(find(router, request));
  EXPECT_EQ(request.route, "/tasks/{id}");
  EXPECT_EQ(request.parameter("id"), "a b");
  EXPECT_THROW(request.parameter("other"), core::Error);
  request = request_of("GET", "/tasks/new");
  ASSERT_TRUE(find(router, request));
  EXPECT_EQ(request.route, "/tasks/new");
  request = request_of("GET", "/files/a/b%20c/d");
  ASSERT_TRUE(find(router, request));
  EXPECT_EQ(request.parameter("path"), "a/b c/d");
  request = request_of("HEAD", "/");
  EXPECT_TRUE(find(router, request));
  for (const auto* other : {"/tasks", "/tasks/", "/tasks/a/b", "/other"}) {
    request = request_of("GET", other);
    EXPECT_FALSE(find(router, request)) << other;
  }
}

TEST(Router, SaysWhichMethodsThereAre) {
  const Handler handler = [](const Request&) { return Response(); };
  Router router;
  router.get("/a", handler).put("/a", handler).post("/b", handler);
  auto request = request_of("DELETE", "/a");
  std::string allowed;
  EXPECT_FALSE(router.find(request, allowed));
  EXPECT_EQ(allowed, "GET, PUT");
  EXPECT_THAT(router.routes(),
              ElementsAre(Router::Route{"GET", "/a"}, Router::Route{"PUT", "/a"}, Router::Route{"POST", "/b"}));
}

TEST(Router, RefusesBadPatterns) {
  const Handler handler = [](const Request&) { return Response(); };
  Router router;
  router.get("/a", handler);
  EXPECT_THROW(router.get("/a", handler), core::Error);
  for (const auto* pattern : {"a", "/a//b", "/{}", "/{a}/{a}", "/x{a}", "/{a}x", "/{a...}/b", "/{a"})
    EXPECT_THROW(router.get(pattern, handler), core::Error) << pattern;
}

TEST(RateLimiter, BurstThenRate) {
  core::ManualClock clock;
  RateLimiter limiter({.rate_per_s = 2, .burst = 3}, clock);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.take("a"), 0);
  EXPECT_DOUBLE_EQ(limiter.take("a"), 0.5);
  EXPECT_EQ(limiter.take("b"), 0);  // each client has a bucket of its own
  clock.time_s = 0.5;
  EXPECT_EQ(limiter.take("a"), 0);
  EXPECT_GT(limiter.take("a"), 0);
  clock.time_s = 100;  // a full bucket holds no more than the burst
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.take("a"), 0);
  EXPECT_GT(limiter.take("a"), 0);
}

TEST(RateLimiter, ForgetsThoseWhoAreQuietAndIsBounded) {
  core::ManualClock clock;
  RateLimiter limiter({.rate_per_s = 1, .burst = 1}, clock, 10);
  for (int i = 0; i < 100; ++i) limiter.take(std::to_string(i));
  EXPECT_LE(limiter.clients(), 11);
  EXPECT_GT(limiter.take("newcomer"), 0);  // shares the last bucket with the other newcomers
  clock.time_s = 10;
  EXPECT_EQ(limiter.take("x"), 0);
  EXPECT_EQ(limiter.clients(), 1);
  EXPECT_THROW(RateLimiter({.rate_per_s = -1, .burst = 1}, clock), core::Error);
  EXPECT_THROW(RateLimiter({.rate_per_s = 1, .burst = 0}, clock), core::Error);
}

std::vector<Event> parse(std::string_view bytes, std::size_t piece) {
  std::vector<Event> events;
  EventParser parser([&](const Event& event) { events.push_back(event); });
  for (std::size_t at = 0; at < bytes.size(); at += piece) parser.write(bytes.substr(at, piece));
  return events;
}

TEST(EventStream, ReadsWhatItWritesInAnyPieces) {
  const std::vector<Event> sent{
      {"one", "", ""}, {"two\nlines\n", "state", "17"}, {"", "empty", "18"}, {"x\ry\r\nz", "", ""}};
  std::string bytes;
  for (const auto& event : sent) bytes += format_event(event);
  for (const std::size_t piece : {1, 2, 7, 1000}) {
    const auto events = parse(bytes, piece);
    ASSERT_EQ(events.size(), sent.size()) << piece;
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(events[i].data, sent[i].data);
      EXPECT_EQ(events[i].name, sent[i].name);
    }
    EXPECT_EQ(events[1].id, "17");
    EXPECT_EQ(events[3].data, "x\ny\nz");  // one line break is as good as another
    EXPECT_EQ(events[3].id, "18");         // ids stay
  }
}

TEST(EventStream, KnownBytes) {
  // The examples of the HTML standard, section 9.2.6.
  const auto stocks = parse("data: YHOO\ndata: +2\ndata: 10\n\n", 3);
  ASSERT_EQ(stocks.size(), 1U);
  EXPECT_EQ(stocks[0].data, "YHOO\n+2\n10");
  const auto four =
      parse(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", 4);
  ASSERT_EQ(four.size(), 3U);
  EXPECT_EQ(four[0].id, "1");
  EXPECT_EQ(four[1].id, "");
  EXPECT_EQ(four[2].data, " third event");
  EXPECT_EQ(parse("data\n\ndata\ndata\n\ndata:", 1).size(), 2U);
  EXPECT_THROW(format_event({"", "a\nb", ""}), core::Error);
  EXPECT_THROW(format_event({"", "", "a\rb"}), core::Error);
}

TEST(EventStream, ParserIsBounded) {
  EventParser parser([](const Event&) {}, 100);
  EXPECT_THROW(
      {
        for (int i = 0; i < 200; ++i) parser.write("data: xxxxxxxxxx\n");
      },
      core::Error);
}

TEST(EventStream, ASlowViewerIsCutOff) {
  EventStream stream(100);
  int closed = 0;
  stream.on_close([&] { ++closed; });
  EXPECT_TRUE(stream.send({"a", "", ""}));
  EXPECT_FALSE(stream.send({std::string(200, 'x'), "", ""}));
  EXPECT_TRUE(stream.closed());
  EXPECT_EQ(closed, 1);
  EXPECT_FALSE(stream.send({"b", "", ""}));
  stream.on_close([&] { ++closed; });
  EXPECT_EQ(closed, 2);
}

}  // namespace
}  // namespace farfield::net
