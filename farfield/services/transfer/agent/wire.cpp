#include "farfield/services/transfer/agent/wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "farfield/net/client.hpp"
#include "farfield/net/url.hpp"

namespace farfield::services::transfer::wire {

using core::Error;
using core::ErrorCode;

namespace {
constexpr Index kLargest = std::numeric_limits<Index>::max();
constexpr std::array<std::string_view, 4> kKinds{"file", "folder", "link", "other"};

[[noreturn]] void refuse(const char* name, const std::string& wanted) {
  throw Error(ErrorCode::corrupt_data, fmt::format("\"{}\" must be {}", name, wanted));
}
std::uint32_t checksum(const json& object, const char* name) {
  return static_cast<std::uint32_t>(integer(object, name, 0, std::numeric_limits<std::uint32_t>::max()));
}
const json& array(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_array()) refuse(name, "an array");
  return value;
}
}  // namespace

json to_json(const Version& v) { return {{"size_bytes", v.size_bytes}, {"mtime_ns", v.mtime_ns}, {"tag", v.tag}}; }

json to_json(const Entry& e) {
  return {{"name", e.name},
          {"kind", kKinds[static_cast<std::size_t>(e.kind)]},
          {"version", to_json(e.version)},
          {"mode", e.mode}};
}

json to_json(const Listing& listing) {
  json entries = json::array();
  for (const auto& entry : listing.entries) entries.push_back(to_json(entry));
  return {{"entries", std::move(entries)}, {"refused", listing.refused}};
}

json to_json(const Digests& d) { return {{"size_bytes", d.size_bytes}, {"crc32c", d.crc32c}, {"sha256", d.sha256}}; }

json to_json(const Held& held) {
  json chunks = json::array();
  for (const auto& [number, sum] : held.crc32c) chunks.push_back({{"number", number}, {"crc32c", sum}});
  return {{"version", to_json(held.version)}, {"chunks", std::move(chunks)}};
}

json to_json(const Error& e) {
  return {{"error", {{"code", core::traits(e.code()).name}, {"message", std::string(e.what())}}}};
}

const json& member(const json& object, const char* name) {
  if (!object.is_object()) throw Error(ErrorCode::corrupt_data, "a message must be a JSON object");
  const auto place = object.find(name);
  if (place == object.end()) refuse(name, "given");
  return *place;
}
json parse(std::string_view body) {
  json value = json::parse(body, nullptr, false);
  if (value.is_discarded()) throw Error(ErrorCode::corrupt_data, "a message is not JSON");
  return value;
}

Index integer(const json& object, const char* name, Index least, Index most) {
  const json& value = member(object, name);
  const bool too_large =
      value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargest);
  if (!value.is_number_integer() || too_large || value.get<Index>() < least || value.get<Index>() > most)
    refuse(name, fmt::format("a whole number from {} to {}", least, most));
  return value.get<Index>();
}

std::vector<Index> integers(const json& object, const char* name, Index least, Index most) {
  std::vector<Index> numbers;
  for (const json& one : array(object, name)) {
    const bool fits = one.is_number_integer() &&
                      !(one.is_number_unsigned() && one.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargest));
    if (!fits || one.get<Index>() < least || one.get<Index>() > most || std::ssize(numbers) > most - least)
      refuse(name, fmt::format("an array of different whole numbers from {} to {}", least, most));
    numbers.push_back(one.get<Index>());
  }
  return numbers;
}

std::string text(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_string()) refuse(name, "a string");
  return value.get<std::string>();
}

bool truth(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_boolean()) refuse(name, "true or false");
  return value.get<bool>();
}

Version version(const json& object) {
  return {integer(object, "size_bytes", 0, kLargest),
          integer(object, "mtime_ns", std::numeric_limits<Index>::min(), kLargest), text(object, "tag")};
}

Entry entry(const json& object) {
  const std::string kind = text(object, "kind");
  const auto place = std::find(kKinds.begin(), kKinds.end(), kind);
  if (place == kKinds.end()) refuse("kind", "file, folder, link or other");
  return {text(object, "name"), static_cast<EntryKind>(place - kKinds.begin()), version(member(object, "version")),
          static_cast<unsigned>(integer(object, "mode", 0, 0777))};
}

Listing listing(const json& object) {
  Listing listing;
  for (const json& one : array(object, "entries")) listing.entries.push_back(entry(one));
  for (const json& one : array(object, "refused")) {
    if (!one.is_string()) refuse("refused", "an array of strings");
    listing.refused.push_back(one.get<std::string>());
  }
  return listing;
}

Digests digests(const json& object) {
  return {integer(object, "size_bytes", 0, kLargest), checksum(object, "crc32c"), text(object, "sha256")};
}

Held held(const json& object) {
  Held held;
  held.version = version(member(object, "version"));
  for (const json& chunk : array(object, "chunks"))
    held.crc32c[integer(chunk, "number", 0, kLargest)] = checksum(chunk, "crc32c");
  return held;
}

json to_json(const Remote& r) {
  return {{"origin", r.origin},
          {"experiment", r.experiment},
          {"path", r.path},
          {"token", r.token},
          {"certificate", r.certificate}};
}

Remote remote(const json& object) {
  return {text(object, "origin"), text(object, "experiment"), text(object, "path"), text(object, "token"),
          text(object, "certificate")};
}

Error error(std::string_view body, int status) {
  const json value = json::parse(body, nullptr, false);
  if (value.is_object() && value.contains("error") && value["error"].is_object()) {
    const json& said = value["error"];
    const auto code = said.find("code"), message = said.find("message");
    if (code != said.end() && code->is_string() && message != said.end() && message->is_string())
      for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i)
        if (core::traits(static_cast<ErrorCode>(i)).name == code->get<std::string>())
          return {static_cast<ErrorCode>(i), message->get<std::string>()};
  }
  return net::status_error({status, {}, std::string(body.substr(0, 200))}, "the agent");
}

std::string etag(const Version& v) {
  return fmt::format("\"{}-{}-{}\"", v.size_bytes, v.mtime_ns, net::percent_encode(v.tag));
}

}  // namespace farfield::services::transfer::wire
