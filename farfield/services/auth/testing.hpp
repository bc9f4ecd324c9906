#pragma once
// What the tests of this room share. Not part of its interface.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/services/auth/issuer.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::auth::testing {

inline constexpr const char* kIssuer = "https://farfield.test";
inline constexpr const char* kRedirect = "https://portal.test/callback";
inline const std::string kVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";  // RFC 7636, appendix B

/// Keeps every line that is logged.
struct LogKeeper final : core::LogSink {
  void write(core::LogLevel, std::string_view event, std::span<const core::LogField> fields) noexcept override {
    const std::lock_guard lock(mutex);
    text += std::string(event);
    for (const auto& field : fields) text += " " + std::string(field.key) + "=" + field.value;
    text += '\n';
  }
  std::string all() {
    const std::lock_guard lock(mutex);
    return text;
  }
  std::mutex mutex;
  std::string text;
};

/// An issuer with two users, a group, a service, and two experiments: Garcia owns "2026-1-Garcia-1", where Lee is a
/// viewer and the service "agent" a member; nobody of them is in "2026-1-Other-2".
class IssuerFixture {
public:
  explicit IssuerFixture(store::Database& database, const std::string& keys_folder,
                         std::function<bool(const std::string&)> also_audience = {})
      : directory(database, clock()),
        keys(keys_folder, clock()),
        issuer(directory, keys,
               {.issuer = kIssuer, .audiences = {"https://xrootd.test"}, .also_audience = std::move(also_audience)},
               clock()) {
    directory.add_user("garcia", "Garcia", std::nullopt);
    directory.add_user("lee", "Lee", std::nullopt);
    directory.add_user("other", "Other", std::nullopt, true);
    directory.set_public_client("cli", {});
    directory.set_public_client("portal", {kRedirect});
    secret = directory.add_service("agent", {"transfer.agent"});
    directory.create_experiment("2026-1-Garcia-1", "user:garcia");
    directory.set_role("2026-1-Garcia-1", "user:lee", Role::viewer);
    directory.set_role("2026-1-Garcia-1", "service:agent", Role::member);
    directory.create_experiment("2026-1-Other-2", "user:other");
  }
  UnixClock clock() {
    return [this] { return now_s; };
  }
  Tokens log_in(const std::string& user, const std::string& scope = "farfield") {
    const auto device = issuer.begin_device("cli", scope);
    issuer.decide_device(device.user_code, "user:" + user, true);
    return issuer.device_tokens("cli", device.device_code);
  }
  std::string code(const std::string& user, const std::string& scope = "farfield") {
    return issuer.begin_code({"portal", kRedirect, scope, pkce_challenge(kVerifier), "S256"}, "user:" + user);
  }

  std::int64_t now_s = 1'800'000'000;
  Directory directory;
  KeyRing keys;
  Issuer issuer;
  std::string secret;
};

}  // namespace farfield::services::auth::testing
