#pragma once
// Scans on disk: one call opens any format that Farfield reads; ScanWriter writes CXI while frames come in.
//
// Conventions of everything that open_scan() hands out (the readers convert, see README.md):
// - frames are image(y, x) in the element type they are stored in, rows from the top of the picture;
// - a position is that of the illuminated window on the object, growing with the row (y) and column (x)
//   index of the object array: frame j sees object(y, x) through the window whose first corner is at
//   round(position / pixel size). Values are named "y_m", "x_m" or "y_px", "x_px", never both;
// - energy in eV, lengths in m; what the file does not record stays empty.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/thread_pool.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/model/product.hpp"

namespace farfield::io {

struct OpenOptions {
  /// Path of a recipe (TOML) or name of a shipped one (recipe_names()); empty: the format is detected by content.
  std::string recipe{};
  /// Decodes compressed chunks in parallel; null: on the calling thread. Used only inside next(), and by
  /// nobody else at that time.
  core::ThreadPool* pool = nullptr;
  /// Most bytes of decoded frames handed out at once (at least one frame is).
  core::Index batch_bytes = core::Index{64} << 20;
  /// Shape of the frames where the format does not store it (Rigaku events); 0: as the detector has it, 512 x 1024.
  core::Index frame_ny = 0, frame_nx = 0;
  /// A q-map (APS 8-ID) that becomes inputs "qmap/..." of the acquisition; it says the shape, too. Empty: none.
  std::string qmap{};
  /// A file of metadata (APS 8-ID NeXus): what the scan itself does not say of energy, geometry and times. Empty: none.
  std::string metadata{};
  /// False: acquisition().checksum stays empty. It takes a pass over the whole file; LateChecksum needs no wait for it.
  bool checksum = true;
};

/// Opens a scan: CXI, NeXus (NXcxi_ptycho, NXmx), ptypy .ptyd, npz (also .npz.bz2), IMM and Rigaku events (sparse
/// frames), or any HDF5 by a recipe. Of a Rigaku 3M scan, any of its six files is named.
/// Starting values come as acquisition().inputs: "probe" c64 (mode, y, x), "object" c64 (y, x),
/// "background" f32 (y, x); the checksum is the SHA-256 of the named file (linked files are not followed).
/// Frames are read in pieces; a frame that cannot be decoded is reported in FrameBatch::bad.
/// Throws `not_found` (file, dataset; nearest name suggested), `unsupported` (format, element type),
/// `corrupt_data` (truncated, contradicting shapes, positions all not finite), `io`.
std::unique_ptr<model::FrameSource> open_scan(const std::filesystem::path& path, const OpenOptions& options = {});

/// Writes a scan as CXI 1.6 while it grows, in bounded memory: one compressed chunk per frame, positions at
/// the end. The file appears under its name only at commit(); without commit() nothing is left.
/// Not thread-safe.
class ScanWriter {
public:
  /// `expected_frames` < 0: not known. Throws `invalid_argument` for an acquisition without frame shape,
  /// `io` (path named) where the folder cannot be written.
  ScanWriter(std::filesystem::path path, const model::Acquisition& acquisition, core::Index expected_frames);
  ~ScanWriter();
  ScanWriter(const ScanWriter&) = delete;
  ScanWriter& operator=(const ScanWriter&) = delete;

  /// Frames of the acquisition's shape and element type, in any order; values for these or other frames.
  /// Of the values, positions are stored (as given, metres or pixels), and every other name as
  /// entry_1/farfield/values/<name>. Throws `invalid_argument` for another shape or type or for positions in
  /// metres and pixels, `io`/`resource_exhausted` when the disk refuses.
  void append(std::span<const model::FrameView> frames,
              std::span<const std::pair<model::FrameId, model::Values>> values);
  /// One frame as a detector has packed it: bitshuffle-LZ4 in the framing of HDF5 filter 32008, stored as it is.
  /// Throws `invalid_argument` for bytes that do not say that they unpack to a frame (they are not unpacked to see),
  /// and what append() throws.
  void append_packed(model::FrameId id, std::span<const std::byte> chunk);
  /// A text that open_scan() gives back as metadata; what was said of this name before is replaced.
  void note(const std::string& name, const std::string& text);
  /// Puts an NXentry of definition NXmx beside the CXI entry, whose frames and numbers are links to it.
  void add_nxmx();
  /// The truth of a simulation: read_product() of the scan gives it back, so that it can be compared with.
  void set_truth(const model::Product& truth);
  /// An extra array, stored as
  /// entry_1/farfield/<name> with unit and axes. Throws `invalid_argument` for a name that is no path.
  void set(const std::string& name, const model::Dataset& dataset);
  /// Completes the file, flushes it to the disk and gives it its name. Once. Throws `conflict` when a frame was
  /// given twice, and what append() throws.
  void commit();

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Names of the recipes that Farfield ships, in order.
std::vector<std::string> recipe_names();
/// Text (TOML) of a shipped recipe; throws `not_found` with the nearest name.
std::string recipe_text(const std::string& name);

}  // namespace farfield::io
