#include "farfield/pipeline/events/part_file.hpp"

#include <fmt/format.h>

namespace farfield::pipeline::events {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

fs::path part_path(const fs::path& result, std::size_t place) {
  return result.string() + fmt::format(".part{}", place);
}

PartWriter::PartWriter(fs::path path) : path_(std::move(path)), file_(path_, std::ios::binary | std::ios::trunc) {
  check("cannot be made");
}

PartWriter::~PartWriter() {
  if (handed_over_) return;
  std::error_code ignored;
  fs::remove(path_, ignored);
}

void PartWriter::check(const char* what) const {
  if (!file_) throw Error(ErrorCode::io, what).at(path_.string());
}

void PartWriter::append(const Rows& rows) {
  MessageWriter message;
  put(message, rows);
  const auto bytes = message.take();
  const auto size = static_cast<std::uint64_t>(bytes.size());
  file_.write(reinterpret_cast<const char*>(&size), sizeof size);
  file_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(size));
  check("cannot be written");
}

void PartWriter::hand_over() {
  file_.close();
  check("cannot be written");
  handed_over_ = true;
}

PartReader::PartReader(fs::path path) : path_(std::move(path)), file_(path_, std::ios::binary | std::ios::ate) {
  if (!file_) throw Error(ErrorCode::io, "cannot be opened").at(path_.string());
  left_ = static_cast<std::uint64_t>(file_.tellg());
  file_.seekg(0);
  next();
}

void PartReader::next() {
  head_.reset();
  if (left_ == 0) return;
  std::uint64_t size = 0;
  const auto read = [&](void* to, std::uint64_t count) {
    if (count > left_) throw Error(ErrorCode::corrupt_data, "ends within a message").at(path_.string());
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    if (!file_) throw Error(ErrorCode::io, "cannot be read").at(path_.string());
    left_ -= count;
  };
  read(&size, sizeof size);
  if (size > left_) throw Error(ErrorCode::corrupt_data, "ends within a message").at(path_.string());
  std::vector<std::byte> bytes(size);
  read(bytes.data(), size);
  MessageReader message(bytes);
  head_ = get_rows(message);
}

}  // namespace farfield::pipeline::events
