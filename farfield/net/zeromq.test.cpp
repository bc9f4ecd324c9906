#include "farfield/net/zeromq.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace farfield::net {
namespace {

using namespace std::chrono_literals;
using core::Error;
using core::ErrorCode;

constexpr auto kLong = 20s;  // far more than anything here takes

ZmqPart part(const std::string& text) { return {std::as_bytes(std::span(text))}; }
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ZeroMq, PartsArriveAsSent) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true});
  ZmqSocket push(ZmqKind::push, pull.endpoint());
  const std::string small = "small", empty, large(1 << 20, 'x');
  const ZmqPart parts[] = {part(small), part(empty), part(large)};
  ASSERT_EQ(push.send(parts, kLong), ZmqOutcome::done);
  ZmqMessage message;
  ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done);
  ASSERT_EQ(message.parts().size(), 3U);
  EXPECT_EQ(text(message.parts()[0]), small);
  EXPECT_EQ(text(message.parts()[1]), empty);
  EXPECT_EQ(text(message.parts()[2]), large);
  EXPECT_EQ(message.bytes(), 5 + (1 << 20));
  // Moved, the bytes are still where the parts say.
  const ZmqMessage moved = std::move(message);
  EXPECT_EQ(text(moved.parts()[0]), small);
}

TEST(ZeroMq, AnOwnerLivesUntilItsBytesAreSent) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true});
  ZmqSocket push(ZmqKind::push, pull.endpoint());
  auto owner = std::make_shared<std::string>(1 << 16, 'a');
  const std::weak_ptr<std::string> watch = owner;
  {
    const ZmqPart shared{std::as_bytes(std::span(*owner)), std::move(owner)};
    ASSERT_EQ(push.send(std::span(&shared, 1), kLong), ZmqOutcome::done);
  }
  ZmqMessage message;
  ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done);
  EXPECT_EQ(text(message.parts()[0]), std::string(1 << 16, 'a'));
  for (int i = 0; i < 1000 && !watch.expired(); ++i) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(watch.expired()) << "let go once it is sent";
}

TEST(ZeroMq, WaitingEnds) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true});
  ZmqMessage message;
  EXPECT_EQ(pull.receive(message, 0ms), ZmqOutcome::timeout);
  EXPECT_EQ(pull.receive(message, 10ms), ZmqOutcome::timeout);

  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_EQ(pull.receive(message, kLong, stop.get_token()), ZmqOutcome::stopped);
  EXPECT_EQ(pull.receive(message, kLong, stop.get_token()), ZmqOutcome::stopped) << "requested before";

  ZmqSocket push(ZmqKind::push, "tcp://127.0.0.1:1", {.linger = 0ms});  // nobody listens there
  const std::string one = "1";
  const ZmqPart parts[] = {part(one)};
  EXPECT_EQ(push.send(parts, 10ms), ZmqOutcome::timeout);
  EXPECT_EQ(push.send(parts, kLong, stop.get_token()), ZmqOutcome::stopped);
}

TEST(ZeroMq, ASenderWaitsForASlowReceiver) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true, .high_water_mark = 2});
  ZmqSocket push(ZmqKind::push, pull.endpoint(), {.high_water_mark = 2, .linger = 0ms});
  const std::string large(1 << 22, 'x');
  const ZmqPart parts[] = {part(large)};
  // What fits: the marks of both ends and the buffers of the system in between, which no limit here would reach.
  int sent = 0;
  while (sent < 100 && push.send(parts, 200ms) == ZmqOutcome::done) ++sent;
  EXPECT_GE(sent, 2);
  EXPECT_LT(sent, 100);
  ZmqMessage message;
  for (int i = 0; i < sent; ++i) ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done) << i;
  EXPECT_EQ(push.send(parts, kLong), ZmqOutcome::done) << "there is room again";
}

TEST(ZeroMq, SubscribersGetTheirTopic) {
  ZmqSocket pub(ZmqKind::pub, "tcp://127.0.0.1:*", {.bind = true});
  ZmqSocket sub(ZmqKind::sub, pub.endpoint(), {.topic = "motor"});
  const std::string other = "other", mine = "motor 1";
  ZmqMessage message;
  ZmqOutcome outcome = ZmqOutcome::timeout;
  for (int i = 0; i < 500 && outcome != ZmqOutcome::done; ++i) {  // a subscription takes a moment to arrive
    const ZmqPart first[] = {part(other)}, second[] = {part(mine)};
    (void)pub.send(first, 0ms);
    (void)pub.send(second, 0ms);
    outcome = sub.receive(message, 20ms);
  }
  ASSERT_EQ(outcome, ZmqOutcome::done);
  EXPECT_EQ(text(message.parts()[0]), mine);
}

TEST(ZeroMq, TooManyPartsAreAnErrorAndTheNextMessageArrives) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true, .parts = 3});
  ZmqSocket push(ZmqKind::push, pull.endpoint());
  const std::string one = "1";
  const std::vector<ZmqPart> many(10, part(one)), good(3, part(one));
  ASSERT_EQ(push.send(many, kLong), ZmqOutcome::done);
  ASSERT_EQ(push.send(good, kLong), ZmqOutcome::done);
  ZmqMessage message;
  try {
    (void)pull.receive(message, kLong);
    ADD_FAILURE() << "ten parts were taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt_data);
  }
  EXPECT_TRUE(message.parts().empty());
  ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done);
  EXPECT_EQ(message.parts().size(), 3U);
}

TEST(ZeroMq, APartOverTheLimitEndsTheConnectionOnly) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true, .part_bytes = 1000});
  const std::string large(1001, 'x'), small = "small";
  const ZmqPart too_large[] = {part(large)}, fits[] = {part(small)};
  {
    ZmqSocket push(ZmqKind::push, pull.endpoint());
    ASSERT_EQ(push.send(too_large, kLong), ZmqOutcome::done);
    ZmqMessage message;
    EXPECT_EQ(pull.receive(message, 100ms), ZmqOutcome::timeout);
  }
  ZmqSocket push(ZmqKind::push, pull.endpoint());
  ASSERT_EQ(push.send(fits, kLong), ZmqOutcome::done);
  ZmqMessage message;
  ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done);
  EXPECT_EQ(text(message.parts()[0]), small);
}

TEST(ZeroMq, ConnectionsAreCounted) {
  ZmqSocket pull(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true});
  const std::string one = "1";
  const ZmqPart parts[] = {part(one)};
  ZmqMessage message;
  {
    ZmqSocket push(ZmqKind::push, pull.endpoint());
    ASSERT_EQ(push.send(parts, kLong), ZmqOutcome::done);
    ASSERT_EQ(pull.receive(message, kLong), ZmqOutcome::done);
    ZmqPeers peers;
    for (int i = 0; i < 1000 && peers.connected == 0; ++i) {
      std::this_thread::sleep_for(5ms);
      peers = pull.peers();
    }
    EXPECT_EQ(peers.connected, 1);
    EXPECT_EQ(peers.connections, 1);
  }
  ZmqPeers peers = pull.peers();
  for (int i = 0; i < 1000 && peers.lost == 0; ++i) {
    std::this_thread::sleep_for(5ms);
    peers = pull.peers();
  }
  EXPECT_EQ(peers.connected, 0);
  EXPECT_EQ(peers.lost, 1);
}

TEST(ZeroMq, WrongEndpointsAreRefused) {
  const auto code = [](const std::string& endpoint, bool bind) {
    try {
      const ZmqSocket socket(ZmqKind::pull, endpoint, {.bind = bind});
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code("nonsense", false), ErrorCode::invalid_argument);
  EXPECT_EQ(code("carrier-pigeon://here", false), ErrorCode::invalid_argument);
  const ZmqSocket first(ZmqKind::pull, "tcp://127.0.0.1:*", {.bind = true});
  EXPECT_EQ(code(first.endpoint(), true), ErrorCode::conflict);
}

}  // namespace
}  // namespace farfield::net
