#include "farfield/io/xtc2/reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "farfield/io/system_error.hpp"

namespace farfield::io::xtc2 {

namespace {
class Descriptor {
public:
  explicit Descriptor(const std::filesystem::path& path)
      : name_(path.string()), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw system_error(errno, "cannot open " + name_);
  }
  ~Descriptor() { ::close(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  Index read(Index offset, std::span<std::byte> out) const {
    for (;;) {
      const ssize_t n = ::pread(descriptor_, out.data(), out.size(), offset);
      if (n >= 0) return n;
      if (errno != EINTR) throw system_error(errno, "cannot read " + name_);
    }
  }

private:
  std::string name_;
  int descriptor_;
};
}  // namespace

ReadSome read_file_some(const std::filesystem::path& path) {
  return [file = std::make_shared<const Descriptor>(path)](Index offset, std::span<std::byte> out) {
    return file->read(offset, out);
  };
}

ReadSome read_memory_some(std::vector<std::byte> bytes) {
  return [bytes = std::make_shared<const std::vector<std::byte>>(std::move(bytes))](Index offset,
                                                                                    std::span<std::byte> out) {
    const auto size = static_cast<Index>(bytes->size());
    if (offset < 0 || offset >= size) return Index{0};
    const auto count = std::min<Index>(size - offset, static_cast<Index>(out.size()));
    std::memcpy(out.data(), bytes->data() + offset, static_cast<std::size_t>(count));
    return count;
  };
}

DatagramReader::DatagramReader(ReadSome read, Index buffer_bytes)
    : read_(std::move(read)), buffer_(static_cast<std::size_t>(std::max(buffer_bytes, kHeaderBytes))) {}

// Until `wanted` bytes lie in the buffer; false where there are not so many now.
bool DatagramReader::fill(std::size_t wanted) {
  while (end_ - begin_ < wanted) {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
    const auto got = static_cast<std::size_t>(read_(read_to_, std::span(buffer_).subspan(end_)));
    if (got == 0) return false;
    end_ += got;
    read_to_ += static_cast<Index>(got);
  }
  return true;
}

std::optional<Datagram> DatagramReader::next() {
  if (!fill(kHeaderBytes)) return std::nullopt;
  const Index size = load<Header>(buffer_.data() + begin_).size();
  if (size < kHeaderBytes || !fill(static_cast<std::size_t>(size))) return std::nullopt;
  const Datagram datagram(std::span<const std::byte>(buffer_).subspan(begin_, static_cast<std::size_t>(size)));
  offset_ = read_to_ - static_cast<Index>(end_ - begin_);
  begin_ += static_cast<std::size_t>(size);
  return datagram;
}

std::string DatagramReader::rest() const {
  const auto left = static_cast<Index>(end_ - begin_);
  const Index at = read_to_ - left;
  if (left == 0) return {};
  if (left < kHeaderBytes) return fmt::format("the file ends within the header of a datagram at byte {}", at);
  const Index size = load<Header>(buffer_.data() + begin_).size();
  if (size < kHeaderBytes) return fmt::format("the datagram at byte {} says {} bytes, which cannot be", at, size);
  return fmt::format("the file ends within a datagram at byte {}: {} of {} bytes are there", at, left, size);
}

}  // namespace farfield::io::xtc2
