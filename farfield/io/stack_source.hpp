#pragma once
// What every HDF5 layout comes down to: stacks of frames, positions per frame, an acquisition.

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/io/hdf5/stack.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io {

/// How stored frames are turned to the convention of the model, in this order.
struct FrameTransform {
  bool transpose = false, flip_y = false, flip_x = false;
  bool amplitude = false;  ///< square roots of counts are stored: squared, to f32
  bool turns() const { return transpose || flip_y || flip_x; }
};

struct ScanLayout {
  /// Filled but for detector.ny, nx, dtype and scan.expected_frames. The pixel mask is as stored (before
  /// the transform).
  model::Acquisition acquisition;
  std::vector<hdf5::Dataset> frames;
  FrameTransform transform{};
  std::vector<model::FrameId> ids{};   ///< one per frame; empty: 0, 1, 2 ...
  std::vector<double> y{}, x{};        ///< window positions, one per frame, in acquisition.scan.unit; or empty
  std::string positions_at{};          ///< where they are from, for messages
  std::map<std::string, std::vector<double>> values{};  ///< other numbers per frame
};

/// Checks the layout (counts of frames and positions, finite positions, mask, geometry) and turns it into a
/// source. Throws `corrupt_data` that names `file`.
std::unique_ptr<model::FrameSource> make_source(ScanLayout layout, const std::string& file, const OpenOptions& options);

/// Throws `corrupt_data` when there are positions and not one is finite, or their number is not `frames`.
void check_positions(const std::vector<double>& y, const std::vector<double>& x, core::Index frames,
                     const std::string& where);
/// Frame numbers that a file keeps as numbers of any kind. Throws `corrupt_data` for one that is not whole, is
/// negative, or comes twice.
std::vector<model::FrameId> frame_ids(const std::vector<double>& numbers, const std::string& where);
/// Throws `corrupt_data` when no pixel is left.
void check_mask(core::View<const std::uint32_t, 2> mask, const std::string& where);

/// SHA-256 of a file as "sha256:<hex>", read in pieces. Throws `cancelled` when stopped before its end.
std::string file_checksum(const std::filesystem::path& path, std::stop_token stop = {});

}  // namespace farfield::io
