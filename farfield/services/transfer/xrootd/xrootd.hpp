#pragma once
// An XRootD server as a side of transfers: root:// and roots:// (TLS) by XrdCl, with bearer tokens.

#include <functional>
#include <memory>
#include <string>

#include "farfield/net/client.hpp"
#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer {

struct XRootDPlace {
  std::string origin;  ///< "roots://xrootd.example.org:1094"
  std::string folder;  ///< that is exported: "/experiments/2026-1-Garcia-1234"
  std::function<std::string()> token{};  ///< gives a good access token each time; empty: none is sent
  std::string https{};  ///< "https://xrootd.example.org:1094"; empty: it makes no third-party copies
  net::ClientOptions client{};  ///< of https
};

/// What the protocol cannot do is left undone: files get the time at which they arrived, symbolic links are what they
/// lead to, and only this process is kept from writing a file twice at a time. Tokens travel with each request (authz);
/// servers that also want one at login (ztn) get that of BEARER_TOKEN or BEARER_TOKEN_FILE, and trust in TLS comes
/// from X509_CERT_DIR, as with all XRootD clients.
///
/// What was written is verified by the Adler-32 that the server computes of it; it is read back where the server
/// computes none, where it differs, after an interruption, and for a SHA-256.
///
/// Between two servers that both speak HTTPS with third-party copies (http_copy.hpp) files go from one to the other by
/// themselves, and are verified by the Adler-32 that each of them computes; where that does not work, the bytes come
/// this way.
///
/// Throws `invalid_argument`, and `unsupported` where built without FARFIELD_WITH_XROOTD.
std::unique_ptr<Provider> xrootd_provider(XRootDPlace place);

}  // namespace farfield::services::transfer
