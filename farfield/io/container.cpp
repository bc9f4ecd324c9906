#include "farfield/io/container.hpp"

#include <fmt/format.h>

#include <cstring>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/error.hpp"
#include "farfield/core/options.hpp"
#include "farfield/io/bytes.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;

namespace {
constexpr char kMagic[] = "FFBLOCKS";
constexpr std::uint32_t kVersion = 1, kBlock = 0x4b4c4246, kEnd = 0x444e4546;
constexpr std::size_t kLongestName = 4096;
constexpr std::int64_t kFileHead = 16, kBlockHead = 16, kTail = 16, kCrc = 4;

template <class T>
void append(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);  // little-endian machines only
  out.insert(out.end(), bytes, bytes + sizeof value);
}
template <class T>
T get_number(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

Error damaged(const std::string& what, const std::filesystem::path& path) {
  return Error(ErrorCode::corrupt_data, what).at(path.string());
}
}  // namespace

ContainerWriter::ContainerWriter(const std::filesystem::path& path) : file_(path) {
  std::vector<std::byte> head;
  for (int i = 0; i < 8; ++i) head.push_back(static_cast<std::byte>(kMagic[i]));
  append(head, kVersion);
  append(head, std::uint32_t{0});
  file_.write(head);
}

void ContainerWriter::put(std::string_view name, std::span<const std::byte> bytes) {
  if (name.empty() || name.size() > kLongestName)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a block name must have 1 to {} bytes, not {}", kLongestName, name.size()));
  if (!names_.emplace(name).second)
    throw Error(ErrorCode::invalid_argument, fmt::format("block \"{}\" was written before", name));
  std::vector<std::byte> head;
  append(head, kBlock);
  append(head, static_cast<std::uint32_t>(name.size()));
  append(head, static_cast<std::uint64_t>(bytes.size()));
  const auto text = std::as_bytes(std::span(name));
  head.insert(head.end(), text.begin(), text.end());
  file_.write(head);
  file_.write(bytes);
  std::vector<std::byte> crc;
  append(crc, codec::crc32c(bytes, codec::crc32c(head)));
  file_.write(crc);
}

void ContainerWriter::commit() {
  std::vector<std::byte> tail;
  append(tail, kEnd);
  append(tail, static_cast<std::uint64_t>(names_.size()));
  append(tail, codec::crc32c(tail));
  file_.write(tail);
  file_.commit();
}

ContainerReader::ContainerReader(std::filesystem::path path) : path_(std::move(path)) {
  const auto file = file_bytes(path_);
  const std::int64_t size = file->size();
  std::byte head[kBlockHead] = {};
  if (size < kFileHead) throw damaged("the file is too short for a container of blocks", path_);
  file->read(0, head);
  if (std::memcmp(head, kMagic, 8) != 0)
    throw damaged("not a container of blocks (a checkpoint begins with FFBLOCKS)", path_);
  if (const auto version = get_number<std::uint32_t>(head + 8); version != kVersion)
    throw Error(ErrorCode::unsupported, fmt::format("container version {}; this program reads {}", version, kVersion))
        .at(path_.string());
  for (std::int64_t at = kFileHead;;) {
    if (size - at < kTail) throw damaged("the container is cut off", path_);
    file->read(at, head);
    const auto mark = get_number<std::uint32_t>(head);
    if (mark == kEnd) {
      if (get_number<std::uint32_t>(head + 12) != codec::crc32c(std::span(head).first(12)) ||
          get_number<std::uint64_t>(head + 4) != names_.size())
        throw damaged("the end of the container is damaged", path_);
      return;
    }
    if (mark != kBlock) throw damaged(fmt::format("no block begins at byte {}", at), path_);
    const auto name_bytes = static_cast<std::int64_t>(get_number<std::uint32_t>(head + 4));
    const auto data_bytes = get_number<std::uint64_t>(head + 8);
    const std::int64_t room = size - at - kBlockHead - kCrc;
    if (name_bytes < 1 || name_bytes > static_cast<std::int64_t>(kLongestName) || name_bytes > room ||
        data_bytes > static_cast<std::uint64_t>(room - name_bytes))
      throw damaged(fmt::format("the block at byte {} is cut off or damaged", at), path_);
    std::string name(static_cast<std::size_t>(name_bytes), '\0');
    file->read(at + kBlockHead, std::as_writable_bytes(std::span(name)));
    if (!blocks_.emplace(name, Block{at, name_bytes, static_cast<std::int64_t>(data_bytes)}).second)
      throw damaged(fmt::format("block \"{}\" is there twice", name), path_);
    names_.push_back(std::move(name));
    at += kBlockHead + name_bytes + static_cast<std::int64_t>(data_bytes) + kCrc;
  }
}

bool ContainerReader::has(std::string_view name) const { return blocks_.find(name) != blocks_.end(); }

std::vector<std::byte> ContainerReader::get(std::string_view name) const {
  const auto found = blocks_.find(name);
  if (found == blocks_.end())
    throw damaged(fmt::format("there is no block \"{}\"; there are: {}", name, fmt::join(names_, ", ")), path_);
  const Block& b = found->second;
  const auto file = file_bytes(path_);
  std::vector<std::byte> head(static_cast<std::size_t>(kBlockHead + b.name_bytes)),
      data(static_cast<std::size_t>(b.data_bytes));
  std::byte crc[kCrc] = {};
  file->read(b.offset, head);
  file->read(b.offset + static_cast<std::int64_t>(head.size()), data);
  file->read(b.offset + static_cast<std::int64_t>(head.size() + data.size()), crc);
  if (get_number<std::uint32_t>(crc) != codec::crc32c(data, codec::crc32c(head)))
    throw damaged(fmt::format("block \"{}\" is damaged: its CRC-32C is another", name), path_);
  return data;
}

}  // namespace farfield::io
