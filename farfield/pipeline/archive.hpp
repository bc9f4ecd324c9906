#pragma once
// The raw frames of a stream on disk, as the detector packed them: a scan that opens like any other.

#include <atomic>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <thread>
#include <variant>

#include "farfield/io/scan_file.hpp"
#include "farfield/pipeline/bounded_queue.hpp"
#include "farfield/stream/dectris/pixels.hpp"
#include "farfield/stream/id_set.hpp"

namespace farfield::pipeline {

using core::Index;

struct ArchiveTotals {
  Index frames = 0;      ///< written; put() more than once counts once
  Index packed_anew = 0; ///< of them those that came in another packing than bitshuffle-LZ4
  Index bytes = 0;       ///< of what came
};

/// HDF5 with a CXI and an NXmx entry, written on a thread of its own. Frames packed as bitshuffle-LZ4 are stored as
/// they are, by direct chunk writes; others are packed so. The file appears at commit(), which may come at any time: an
/// aborted series leaves what came. put() and annotate() are for one thread.
class Archive {
public:
  /// `queue_bytes` may wait for the disk; then put() waits until there is room, or `stop`. Throws as io::ScanWriter.
  Archive(const std::filesystem::path& path, const model::Acquisition& acquisition,
          Index queue_bytes = Index{256} << 20, std::stop_token stop = {});
  /// Without commit() nothing is left.
  ~Archive();

  /// `owner` keeps the bytes. A frame that was put before is passed over. A disk that refuses is logged once and told
  /// by commit(); what comes after that is not kept, so that an analysis goes on without its archive.
  void put(model::FrameId id, const stream::dectris::PackedPixels& pixels, std::shared_ptr<const void> owner);
  /// Values for these or other frames.
  void annotate(std::span<const std::pair<model::FrameId, model::Values>> values);
  /// Waits until everything is written, with texts that open_scan() gives back as metadata, and gives the file its
  /// name. Throws what the disk answered; the file then holds what it took before, if it can be completed at all. Once.
  void commit(const std::map<std::string, std::string>& notes = {});

  const std::filesystem::path& path() const { return path_; }
  /// Of commit().
  const ArchiveTotals& totals() const { return totals_; }

private:
  struct Frame {
    model::FrameId id = 0;
    stream::dectris::PackedPixels pixels;
    std::shared_ptr<const void> owner;
  };
  using Values = std::vector<std::pair<model::FrameId, model::Values>>;
  using Item = std::variant<Frame, Values>;

  void run(std::stop_token stop);
  void write(const Frame& frame);

  std::filesystem::path path_;
  io::ScanWriter writer_;
  BoundedQueue<Item> queue_;
  std::stop_token stop_;
  stream::IdSet ids_;
  ArchiveTotals totals_;  // of the writing thread until it has ended
  std::exception_ptr error_;  // likewise
  std::jthread thread_;
};

}  // namespace farfield::pipeline
