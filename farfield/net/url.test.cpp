#include "farfield/net/url.hpp"

#include <gtest/gtest.h>

#include "farfield/net/headers.hpp"

namespace farfield::net {
namespace {
using core::ErrorCode;

TEST(Url, PartsAndBack) {
  const auto url = parse_url("https://beam.example:8443/api/v1?x=1");
  ASSERT_TRUE(url);
  EXPECT_TRUE(url->secure);
  EXPECT_EQ(url->host, "beam.example");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->target, "/api/v1?x=1");
  EXPECT_EQ(url->origin(), "https://beam.example:8443");
  EXPECT_EQ(parse_url("http://a")->origin(), "http://a");
  EXPECT_EQ(parse_url("ws://a")->port, 80);
  EXPECT_EQ(parse_url("WSS://a?q=1")->target, "/?q=1");
  EXPECT_EQ(parse_url("wss://[::1]:9/x")->host, "::1");
  EXPECT_EQ(parse_url("wss://[::1]:9/x")->authority(), "[::1]:9");
}

TEST(Url, RefusesWhatIsNoUrlOfOurs) {
  for (const auto* text : {"", "beam.example", "ftp://a/", "http://", "http://a:0/", "http://a:65536/", "http://a:x/",
                           "http://user@a/", "http://a/#part", "http://a/ b", "http://a/\r\nX: y", "http://[::1/"})
    EXPECT_EQ(parse_url(text).error().code(), ErrorCode::invalid_argument) << text;
}

TEST(Url, PercentCodingIsItsOwnInverse) {
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  const std::string coded = percent_encode(every);
  EXPECT_EQ(coded.find_first_of("/?#&=+ \n"), std::string::npos);
  EXPECT_EQ(percent_decode(coded), every);
  EXPECT_EQ(percent_decode("a+b%2b"), "a+b+");
  EXPECT_EQ(percent_decode("a+b%2B", true), "a b+");
  for (const auto* bad : {"%", "%4", "%zz", "a%"}) EXPECT_EQ(percent_decode(bad), std::nullopt) << bad;
}

TEST(Url, QueriesAreReadAndWritten) {
  const QueryFields fields{{"name", "scan 100&x=y"}, {"empty", ""}, {"ü", "%"}};
  EXPECT_EQ(parse_query(format_query(fields)).value(), fields);
  EXPECT_EQ(parse_query("a&b=1&&c=2=3").value(), (QueryFields{{"a", ""}, {"b", "1"}, {"c", "2=3"}}));
  EXPECT_FALSE(parse_query("a=%"));
  std::string many;
  for (int i = 0; i < 1001; ++i) many += "a&";
  EXPECT_FALSE(parse_query(many));
}

TEST(Url, TargetsAreSplitAndDecoded) {
  EXPECT_EQ(parse_target("/")->segments, std::vector<std::string>{});
  EXPECT_EQ(parse_target("/a%20b/c")->segments, (std::vector<std::string>{"a b", "c"}));
  EXPECT_EQ(parse_target("/a/")->segments, (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(parse_target("/a?b=c/d")->query, (QueryFields{{"b", "c/d"}}));
}

TEST(Url, TargetsThatLeadElsewhereAreRefused) {
  for (const auto* text :
       {"", "a", "*", "/a/../b", "/..", "/%2e%2e/x", "/.%2E", "/a/./b", "/a%2fb", "/a%00b", "/%", "/a?b=%x"})
    EXPECT_EQ(parse_target(text).error().code(), ErrorCode::invalid_argument) << text;
  EXPECT_EQ(parse_target("/...")->segments.front(), "...");  // a name like any other
}

TEST(Headers, FindIgnoresCaseAndSetReplaces) {
  Headers headers{{"Accept", "a"}, {"accept", "b"}};
  EXPECT_EQ(*headers.find("ACCEPT"), "a");
  EXPECT_EQ(headers.count("Accept"), 2);
  headers.set("aCCept", "c");
  EXPECT_EQ(headers.size(), 1U);
  EXPECT_EQ(*headers.find("accept"), "c");
  EXPECT_EQ(headers.find("Host"), nullptr);
}

TEST(Headers, TokensOfLists) {
  const Headers headers{{"Connection", "keep-alive, Upgrade"}, {"Connection", "x"}};
  EXPECT_TRUE(headers.has_token("connection", "upgrade"));
  EXPECT_TRUE(headers.has_token("connection", "X"));
  EXPECT_FALSE(headers.has_token("connection", "keep"));
}

TEST(Headers, NothingCanBeInjected) {
  Headers headers;
  for (const auto* value : {"a\r\nSet-Cookie: x", "a\nb", "a\rb", "\x01", "\x7f"})
    EXPECT_THROW(headers.add("X", value), core::Error) << value;
  EXPECT_THROW(headers.add("X", std::string("a\0b", 3)), core::Error);
  for (const auto* name : {"", "a b", "a:", "a\n", "\xc3\xbc"})
    EXPECT_THROW(headers.set(name, "v"), core::Error) << name;
  EXPECT_EQ(headers.size(), 0U);
}

TEST(Headers, NumbersAreDigitsOnly) {
  EXPECT_EQ(parse_number("1234567890123456789"), 1234567890123456789U);
  for (const auto* text : {"", "-1", "+1", " 1", "1a", "0x1", "12345678901234567890"})
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
}

}  // namespace
}  // namespace farfield::net
