#include "farfield/pipeline/archive.hpp"

#include "farfield/core/log.hpp"

namespace farfield::pipeline {

namespace {
constexpr Index kBytesOfItem = 256;

io::ScanWriter started(const std::filesystem::path& path, const model::Acquisition& acquisition) {
  return {path, acquisition, acquisition.scan.expected_frames};
}
}  // namespace

Archive::Archive(const std::filesystem::path& path, const model::Acquisition& acquisition, Index queue_bytes,
                 std::stop_token stop)
    : path_(path), writer_(started(path, acquisition)), queue_(queue_bytes), stop_(std::move(stop)) {
  writer_.add_nxmx();
  thread_ = std::jthread([this](std::stop_token own) { run(own); });
}

Archive::~Archive() {
  thread_.request_stop();
  queue_.close();
}

void Archive::run(std::stop_token stop) {
  try {
    while (auto item = queue_.pop(stop)) {
      if (const auto* frame = std::get_if<Frame>(&*item)) write(*frame);
      else writer_.append({}, std::get<Values>(*item));
    }
  } catch (const std::exception& e) {
    error_ = std::current_exception();
    core::log(core::LogLevel::error, "archive_failed", {{"file", path_.string()}, {"reason", e.what()}});
    queue_.close();  // nobody waits for a disk that refuses
  }
}

void Archive::write(const Frame& frame) {
  const auto& p = frame.pixels;
  if (p.compression == stream::dectris::Compression::bitshuffle_lz4 && !p.big_endian) {
    writer_.append_packed(frame.id, p.bytes);
  } else {
    core::Array<std::byte, 1> pixels({p.pixels_bytes()});
    core::value_or_throw(stream::dectris::unpack(p, std::span(pixels.data(), static_cast<std::size_t>(pixels.size()))));
    const model::FrameView view{frame.id, {p.dtype, pixels.data(), p.ny, p.nx, p.nx}};
    writer_.append(std::span(&view, 1), {});
    ++totals_.packed_anew;
  }
  ++totals_.frames;
  totals_.bytes += std::ssize(p.bytes);
}

void Archive::put(model::FrameId id, const stream::dectris::PackedPixels& pixels, std::shared_ptr<const void> owner) {
  if (!ids_.insert(id)) return;
  (void)queue_.push(Frame{id, pixels, std::move(owner)}, std::ssize(pixels.bytes) + kBytesOfItem, stop_);
}

void Archive::annotate(std::span<const std::pair<model::FrameId, model::Values>> values) {
  if (!values.empty())
    (void)queue_.push(Values(values.begin(), values.end()), std::ssize(values) * kBytesOfItem, stop_);
}

void Archive::commit(const std::map<std::string, std::string>& notes) {
  queue_.close();
  thread_.join();
  for (const auto& [name, text] : notes) writer_.note(name, text);
  if (!error_) return writer_.commit();
  try {
    writer_.note("archive_incomplete", "the disk refused what came after these frames");
    writer_.commit();
  } catch (const core::Error& e) {
    // The first error tells more, and is thrown.
    core::log(core::LogLevel::error, "archive_lost", {{"file", path_.string()}, {"reason", e.what()}});
  }
  std::rethrow_exception(error_);
}

}  // namespace farfield::pipeline
