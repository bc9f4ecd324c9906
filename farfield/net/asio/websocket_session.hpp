#pragma once
// Of this room only: WebSockets over connections that the server has accepted.

#include <boost/asio/thread_pool.hpp>
#include <functional>

#include "farfield/net/asio/stream.hpp"
#include "farfield/net/message.hpp"
#include "farfield/net/router.hpp"
#include "farfield/net/websocket.hpp"

namespace farfield::net {

/// Answers the upgrade `request` on `stream` and serves until the connection ends. Callbacks run on `pool`.
/// `accepted` gets the connection first.
awaitable<void> serve_websocket(Stream& stream, const Request& request, WebSocketSession session,
                                const WebSocketLimits& limits, asio::thread_pool& pool,
                                std::function<void(std::shared_ptr<WebSocket>)> accepted);

}  // namespace farfield::net
