// Forged, altered and misused tokens; keys and their files.

#include "farfield/services/auth/token.hpp"

#include <cjose/cjose.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "farfield/services/auth/testing.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;

std::string base64url(std::string_view text) {
  char* out = nullptr;
  std::size_t length = 0;
  cjose_base64url_encode(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), &out, &length, nullptr);
  std::string result(out, length);
  std::free(out);
  return result;
}

std::string from_base64url(std::string_view text) {
  std::uint8_t* out = nullptr;
  std::size_t length = 0;
  if (!cjose_base64url_decode(text.data(), text.size(), &out, &length, nullptr)) return {};
  std::string result(reinterpret_cast<const char*>(out), length);
  std::free(out);
  return result;
}

std::string hmac(std::string_view key, const std::string& input) {
  unsigned char out[32];
  unsigned int length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(input.data()),
       input.size(), out, &length);
  return {reinterpret_cast<const char*>(out), length};
}

class Token : public ::testing::Test {
protected:
  Token() : keys(folder.path() / "keys", [this] { return now_s; }, {.publish_s = 0}) {
    EXPECT_TRUE(verifier.set_keys(keys.jwks()));
    claims.issuer = testing::kIssuer;
    claims.subject = "user:garcia";
    claims.audience = testing::kIssuer;
    claims.id = "id";
    claims.grant = "grant";
    claims.issued_s = now_s;
    claims.expires_s = now_s + 600;
    claims.scopes = *parse_scopes("read:/experiments/a");
  }
  std::string sign(const json& payload) { return keys.sign(payload.dump()); }
  json payload() { return json::parse(claims_json(claims)); }
  json with(const char* name, const json& value) {
    auto out = payload();
    out[name] = value;
    return out;
  }
  json without(const char* name) {
    auto out = payload();
    out.erase(name);
    return out;
  }
  /// Why a token is refused; empty: it is good.
  std::string refused(const std::string& token) {
    const auto result = verifier.verify(token);
    if (result) return {};
    EXPECT_EQ(result.error().code(), ErrorCode::unauthenticated);
    return result.error().what();
  }
  std::string kid() { return json::parse(keys.jwks())["keys"][0]["kid"]; }

  std::int64_t now_s = 1'800'000'000;
  store::testing::TemporaryFolder folder;
  KeyRing keys;
  Verifier verifier{{testing::kIssuer, {testing::kIssuer, "https://second.test"}}, [this] { return now_s; }};
  Claims claims;
};

TEST_F(Token, AGoodOne) {
  const auto good = verifier.verify(keys.sign(claims_json(claims)));
  ASSERT_TRUE(good) << good.error().what();
  EXPECT_EQ(claims_json(*good), claims_json(claims));
  const auto header = json::parse(from_base64url(keys.sign("{}").substr(0, keys.sign("{}").find('.'))));
  EXPECT_EQ(header, (json{{"alg", "ES256"}, {"kid", kid()}, {"typ", "JWT"}}));
  EXPECT_EQ(payload()["ver"], "scitoken:2.0");
  EXPECT_EQ(payload()["scope"], "read:/experiments/a");
  EXPECT_EQ(refused(sign(with("aud", {"https://other.test", "https://second.test"}))), "");
}

TEST_F(Token, ATokenForSomebodyElseIsGoodForHimAlone) {
  const std::string elsewhere = sign(with("aud", "https://dtn1.test"));
  EXPECT_THAT(refused(elsewhere), HasSubstr("another audience"));
  EXPECT_TRUE(verifier.verify_for(elsewhere, "https://dtn1.test"));
  EXPECT_FALSE(verifier.verify_for(elsewhere, "https://dtn2.test"));
  EXPECT_FALSE(verifier.verify_for(sign(with("exp", now_s - 30)), testing::kIssuer));
}

TEST_F(Token, ClaimsThatMakeItBad) {
  const std::pair<json, const char*> cases[] = {
      {with("iss", "https://evil.test"), "another issuer"},
      {with("iss", std::string(testing::kIssuer) + "/"), "another issuer"},
      {without("iss"), "another issuer"},
      {with("iss", {testing::kIssuer}), "another issuer"},
      {with("aud", "https://xrootd.test"), "another audience"},
      {with("aud", "ANY"), "another audience"},
      {with("aud", json::array()), "another audience"},
      {with("aud", {1, nullptr}), "another audience"},
      {without("aud"), "no audience"},
      {with("exp", now_s - 30), "expired"},
      {without("exp"), "from when until when"},
      {with("exp", "2099-01-01"), "from when until when"},
      {with("exp", -1), "from when until when"},
      {with("exp", 1e300), "from when until when"},
      {with("exp", now_s + 601), "lives longer"},
      {with("exp", now_s + 1000000), "lives longer"},
      {without("iat"), "from when until when"},
      {with("iat", now_s + 31), "not good yet"},
      {with("nbf", now_s + 31), "not good yet"},
      {without("sub"), "no subject"},
      {with("sub", 7), "no subject"},
      {without("jti"), "no id"},
      {with("scope", "read:/experiments/a/../b"), "scope"},
      {with("scope", "read:/experiments/a\tread:/experiments/b"), "scope"},
  };
  for (const auto& [bad, why] : cases) EXPECT_THAT(refused(sign(bad)), HasSubstr(why)) << bad.dump();
  EXPECT_THAT(refused(keys.sign("[1]")), HasSubstr("no JSON object"));
  EXPECT_THAT(refused(keys.sign("not json")), HasSubstr("no JSON object"));
  EXPECT_TRUE(verifier.verify(sign(without("scope")))->scopes.empty());
}

TEST_F(Token, TimePasses) {
  const auto token = sign(payload());
  now_s += 629;
  EXPECT_EQ(refused(token), "");
  now_s += 1;
  EXPECT_THAT(refused(token), HasSubstr("expired"));
}

TEST_F(Token, AnyChangedBitOfHeaderPayloadOrSignature) {
  const auto token = sign(payload());
  for (std::size_t at = 0; at < token.size(); at += 3) {
    std::string altered = token;
    altered[at] = altered[at] == 'A' ? 'B' : 'A';
    if (altered[at] == token[at] ||
        from_base64url(altered.substr(altered.rfind('.') + 1)) == from_base64url(token.substr(token.rfind('.') + 1)))
      if (at > token.rfind('.')) continue;  // bits that base64 does not use
    EXPECT_NE(refused(altered), "") << at;
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, token.find('.'), token.rfind('.'), token.size() - 1})
    EXPECT_NE(refused(token.substr(0, length)), "") << length;
  EXPECT_NE(refused(token + "."), "");
  EXPECT_NE(refused(token + ".x"), "");
  EXPECT_NE(refused(std::string(100'000, 'a')), "");
}

TEST_F(Token, PartsOfALengthThatNoBase64HasAreRefused) {
  // cjose would end the process.
  for (const char* token :
       {"abcde.abcd.abcd", "abcd.abcde.abcd", "abcd.abcd.a", "a", "a.b.c", "..", "abcd.abcd", "", "ab=d.abcd.abcd"}) {
    const auto refused = PublicKeys{}.open(token);
    ASSERT_FALSE(refused) << token;
    EXPECT_EQ(refused.error().code(), core::ErrorCode::unauthenticated);
  }
  EXPECT_FALSE(PublicKeys::parse(R"({"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"abcde","y":"abcd"}]})"));
}

TEST_F(Token, NoAlgorithmButEs256) {
  const std::string body = base64url(payload().dump());
  for (const auto* algorithm : {"none", "None", "NONE", "nOnE", "", "ES384", "es256", "RS256"}) {
    const std::string head = base64url(json{{"alg", algorithm}, {"kid", kid()}}.dump());
    EXPECT_NE(refused(head + "." + body + "."), "") << algorithm;
    EXPECT_NE(refused(head + "." + body), "") << algorithm;
    EXPECT_NE(refused(head + "." + body + "." + base64url(std::string(64, '\0'))), "") << algorithm;
  }
  const std::string no_algorithm = base64url(json{{"kid", kid()}}.dump());
  EXPECT_NE(refused(no_algorithm + "." + body + "."), "");
}

TEST_F(Token, APublicKeyIsNoSecret) {
  // "Key confusion": the public key, which everybody knows, as the secret of a symmetric signature.
  const auto jwk = json::parse(keys.jwks())["keys"][0];
  const std::string x = from_base64url(jwk["x"].get<std::string>()), y = from_base64url(jwk["y"].get<std::string>());
  for (const auto& secret : {keys.jwks(), jwk.dump(), x, x + y, "\x04" + x + y, std::string()}) {
    const std::string input =
        base64url(json{{"alg", "HS256"}, {"kid", kid()}}.dump()) + "." + base64url(payload().dump());
    EXPECT_NE(refused(input + "." + base64url(hmac(secret, input))), "");
  }
}

TEST_F(Token, KeysThatATokenBringsAlong) {
  KeyRing thief(folder.path() / "thief", [this] { return now_s; }, {.publish_s = 0});
  EXPECT_THAT(refused(thief.sign(payload().dump())), HasSubstr("unknown key"));
  // The thief's own key under the right id, in the header or by address.
  cjose_err error{};
  cjose_jwk_t* own = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &error);
  char* own_json = cjose_jwk_to_json(own, false, &error);
  const auto forge = [&](const std::function<void(cjose_header_t*)>& dress) {
    cjose_header_t* header = cjose_header_new(&error);
    cjose_header_set(header, "alg", "ES256", &error);
    dress(header);
    const std::string text = payload().dump();
    cjose_jws_t* jws =
        cjose_jws_sign(own, header, reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), &error);
    const char* compact = nullptr;
    cjose_jws_export(jws, &compact, &error);
    std::string token = compact;
    cjose_jws_release(jws);
    cjose_header_release(header);
    return token;
  };
  const auto id = kid();
  EXPECT_THAT(refused(forge([&](cjose_header_t* h) { cjose_header_set(h, "kid", id.c_str(), &error); })),
              HasSubstr("signature is wrong"));
  EXPECT_NE(refused(forge([&](cjose_header_t* h) { cjose_header_set_raw(h, "jwk", own_json, &error); })), "");
  EXPECT_NE(refused(forge([&](cjose_header_t* h) {
              cjose_header_set(h, "kid", id.c_str(), &error);
              cjose_header_set_raw(h, "jwk", own_json, &error);
              cjose_header_set(h, "jku", "https://evil.test/jwks", &error);
            })),
            "");
  EXPECT_NE(refused(forge([&](cjose_header_t* h) { cjose_header_set(h, "kid", "../../etc/passwd", &error); })), "");
  EXPECT_NE(refused(forge([&](cjose_header_t* h) { cjose_header_set(h, "kid", "", &error); })), "");
  EXPECT_NE(refused(forge([&](cjose_header_t* h) {
              cjose_header_set(h, "kid", id.c_str(), &error);
              cjose_header_set_raw(h, "crit", "[\"b64\"]", &error);
            })),
            "");
  std::free(own_json);
  cjose_jwk_release(own);
}

TEST_F(Token, KeySetsHoldOnlyOurKindOfKey) {
  const auto ours = json::parse(keys.jwks())["keys"][0];
  const auto size = [](const json& set) { return PublicKeys::parse(set.dump()).value().size(); };
  EXPECT_EQ(size({{"keys", {ours}}}), 1U);
  EXPECT_FALSE(ours.contains("d"));
  json other = ours;
  other["alg"] = "ES384";
  EXPECT_EQ(size({{"keys", {other, {{"kty", "oct"}, {"k", "AAAA"}, {"kid", "x"}}, {{"kty", "RSA"}}, ours}}}), 1U);
  other = ours;
  other["use"] = "enc";
  EXPECT_EQ(size({{"keys", {other}}}), 0U);
  other = ours;
  other["y"] = other["x"];  // not on the curve
  EXPECT_FALSE(PublicKeys::parse(json{{"keys", {other}}}.dump()));
  other = ours;
  other.erase("kid");
  EXPECT_FALSE(PublicKeys::parse(json{{"keys", {other}}}.dump()));
  for (const auto* text : {"", "{}", "[]", "{\"keys\":1}", "{\"keys\":[1,null]}"}) (void)PublicKeys::parse(text);
  EXPECT_FALSE(PublicKeys::parse("{\"keys\":1}"));
  EXPECT_FALSE(verifier.set_keys("no set"));
  EXPECT_EQ(refused(sign(payload())), "");  // the old keys stay
}

TEST_F(Token, RevokedByItsIdOrItsGrant) {
  const auto token = sign(payload());
  verifier.revocations().add({1, "another", now_s + 600});
  EXPECT_EQ(refused(token), "");
  verifier.revocations().add({2, "grant", now_s + 600});
  EXPECT_THAT(refused(token), HasSubstr("revoked"));
  EXPECT_EQ(verifier.revocations().after(1).size(), 1U);
  EXPECT_EQ(verifier.revocations().last(), 2);
  verifier.revocations().forget(now_s + 700);
  EXPECT_EQ(verifier.revocations().after(0).size(), 0U);
}

TEST_F(Token, NoRefusalTellsTheToken) {
  const auto token = sign(with("aud", "https://xrootd.test"));
  EXPECT_THAT(refused(token), ::testing::Not(HasSubstr(token.substr(0, 10))));
}

TEST_F(Token, KeyFilesThatOthersCouldReadAreRefused) {
  namespace fs = std::filesystem;
  const auto clock = [this] { return now_s; };
  const fs::path path = folder.path() / "keys";
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  fs::path file;
  for (const auto& entry : fs::directory_iterator(path)) file = entry.path();
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_NO_THROW(KeyRing(path, clock));
  fs::permissions(file, fs::perms(0640));
  EXPECT_THROW(KeyRing(path, clock), Error);
  fs::permissions(file, fs::perms(0600));
  fs::permissions(path, fs::perms(0755));
  EXPECT_THROW(KeyRing(path, clock), Error);
  fs::permissions(path, fs::perms(0700));
  std::ofstream(file) << "no key";
  EXPECT_THROW(KeyRing(path, clock), Error);
}

}  // namespace
}  // namespace farfield::services::auth
