#pragma once
// Requests and responses in JSON. Only .cpp files include it.

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "farfield/net/message.hpp"

namespace farfield::services::auth {

inline net::Response json_response(const nlohmann::json& value, int status = 200) {
  // What came from outside may hold bytes that are no UTF-8.
  auto response = net::Response::of(status, "application/json",
                                    value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  response.headers.add("Cache-Control", "no-store");
  return response;
}

/// The body as a JSON object that holds nothing but `allowed` keys. Throws `invalid_argument`.
inline nlohmann::json json_body(const net::Request& request, std::initializer_list<std::string_view> allowed) {
  auto body = nlohmann::json::parse(request.body, nullptr, false);
  if (!body.is_object()) throw core::Error(core::ErrorCode::invalid_argument, "the body must be a JSON object");
  for (const auto& [key, value] : body.items())
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      throw core::Error(core::ErrorCode::invalid_argument,
                        fmt::format("unknown field {:?}; allowed: {}", key, fmt::join(allowed, ", ")));
  return body;
}

inline std::string json_text(const nlohmann::json& body, const char* name) {
  const auto it = body.find(name);
  if (it == body.end() || !it->is_string())
    throw core::Error(core::ErrorCode::invalid_argument, fmt::format("field {:?} must be a string", name));
  return it->get<std::string>();
}

}  // namespace farfield::services::auth
