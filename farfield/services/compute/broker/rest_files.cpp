#include "farfield/services/compute/broker/rest_files.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "farfield/services/auth/json.hpp"
#include "farfield/services/compute/broker/files.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;

class ArchiveUpload final : public net::Upload {
public:
  ArchiveUpload(const std::string& folder, std::string sha256)
      : path_(archive_path(folder, sha256)), sha256_(std::move(sha256)), file_(folder, kLargestArchive) {}
  void write(std::span<const std::byte> bytes) override { file_.write(bytes); }
  net::Response finish() override {
    if (const std::string sha = file_.sha256(); sha != sha256_)
      throw Error(ErrorCode::invalid_argument, fmt::format("the archive's SHA-256 is {}, not {}", sha, sha256_));
    file_.commit(path_);
    return auth::json_response({{"sha256", sha256_}, {"bytes", file_.size()}}, 201);
  }

private:
  std::string path_, sha256_;
  IncomingFile file_;
};

class OutputUpload final : public net::Upload {
public:
  OutputUpload(const std::string& folder, const TaskKey& key)
      : path_(output_path(folder, key)), task_(key.task), file_(folder, kLargestOutput) {}
  void write(std::span<const std::byte> bytes) override { file_.write(bytes); }
  net::Response finish() override {
    file_.commit(path_);
    return net::Response::of(201, "application/json", reference_to_output(task_, file_.size()) + "\n");
  }

private:
  std::string path_, task_;
  IncomingFile file_;
};

class FileSource final : public net::BodySource {
public:
  explicit FileSource(const std::string& path) : file_(path, std::ios::binary) {}
  bool good() const { return file_.good(); }
  std::size_t read(std::span<std::byte> into) override {
    file_.read(reinterpret_cast<char*>(into.data()), static_cast<std::streamsize>(into.size()));
    if (file_.bad()) throw Error(ErrorCode::io, "the file cannot be read");
    return static_cast<std::size_t>(file_.gcount());
  }

private:
  std::ifstream file_;
};
}  // namespace

std::unique_ptr<net::Upload> receive_archive(const std::string& folder, const std::string& sha256) {
  if (!is_sha256(sha256))
    throw Error(ErrorCode::invalid_argument,
                "the name of an archive is its SHA-256: 64 hexadecimal digits, lower case");
  return std::make_unique<ArchiveUpload>(folder, sha256);
}

std::unique_ptr<net::Upload> receive_output(const std::string& folder, const TaskKey& key) {
  return std::make_unique<OutputUpload>(folder, key);
}

net::Response file_response(const std::string& path, std::string_view media_type) {
  auto source = std::make_unique<FileSource>(path);
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (!source->good() || error) throw Error(ErrorCode::not_found, "the file is not there any more");
  return net::Response::stream(media_type, std::move(source), bytes);
}

}  // namespace farfield::services::compute
