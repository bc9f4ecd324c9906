#include "farfield/services/compute/endpoint/carrier.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/net/client.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/compute/endpoint/errands.hpp"
#include "farfield/services/compute/worker/large_output.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::LogLevel;

constexpr auto kPause = std::chrono::seconds(1);
constexpr const char *kNoExperiment = "-", *kGone = "removed";  ///< folders
constexpr std::size_t kDigits = 64;                             ///< of a SHA-256

bool is_sha256(const std::string& text) {
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// A file that is being received: hashed on the way, in place once it is what it should be.
class Received final : public net::BodySink {
public:
  explicit Received(std::string path) : path_(std::move(path)), part_(path_ + ".part") {
    file_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file_ < 0) throw core::system_error(errno, "cannot write " + part_);
  }
  ~Received() override {
    ::close(file_);
    if (!kept_) ::unlink(part_.c_str());
  }
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;

  void write(std::span<const std::byte> bytes) override {
    sum_.update(bytes);
    while (!bytes.empty()) {
      const ssize_t n = ::write(file_, bytes.data(), bytes.size());
      if (n < 0 && errno != EINTR) throw core::system_error(errno, "cannot write " + part_);
      if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }
  void keep(const std::string& sha256) {
    if (sum_.hex() != sha256)
      throw Error(ErrorCode::unavailable, fmt::format("archive {} arrived damaged", sha256));  // another try may help
    if (::fsync(file_) != 0 || ::rename(part_.c_str(), path_.c_str()) != 0)
      throw core::system_error(errno, "cannot write " + path_);
    kept_ = true;
  }

private:
  std::string path_, part_;
  int file_ = -1;
  codec::Sha256 sum_;
  bool kept_ = false;
};

class FileSource final : public net::BodySource {
public:
  explicit FileSource(const std::string& path)
      : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) {
    struct stat what{};
    if (file_ < 0 || ::fstat(file_, &what) != 0) throw core::system_error(errno, "cannot read " + path);
    bytes_ = static_cast<std::uint64_t>(what.st_size);
  }
  ~FileSource() override { ::close(file_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::size_t read(std::span<std::byte> into) override {
    for (;;) {
      const ssize_t n = ::read(file_, into.data(), into.size());
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) throw core::system_error(errno, "cannot read " + path_);
    }
  }
  std::uint64_t bytes() const { return bytes_; }

private:
  std::string path_;
  int file_;
  std::uint64_t bytes_ = 0;
};

/// Neither it nor what lies in it was touched for so long: a checkpoint is written in place.
bool is_old(const fs::path& path, double age_s) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const auto old = [&](const fs::path& one) {
    struct stat what{};
    return ::lstat(one.c_str(), &what) == 0 && now - static_cast<double>(what.st_mtim.tv_sec) > age_s;
  };
  std::error_code error;
  if (!old(path)) return false;
  if (!fs::is_directory(fs::symlink_status(path, error))) return true;
  for (const auto& part : fs::directory_iterator(path, error))
    if (!old(part.path())) return false;
  return !error;
}

void remove_quietly(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);  // follows no link
  if (error) core::log(LogLevel::warning, "not_removed", {{"path", path.string()}, {"reason", error.message()}});
}

}  // namespace

struct Carrier::State {
  explicit State(CarrierOptions o) : options(std::move(o)), client(options.service, {.trust = options.trust}) {}

  net::Headers headers() const {
    net::Headers all;
    if (options.token) all.add("Authorization", "Bearer " + options.token());
    return all;
  }
  std::string archive(const std::string& sha256) const {
    return fmt::format("{}/archives/{}.tar.zst", options.folder, sha256);
  }

  void fetch(const std::string& sha256) {
    Received file(archive(sha256));
    const auto response =
        client.send({.target = "/api/v1/archives/" + sha256, .headers = headers()}, file, stop.get_token());
    if (!response.ok()) throw net::status_error(response, "archive " + sha256);
    file.keep(sha256);
  }

  std::string put(const std::string& path, const TaskKey& key) {
    FileSource source(path);
    net::ClientRequest request;
    request.method = "PUT";
    request.target = fmt::format("/api/v1/tasks/{}/output?attempt={}", key.task, key.attempt);
    request.headers = headers();
    request.headers.add("Content-Type", "application/json");
    request.source = &source;
    request.length = source.bytes();
    const auto response = client.send(request, stop.get_token());
    if (!response.ok()) throw net::status_error(response, "output of task " + key.task);
    return fmt::format(R"({{"$ref":"/api/v1/tasks/{}/output","bytes":{}}})", key.task, source.bytes());
  }

  CarrierOptions options;
  net::Client client;
  std::stop_source stop;
  Errands errands;
};

Carrier::Carrier(CarrierOptions options) : state_(std::make_unique<State>(std::move(options))) {}

Carrier::~Carrier() {
  state_->stop.request_stop();
  state_->errands.stop();
}

bool Carrier::has_archive(const std::string& sha256) const {
  std::error_code error;
  return is_sha256(sha256) && fs::exists(state_->archive(sha256), error);
}

void Carrier::fetch_archive(const std::string& sha256,
                            std::function<void(const std::string& problem, bool systems)> done) {
  state_->errands.add([s = state_.get(), sha256, done = std::move(done)] {
    if (!is_sha256(sha256)) return done(fmt::format("\"{}\" is not the SHA-256 of an archive", sha256), false);
    try {
      s->fetch(sha256);
      done({}, false);
    } catch (const std::exception& e) {
      const auto* error = dynamic_cast<const Error*>(&e);
      const bool final =
          error != nullptr && (error->code() == ErrorCode::not_found || error->code() == ErrorCode::invalid_argument ||
                               error->code() == ErrorCode::forbidden);
      done(e.what(), !final);
    }
  });
}

void Carrier::put_output(const std::string& block_folder, const TaskKey& key,
                         std::function<void(const std::string& reference, const std::string& problem)> done) {
  state_->errands.add([this, s = state_.get(), block_folder, key, done = std::move(done)]() mutable {
    try {
      return done(s->put(large_output_path(block_folder, key), key), {});
    } catch (const std::exception& e) {
      const auto* error = dynamic_cast<const Error*>(&e);
      const auto code = error == nullptr ? ErrorCode::internal : error->code();
      if (code == ErrorCode::not_found || code == ErrorCode::invalid_argument || code == ErrorCode::conflict ||
          code == ErrorCode::resource_exhausted)
        return done({}, e.what());
      core::log(LogLevel::warning, "output_not_taken", {{"task", key.task}, {"reason", e.what()}});
    }
    if (s->stop.stop_requested()) return;
    std::this_thread::sleep_for(kPause);
    put_output(block_folder, key, std::move(done));  // behind what else waits
  });
}

void Carrier::remove_output(const std::string& block_folder, const TaskKey& key) {
  state_->errands.add([path = large_output_path(block_folder, key)] { remove_quietly(path); });
}

void Carrier::remove_tasks(std::vector<std::pair<std::string, std::string>> tasks) {
  state_->errands.add([s = state_.get(), tasks = std::move(tasks)] {
    const auto is_part = [](const std::string& name) {
      return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos;
    };
    for (const auto& [experiment, task] : tasks) {
      const std::string group = experiment.empty() ? kNoExperiment : experiment;
      if (!is_part(group) || !is_part(task)) continue;
      const std::string path = fmt::format("{}/tasks/{}/{}", s->options.folder, group, task);
      if (::rmdir(path.c_str()) != 0 && errno != ENOENT) remove_quietly(path);
    }
  });
}

void Carrier::look_for_old(double age_s, std::function<void(Old)> found) {
  state_->errands.add([s = state_.get(), age_s, found = std::move(found)] {
    Old old;
    std::error_code error;
    const fs::path folder = s->options.folder;
    for (const auto& block : fs::directory_iterator(folder / "blocks", error))
      if (is_old(block.path(), age_s)) old.blocks.push_back(block.path().filename());
    for (const auto& archive : fs::directory_iterator(folder / "archives", error))
      if (const std::string name = archive.path().filename();
          is_sha256(name.substr(0, kDigits)) && is_old(archive.path(), age_s))
        old.archives.push_back(name.substr(0, kDigits));
    for (const auto& group : fs::directory_iterator(folder / "tasks", error))
      for (const auto& task : fs::directory_iterator(group.path(), error))
        if (is_old(task.path(), age_s))
          old.tasks.emplace_back(group.path().filename() == kNoExperiment ? "" : group.path().filename().string(),
                                 task.path().filename());
    // What an earlier process began to remove.
    for (const auto& gone : fs::directory_iterator(folder / kGone, error)) remove_quietly(gone.path());
    found(std::move(old));
  });
}

void Carrier::remove(const Old& old) {
  const fs::path folder = state_->options.folder, gone = folder / kGone;
  std::error_code error;
  fs::create_directories(gone, error);
  const auto put_away = [&](const fs::path& path) {
    const fs::path away = gone / fmt::format("{}-{}", path.filename().string(), auth::random_hex(8));
    fs::rename(path, away, error);
    if (!error) state_->errands.add([away] { remove_quietly(away); });
  };
  for (const std::string& block : old.blocks) put_away(folder / "blocks" / block);
  for (const std::string& sha256 : old.archives)
    for (const char* part : {"", ".part"}) put_away(state_->archive(sha256) + part);
  for (const auto& [experiment, task] : old.tasks)
    put_away(folder / "tasks" / (experiment.empty() ? kNoExperiment : experiment) / task);
}

}  // namespace farfield::services::compute
