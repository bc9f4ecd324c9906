#pragma once
// Places by name: the agents that have registered at this service and the XRootD servers that it was told of, how a
// transfer reaches them, and in whose name.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/services/auth/issuer.hpp"
#include "farfield/services/transfer/tasks.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::transfer {

enum class PlaceKind { agent, xrootd };
std::string_view name_of(PlaceKind kind);

struct PlaceRecord {
  std::string name;         ///< "beamline"
  std::string url;          ///< "https://dtn1.example.org:8444", "roots://xrootd.example.org:1094"
  std::string certificate;  ///< PEM, whom to trust (of XRootD: over https); empty: the system's authorities
  std::string owner;        ///< who registered it: "service:beamline"
  std::int64_t registered_s = 0, seen_s = 0;  ///< since 1970-01-01 UTC
  PlaceKind kind = PlaceKind::agent;
  std::string folder{};     ///< of XRootD: folder/ID is exported for each experiment, "/experiments"
  std::string audience{};   ///< of XRootD: of tokens for it; empty, and of agents: the URL
  std::string https{};      ///< of XRootD: "https://xrootd.example.org:1094", for third-party copies; empty: none
};

/// Thread-safe.
class Places {
public:
  /// Makes its tables where needed.
  Places(store::Database& database, auth::UnixClock clock);

  /// Registers a place, or tells that it is there again, perhaps elsewhere. Throws `invalid_argument` for a name, a
  /// URL that is no https (roots) origin, what is no certificate or no folder; `conflict` where the name or the URL is
  /// somebody else's.
  PlaceRecord put(const PlaceRecord& place);
  std::optional<PlaceRecord> find(const std::string& name) const;
  /// In the order of their names.
  std::vector<PlaceRecord> list() const;
  /// False: there was none.
  bool remove(const std::string& name);
  /// For auth::IssuerOptions::also_audience.
  bool is_audience(const std::string& url) const;

private:
  store::Database& database_;
  auth::UnixClock clock_;
};

/// A side of a task, as it is written: "beamline/2026-1-Garcia-1234".
struct PlaceName {
  std::string place, experiment;
};
/// Throws `invalid_argument`.
PlaceName parse_place_name(const std::string& text);

/// The scopes that a task needs at its places: "read:/experiments/A write:/experiments/B read:/experiments/B". What is
/// there already is read, too.
std::string needed_scope(const TaskRequest& request);

/// Providers for Tasks. What they do is done with short tokens from the task's grant, each for one place, one
/// experiment and no more than this side needs; they are made anew before they end, for as long as the grant lives.
/// Throws what parse_place_name() throws, `not_found` for an unknown place, and what Issuer::mint throws: a task whose
/// grant was revoked fails. Both outlive the result.
Tasks::Resolve place_resolver(Places& places, auth::Issuer& issuer);

}  // namespace farfield::services::transfer
