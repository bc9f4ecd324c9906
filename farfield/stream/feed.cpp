#include "farfield/stream/feed.hpp"

namespace farfield::stream {

Endpoint parse_endpoint(const std::string& text) {
  if (text.starts_with('@')) return {text.substr(1), true};
  return {text, false};
}

namespace {
net::ZmqSocket open(net::ZmqKind kind, const std::string& text, net::ZmqOptions options) {
  const auto endpoint = parse_endpoint(text);
  options.bind = endpoint.bind;
  return {kind, endpoint.address, options};
}
}  // namespace

SocketFeed::SocketFeed(net::ZmqKind kind, const std::string& endpoint, net::ZmqOptions options)
    : socket_(open(kind, endpoint, std::move(options))) {}

FeedOutcome SocketFeed::receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) {
  auto taken = std::make_shared<net::ZmqMessage>();
  switch (socket_.receive(*taken, limit, std::move(stop))) {
    case net::ZmqOutcome::timeout: return FeedOutcome::timeout;
    case net::ZmqOutcome::stopped: return FeedOutcome::stopped;
    case net::ZmqOutcome::done: break;
  }
  message.parts = taken->parts();
  message.owner = std::move(taken);
  return FeedOutcome::message;
}

FeedOutcome MemoryFeed::receive(Envelope& message, std::chrono::milliseconds /*limit*/, std::stop_token stop) {
  if (stop.stop_requested()) return FeedOutcome::stopped;
  if (next_ == messages_.size()) return FeedOutcome::ended;
  message.parts.assign(messages_[next_].begin(), messages_[next_].end());
  message.owner = std::make_shared<int>(0);  // the feed itself owns the bytes
  ++next_;
  return FeedOutcome::message;
}

}  // namespace farfield::stream
