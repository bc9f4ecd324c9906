#pragma once
// A real XRootD server with the SciTokens plug-in, which knows the keys of a test's issuer: HTTPS, roots:// with
// tokens, checksums, third-party copy. Packages: xrootd-server xrootd-scitokens-plugins xrootd-plugins.

#include <cjose/base64.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/net/client.hpp"
#include "farfield/services/auth/testing.hpp"

namespace farfield::tests {

namespace fs = std::filesystem;
namespace auth = services::auth;

inline constexpr const char* kAudience = "https://xrootd.test";
inline constexpr const char* kMine = "2026-1-Garcia-1";
inline constexpr const char* kOther = "2026-1-Other-2";

inline std::string decoded(const std::string& text) {
  std::uint8_t* out = nullptr;
  std::size_t length = 0;
  if (!cjose_base64url_decode(text.data(), text.size(), &out, &length, nullptr)) return {};
  std::string result(reinterpret_cast<const char*>(out), length);
  std::free(out);
  return result;
}

/// A public key of the set in the form that libscitokens stores.
inline std::string pem(const nlohmann::json& jwk) {
  const std::string point = "\x04" + decoded(jwk["x"]) + decoded(jwk["y"]);
  OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
  OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* key = nullptr;
  EVP_PKEY_fromdata_init(context);
  EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters);
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PUBKEY(bio, key);
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(n));
  BIO_free(bio);
  EVP_PKEY_free(key);
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  OSSL_PARAM_BLD_free(builder);
  return text;
}

inline std::uint16_t free_port() {
  const int s = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return 0;
  socklen_t size = sizeof address;
  ::getsockname(s, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(s);
  return ntohs(address.sin_port);
}

class XRootDServer {
public:
  /// With `like`: another server of the same facility, which trusts the same issuer, and both trust each other.
  explicit XRootDServer(XRootDServer* like = nullptr) : why_not_(start(like)) {}
  ~XRootDServer() {
    if (server_ <= 0) return;
    ::kill(server_, SIGTERM);
    ::waitpid(server_, nullptr, 0);
  }
  XRootDServer(const XRootDServer&) = delete;
  XRootDServer& operator=(const XRootDServer&) = delete;

  /// Empty where the server runs.
  const std::string& why_not() const { return why_not_; }
  std::string https() const { return fmt::format("https://127.0.0.1:{}", http_port_); }
  std::string roots() const { return fmt::format("roots://127.0.0.1:{}", port_); }
  net::TlsTrust trust() const { return {.authorities = folder_ / "host.pem"}; }
  /// Of the issuer whose tokens count.
  std::string keys_folder() const { return keys_folder_ / "keys"; }
  std::string certificate() const {
    std::ostringstream text;
    text << std::ifstream(folder_ / "host.pem").rdbuf();
    return text.str();
  }
  /// What it logs.
  std::string log() const {
    std::ostringstream text;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
      if (entry.path().extension() == ".log") text << std::ifstream(entry.path()).rdbuf();
    return text.str();
  }
  /// What it exports as /experiments/ID.
  fs::path data(const std::string& experiment) const { return folder_ / "data/experiments" / experiment; }

  net::ClientResponse request(const std::string& method, const std::string& experiment, const std::string& token,
                              const std::string& name = "scan.dat") const {
    net::Client client(https(), {.trust = trust()});
    net::ClientRequest out{.method = method, .target = fmt::format("/experiments/{}/{}", experiment, name)};
    if (!token.empty()) out.headers.add("Authorization", "Bearer " + token);
    if (method == "PUT") out.body = "new";
    return client.send(out);
  }
  /// A token as the issuer signs it.
  std::string token(const std::string& scope, const std::string& audience = kAudience, std::int64_t age_s = 0) {
    auth::Claims claims;
    claims.issuer = auth::testing::kIssuer;
    claims.subject = "user:garcia";
    claims.audience = audience;
    claims.id = auth::random_hex(16);
    claims.issued_s = auth::system_unix_time() - age_s;
    claims.expires_s = claims.issued_s + auth::kLongestLife_s;
    claims.scopes = auth::parse_scopes(scope).value();
    return keys_.sign(auth::claims_json(claims));
  }

private:
  /// Empty, or why there is no server.
  std::string start(XRootDServer* like) {
    if (like != nullptr && !like->why_not().empty()) return like->why_not();
    if (::access("/usr/bin/xrootd", X_OK) != 0) return "xrootd is not installed";
    void* library = ::dlopen("libSciTokens.so.0", RTLD_NOW);
    using Store = int (*)(const char*, const char*, const char*, char**);
    const auto store =
        library == nullptr ? nullptr : reinterpret_cast<Store>(::dlsym(library, "scitoken_store_public_ec_key"));
    if (store == nullptr) return "libSciTokens is not installed";

    const fs::path root = folder_.path();
    for (const auto* name : {"cache", "adm"}) fs::create_directories(root / name);
    for (const auto* experiment : {kMine, kOther}) {
      fs::create_directories(root / "data/experiments" / experiment);
      std::ofstream(root / "data/experiments" / experiment / "scan.dat") << std::string(100'000, 'x') << experiment;
    }
    // The keys as if libscitokens had fetched them: no network is needed.
    const auto& keys = like == nullptr ? keys_ : like->keys_;
    ::setenv("XDG_CACHE_HOME", (root / "cache").c_str(), 1);
    const auto set = nlohmann::json::parse(keys.jwks())["keys"][0];
    char* error = nullptr;
    if (store(auth::testing::kIssuer, set["kid"].get<std::string>().c_str(), pem(set).c_str(), &error) != 0)
      return fmt::format("libSciTokens does not take the key: {}", error == nullptr ? "" : error);
    if (like == nullptr) net::make_self_signed({root / "host.pem", root / "host.key"}, {"127.0.0.1", "localhost"});
    else
      for (const auto* name : {"host.pem", "host.key"}) fs::copy(like->folder_ / name, root / name);
    std::ofstream(root / "scitokens.cfg") << fmt::format(
        "[Global]\naudience = {}\n[Issuer farfield]\nissuer = {}\nbase_path = /\n", kAudience, auth::testing::kIssuer);
    port_ = free_port();
    http_port_ = free_port();
    std::ofstream(root / "xrootd.cfg") << fmt::format(
        "xrd.port {0}\nxrd.network nodnr\nxrd.tls {1}/host.pem {1}/host.key\nxrd.tlsca certdir {1}/certs\n"
        "xrootd.tls capable all\nall.adminpath {1}/adm\nall.pidpath {1}/adm\noss.localroot {1}/data\n"
        "all.export /experiments\nofs.authorize 1\nofs.authlib libXrdAccSciTokens.so config={1}/scitokens.cfg\n"
        "xrootd.chksum max 4 adler32\nxrd.protocol XrdHttp:{2} libXrdHttp.so\n"
        "http.exthandler xrdtpc libXrdHttpTPC.so\nhttp.header2cgi Authorization authz\nhttp.desthttps yes\n",
        port_, root.string(), http_port_);
    fs::create_directories(root / "certs");
    if (std::system(fmt::format("cp {0}/host.pem {0}/certs/ && openssl rehash {0}/certs", root.string()).c_str()) != 0)
      return "openssl cannot make a folder of authorities";
    ::setenv("X509_CERT_DIR", (root / "certs").c_str(), 1);  // of clients and servers
    fs::permissions(root, fs::perms(0755));
    // xrootd does not run as root.
    const bool super = ::geteuid() == 0;
    if (super && std::system(fmt::format("chown -R nobody:nogroup {}", root.string()).c_str()) != 0)
      return "no account named nobody";
    server_ = ::fork();
    if (server_ == 0) {
      ::setenv("HOME", root.c_str(), 1);
      const std::string config = root / "xrootd.cfg", log = root / "xrootd.log";
      if (super)
        ::execl("/usr/bin/setpriv", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "xrootd", "-n",
                "t", "-l", log.c_str(), "-c", config.c_str(), nullptr);
      else ::execl("/usr/bin/xrootd", "xrootd", "-n", "t", "-l", log.c_str(), "-c", config.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 400; ++i) {
      try {
        request("GET", kMine, "");
        return {};
      } catch (const core::Error&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
    return "xrootd does not answer: " + log();
  }

  core::testing::TemporaryFolder folder_, keys_folder_;
  auth::KeyRing keys_{keys_folder_ / "keys", auth::system_unix_time};
  std::uint16_t port_ = 0, http_port_ = 0;
  pid_t server_ = 0;
  const std::string why_not_;
};

}  // namespace farfield::tests
