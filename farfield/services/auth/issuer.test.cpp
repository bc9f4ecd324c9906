// Every way to a token, and what ends it, on each kind of database.

#include "farfield/services/auth/testing.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using ::testing::HasSubstr;
using testing::IssuerFixture;
using ::testing::Not;

std::string oauth_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const OAuthError& e) {
    return e.error();
  }
  return "no error";
}

class Grants : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    if (!database_.prepare(GetParam())) return;
    database = database_.open();
    keys_folder = (keys.path() / "keys").string();
    f = std::make_unique<IssuerFixture>(*database, keys_folder);
  }
  core::Result<Claims> verify(const std::string& token) { return f->issuer.verifier().verify(token); }
  store::testing::TemporaryFolder keys;
  std::string keys_folder;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<IssuerFixture> f;
};
INSTANTIATE_TEST_SUITE_P(Each, Grants, store::testing::kinds(), store::testing::kind_name);

TEST_P(Grants, DeviceCode) {
  const auto device = f->issuer.begin_device("cli", "farfield read:/experiments/2026-1-Garcia-1");
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("cli", device.device_code); }), "authorization_pending");
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("cli", device.device_code); }), "slow_down");
  EXPECT_FALSE(f->issuer.device_request("nope"));
  std::string typed = device.user_code;  // as people type
  std::erase(typed, '-');
  std::transform(typed.begin(), typed.end(), typed.begin(), ::tolower);
  ASSERT_TRUE(f->issuer.device_request(typed));
  EXPECT_EQ(f->issuer.device_request(typed)->client, "cli");
  EXPECT_TRUE(f->issuer.decide_device(typed, "user:garcia", true));
  EXPECT_FALSE(f->issuer.decide_device(typed, "user:lee", true));  // once
  f->now_s += 20;
  const auto tokens = f->issuer.device_tokens("cli", device.device_code);
  const auto claims = verify(tokens.access);
  ASSERT_TRUE(claims) << claims.error().what();
  EXPECT_EQ(claims->subject, "user:garcia");
  EXPECT_EQ(claims->audience, testing::kIssuer);
  EXPECT_EQ(claims->expires_s - claims->issued_s, 600);
  EXPECT_EQ(format_scopes(claims->scopes), "farfield read:/experiments/2026-1-Garcia-1");
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("cli", device.device_code); }), "invalid_grant");
}

TEST_P(Grants, DeviceCodesThatAreRefusedLateOrForeign) {
  const auto refused = f->issuer.begin_device("cli", "farfield");
  EXPECT_TRUE(f->issuer.decide_device(refused.user_code, "user:garcia", false));
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("cli", refused.device_code); }), "access_denied");
  const auto late = f->issuer.begin_device("cli", "farfield");
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("portal", late.device_code); }), "invalid_grant");
  f->now_s += 601;
  EXPECT_FALSE(f->issuer.decide_device(late.user_code, "user:garcia", true));
  EXPECT_EQ(oauth_error([&] { f->issuer.device_tokens("cli", late.device_code); }), "expired_token");
  EXPECT_EQ(oauth_error([&] { f->issuer.begin_device("nobody", "farfield"); }), "unauthorized_client");
  EXPECT_EQ(oauth_error([&] { f->issuer.begin_device("agent", "farfield"); }), "unauthorized_client");
}

TEST_P(Grants, AuthorisationCode) {
  const auto code = f->code("garcia");
  const auto tokens = f->issuer.code_tokens("portal", code, testing::kRedirect, testing::kVerifier);
  EXPECT_EQ(verify(tokens.access)->subject, "user:garcia");
  EXPECT_EQ(verify(tokens.access)->client, "portal");
}

TEST_P(Grants, ACodeUsedTwiceRevokesWhatCameOfIt) {
  const auto code = f->code("garcia");
  const auto tokens = f->issuer.code_tokens("portal", code, testing::kRedirect, testing::kVerifier);
  EXPECT_EQ(oauth_error([&] { f->issuer.code_tokens("portal", code, testing::kRedirect, testing::kVerifier); }),
            "invalid_grant");
  EXPECT_FALSE(verify(tokens.access));
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("portal", tokens.refresh); }), "invalid_grant");
}

TEST_P(Grants, CodesAreBoundToClientRedirectVerifierAndTime) {
  const std::string redirect = testing::kRedirect, verifier = testing::kVerifier;
  const auto refused = [&](const std::string& client, const std::string& uri, const std::string& v, int wait_s = 0) {
    const auto code = f->code("garcia");
    f->now_s += wait_s;
    return oauth_error([&] { f->issuer.code_tokens(client, code, uri, v); });
  };
  EXPECT_EQ(refused("cli", redirect, verifier), "invalid_grant");
  EXPECT_EQ(refused("portal", redirect + "/x", verifier), "invalid_grant");
  EXPECT_EQ(refused("portal", "", verifier), "invalid_grant");
  EXPECT_EQ(refused("portal", redirect, ""), "invalid_grant");
  EXPECT_EQ(refused("portal", redirect, std::string(43, 'a')), "invalid_grant");
  EXPECT_EQ(refused("portal", redirect, pkce_challenge(verifier)), "invalid_grant");  // the challenge is no verifier
  EXPECT_EQ(refused("portal", redirect, verifier, 61), "invalid_grant");
  EXPECT_EQ(refused("portal", redirect, verifier), "no error");
}

TEST_P(Grants, PkceCannotBeLeftOutOrWeakened) {
  Issuer::CodeRequest request{"portal", testing::kRedirect, "farfield", pkce_challenge(testing::kVerifier), "S256"};
  EXPECT_NO_THROW(f->issuer.begin_code(request, "user:garcia"));
  for (const auto& [challenge, method] : {std::pair(std::string(), "S256"),
                                          {testing::kVerifier, "plain"},
                                          {testing::kVerifier, ""},
                                          {std::string("short"), "S256"},
                                          {std::string(43, '!'), "S256"}}) {
    auto weak = request;
    weak.challenge = challenge;
    weak.method = method;
    EXPECT_EQ(oauth_error([&] { f->issuer.begin_code(weak, "user:garcia"); }), "invalid_request")
        << challenge << method;
  }
  for (const auto* uri : {"https://evil.test/", "https://portal.test/callback/", "https://portal.test/callback?x", ""})
    EXPECT_THROW(f->issuer.check_redirect("portal", uri), Error) << uri;
  EXPECT_THROW(f->issuer.check_redirect("cli", ""), Error);
  EXPECT_EQ(pkce_challenge(testing::kVerifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");  // RFC 7636, B
}

TEST_P(Grants, ClientCredentials) {
  EXPECT_TRUE(f->directory.check_secret("agent", f->secret));
  EXPECT_FALSE(f->directory.check_secret("agent", f->secret + "0"));
  EXPECT_FALSE(f->directory.check_secret("agent", ""));
  EXPECT_FALSE(f->directory.check_secret("cli", ""));
  EXPECT_FALSE(f->directory.check_secret("nobody", f->secret));
  const auto tokens = f->issuer.client_tokens("agent", "transfer.agent write:/experiments/2026-1-Garcia-1/raw");
  EXPECT_EQ(verify(tokens.access)->subject, "service:agent");
  EXPECT_EQ(tokens.refresh, "");
  EXPECT_EQ(oauth_error([&] { f->issuer.client_tokens("agent", "compute.endpoint"); }), "invalid_scope");
  EXPECT_EQ(oauth_error([&] { f->issuer.client_tokens("agent", "farfield"); }), "invalid_scope");
  EXPECT_EQ(oauth_error([&] { f->issuer.client_tokens("agent", "manage:/experiments/2026-1-Garcia-1"); }),
            "invalid_scope");
  EXPECT_EQ(oauth_error([&] { f->issuer.client_tokens("cli", "farfield"); }), "unauthorized_client");
  f->directory.renew_secret("agent");
  EXPECT_FALSE(f->directory.check_secret("agent", f->secret));
}

TEST_P(Grants, NobodyGetsWhatHisRoleDoesNotAllow) {
  const auto refused = [&](const std::string& user, const std::string& scope) {
    return oauth_error([&] { f->code(user, scope); });
  };
  EXPECT_EQ(refused("lee", "read:/experiments/2026-1-Garcia-1"), "no error");
  EXPECT_EQ(refused("lee", "write:/experiments/2026-1-Garcia-1"), "invalid_scope");
  EXPECT_EQ(refused("lee", "run:/experiments/2026-1-Garcia-1"), "invalid_scope");
  EXPECT_EQ(refused("garcia", "manage:/experiments/2026-1-Garcia-1"), "no error");
  EXPECT_EQ(refused("garcia", "read:/experiments/2026-1-Other-2"), "invalid_scope");
  EXPECT_EQ(refused("garcia", "read:/experiments/2026-1-Nowhere"), "invalid_scope");
  EXPECT_EQ(refused("garcia", "read:/experiments/2026-1-Garcia-1/../2026-1-Other-2"), "invalid_scope");
  EXPECT_EQ(refused("garcia", "admin"), "invalid_scope");
  EXPECT_EQ(refused("other", "admin"), "no error");
  EXPECT_EQ(refused("garcia", "transfer.agent"), "invalid_scope");
  EXPECT_EQ(refused("nobody", "farfield"), "invalid_scope");
}

TEST_P(Grants, RefreshTokensRotateAndTheirReuseEndsEverything) {
  auto tokens = f->log_in("garcia");
  std::vector<Tokens> chain{tokens};
  for (int i = 0; i < 5; ++i) {
    f->now_s += 3000;
    chain.push_back(f->issuer.refresh("cli", chain.back().refresh));
    EXPECT_TRUE(verify(chain.back().access));
  }
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("portal", chain.back().refresh); }),
            "invalid_grant");  // another client
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", chain[2].refresh); }), "invalid_grant");         // replayed
  EXPECT_FALSE(verify(chain.back().access));  // thief and owner cannot be told apart: both are out
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", chain.back().refresh); }), "invalid_grant");
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", "made up"); }), "invalid_grant");
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", ""); }), "invalid_grant");
}

TEST_P(Grants, ARefreshTokenWhoseAnswerWasLostIsGoodOnceMore) {
  const auto refresh = [&](const std::string& token) { return f->issuer.refresh("cli", token); };
  const auto refused = [&](const std::string& token) {
    return oauth_error([&] { f->issuer.refresh("cli", token); }) == "invalid_grant";
  };
  const auto first = f->log_in("garcia");
  const auto lost = refresh(first.refresh);  // the client was killed before it stored this
  f->now_s += 50;
  auto tokens = refresh(first.refresh);
  EXPECT_TRUE(verify(tokens.access));
  tokens = refresh(tokens.refresh);  // and the session goes on
  EXPECT_TRUE(refused(lost.refresh)) << "spent";
  EXPECT_TRUE(refused(tokens.refresh)) << "who has it is not who got the answer: all ends";

  const auto again = f->log_in("garcia");
  refresh(again.refresh);
  const auto second = refresh(again.refresh);
  EXPECT_TRUE(refused(again.refresh)) << "a third time";
  EXPECT_TRUE(refused(second.refresh));

  const auto stolen = f->log_in("garcia");
  const auto own = refresh(refresh(stolen.refresh).refresh);
  EXPECT_TRUE(refused(stolen.refresh)) << "its successor was used";
  EXPECT_TRUE(refused(own.refresh));

  const auto late = f->log_in("garcia");
  refresh(late.refresh);
  f->now_s += 61;
  EXPECT_TRUE(refused(late.refresh));
}

TEST_P(Grants, RefreshedScopesShrinkAndFollowTheRoles) {
  auto tokens = f->log_in("lee", "farfield read:/experiments/2026-1-Garcia-1");
  tokens = f->issuer.refresh("cli", tokens.refresh, "read:/experiments/2026-1-Garcia-1/raw");
  EXPECT_EQ(tokens.scope, "read:/experiments/2026-1-Garcia-1/raw");
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", tokens.refresh, "write:/experiments/2026-1-Garcia-1"); }),
            "invalid_scope");
  tokens = f->issuer.refresh("cli", tokens.refresh);
  EXPECT_EQ(tokens.scope, "farfield read:/experiments/2026-1-Garcia-1");
  f->directory.set_role("2026-1-Garcia-1", "user:lee", std::nullopt);
  tokens = f->issuer.refresh("cli", tokens.refresh);
  EXPECT_EQ(tokens.scope, "farfield");
  // A refusal spends nothing: the token is good for the next try.
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", tokens.refresh, "read:/experiments/2026-1-Garcia-1"); }),
            "invalid_scope");
  tokens = f->issuer.refresh("cli", tokens.refresh);
  f->directory.set_disabled("lee", true);
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", tokens.refresh); }), "invalid_grant");
}

TEST_P(Grants, IntrospectionKnowsTokensForEveryAudienceOfTheIssuer) {
  const auto tokens = f->log_in("garcia");
  const auto elsewhere = f->issuer.refresh("cli", tokens.refresh, "", "https://xrootd.test");
  EXPECT_FALSE(f->issuer.verifier().verify(elsewhere.access)) << "not for this service";
  EXPECT_TRUE(f->issuer.introspect(elsewhere.access).active);
  f->issuer.revoke("cli", elsewhere.access);
  EXPECT_FALSE(f->issuer.introspect(elsewhere.access).active);
}

TEST_P(Grants, GrantsEnd) {
  auto tokens = f->log_in("garcia");
  f->now_s += 30 * 86400 - 100;
  tokens = f->issuer.refresh("cli", tokens.refresh);
  EXPECT_EQ(tokens.expires_in_s, 100);  // no token outlives its grant
  f->now_s += 100;
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", tokens.refresh); }), "invalid_grant");
}

TEST_P(Grants, RevocationIsImmediate) {
  const auto tokens = f->log_in("garcia"), others = f->log_in("garcia");
  std::vector<std::string> pushed;
  const auto listener = f->issuer.verifier().revocations().listen(
      [&](const RevocationList::Entry& entry) { pushed.push_back(entry.id); });
  f->issuer.revoke("portal", tokens.access);  // not its client
  EXPECT_TRUE(verify(tokens.access));
  const std::string id = verify(tokens.access)->id, grant = verify(tokens.access)->grant;
  f->issuer.revoke("cli", tokens.access);
  EXPECT_FALSE(verify(tokens.access));
  EXPECT_FALSE(f->issuer.introspect(tokens.access).active);
  const auto next = f->issuer.refresh("cli", tokens.refresh);
  EXPECT_TRUE(verify(next.access));
  f->issuer.revoke("cli", next.refresh);  // the whole grant
  EXPECT_FALSE(verify(next.access));
  EXPECT_EQ(oauth_error([&] { f->issuer.refresh("cli", next.refresh); }), "invalid_grant");
  EXPECT_NO_THROW(f->issuer.revoke("cli", "made up"));
  EXPECT_TRUE(verify(others.access));
  f->issuer.revoke_subject("user:garcia");
  EXPECT_FALSE(verify(others.access));
  ASSERT_GE(pushed.size(), 3U);
  EXPECT_EQ(pushed[0], id);
  EXPECT_EQ(pushed[1], grant);

  // A new start of the service knows them all.
  Issuer again(f->directory, f->keys, {.issuer = testing::kIssuer}, f->clock());
  EXPECT_FALSE(again.verifier().verify(others.access));
  EXPECT_EQ(again.verifier().revocations().after(0).size(), f->issuer.verifier().revocations().after(0).size());
  EXPECT_EQ(f->issuer.verifier().revocations().after(f->issuer.verifier().revocations().last()).size(), 0U);
}

TEST_P(Grants, DelegationsMintForDaysUntilTheyAreRevoked) {
  const auto run = f->issuer.delegate("user:lee", "flow", "farfield read:/experiments/2026-1-Garcia-1", 5 * 86400);
  for (int day = 0; day < 5; ++day) {
    const auto token = f->issuer.mint(run, "read:/experiments/2026-1-Garcia-1/raw", "https://xrootd.test");
    Verifier xrootd({testing::kIssuer, {"https://xrootd.test"}}, f->clock());
    ASSERT_TRUE(xrootd.set_keys(f->keys.jwks()));
    EXPECT_EQ(xrootd.verify(token)->subject, "user:lee");
    EXPECT_FALSE(verify(token));  // for another audience
    f->now_s += 80000;
  }
  EXPECT_THROW(f->issuer.mint(run, "write:/experiments/2026-1-Garcia-1"), Error);
  EXPECT_THROW(f->issuer.mint(run, "", "https://evil.test"), Error);
  f->directory.set_role("2026-1-Garcia-1", "user:lee", std::nullopt);
  EXPECT_THROW(f->issuer.mint(run, "read:/experiments/2026-1-Garcia-1"), Error);
  EXPECT_NO_THROW(f->issuer.mint(run, "farfield"));
  f->issuer.revoke_grant(run);
  EXPECT_THROW(f->issuer.mint(run, "farfield"), Error);
  EXPECT_THROW(f->issuer.mint("made-up"), Error);
  EXPECT_THROW(f->issuer.delegate("user:lee", "flow", "admin", 100), Error);
}

TEST_P(Grants, AllRightsAreWhatTheSubjectMayDoAndNoMore) {
  const auto run = f->issuer.delegate("user:lee", "flow", "farfield", 100);
  EXPECT_NO_THROW(f->issuer.mint(run, "read:/experiments/2026-1-Garcia-1"));
  EXPECT_THROW(f->issuer.mint(run, "write:/experiments/2026-1-Garcia-1"), Error);
  EXPECT_THROW(f->issuer.mint(run, "read:/experiments/2026-1-Other-2"), Error);
  EXPECT_THROW(f->issuer.mint(run, "admin"), Error);
}

TEST_P(Grants, KeysRotateWithoutAGap) {
  const auto tokens = f->log_in("garcia");
  Verifier elsewhere({testing::kIssuer, {testing::kIssuer}}, f->clock());
  ASSERT_TRUE(elsewhere.set_keys(f->keys.jwks()));
  f->issuer.rotate_keys();
  EXPECT_TRUE(verify(tokens.access));
  // Until the copy of the key set that others keep is old, the old key signs.
  EXPECT_TRUE(elsewhere.verify(f->issuer.refresh("cli", tokens.refresh).access));
  f->now_s += 600;
  const auto after = f->log_in("garcia");
  EXPECT_FALSE(elsewhere.verify(after.access));
  ASSERT_TRUE(elsewhere.set_keys(f->keys.jwks()));
  EXPECT_TRUE(elsewhere.verify(after.access));
  f->now_s += 1800;
  f->issuer.rotate_keys();
  const auto keys_now = PublicKeys::parse(f->keys.jwks());
  EXPECT_EQ(keys_now->size(), 2U);  // the first one has gone
  KeyRing reopened(keys_folder, f->clock());
  EXPECT_EQ(reopened.jwks(), f->keys.jwks());
}

TEST_P(Grants, NoTokenInALog) {
  const auto log = std::make_shared<testing::LogKeeper>();
  core::set_log_sink(log);
  auto tokens = f->log_in("garcia");
  const auto code = f->code("garcia");
  const auto by_code = f->issuer.code_tokens("portal", code, testing::kRedirect, testing::kVerifier);
  oauth_error([&] { f->issuer.code_tokens("portal", code, testing::kRedirect, testing::kVerifier); });
  const auto next = f->issuer.refresh("cli", tokens.refresh);
  f->now_s += 61;  // no answer was lost: it is a replay
  oauth_error([&] { f->issuer.refresh("cli", tokens.refresh); });
  f->issuer.revoke("cli", next.access);
  core::set_log_sink(nullptr);
  const std::string text = log->all();
  EXPECT_THAT(text, HasSubstr("token_granted grant_type=device_code subject=user:garcia"));
  EXPECT_THAT(text, HasSubstr("refresh_token_reused"));
  EXPECT_THAT(text, HasSubstr("code_reused"));
  for (const auto& secret : {tokens.access, tokens.refresh, code, by_code.access, by_code.refresh, next.access,
                             next.refresh, testing::kVerifier, f->secret})
    EXPECT_THAT(text, Not(HasSubstr(secret.substr(0, 20))));
}

TEST_P(Grants, NothingSecretInTheDatabase) {
  const auto tokens = f->log_in("garcia");
  const auto code = f->code("garcia");
  const auto device = f->issuer.begin_device("cli", "farfield");
  f->directory.set_password("garcia", "correct horse");
  std::string dump;
  for (const auto* table : {"auth_user", "auth_client", "auth_refresh", "auth_code", "auth_device", "auth_grant"})
    for (const auto row : database->query(std::string("SELECT * FROM ") + table))
      for (int c = 0; c < 6; ++c) try {
          if (const auto text = row.maybe_text(c)) dump += *text + "\n";
        } catch (const Error&) {}  // a number, or past the last column
  EXPECT_GT(dump.size(), 500U);
  for (const auto& secret :
       {tokens.refresh, tokens.access, code, device.device_code, f->secret, std::string("correct horse")})
    EXPECT_THAT(dump, Not(HasSubstr(secret)));
}

TEST_P(Grants, CleaningKeepsWhatIsGood) {
  auto tokens = f->log_in("garcia");
  f->now_s += 86400;
  f->issuer.clean();
  tokens = f->issuer.refresh("cli", tokens.refresh);
  EXPECT_TRUE(verify(tokens.access));
  f->now_s += 32 * 86400;
  f->issuer.clean();
  EXPECT_EQ(database->query("SELECT 1 FROM auth_refresh").size(), 0);
  EXPECT_EQ(database->query("SELECT 1 FROM auth_grant").size(), 0);
}

TEST_P(Grants, ThePeople) {
  auto& d = f->directory;
  EXPECT_THROW(d.add_user("garcia", "again", std::nullopt), Error);
  EXPECT_THROW(d.add_user("x'; DROP TABLE auth_user; --", "injection", std::nullopt), Error);
  EXPECT_FALSE(d.check_password("x' OR '1'='1", "password"));
  EXPECT_THROW(d.add_user("short", "", "1234567"), Error);
  d.add_group("vortex");
  d.set_member("vortex", "user:other", true);
  EXPECT_EQ(d.role("user:other", "2026-1-Garcia-1"), std::nullopt);
  d.set_role("2026-1-Garcia-1", "group:vortex", Role::member);
  EXPECT_EQ(d.role("user:other", "2026-1-Garcia-1"), Role::member);
  d.set_role("2026-1-Garcia-1", "user:other", Role::viewer);
  EXPECT_EQ(d.role("user:other", "2026-1-Garcia-1"), Role::member);  // the highest counts
  d.set_member("vortex", "user:other", false);
  EXPECT_EQ(d.role("user:other", "2026-1-Garcia-1"), Role::viewer);
  EXPECT_THROW(d.set_role("2026-1-Garcia-1", "user:garcia", std::nullopt), Error);  // the last owner
  EXPECT_THROW(d.set_role("2026-1-Garcia-1", "user:garcia", Role::viewer), Error);
  EXPECT_THROW(d.set_role("2026-1-Garcia-1", "user:nobody", Role::viewer), Error);
  EXPECT_THROW(d.set_role("nowhere", "user:garcia", Role::viewer), Error);
  EXPECT_THROW(d.set_role("2026-1-Garcia-1", "garcia", Role::viewer), Error);
  EXPECT_THROW(d.create_experiment("2026-1-Garcia-1", "user:lee"), Error);
  EXPECT_THROW(d.create_experiment("../etc", "user:lee"), Error);
  EXPECT_EQ(d.roles("2026-1-Garcia-1").size(), 5U);
  const auto mine = d.experiments("user:other");
  ASSERT_EQ(mine.size(), 2U);
  EXPECT_EQ(mine[0].experiment, "2026-1-Garcia-1");
  EXPECT_EQ(d.experiments("user:other", mine[0].experiment).size(), 1U);
  d.remove_client("agent");
  EXPECT_FALSE(d.permits("service:agent", *parse_scope("read:/experiments/2026-1-Garcia-1")));
}

TEST_P(Grants, WrongPasswordsCostTime) {
  auto& d = f->directory;
  d.set_password("garcia", "correct horse");
  EXPECT_TRUE(d.check_password("garcia", "correct horse"));
  EXPECT_FALSE(d.check_password("nobody", "correct horse"));
  EXPECT_FALSE(d.check_password("lee", ""));  // has none
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(d.check_password("garcia", "wrong"));
  EXPECT_THROW(d.check_password("garcia", "correct horse"), Error);
  f->now_s += 1;
  EXPECT_FALSE(d.check_password("garcia", "wrong"));
  f->now_s += 1;
  EXPECT_THROW(d.check_password("garcia", "correct horse"), Error);  // twice as long
  f->now_s += 1;
  EXPECT_TRUE(d.check_password("garcia", "correct horse"));
  EXPECT_TRUE(d.check_password("garcia", "correct horse"));
  d.set_disabled("garcia", true);
  EXPECT_FALSE(d.check_password("garcia", "correct horse"));
}

ErrorCode code_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

TEST_P(Grants, WhoMayActAsAnIdentity) {
  Directory& d = f->directory;
  d.add_group("beamline");
  EXPECT_TRUE(d.may_act_as("service:agent", "service:agent"));
  EXPECT_FALSE(d.may_act_as("user:garcia", "service:agent"));
  EXPECT_FALSE(d.may_act_as("user:other", "service:agent"));  // administrators neither, unless they say so
  EXPECT_FALSE(d.may_act_as("user:garcia", "user:garcia"));   // users are nobody's identities
  EXPECT_FALSE(d.may_act_as("user:garcia", "service:nobody"));
  d.set_actor("agent", "group:beamline", true);
  d.set_actor("agent", "user:garcia", true);
  d.set_actor("agent", "user:garcia", true);
  d.set_member("beamline", "user:lee", true);
  EXPECT_TRUE(d.may_act_as("user:garcia", "service:agent"));
  EXPECT_TRUE(d.may_act_as("user:lee", "service:agent"));
  EXPECT_FALSE(d.may_act_as("user:other", "service:agent"));
  ASSERT_EQ(d.services().size(), 1U);
  EXPECT_EQ(d.services()[0].actors, (std::vector<std::string>{"group:beamline", "user:garcia"}));
  d.set_member("beamline", "user:lee", false);
  EXPECT_FALSE(d.may_act_as("user:lee", "service:agent"));
  d.set_disabled("garcia", true);
  EXPECT_FALSE(d.may_act_as("user:garcia", "service:agent"));
  EXPECT_EQ(code_of([&] { d.set_actor("nobody", "user:lee", true); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { d.set_actor("cli", "user:lee", true); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { d.set_actor("agent", "user:nobody", true); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { d.set_actor("agent", "' OR 1=1", true); }), ErrorCode::invalid_argument);

  // A new identity of the same name begins without anybody.
  d.set_disabled("garcia", false);
  d.remove_client("agent");
  EXPECT_FALSE(d.may_act_as("user:garcia", "service:agent"));
  d.add_service("agent", {"farfield"});
  EXPECT_FALSE(d.may_act_as("user:garcia", "service:agent"));
}

TEST_P(Grants, AnIdentityActsOnBehalfOfSomebody) {
  const auto log = std::make_shared<testing::LogKeeper>();
  core::set_log_sink(log);
  f->directory.set_role("2026-1-Other-2", "service:agent", Role::member);
  const Issuer::Impersonation who{"service:agent", "user:garcia", "user:garcia"};
  EXPECT_EQ(code_of([&] { f->issuer.impersonate(who, "cli", 3600); }), ErrorCode::forbidden);
  f->directory.set_actor("agent", "user:garcia", true);
  const std::string grant = f->issuer.impersonate(who, "cli", 3600);
  const auto claims = verify(f->issuer.mint(grant, "run:/experiments/2026-1-Other-2"));
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->subject, "service:agent");
  EXPECT_EQ(claims->actor, "user:garcia");
  EXPECT_EQ(format_scopes(claims->scopes), "run:/experiments/2026-1-Other-2");
  EXPECT_EQ(code_of([&] { f->issuer.mint(grant, "manage:/experiments/2026-1-Other-2"); }), ErrorCode::forbidden);
  EXPECT_EQ(code_of([&] { f->issuer.mint(grant, "admin"); }), ErrorCode::forbidden);
  core::set_log_sink(nullptr);
  EXPECT_THAT(log->all(), HasSubstr("decision=denied subject=service:agent permitted=user:garcia"));
  EXPECT_THAT(log->all(), HasSubstr("decision=allowed subject=service:agent permitted=user:garcia "
                                    "on_behalf_of=user:garcia scope=run:/experiments/2026-1-Other-2"));
  f->now_s += 3601;
  EXPECT_EQ(code_of([&] { f->issuer.mint(grant); }), ErrorCode::unauthenticated);
}

TEST_P(Grants, ActingAsAnIdentityEndsWithThePermission) {
  const std::string scope = "run:/experiments/2026-1-Garcia-1";
  f->directory.add_group("beamline");
  f->directory.set_member("beamline", "user:lee", true);
  f->directory.set_actor("agent", "group:beamline", true);
  f->directory.set_actor("agent", "user:garcia", true);
  const auto act = [&](const std::string& permitted, const std::string& behalf) {
    return f->issuer.impersonate({"service:agent", permitted, behalf}, "cli", 3600);
  };
  const auto ended = [&](const std::string& grant) {
    return code_of([&] { f->issuer.mint(grant, scope); }) == ErrorCode::unauthenticated;
  };
  const std::string of_garcia = act("user:garcia", "user:garcia"), of_lee = act("user:lee", "user:other");
  const std::string early = f->issuer.mint(of_garcia, scope);

  f->directory.set_actor("agent", "user:garcia", false);
  EXPECT_TRUE(ended(of_garcia));  // even before the grant is revoked
  f->issuer.revoke_unpermitted();
  EXPECT_FALSE(verify(early));
  EXPECT_NO_THROW(f->issuer.mint(of_lee, scope));
  f->directory.set_actor("agent", "user:garcia", true);
  EXPECT_TRUE(ended(of_garcia));  // for good

  // With the membership, the place of him for whom it is done, and the identity.
  f->directory.set_member("beamline", "user:lee", false);
  EXPECT_TRUE(ended(of_lee));
  f->directory.set_member("beamline", "user:lee", true);
  EXPECT_NO_THROW(f->issuer.mint(of_lee, scope));
  f->directory.set_disabled("other", true);
  EXPECT_TRUE(ended(of_lee));
  f->directory.set_disabled("other", false);
  f->issuer.revoke_subject("user:other");
  EXPECT_TRUE(ended(of_lee));
  const std::string again = act("user:lee", "user:other");
  f->directory.remove_client("agent");
  EXPECT_TRUE(ended(again));
}
}  // namespace
}  // namespace farfield::services::auth
