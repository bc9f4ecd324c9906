#include "apps/farfield/service_parts.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "apps/farfield/host_name.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/core/text.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
namespace fs = std::filesystem;

constexpr double kRenew_days = 1, kWarn_days = 30;

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

/// Addresses in the one form in which certificates are read.
std::string normal_name(const std::string& name) {
  for (const int family : {AF_INET, AF_INET6}) {
    unsigned char address[16];
    char text[INET6_ADDRSTRLEN];
    if (::inet_pton(family, name.c_str(), address) == 1 && ::inet_ntop(family, address, text, sizeof text) != nullptr)
      return text;
  }
  return name;
}
}  // namespace

std::string issuer_of(const ServeOptions& o) {
  if (!o.issuer.empty()) {
    const auto url = core::value_or_throw(net::parse_url(o.issuer));
    if (url.origin() != o.issuer)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("issuer {:?} must be an origin like {:?}", o.issuer, url.origin()));
    return o.issuer;
  }
  if (o.port == 0) throw Error(ErrorCode::invalid_argument, "with port 0 the issuer must be given");
  net::Url url;
  url.secure = o.tls;
  url.host = is_loopback(o.address) ? "localhost" : host_name();
  url.port = static_cast<std::uint16_t>(o.port);
  return url.origin();
}

/// Readable by its owner only.
fs::path private_folder(const fs::path& path) {
  std::error_code error;
  if (fs::create_directories(path, error); error)
    throw core::system_error(error.value(), "cannot make the folder " + path.string());
  fs::permissions(path, fs::perms::owner_all, error);
  if (error) throw core::system_error(error.value(), "cannot close the folder " + path.string() + " to others");
  return fs::absolute(path);
}

void write_private(const fs::path& path, const std::string& text) {
  io::AtomicFile file(path);
  fs::permissions(file.temporary(), fs::perms::owner_read | fs::perms::owner_write);
  file.write(text);
  file.commit();
}

ServiceCertificate::ServiceCertificate(const ServeOptions& o, const fs::path& folder) {
  if (!o.tls) return;
  if (o.certificate.empty() != o.key.empty())
    throw Error(ErrorCode::invalid_argument, "certificate and key are given together or not at all");
  if (!o.certificate.empty()) {
    identity_ = {o.certificate, o.key};
  } else {
    identity_ = {folder / "certificate.pem", folder / "certificate.key"};
    made_ = true;
    names_ = core::between_commas(o.names);
    const bool asked = !names_.empty();
    if (!asked) names_ = {"localhost", "127.0.0.1", "::1", host_name()};
    bool good = fs::exists(identity_.certificate);
    if (good && asked) {
      const auto has = net::read_certificate(identity_.certificate).names;
      good = std::all_of(names_.begin(), names_.end(), [&](const std::string& name) {
        return std::find(has.begin(), has.end(), normal_name(name)) != has.end();
      });
    }
    if (!good) net::make_self_signed(identity_, names_);
  }
  keep_up();
}

bool ServiceCertificate::keep_up() {
  if (!identity_.given()) return false;
  auto info = net::read_certificate(identity_.certificate);
  if (made_ && info.days_left < kRenew_days) {
    net::make_self_signed(identity_, names_);
    core::log(core::LogLevel::warning, "certificate_renewed", {{"certificate", identity_.certificate.string()}});
    info = net::read_certificate(identity_.certificate);
  } else if (info.days_left < kWarn_days) {
    core::log(core::LogLevel::warning, "certificate_ends_soon",
              {{"certificate", identity_.certificate.string()}, {"days", fmt::format("{:.1f}", info.days_left)}});
  }
  return std::exchange(shown_, info.sha256) != info.sha256;
}

}  // namespace farfield::apps
