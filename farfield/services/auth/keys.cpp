#include "farfield/services/auth/keys.hpp"

#include <cjose/cjose.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/net/tls.hpp"
#include "farfield/services/auth/secret.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kLongestToken = 16 << 10;
constexpr const char* kAlgorithm = "ES256";

struct Release {
  void operator()(cjose_jwk_t* p) const { cjose_jwk_release(p); }
  void operator()(cjose_jws_t* p) const { cjose_jws_release(p); }
  void operator()(cjose_header_t* p) const { cjose_header_release(p); }
  void operator()(char* p) const { std::free(p); }
};
using Jwk = std::unique_ptr<cjose_jwk_t, Release>;
using Jws = std::unique_ptr<cjose_jws_t, Release>;
using Header = std::unique_ptr<cjose_header_t, Release>;
using Text = std::unique_ptr<char, Release>;

[[noreturn]] void fail(std::string_view what, const cjose_err& error) {
  throw Error(ErrorCode::internal, fmt::format("cannot {}: {}", what, error.message == nullptr ? "" : error.message));
}

json public_json(const Jwk& key) {
  cjose_err error{};
  const Text text(cjose_jwk_to_json(key.get(), false, &error));
  if (!text) fail("write a public key", error);
  json out = json::parse(text.get());
  out["use"] = "sig";
  out["alg"] = kAlgorithm;
  return out;
}

void write_private(const fs::path& path, std::string_view text) {
  std::string temporary = path.string() + ".XXXXXX.tmp";
  const int descriptor = ::mkostemps(temporary.data(), 4, O_CLOEXEC);  // mode 0600
  const bool written = descriptor >= 0 &&
                       ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(descriptor) == 0 && ::rename(temporary.c_str(), path.c_str()) == 0;
  const int number = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (written) return;
  if (descriptor >= 0) ::unlink(temporary.c_str());
  throw core::system_error(number, "cannot write the key " + path.string());
}
}  // namespace

std::int64_t system_unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

struct KeyRing::State {
  struct Key {
    std::string kid;
    std::int64_t made_s;
    Jwk key;
    json published;
  };
  fs::path folder;
  UnixClock clock;
  KeyRules rules;
  mutable std::mutex mutex;
  std::vector<Key> keys;  // oldest first

  fs::path file(const Key& key) const { return folder / fmt::format("{}-{}.jwk", key.made_s, key.kid); }

  void load(const fs::path& path) {
    net::check_private(path);
    std::ifstream stream(path);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const auto dash = path.stem().string().find('-');
    cjose_err error{};
    Jwk key(cjose_jwk_import(text.data(), text.size(), &error));
    const char* kid = key ? cjose_jwk_get_kid(key.get(), &error) : nullptr;
    const auto made_s = std::strtoll(path.stem().c_str(), nullptr, 10);
    if (kid == nullptr || dash == std::string::npos || made_s <= 0 ||
        cjose_jwk_get_kty(key.get(), &error) != CJOSE_JWK_KTY_EC)
      throw Error(ErrorCode::corrupt_data, fmt::format("{} is no signing key", path.string()));
    json published = public_json(key);
    keys.push_back({kid, made_s, std::move(key), std::move(published)});
  }

  void make() {
    cjose_err error{};
    Key made{random_hex(8), clock(), Jwk(cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &error)), {}};
    if (!made.key || !cjose_jwk_set_kid(made.key.get(), made.kid.data(), made.kid.size(), &error))
      fail("make a signing key", error);
    const Text text(cjose_jwk_to_json(made.key.get(), true, &error));
    if (!text) fail("write a signing key", error);
    write_private(file(made), text.get());
    made.published = public_json(made.key);
    core::log(core::LogLevel::info, "signing_key_made", {{"kid", made.kid}});
    keys.push_back(std::move(made));
  }

  /// The newest that was published long enough; before that, the oldest.
  const Key& signing() const {
    const std::int64_t now_s = clock();
    for (auto it = keys.rbegin(); it != keys.rend(); ++it)
      if (it->made_s + rules.publish_s <= now_s) return *it;
    return keys.front();
  }

  void drop_old() {
    // A key's last signature was made when its successor's turn came.
    while (keys.size() > 1 && keys[1].made_s + rules.publish_s + rules.keep_s <= clock()) {
      core::log(core::LogLevel::info, "signing_key_dropped", {{"kid", keys.front().kid}});
      std::error_code ignored;
      fs::remove(file(keys.front()), ignored);
      keys.erase(keys.begin());
    }
  }
};

KeyRing::KeyRing(fs::path folder, UnixClock clock, KeyRules rules) : state_(std::make_unique<State>()) {
  state_->folder = std::move(folder);
  state_->clock = std::move(clock);
  state_->rules = rules;
  std::error_code error;
  if (fs::create_directories(state_->folder, error); error)
    throw core::system_error(error.value(), "cannot make the folder " + state_->folder.string());
  struct stat status{};
  if (::stat(state_->folder.c_str(), &status) != 0)
    throw core::system_error(errno, "cannot read " + state_->folder.string());
  if (fs::is_empty(state_->folder) && ::chmod(state_->folder.c_str(), 0700) == 0) status.st_mode &= ~077U;
  if ((status.st_mode & 077) != 0)
    throw Error(ErrorCode::forbidden, fmt::format("the folder of the signing keys {} has mode {:04o}: it must be 0700",
                                                  state_->folder.string(), status.st_mode & 07777));
  for (const auto& entry : fs::directory_iterator(state_->folder))
    if (entry.path().extension() == ".jwk") state_->load(entry.path());
  std::sort(state_->keys.begin(), state_->keys.end(),
            [](const State::Key& a, const State::Key& b) { return a.made_s < b.made_s; });
  if (state_->keys.empty()) state_->make();
  state_->drop_old();
}
KeyRing::~KeyRing() = default;

std::string KeyRing::sign(std::string_view payload) const {
  cjose_err error{};
  const Header header(cjose_header_new(&error));
  const std::lock_guard lock(state_->mutex);
  const auto& key = state_->signing();
  const bool set = header && cjose_header_set(header.get(), CJOSE_HDR_ALG, kAlgorithm, &error) &&
                   cjose_header_set(header.get(), CJOSE_HDR_KID, key.kid.c_str(), &error) &&
                   cjose_header_set(header.get(), "typ", "JWT", &error);
  if (!set) fail("write a token header", error);
  const Jws jws(cjose_jws_sign(key.key.get(), header.get(), reinterpret_cast<const std::uint8_t*>(payload.data()),
                               payload.size(), &error));
  const char* compact = nullptr;
  if (!jws || !cjose_jws_export(jws.get(), &compact, &error)) fail("sign a token", error);
  return compact;
}

std::string KeyRing::jwks() const {
  const std::lock_guard lock(state_->mutex);
  json set{{"keys", json::array()}};
  for (const auto& key : state_->keys) set["keys"].push_back(key.published);
  return set.dump();
}

void KeyRing::rotate() {
  const std::lock_guard lock(state_->mutex);
  state_->make();
  state_->drop_old();
}

std::int64_t KeyRing::signing_since() const {
  const std::lock_guard lock(state_->mutex);
  return state_->signing().made_s;
}

struct PublicKeys::State {
  std::map<std::string, Jwk> keys;
};
PublicKeys::PublicKeys() : state_(std::make_unique<State>()) {}
PublicKeys::~PublicKeys() = default;
PublicKeys::PublicKeys(PublicKeys&&) noexcept = default;
PublicKeys& PublicKeys::operator=(PublicKeys&&) noexcept = default;

namespace {

/// cjose's decoder ends the process (an assertion) for a length that no base64url has.
bool is_base64url(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return !text.empty() && text.size() % 4 != 1 && text.find_first_not_of(kDigits) == std::string_view::npos;
}

/// header.payload.signature
bool is_compact(std::string_view token) {
  const std::size_t first = token.find('.');
  const std::size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  return second != std::string_view::npos && is_base64url(token.substr(0, first)) &&
         is_base64url(token.substr(first + 1, second - first - 1)) && is_base64url(token.substr(second + 1));
}

}  // namespace

core::Result<PublicKeys> PublicKeys::parse(std::string_view jwks) {
  const auto bad = [](std::string_view why) {
    return core::failure(ErrorCode::corrupt_data, fmt::format("the JSON Web Key Set {}", why));
  };
  const json set = json::parse(jwks, nullptr, false);
  if (!set.is_object() || !set.contains("keys") || !set["keys"].is_array()) return bad("is none");
  PublicKeys out;
  for (const auto& entry : set["keys"]) {
    // Other kinds of keys may stand beside ours (RFC 7517 section 5); a symmetric one must never be taken up.
    const auto is = [&](const char* key, const char* value) { return entry.contains(key) && entry[key] == value; };
    if (!entry.is_object() || !is("kty", "EC") || !is("crv", "P-256")) continue;
    if (entry.contains("alg") && !is("alg", kAlgorithm)) continue;
    if (entry.contains("use") && !is("use", "sig")) continue;
    if (!entry.contains("kid") || !entry["kid"].is_string()) return bad("has a key without an id");
    for (const char* coordinate : {"x", "y"})
      if (!entry.contains(coordinate) || !entry[coordinate].is_string() ||
          !is_base64url(entry[coordinate].get_ref<const std::string&>()))
        return bad("has a key without a point");
    json wanted = entry;
    wanted.erase("d");
    const std::string text = wanted.dump();
    Jwk key(cjose_jwk_import(text.data(), text.size(), nullptr));
    if (!key) return bad("has a key that is no point of P-256");
    out.state_->keys[entry["kid"].get<std::string>()] = std::move(key);
  }
  return out;
}

bool PublicKeys::contains(const std::string& kid) const { return state_->keys.contains(kid); }
std::size_t PublicKeys::size() const { return state_->keys.size(); }

core::Result<std::string> PublicKeys::open(std::string_view compact) const {
  const auto refuse = [](std::string why) { return core::failure(ErrorCode::unauthenticated, std::move(why)); };
  if (compact.size() > kLongestToken) return refuse("the token is too long");
  if (!is_compact(compact)) return refuse("the token is malformed");
  const Jws jws(cjose_jws_import(compact.data(), compact.size(), nullptr));
  if (!jws) return refuse("the token is malformed");
  cjose_header_t* header = cjose_jws_get_protected(jws.get());
  const char* algorithm = cjose_header_get(header, CJOSE_HDR_ALG, nullptr);
  const char* kid = cjose_header_get(header, CJOSE_HDR_KID, nullptr);
  // One algorithm, chosen here and not by who sends the token; keys are ours, never those a header brings along.
  if (algorithm == nullptr || std::string_view(algorithm) != kAlgorithm)
    return refuse("the token is not signed by ES256");
  const Text critical(cjose_header_get_raw(header, "crit", nullptr));
  if (critical) return refuse("the token asks for extensions that are not known here");
  const auto key = kid == nullptr ? state_->keys.end() : state_->keys.find(kid);
  if (key == state_->keys.end()) return refuse("the token is signed by an unknown key");
  if (!cjose_jws_verify(jws.get(), key->second.get(), nullptr)) return refuse("the token's signature is wrong");
  std::uint8_t* payload = nullptr;
  std::size_t length = 0;
  if (!cjose_jws_get_plaintext(jws.get(), &payload, &length, nullptr)) return refuse("the token has no payload");
  return std::string(reinterpret_cast<const char*>(payload), length);
}

}  // namespace farfield::services::auth
