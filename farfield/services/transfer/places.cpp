#include "farfield/services/transfer/places.hpp"

#include <fmt/format.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "farfield/net/url.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/root.hpp"
#include "farfield/services/transfer/xrootd/xrootd.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using store::Transaction;

namespace {

const std::vector<store::Migration> kTables{{1, "places", R"(
CREATE TABLE transfer_place (
  name TEXT PRIMARY KEY, url TEXT UNIQUE NOT NULL, certificate TEXT NOT NULL, owner TEXT NOT NULL,
  registered_s {int64} NOT NULL, seen_s {int64} NOT NULL);
)"},
                                            {2, "xrootd", R"(
ALTER TABLE transfer_place ADD COLUMN kind TEXT NOT NULL DEFAULT 'agent';
ALTER TABLE transfer_place ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE transfer_place ADD COLUMN audience TEXT NOT NULL DEFAULT '';
)"},
                                            {3, "https", R"(
ALTER TABLE transfer_place ADD COLUMN https TEXT NOT NULL DEFAULT '';
)"}};

constexpr const char* kColumns = "name, url, certificate, owner, registered_s, seen_s, kind, folder, audience, https";
constexpr std::size_t kLongestCertificate = 64 << 10;

PlaceRecord record_from(const store::Rows::Row& row) {
  return {row.text(0),
          row.text(1),
          row.text(2),
          row.text(3),
          row.integer(4),
          row.integer(5),
          row.text(6) == name_of(PlaceKind::xrootd) ? PlaceKind::xrootd : PlaceKind::agent,
          row.text(7),
          row.text(8),
          row.text(9)};
}

void check_certificate(const PlaceRecord& place) {
  if (place.certificate.size() > kLongestCertificate)
    throw Error(ErrorCode::invalid_argument, fmt::format("the certificate of {} has {} bytes; at most {}", place.name,
                                                         place.certificate.size(), kLongestCertificate));
  if (place.certificate.empty()) return;
  try {
    // Connects to nobody yet.
    const net::Client check(place.https.empty() ? place.url : place.https, {.trust = {.pem = place.certificate}});
  } catch (const Error&) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the certificate of {} is no certificate", place.name));
  }
}

void check_https(const std::string& text, const PlaceRecord& place) {
  const auto url = net::parse_url(text);
  if (!url || !url->secure || url->origin() != text)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the URL {:?} of place {} must be an origin like https://dtn1.example.org:8444",
                            text.substr(0, 200), place.name));
}

/// roots://, because tokens travel with the requests.
void check_xrootd(const PlaceRecord& place) {
  constexpr std::string_view kScheme = "roots://";
  const std::string host = place.url.starts_with(kScheme) ? place.url.substr(kScheme.size()) : std::string();
  const auto url = net::parse_url("https://" + host);
  if (host.empty() || !url || url->origin() != "https://" + host)
    throw Error(ErrorCode::invalid_argument, fmt::format("the URL {:?} of place {} must be like roots://HOST:PORT",
                                                         place.url.substr(0, 200), place.name));
  if (!place.folder.starts_with('/') || place.folder == "/" || checked_path(place.folder.substr(1)).empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the folder {:?} of place {} must be like /experiments", place.folder, place.name));
  if (!place.https.empty()) check_https(place.https, place);
  else if (!place.certificate.empty())
    throw Error(ErrorCode::invalid_argument,
                "XRootD trusts by X509_CERT_DIR; the certificate of a place is for its https origin, which is missing");
  check_certificate(place);
}

void check(const PlaceRecord& place) {
  auth::check_name("place", place.name);
  if (place.audience.size() > 200) throw Error(ErrorCode::invalid_argument, "an audience of more than 200 bytes");
  if (place.kind == PlaceKind::xrootd) return check_xrootd(place);
  if (!place.folder.empty() || !place.audience.empty() || !place.https.empty())
    throw Error(ErrorCode::invalid_argument, "folder, audience and https are for XRootD");
  check_https(place.url, place);
  check_certificate(place);
}

/// Tokens for one side of a task, each until shortly before its end.
class TokenSource {
public:
  TokenSource(auth::Issuer& issuer, std::string grant, std::string scope, std::string audience)
      : issuer_(issuer), grant_(std::move(grant)), scope_(std::move(scope)), audience_(std::move(audience)) {}

  std::string token() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (token_.empty() || now >= good_until_) {
      token_ = issuer_.mint(grant_, scope_, audience_);
      good_until_ = now + std::chrono::seconds(issuer_.options().access_life_s) / 2;
    }
    return token_;
  }

private:
  using Clock = std::chrono::steady_clock;
  auth::Issuer& issuer_;
  const std::string grant_, scope_, audience_;
  std::mutex mutex_;
  std::string token_;
  Clock::time_point good_until_;
};

std::string read_scope(const std::string& experiment) { return "read:/experiments/" + experiment; }
std::string write_scope(const std::string& experiment) {
  return fmt::format("read:/experiments/{0} write:/experiments/{0}", experiment);
}

}  // namespace

std::string_view name_of(PlaceKind kind) { return kind == PlaceKind::xrootd ? "xrootd" : "agent"; }

Places::Places(store::Database& database, auth::UnixClock clock) : database_(database), clock_(std::move(clock)) {
  database_.migrate("transfer_places", kTables);
}

PlaceRecord Places::put(const PlaceRecord& place) {
  check(place);
  const std::int64_t now_s = clock_();
  return database_.write([&](Transaction& t) {
    for (const auto row :
         t.query("SELECT name, owner FROM transfer_place WHERE name = ? OR url = ?", place.name, place.url))
      if (row.text(1) != place.owner || row.text(0) != place.name)
        throw Error(ErrorCode::conflict,
                    fmt::format("the place {} at {} was registered by {}", row.text(0), place.url, row.text(1)));
    t.execute(
        "INSERT INTO transfer_place (name, url, certificate, owner, registered_s, seen_s, kind, folder, audience, "
        "https) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET url = excluded.url, certificate = excluded.certificate, "
        "seen_s = excluded.seen_s, kind = excluded.kind, folder = excluded.folder, audience = excluded.audience, "
        "https = excluded.https",
        place.name, place.url, place.certificate, place.owner, now_s, now_s, name_of(place.kind), place.folder,
        place.audience, place.https);
    return record_from(t.query(fmt::format("SELECT {} FROM transfer_place WHERE name = ?", kColumns), place.name)[0]);
  });
}

std::optional<PlaceRecord> Places::find(const std::string& name) const {
  const auto rows = database_.query(fmt::format("SELECT {} FROM transfer_place WHERE name = ?", kColumns), name);
  return rows.empty() ? std::nullopt : std::optional(record_from(rows[0]));
}

std::vector<PlaceRecord> Places::list() const {
  std::vector<PlaceRecord> all;
  for (const auto row : database_.query(fmt::format("SELECT {} FROM transfer_place ORDER BY name", kColumns)))
    all.push_back(record_from(row));
  return all;
}

bool Places::remove(const std::string& name) {
  return database_.write(
      [&](Transaction& t) { return t.execute("DELETE FROM transfer_place WHERE name = ?", name) == 1; });
}

bool Places::is_audience(const std::string& url) const {
  return !url.empty() &&
         !database_.query("SELECT 1 FROM transfer_place WHERE url = ? OR audience = ?", url, url).empty();
}

PlaceName parse_place_name(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos || !auth::valid_experiment(std::string_view(text).substr(slash + 1)))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{:?} must be PLACE/EXPERIMENT, like beamline/2026-1-Garcia-1234", text.substr(0, 200)));
  PlaceName name{text.substr(0, slash), text.substr(slash + 1)};
  auth::check_name("place", name.place);
  return name;
}

std::string needed_scope(const TaskRequest& request) {
  return read_scope(parse_place_name(request.source).experiment) + " " +
         write_scope(parse_place_name(request.destination).experiment);
}

Tasks::Resolve place_resolver(Places& places, auth::Issuer& issuer) {
  return [&places, &issuer](const std::string& place, const TaskRequest& request) -> std::shared_ptr<Provider> {
    const PlaceName name = parse_place_name(place);
    const auto record = places.find(name.place);
    if (!record) throw Error(ErrorCode::not_found, fmt::format("there is no place {}", name.place));
    const bool written = place == request.destination;
    const auto tokens = std::make_shared<TokenSource>(
        issuer, request.grant, written ? write_scope(name.experiment) : read_scope(name.experiment),
        record->audience.empty() ? record->url : record->audience);
    (void)tokens->token();  // a task without a right to it fails at once, not file by file
    if (record->kind == PlaceKind::xrootd)
      return xrootd_provider({record->url,
                              record->folder + "/" + name.experiment,
                              [tokens] { return tokens->token(); },
                              record->https,
                              {.trust = {.pem = record->certificate}}});
    AgentPlace agent{record->url, name.experiment, [tokens] { return tokens->token(); }, {}};
    agent.client.trust.pem = record->certificate;
    return agent_provider(std::move(agent));
  };
}

}  // namespace farfield::services::transfer
