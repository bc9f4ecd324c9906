#pragma once
// IMM files (APS sector 8): a header and a frame, one after the other; see README.md in this folder.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/bytes.hpp"
#include "farfield/io/imm/header.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io::imm {

/// Compressed files give sparse frames, raw ones dense frames (u16 or u32). A frame whose header or pixel numbers are
/// damaged is a bad frame with its reason, as is one that the file ends within.
/// `checksum`: of the file. Throws `corrupt_data` where the first header is not possible, `io`.
std::unique_ptr<model::FrameSource> open(std::unique_ptr<Bytes> bytes, const std::string& name,
                                         const std::string& checksum, const OpenOptions& options);
/// Whether the file begins with a possible header.
bool is_imm(const Bytes& bytes);

/// Writes frames of one shape, compressed or raw, values of 2 bytes.
class Writer {
public:
  /// Throws `invalid_argument` for a shape that the format does not hold; `io`.
  Writer(const std::filesystem::path& path, core::Index ny, core::Index nx, bool compressed, double exposure_s = 0);
  /// Takes sparse and dense (u8, u16, u32) frames. Throws `invalid_argument` for another shape, another type, a pixel
  /// outside, or a count above 65535 (counts of a pixel that comes twice are added); `io`, `resource_exhausted`.
  void append(const model::FrameView& frame, double time_s);
  void commit() { file_.commit(); }

private:
  AtomicFile file_;
  core::Index ny_, nx_;
  bool compressed_;
  double exposure_s_;
  std::int32_t frames_ = 0;
  std::vector<std::uint32_t> image_;  // counts of the frame
};

}  // namespace farfield::io::imm
