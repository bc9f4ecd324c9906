#include "farfield/services/transfer/agent/authority.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <mutex>
#include <utility>

#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/transfer/local/local.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

constexpr std::string_view kBearer = "Bearer ";

/// The bearer token; empty where there is not exactly one.
std::string_view bearer(const net::Request& request) {
  if (request.headers.count("Authorization") != 1) return {};
  const std::string_view field = *request.headers.find("Authorization");
  if (!net::equal_ignoring_case(field.substr(0, kBearer.size()), kBearer)) return {};
  return net::trimmed(field.substr(kBearer.size()));
}

class Folders {
public:
  explicit Folders(Exports exports) : exports_(std::move(exports)) {
    for (const auto& [experiment, folder] : exports_.folders) {
      auth::check_experiment(experiment);
      (void)find(experiment, folder);
    }
    if (exports_.root.empty()) return;
    (void)local_provider(exports_.root);  // must be a folder
  }

  std::shared_ptr<Provider> operator()(const std::string& experiment, Right right) {
    const auto own = exports_.folders.find(experiment);
    if (own != exports_.folders.end()) return find(experiment, own->second);
    if (exports_.root.empty() || !auth::valid_experiment(experiment)) throw nothing(experiment);
    const auto folder = exports_.root / experiment;
    if (right == Right::write && ::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
      throw core::system_error(errno, "cannot make the folder of experiment " + experiment);
    return find(experiment, folder);
  }

private:
  struct Opened {
    dev_t device;
    ino_t inode;
    std::shared_ptr<Provider> provider;
  };
  static Error nothing(const std::string& experiment) {
    return {ErrorCode::not_found,
            fmt::format("this agent exports nothing of experiment {:?}", experiment.substr(0, 200))};
  }

  /// A folder that was moved away and made anew is another one. The file system is asked without the mutex: one that
  /// hangs holds up its own experiment only.
  std::shared_ptr<Provider> find(const std::string& experiment, const std::filesystem::path& folder) {
    struct stat status{};
    if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
      const std::lock_guard lock(mutex_);
      opened_.erase(experiment);
      throw nothing(experiment);
    }
    {
      const std::lock_guard lock(mutex_);
      const auto known = opened_.find(experiment);
      if (known != opened_.end() && known->second.device == status.st_dev && known->second.inode == status.st_ino)
        return known->second.provider;
    }
    Opened opened{status.st_dev, status.st_ino, local_provider(folder)};
    const std::lock_guard lock(mutex_);
    return (opened_[experiment] = std::move(opened)).provider;
  }

  const Exports exports_;
  std::mutex mutex_;
  std::map<std::string, Opened> opened_;
};

}  // namespace

Authorise token_authority(const auth::Verifier& verifier, std::function<bool()> ready) {
  return [&verifier, ready = std::move(ready)](const net::Request& request, Right right, const std::string& experiment,
                                               const std::string& path) {
    const auth::Scope wanted{right == Right::read ? "read" : "write", experiment,
                             path.empty() ? std::string() : "/" + path};
    auth::Claims who;
    const auto decided = [&](const char* decision, const std::string& reason) {
      core::log(*decision == 'a' ? core::LogLevel::info : core::LogLevel::warning, "agent.access",
                {{"decision", decision},
                 {"subject", who.subject},
                 {"client", who.client},
                 {"client_address", request.client},
                 {"scope", wanted.text()},
                 {"where", request.method + " " + request.route},
                 {"reason", reason}});
    };
    if (!ready()) throw Error(ErrorCode::unavailable, "this agent has not reached its service yet");
    const auto token = bearer(request);
    auto claims =
        token.empty() ? core::failure(ErrorCode::unauthenticated, "a bearer token is needed") : verifier.verify(token);
    if (!claims) {
      decided("unauthenticated", claims.error().message());
      throw Error(claims.error());
    }
    who = std::move(*claims);
    for (const auto& scope : who.scopes)
      if (scope.covers(wanted)) return decided("allowed", "");
    decided("denied", "the token does not name it");
    throw Error(ErrorCode::forbidden,
                fmt::format("{} shows a token that does not allow {}", who.subject, wanted.text()));
  };
}

MayFetch token_may_fetch(const auth::Verifier& verifier) {
  return [&verifier](const std::string& origin, const std::string& token, const std::string& experiment,
                     const std::string& path) {
    const auth::Scope wanted{"read", experiment, path.empty() ? std::string() : "/" + path};
    const auto claims = verifier.verify_for(token, origin);
    std::string reason = claims ? "the token does not name it" : claims.error().message();
    if (claims)
      for (const auto& scope : claims->scopes)
        if (scope.covers(wanted)) return;
    core::log(core::LogLevel::warning, "agent.fetch_refused",
              {{"origin", origin.substr(0, 200)}, {"scope", wanted.text()}, {"reason", reason}});
    throw Error(ErrorCode::forbidden, fmt::format("nothing is fetched from {:?}: {}", origin.substr(0, 200), reason));
  };
}

Roots exported_folders(const Exports& exports) {
  return [folders = std::make_shared<Folders>(exports)](const std::string& experiment, Right right) {
    return (*folders)(experiment, right);
  };
}

}  // namespace farfield::services::transfer
