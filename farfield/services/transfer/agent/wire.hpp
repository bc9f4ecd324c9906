#pragma once
// What agents and those who use them say to each other, as JSON. Both sides take it from the network: whatever is not
// as it must be is an error.

#include <nlohmann/json.hpp>

#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer::wire {

using nlohmann::json;

json to_json(const Version& version);
json to_json(const Entry& entry);
json to_json(const Listing& listing);
json to_json(const Digests& digests);
json to_json(const Held& held);
json to_json(const core::Error& error);

/// Throw `corrupt_data` with the name of what is missing or of the wrong kind.
json parse(std::string_view text);
const json& member(const json& object, const char* name);
/// Each from `least` to `most`, and no more of them than there are such numbers.
std::vector<Index> integers(const json& object, const char* name, Index least, Index most);
Index integer(const json& object, const char* name, Index least, Index most);
std::string text(const json& object, const char* name);
bool truth(const json& object, const char* name);
Version version(const json& object);
Entry entry(const json& object);
Listing listing(const json& object);
Digests digests(const json& object);
Held held(const json& object);
/// The error that a peer reports in the body of its response.
core::Error error(std::string_view body, int status);

/// Where another agent is to fetch from.
struct Remote {
  std::string origin, experiment, path, token, certificate;
};
json to_json(const Remote& remote);
Remote remote(const json& object);

/// The entity tag of a file in this version, quoted.
std::string etag(const Version& version);

inline constexpr const char* kChecksumHeader = "X-Farfield-CRC32C";
inline constexpr Index kLongestChunk = Index{64} << 20;

}  // namespace farfield::services::transfer::wire
