#pragma once
// Which handler answers a request. Patterns are paths with parameters: "/tasks/{id}/previews/{name}"; a last
// segment "{path...}" takes all that is left, joined by "/". Literal segments win over parameters.

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "farfield/net/message.hpp"
#include "farfield/net/websocket.hpp"

namespace farfield::net {

/// Handlers run on the server's handler threads, several at once, and may block. What they throw becomes the
/// response: a core::Error by its status, anything else 500.
using Handler = std::function<Response(const Request&)>;
/// Called when the header of an upload is there: may refuse by throwing.
using UploadHandler = std::function<std::unique_ptr<Upload>(const Request&)>;
/// Called before a WebSocket is accepted: may refuse by throwing. Then `open` is called with the connection.
struct WebSocketSession {
  WebSocket::Events events;
  std::function<void(std::shared_ptr<WebSocket>)> open{};
};
using WebSocketHandler = std::function<WebSocketSession(const Request&)>;

class Router {
public:
  /// Throws `invalid_argument` for a malformed pattern, and `conflict` for a method and pattern given twice.
  Router& add(std::string method, std::string pattern, Handler handler);
  Router& get(std::string pattern, Handler handler) { return add("GET", std::move(pattern), std::move(handler)); }
  Router& post(std::string pattern, Handler handler) { return add("POST", std::move(pattern), std::move(handler)); }
  Router& put(std::string pattern, Handler handler) { return add("PUT", std::move(pattern), std::move(handler)); }
  Router& del(std::string pattern, Handler handler) { return add("DELETE", std::move(pattern), std::move(handler)); }
  /// The body goes to the Upload that the handler makes, whatever its size.
  Router& upload(std::string method, std::string pattern, UploadHandler handler);
  Router& websocket(std::string pattern, WebSocketHandler handler);

  using Action = std::variant<Handler, UploadHandler, WebSocketHandler>;
  /// The action for `request`, whose `route` and `parameters` are filled in. HEAD finds the handler of GET. Null: no
  /// such path, or, where `allowed` is filled ("GET, POST"), not this method.
  const Action* find(Request& request, std::string& allowed) const;

  struct Route {
    std::string method, pattern;
    bool operator==(const Route&) const = default;
  };
  /// In the order in which they were added; WebSockets are "GET".
  std::vector<Route> routes() const;

private:
  struct Entry {
    std::string method, pattern;
    std::vector<std::string> segments;
    Action action;
  };
  void add_entry(std::string method, std::string pattern, Action action);
  std::vector<Entry> entries_;
};

}  // namespace farfield::net
