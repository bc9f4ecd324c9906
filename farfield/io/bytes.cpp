#include "farfield/io/bytes.hpp"

#include <bzlib.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/system_error.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
[[noreturn]] void ends_early(Index offset, std::size_t wanted, Index size) {
  throw Error(ErrorCode::corrupt_data,
              fmt::format("{} bytes wanted at {}, but the file ends at {}", wanted, offset, size));
}

class MemoryBytes final : public Bytes {
public:
  explicit MemoryBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  Index size() const override { return static_cast<Index>(bytes_.size()); }
  void read(Index offset, std::span<std::byte> out) const override {
    if (offset < 0 || offset > size() || static_cast<Index>(out.size()) > size() - offset)
      ends_early(offset, out.size(), size());
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }

private:
  std::vector<std::byte> bytes_;
};

class FileBytes final : public Bytes {
public:
  explicit FileBytes(const std::filesystem::path& path)
      : name_(path.string()), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw system_error(errno, "cannot read " + name_);
    struct stat status{};
    if (::fstat(descriptor_, &status) == 0) size_ = status.st_size;
  }
  ~FileBytes() override { ::close(descriptor_); }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  Index size() const override { return size_; }
  void read(Index offset, std::span<std::byte> out) const override {
    if (offset < 0) ends_early(offset, out.size(), size_);
    while (!out.empty()) {
      const ssize_t n = ::pread(descriptor_, out.data(), out.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw system_error(errno, "cannot read " + name_);
      if (n == 0) ends_early(offset, out.size(), size_);
      out = out.subspan(static_cast<std::size_t>(n));
      offset += n;
    }
  }

private:
  std::string name_;
  int descriptor_;
  Index size_ = 0;
};
}  // namespace

std::unique_ptr<Bytes> memory_bytes(std::vector<std::byte> bytes) {
  return std::make_unique<MemoryBytes>(std::move(bytes));
}
std::unique_ptr<Bytes> file_bytes(const std::filesystem::path& path) { return std::make_unique<FileBytes>(path); }

std::unique_ptr<Bytes> bzip2_bytes(const std::filesystem::path& path, Index limit_bytes) {
  const auto packed = read_file(path, limit_bytes);
  std::vector<std::byte> out(std::min<std::size_t>(packed.size() * 4 + 65536, static_cast<std::size_t>(limit_bytes)));
  bz_stream stream{};
  if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) throw std::bad_alloc();
  const std::unique_ptr<bz_stream, int (*)(bz_stream*)> release(&stream, BZ2_bzDecompressEnd);
  constexpr std::size_t kPiece = std::size_t{1} << 30;  // the library counts in 32 bits
  std::size_t taken = 0, given = 0;
  for (int status = BZ_OK; status != BZ_STREAM_END;) {
    const std::size_t in = std::min(kPiece, packed.size() - taken);
    if (given == out.size()) {
      if (static_cast<Index>(given) >= limit_bytes)
        throw Error(ErrorCode::resource_exhausted,
                    fmt::format("it holds more than {} bytes; decompress it with bunzip2 first", limit_bytes))
            .at(path.string());
      out.resize(std::min<std::size_t>(given * 2, static_cast<std::size_t>(limit_bytes)));
    }
    const std::size_t room = std::min(kPiece, out.size() - given);
    stream.next_in = const_cast<char*>(reinterpret_cast<const char*>(packed.data() + taken));
    stream.avail_in = static_cast<unsigned>(in);
    stream.next_out = reinterpret_cast<char*>(out.data() + given);
    stream.avail_out = static_cast<unsigned>(room);
    status = BZ2_bzDecompress(&stream);
    taken += in - stream.avail_in;
    given += room - stream.avail_out;
    const bool stuck = status == BZ_OK && taken == packed.size() && stream.avail_out > 0;
    if (stuck || (status != BZ_OK && status != BZ_STREAM_END))
      throw Error(ErrorCode::corrupt_data, stuck ? "the bzip2 data end early" : "the bzip2 data are damaged")
          .at(path.string());
  }
  out.resize(given);
  return memory_bytes(std::move(out));
}

}  // namespace farfield::io
