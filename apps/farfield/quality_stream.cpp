#include "apps/farfield/quality_stream.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "farfield/stream/feed.hpp"

namespace farfield::apps {

using core::Error;
using core::ErrorCode;

QualityStream::QualityStream(const std::string& targets) {
  for (std::size_t at = 0; at < targets.size();) {
    const auto comma = std::min(targets.find(',', at), targets.size());
    const auto target = targets.substr(at, comma - at);
    at = comma + 1;
    if (target.empty()) {
      throw Error(ErrorCode::invalid_argument, fmt::format("--quality {}: an empty target", targets));
    } else if (target == "-") {
      standard_output_ = true;
    } else if (target.find("://") != std::string::npos) {
      const auto endpoint = stream::parse_endpoint(target);
      sockets_.emplace_back(net::ZmqKind::pub, endpoint.address, net::ZmqOptions{.bind = endpoint.bind});
    } else {
      files_.emplace_back(target, open(target, "ae"));
    }
  }
}

QualityStream::File QualityStream::open(const std::filesystem::path& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (!file) throw Error(ErrorCode::io, fmt::format("cannot be written: {}", std::strerror(errno))).at(path.string());
  return file;
}

void QualityStream::begin(const std::string& scan, const std::string& technique, const std::string& verb,
                          const std::filesystem::path& file, std::function<pipeline::FrameTotals()> account,
                          pipeline::PreviewSink* next) {
  record_ = {};
  record_.scan = scan;
  record_.technique = technique;
  record_.verb = verb;
  own_path_ = file.string();
  own_ = file.empty() ? nullptr : open(file, "we");
  account_ = std::move(account);
  next_ = next;
}

void QualityStream::show(const model::Product& product, std::int64_t iteration) {
  send(product.metrics, false);
  if (next_ != nullptr && next_->wanted()) next_->show(product, iteration);
}

void QualityStream::end(const std::map<std::string, double>& metrics) {
  send(metrics, true);
  own_.reset();
}

void QualityStream::send(const std::map<std::string, double>& metrics, bool last) {
  ++record_.number;
  record_.time_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  record_.last = last;
  record_.values = metrics;
  pipeline::add_frames(record_, account_());
  const std::string line = pipeline::to_json(record_);
  const auto write = [&](std::FILE* file, const std::string& path) {
    // A line is written at once, so that readers of a growing file see whole ones.
    if (fmt::print(file, "{}\n", line); std::fflush(file) != 0)
      throw Error(ErrorCode::io, fmt::format("cannot be written: {}", std::strerror(errno))).at(path);
  };
  for (auto& socket : sockets_) {
    const net::ZmqPart part{std::as_bytes(std::span(line))};
    (void)socket.send(std::span(&part, 1), std::chrono::milliseconds(0));  // PUB: never waits
  }
  if (standard_output_) write(stdout, "standard output");
  if (own_) write(own_.get(), own_path_);
  for (const auto& [path, file] : files_) write(file.get(), path);
}

}  // namespace farfield::apps
