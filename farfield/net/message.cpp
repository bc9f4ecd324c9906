#include "farfield/net/message.hpp"

#include <utility>

#include "farfield/net/event_stream.hpp"

namespace farfield::net {

const std::string& Request::parameter(const std::string& name) const {
  const auto it = parameters.find(name);
  if (it == parameters.end())
    throw core::Error(core::ErrorCode::internal, "route " + route + " has no parameter " + name);
  return it->second;
}

const std::string* Request::query(std::string_view name) const {
  for (const auto& [key, value] : decoded.query)
    if (key == name) return &value;
  return nullptr;
}

Response Response::of(int status, std::string_view media_type, std::string body) {
  Response response;
  response.status = status;
  response.headers.add("Content-Type", std::string(media_type));
  response.body = std::move(body);
  return response;
}

Response Response::text(int status, std::string text) {
  return of(status, "text/plain; charset=utf-8", std::move(text));
}

Response Response::stream(std::string_view media_type, std::unique_ptr<BodySource> source,
                          std::optional<std::uint64_t> length) {
  Response response = of(200, media_type, {});
  response.source = std::move(source);
  response.length = length;
  return response;
}

Response Response::event_stream(std::shared_ptr<EventStream> events) {
  Response response = of(200, "text/event-stream", {});
  response.headers.add("Cache-Control", "no-store");
  response.events = std::move(events);
  return response;
}

Response plain_error(const core::Error& error) {
  return Response::text(core::traits(error.code()).http_status, std::string(error.what()) + "\n");
}

}  // namespace farfield::net
