// What servers answer to COPY, as the WLCG agreed on it, and as those do who did not.

#include "farfield/services/transfer/xrootd/http_copy.hpp"

#include <gtest/gtest.h>

#include "farfield/net/range.hpp"
#include "farfield/net/router.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/testing.hpp"

namespace farfield::services::transfer {
namespace {
using core::ErrorCode;
using testing::caught;

std::string marker(Index stripe, Index bytes) {
  return "Perf Marker\n    Timestamp: 1537788010\n    Stripe Index: " + std::to_string(stripe) +
         "\n    Stripe Bytes Transferred: " + std::to_string(bytes) + "\n    Total Stripe Count: 2\nEnd\n";
}
void put(CopyMarkers& markers, std::string_view text) { markers.write(std::as_bytes(std::span(text))); }

TEST(CopyMarkers, AddUpTheStripesHoweverTheTextIsCut) {
  const std::string text = marker(0, 100) + marker(1, 30) + marker(0, 250) + marker(1, 20) + "success: Created";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    std::vector<Index> heard;
    CopyMarkers markers([&](Index bytes) { heard.push_back(bytes); });
    for (std::size_t at = 0; at < text.size(); at += piece) put(markers, std::string_view(text).substr(at, piece));
    EXPECT_FALSE(markers.outcome()) << "its last line has no end yet";
    markers.end();
    EXPECT_EQ(markers.outcome(), "");
    EXPECT_EQ(markers.bytes(), 280);
    EXPECT_EQ(heard, (std::vector<Index>{100, 130, 280}));
  }
}

TEST(CopyMarkers, SayWhyItFailedButNoToken) {
  const auto outcome = [](const std::string& text) {
    CopyMarkers markers;
    put(markers, text);
    markers.end();
    return markers.outcome();
  };
  EXPECT_EQ(outcome(marker(0, 5) + "failure: Remote side failed with status code 404\r\n"),
            "Remote side failed with status code 404");
  EXPECT_EQ(outcome("failure: cannot open /x?authz=Bearer%20eyJ"), "cannot open /x?");
  EXPECT_EQ(outcome("failure: Bearer eyJ"), "no reason given");
  EXPECT_EQ(outcome("failure"), "no reason given");
  EXPECT_EQ(outcome("FAILURE:\x1b[31m"), "?[31m");
  EXPECT_EQ(outcome(marker(0, 5)), std::nullopt);
  EXPECT_EQ(outcome(""), std::nullopt);
}

TEST(CopyMarkers, RefuseWhatNoServerSays) {
  const auto code = [](const std::string& text) {
    return caught([&] {
             CopyMarkers markers;
             put(markers, text);
             markers.end();
           })
        .code;
  };
  EXPECT_EQ(code(std::string(70000, 'x')), ErrorCode::corrupt_data);
  EXPECT_EQ(code(std::string(70000, 'x') + "\n"), ErrorCode::corrupt_data);
  EXPECT_EQ(code("Stripe Bytes Transferred: -5\n"), ErrorCode::corrupt_data);
  EXPECT_EQ(code("Stripe Bytes Transferred: 9999999999999999999\n"), ErrorCode::corrupt_data);
  EXPECT_EQ(code(marker(0, 9000000000000000000) + marker(1, 9000000000000000000)), ErrorCode::corrupt_data);
  std::string many;
  for (Index stripe = 0; stripe < 2000; ++stripe) many += marker(stripe, 1);
  EXPECT_EQ(code(many), ErrorCode::corrupt_data);
}

class CopyByHttp : public ::testing::Test {
protected:
  CopyByHttp() {
    net::Router router;
    router.add("COPY", "/data/{path...}", [this](const net::Request& request) {
      asked = request;
      net::Response answer = net::Response::stream("text/plain", net::string_source(body));
      answer.status = status;
      return answer;
    });
    server = std::make_unique<net::Server>(net::ServerOptions{}, std::move(router));
    client = std::make_unique<net::Client>(server->origin());
  }
  std::optional<std::string> copy() {
    return copy_by_http(*client, "/data/a%20b", "mine", {"https://other/x%20y", "theirs"},
                        [this](Index bytes) { moved = bytes; }, {});
  }
  int status = 202;
  std::string body;
  Index moved = 0;
  net::Request asked;
  std::unique_ptr<net::Server> server;
  std::unique_ptr<net::Client> client;
};

TEST_F(CopyByHttp, EachSideGetsItsOwnToken) {
  body = marker(0, 7) + "success: Created\n";
  EXPECT_EQ(copy(), std::nullopt);
  EXPECT_EQ(moved, 7);
  EXPECT_EQ(asked.target, "/data/a%20b");
  EXPECT_EQ(*asked.headers.find("Source"), "https://other/x%20y");
  EXPECT_EQ(*asked.headers.find("Credential"), "none");
  EXPECT_EQ(*asked.headers.find("Authorization"), "Bearer mine");
  EXPECT_EQ(*asked.headers.find("TransferHeaderAuthorization"), "Bearer theirs");
}

TEST_F(CopyByHttp, ARefusalHasItsReasonAndAnUnknownEndIsAnError) {
  body = marker(0, 7) + "failure: no route\n";
  EXPECT_EQ(copy(), "no route");
  body = marker(0, 7);
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::unavailable);  // it may still be at work
  status = 201;
  body = "";
  EXPECT_EQ(copy(), std::nullopt);
  status = 403;
  EXPECT_TRUE(copy());
  status = 405;
  EXPECT_TRUE(copy());
  status = 503;
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::unavailable);
}

TEST(UrlPath, KeepsTheSlashes) {
  EXPECT_EQ(url_path("/experiments/2026-1-A-1/a b/\xC3\xA4?"), "/experiments/2026-1-A-1/a%20b/%C3%A4%3F");
  EXPECT_EQ(url_path(""), "");
}
}  // namespace
}  // namespace farfield::services::transfer
