#pragma once
// Scans of Rigaku's photon-counting detectors as sparse frames; see README.md in this folder.

#include <filesystem>
#include <memory>
#include <vector>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/rigaku/event_file.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io::rigaku {

/// The six modules of a 3M detector stand in 3 rows of 2, (70, 52) pixels apart.
inline constexpr core::Index k3mGapY = 70, k3mGapX = 52, k3mNy = 3 * kModuleNy + 2 * k3mGapY,
                             k3mNx = 2 * kModuleNx + k3mGapX;

/// One module, a frame of 512 x 1024 pixels unless the options say another shape. `checksum`: of the file.
/// Throws what EventFile throws.
std::unique_ptr<model::FrameSource> open_500k(std::unique_ptr<Bytes> bytes, const std::string& name,
                                              const std::string& checksum, const OpenOptions& options);

/// The files NAME.bin.000 to .005 of a 3M detector, in this order; the gaps are masked.
/// Throws `invalid_argument` for another number of files, and what EventFile throws.
std::unique_ptr<model::FrameSource> open_3m(std::vector<std::unique_ptr<Bytes>> modules,
                                            const std::vector<std::string>& names, const std::string& checksum,
                                            const OpenOptions& options);

/// The six names that belong with `path`, where it ends in ".000" to ".005"; else empty.
std::vector<std::filesystem::path> files_of_3m(const std::filesystem::path& path);
/// Whether `path` can be opened here: by its first events, within the shape of a frame of these options.
bool is_rigaku(const std::filesystem::path& path, const OpenOptions& options);
/// Opens `path`, and with it the other modules of a 3M detector; throws as the two above, and `not_found`.
std::unique_ptr<model::FrameSource> open(const std::filesystem::path& path, const OpenOptions& options);

/// Writes one module. Frames are given in order of their ids, events as SparseImage has them.
class EventWriter {
public:
  explicit EventWriter(const std::filesystem::path& path) : file_(path) {}
  /// Throws `invalid_argument` for a frame number that falls or is 2^24 or more, or for a pixel or count that the
  /// format cannot hold; `io`, `resource_exhausted`. Events of count 0 are left out.
  void append(model::FrameId id, std::span<const model::PixelCount> events);
  void commit() { file_.commit(); }

private:
  AtomicFile file_;
  model::FrameId last_ = -1;
  std::vector<std::uint64_t> words_;
};

}  // namespace farfield::io::rigaku
