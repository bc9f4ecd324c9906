#pragma once
// Third-party copies over HTTP as the WLCG does them (HTTP-TPC): one server is asked to COPY a file from another one,
// tells how far it is in performance markers, and says at the end whether it succeeded. Of HTTP alone: built without
// XrdCl, too.

#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "farfield/net/client.hpp"
#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer {

/// Where a file can be had over HTTPS, by whoever shows the token. A Reader may offer it.
struct HttpAddress {
  std::string url;    ///< "https://xrootd.example.org:1094/experiments/ID/scan.h5", percent-encoded
  std::string token;  ///< empty: none is needed
};
class HttpSource {
public:
  virtual ~HttpSource() = default;
  /// Empty where it is not to be had so.
  virtual std::optional<HttpAddress> address() const = 0;
  /// Computed where the file is; empty where nobody does.
  virtual std::optional<std::uint32_t> adler32() const = 0;
};

/// The body of the answer to COPY, as it comes in pieces.
class CopyMarkers final : public net::BodySink {
public:
  /// `moved` hears how many bytes have arrived in all, whenever that has become more.
  explicit CopyMarkers(std::function<void(Index)> moved = {}) : moved_(std::move(moved)) {}
  /// Throws `corrupt_data` for what no server says: endless lines, stripes without number.
  void write(std::span<const std::byte> bytes) override;
  /// The last line may come without its end.
  void end();

  Index bytes() const { return bytes_; }
  /// Nothing: the answer ended before the copy did. Else empty for success, or the reason of the failure.
  const std::optional<std::string>& outcome() const { return outcome_; }

private:
  void line(std::string_view text);

  std::function<void(Index)> moved_;
  std::string rest_;
  std::map<Index, Index> stripes_;  ///< number -> bytes
  Index stripe_ = 0, stripe_bytes_ = 0, bytes_ = 0;
  std::optional<std::string> outcome_;
};

/// Has `destination` take the file from `source` to its own `target`, replacing what is there. Empty: done; else why it
/// was not, as the servers say it. Throws where that is not known: `unavailable`, `timeout`, `cancelled`,
/// `corrupt_data`.
std::optional<std::string> copy_by_http(net::Client& destination, const std::string& target, const std::string& token,
                                        const HttpAddress& source, const std::function<void(Index)>& moved,
                                        const std::stop_token& stop);

/// A path in a URL: its parts percent-encoded.
std::string url_path(std::string_view path);

}  // namespace farfield::services::transfer
