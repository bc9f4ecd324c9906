#include "farfield/services/transfer/agent/sources.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "farfield/net/url.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

constexpr std::size_t kKept = 16, kLongestCertificate = 64 << 10;

/// Into memory of known size.
class IntoSpan final : public net::BodySink {
public:
  explicit IntoSpan(std::span<std::byte> into) : into_(into) {}
  void write(std::span<const std::byte> bytes) override {
    if (bytes.size() > into_.size() - used_)
      throw Error(ErrorCode::corrupt_data, "an agent sends more than it was asked for");
    std::memcpy(into_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  bool full() const { return used_ == into_.size(); }

private:
  std::span<std::byte> into_;
  std::size_t used_ = 0;
};

}  // namespace

std::shared_ptr<net::Client> Sources::client(const wire::Remote& from) {
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(known_.begin(), known_.end(), [&](const Known& one) {
    return one.origin == from.origin && one.certificate == from.certificate;
  });
  if (known != known_.end()) {
    known_.splice(known_.begin(), known_, known);
    return known_.front().client;
  }
  const auto url = net::parse_url(from.origin);
  if (!url || !url->secure || url->origin() != from.origin || from.certificate.size() > kLongestCertificate)
    throw Error(ErrorCode::invalid_argument, fmt::format("{:?} is no agent over https", from.origin.substr(0, 200)));
  net::ClientOptions options;
  options.trust.pem = from.certificate;
  known_.push_front({from.origin, from.certificate, std::make_shared<net::Client>(from.origin, options)});
  if (known_.size() > kKept) known_.pop_back();
  return known_.front().client;
}

void Sources::read(const wire::Remote& from, Index offset, std::span<std::byte> into) {
  net::ClientRequest request{.target = fmt::format("/transfer/v1/{}/content?{}", net::percent_encode(from.experiment),
                                                   net::format_query({{"path", checked_path(from.path)}}))};
  request.headers.set("Range", fmt::format("bytes={}-{}", offset, offset + std::ssize(into) - 1));
  if (!from.token.empty()) request.headers.set("Authorization", "Bearer " + from.token);
  IntoSpan sink(into);
  net::ClientResponse response;
  try {
    response = client(from)->send(request, sink);
  } catch (const Error& e) {  // a certificate that is not trusted says that this is not the agent
    throw Error(e.code() == ErrorCode::forbidden ? ErrorCode::unavailable : e.code(), e.what());
  }
  if (response.status == 416 || (response.ok() && !sink.full()))
    throw Error(ErrorCode::conflict, "the source became shorter while it was copied").at(from.origin);
  if (!response.ok()) throw wire::error(response.body, response.status).at(from.origin);
  if (response.status != 206 && offset != 0)
    throw Error(ErrorCode::corrupt_data, "the agent does not send the part that it was asked for").at(from.origin);
}

}  // namespace farfield::services::transfer
