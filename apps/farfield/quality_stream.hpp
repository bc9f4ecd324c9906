#pragma once
// The quality of live scans as it goes out: JSON lines to files, standard output and over ZeroMQ.

#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/net/zeromq.hpp"
#include "farfield/pipeline/driver.hpp"
#include "farfield/pipeline/steering/quality.hpp"

namespace farfield::apps {

/// Sees the previews of a run on their way to `next`. One thread at a time.
class QualityStream final : public pipeline::PreviewSink {
public:
  /// `targets`, separated by commas: "-" (standard output), a path (appended to), tcp://host:port or ipc://path (PUB,
  /// connects; with @ before it listens). Throws `invalid_argument`, `io`, `conflict`.
  explicit QualityStream(const std::string& targets);

  /// A scan begins: its records go to `file`, too, where that is not empty (a new file). `account` and `next` (null:
  /// nobody) outlive the scan.
  void begin(const std::string& scan, const std::string& technique, const std::string& verb,
             const std::filesystem::path& file, std::function<pipeline::FrameTotals()> account,
             pipeline::PreviewSink* next);
  /// One record of what the snapshot says; then it is shown to `next`.
  void show(const model::Product& product, std::int64_t iteration) override;
  /// The scan is over, with these metrics.
  void end(const std::map<std::string, double>& metrics);

private:
  struct CloseFile {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  using File = std::unique_ptr<std::FILE, CloseFile>;
  static File open(const std::filesystem::path& path, const char* mode);
  void send(const std::map<std::string, double>& metrics, bool last);

  bool standard_output_ = false;
  std::vector<std::pair<std::string, File>> files_;
  std::vector<net::ZmqSocket> sockets_;
  std::string own_path_;
  File own_;
  pipeline::QualityRecord record_;
  std::function<pipeline::FrameTotals()> account_;
  pipeline::PreviewSink* next_ = nullptr;
};

}  // namespace farfield::apps
