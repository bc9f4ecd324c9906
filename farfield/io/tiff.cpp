#include "farfield/io/tiff.hpp"

#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/core/error.hpp"
#include "farfield/io/atomic_file.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// A TIFF in memory: the library sees four callbacks, files stay ours (atomic, errors with reasons).
struct Memory {
  std::vector<std::byte> bytes;
  std::size_t at = 0;
  std::string problem{};
};

tmsize_t read_bytes(thandle_t handle, void* out, tmsize_t wanted) {
  auto& m = *static_cast<Memory*>(handle);
  if (wanted < 0 || m.at >= m.bytes.size()) return 0;
  const std::size_t n = std::min(static_cast<std::size_t>(wanted), m.bytes.size() - m.at);
  std::copy_n(m.bytes.begin() + static_cast<std::ptrdiff_t>(m.at), n, static_cast<std::byte*>(out));
  m.at += n;
  return static_cast<tmsize_t>(n);
}
tmsize_t write_bytes(thandle_t handle, void* in, tmsize_t count) {
  auto& m = *static_cast<Memory*>(handle);
  const auto n = static_cast<std::size_t>(count);
  if (m.bytes.size() < m.at + n) m.bytes.resize(m.at + n);
  std::copy_n(static_cast<const std::byte*>(in), n, m.bytes.begin() + static_cast<std::ptrdiff_t>(m.at));
  m.at += n;
  return count;
}
toff_t seek(thandle_t handle, toff_t offset, int whence) {
  auto& m = *static_cast<Memory*>(handle);
  if (whence == SEEK_CUR) offset += m.at;
  if (whence == SEEK_END) offset += m.bytes.size();
  return m.at = offset;
}
int close_nothing(thandle_t) { return 0; }
toff_t size_of(thandle_t handle) { return static_cast<Memory*>(handle)->bytes.size(); }

// Called with the client data of the open file; the library would print otherwise.
void keep(thandle_t handle, const char*, const char* format, va_list values) {
  char text[256] = {};
  std::vsnprintf(text, sizeof text, format, values);
  if (handle != nullptr && static_cast<Memory*>(handle)->problem.empty()) static_cast<Memory*>(handle)->problem = text;
}

using Tiff = std::unique_ptr<TIFF, void (*)(TIFF*)>;
Tiff open(Memory& memory, const char* mode) {
  static const bool silent = [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetWarningHandler(nullptr);
    TIFFSetErrorHandlerExt(keep);
    return true;
  }();
  (void)silent;
  return {
      TIFFClientOpen("memory", mode, &memory, read_bytes, write_bytes, seek, close_nothing, size_of, nullptr, nullptr),
      TIFFClose};
}
}  // namespace

void write_tiff(const std::filesystem::path& path, core::View<const float, 2> image) {
  const Index ny = image.extent(0), nx = image.extent(1);
  if (ny < 1 || nx < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("an image of {} x {} pixels cannot be written", ny, nx))
        .at(path.string());
  if (ny > (Index{1} << 31) || nx > (Index{1} << 31) || ny * nx > (Index{1} << 29))
    throw Error(ErrorCode::invalid_argument, fmt::format("an image of {} x {} pixels is too large for TIFF", ny, nx))
        .at(path.string());
  AtomicFile file(path);
  Memory memory;
  {
    const Tiff tiff = open(memory, "w");
    TIFF* t = tiff.get();
    if (t == nullptr) throw Error(ErrorCode::internal, "libtiff: " + memory.problem).at(path.string());
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, static_cast<std::uint32_t>(nx));
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, static_cast<std::uint32_t>(ny));
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 32);
    TIFFSetField(t, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_IEEEFP);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 1);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
    TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize(t, 0));
    std::vector<float> row(static_cast<std::size_t>(nx));
    for (Index y = 0; y < ny; ++y) {
      for (Index x = 0; x < nx; ++x) row[static_cast<std::size_t>(x)] = image(y, x);
      if (TIFFWriteScanline(t, row.data(), static_cast<std::uint32_t>(y), 0) < 0)
        throw Error(ErrorCode::internal, "libtiff: " + memory.problem).at(path.string());
    }
  }
  file.write(memory.bytes);
  file.commit();
}

core::Array<float, 2> read_tiff(const std::filesystem::path& path) {
  Memory memory{read_file(path, Index{4} << 30)};
  const Tiff tiff = open(memory, "rm");
  TIFF* t = tiff.get();
  const auto corrupt = [&](const std::string& what) {
    return Error(ErrorCode::corrupt_data, what + (memory.problem.empty() ? "" : ": " + memory.problem))
        .at(path.string());
  };
  if (t == nullptr) throw corrupt("not a TIFF file, or a damaged one");
  std::uint32_t nx = 0, ny = 0;
  std::uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT;
  TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &nx);
  TIFFGetField(t, TIFFTAG_IMAGELENGTH, &ny);
  TIFFGetFieldDefaulted(t, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLESPERPIXEL, &samples);
  TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLEFORMAT, &format);
  if (nx < 1 || ny < 1 || static_cast<Index>(nx) * ny > (Index{1} << 29))
    throw corrupt(fmt::format("an image of {} x {} pixels is not possible", ny, nx));
  std::optional<core::DType> type;
  const bool integer = format == SAMPLEFORMAT_UINT, is_signed = format == SAMPLEFORMAT_INT,
             real = format == SAMPLEFORMAT_IEEEFP;
  if (integer && bits == 8) type = core::DType::u8;
  if (integer && bits == 16) type = core::DType::u16;
  if (integer && bits == 32) type = core::DType::u32;
  if (is_signed && bits == 8) type = core::DType::i8;
  if (is_signed && bits == 16) type = core::DType::i16;
  if (is_signed && bits == 32) type = core::DType::i32;
  if (real && bits == 32) type = core::DType::f32;
  if (real && bits == 64) type = core::DType::f64;
  if (!type || samples != 1 || TIFFIsTiled(t))
    throw Error(ErrorCode::unsupported,
                fmt::format("{} samples of {} bits per pixel; grey images of 8, 16, 32-bit integers or floats are read",
                            samples, bits))
        .at(path.string());
  const auto line = static_cast<std::size_t>(TIFFScanlineSize(t));
  if (line != nx * static_cast<std::size_t>(bits / 8)) throw corrupt("the rows of the image have another length");
  core::Array<float, 2> image({static_cast<Index>(ny), static_cast<Index>(nx)});
  std::vector<std::byte> row(line);
  for (std::uint32_t y = 0; y < ny; ++y) {
    if (TIFFReadScanline(t, row.data(), y, 0) < 0) throw corrupt(fmt::format("row {} cannot be read", y));
    core::visit_dtype(*type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_arithmetic_v<T>) {
        const auto* from = reinterpret_cast<const T*>(row.data());
        for (std::uint32_t x = 0; x < nx; ++x) image(y, x) = static_cast<float>(from[x]);
      }
    });
  }
  return image;
}

}  // namespace farfield::io
