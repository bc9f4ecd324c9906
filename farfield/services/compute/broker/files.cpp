#include "farfield/services/compute/broker/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/compute/json.hpp"

namespace farfield::services::compute {
namespace {
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

constexpr const char *kArchives = "archives", *kOutputs = "outputs", *kIncoming = "incoming";

[[noreturn]] void fail(const std::string& what) { throw core::system_error(errno, what); }

/// What was renamed in it stays renamed.
void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open " + folder.string());
  const int failed = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failed != 0) throw core::system_error(failed, "cannot flush " + folder.string());
}

/// Removes files that were not touched for so long and for which `whose` has a name. Returns the names.
std::vector<std::string> remove_old(const fs::path& folder, double age_s,
                                    const std::function<std::string(const std::string& file)>& whose) {
  std::vector<std::string> gone;
  const double now_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    struct stat status{};
    if (::lstat(entry.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
        now_s - static_cast<double>(status.st_mtim.tv_sec) < age_s)
      continue;
    std::string name = whose(entry.path().filename().string());
    if (!name.empty() && ::unlink(entry.path().c_str()) == 0) gone.push_back(std::move(name));
  }
  return gone;
}

std::optional<long long> size_of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return status.st_size;
}
}  // namespace

void make_folders(const std::string& folder) {
  for (const char* name : {kArchives, kOutputs, kIncoming}) {
    std::error_code error;
    const fs::path path = fs::path(folder) / name;
    if (fs::create_directories(path, error); error)
      throw core::system_error(error.value(), "cannot make the folder " + path.string());
  }
  // What was on its way when an earlier process ended comes again.
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::path(folder) / kIncoming, ignored))
    fs::remove(entry.path(), ignored);
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
std::string archive_path(const std::string& folder, const std::string& sha256) {
  return fmt::format("{}/{}/{}", folder, kArchives, sha256);
}
bool has_archive(const std::string& folder, const std::string& sha256) {
  return is_sha256(sha256) && size_of(archive_path(folder, sha256)).has_value();
}

bool use_archive(const std::string& folder, const std::string& sha256) {
  return has_archive(folder, sha256) &&
         ::utimensat(AT_FDCWD, archive_path(folder, sha256).c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0;
}
std::vector<std::string> remove_archives(const std::string& folder, double unused_s,
                                         const std::set<std::string>& kept) {
  return remove_old(fs::path(folder) / kArchives, unused_s,
                    [&](const std::string& name) { return is_sha256(name) && !kept.contains(name) ? name : ""; });
}
std::vector<std::string> remove_outputs(const std::string& folder, double age_s,
                                        const std::function<bool(const std::string& task)>& known) {
  return remove_old(fs::path(folder) / kOutputs, age_s, [&](const std::string& name) {
    const std::string task = name.substr(0, name.rfind('.'));
    return known(task) ? "" : task;
  });
}

std::string output_path(const std::string& folder, const TaskKey& key) {
  return fmt::format("{}/{}/{}.{}", folder, kOutputs, key.task, key.attempt);
}
std::string reference_to_output(const std::string& task, long long bytes) {
  return to_text({{"$ref", fmt::format("/api/v1/tasks/{}/output", task)}, {"bytes", bytes}});
}
std::optional<long long> output_reference(const std::string& output, const std::string& task) {
  if (output.size() > 500 || output.find("\"$ref\"") == std::string::npos) return std::nullopt;
  const Json value = Json::parse(output, nullptr, false);
  if (!value.is_object() || value.size() != 2 || !value.contains("bytes") || !value["bytes"].is_number_unsigned() ||
      value["$ref"] != fmt::format("/api/v1/tasks/{}/output", task))
    return std::nullopt;
  return value["bytes"].get<long long>();
}
std::optional<long long> output_size(const std::string& folder, const TaskKey& key) {
  return size_of(output_path(folder, key));
}
std::string read_output(const std::string& folder, const TaskKey& key) {
  const std::string path = output_path(folder, key);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::not_found, fmt::format("the output of task {} is not there", key.task));
  std::string out(static_cast<std::size_t>(fs::file_size(path)), '\0');
  if (!file.read(out.data(), static_cast<std::streamsize>(out.size())))
    throw Error(ErrorCode::io, fmt::format("cannot read the output of task {}", key.task));
  return out;
}

struct IncomingFile::State {
  std::string path;
  int descriptor = -1;
  long long size = 0, most = 0;
  codec::Sha256 sha;
};

IncomingFile::IncomingFile(const std::string& folder, long long most_bytes) : state_(std::make_unique<State>()) {
  state_->path = fmt::format("{}/{}/XXXXXX", folder, kIncoming);
  state_->most = most_bytes;
  state_->descriptor = ::mkostemp(state_->path.data(), O_CLOEXEC);
  if (state_->descriptor < 0) fail("cannot make a file in " + folder);
}

IncomingFile::~IncomingFile() {
  if (state_->descriptor >= 0) ::close(state_->descriptor);
  if (!state_->path.empty()) ::unlink(state_->path.c_str());
}

void IncomingFile::write(std::span<const std::byte> bytes) {
  if (std::ssize(bytes) > state_->most - state_->size)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the file has more than {} bytes, the most allowed", state_->most));
  state_->sha.update(bytes);
  state_->size += std::ssize(bytes);
  while (!bytes.empty()) {
    const ssize_t written = ::write(state_->descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write " + state_->path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

long long IncomingFile::size() const { return state_->size; }
std::string IncomingFile::sha256() const { return state_->sha.hex(); }

void IncomingFile::commit(const std::string& path) {
  if (::fsync(state_->descriptor) != 0) fail("cannot flush " + state_->path);
  if (::rename(state_->path.c_str(), path.c_str()) != 0) fail("cannot make " + path);
  state_->path.clear();
  flush_folder(fs::path(path).parent_path());
}

}  // namespace farfield::services::compute
