#pragma once
// Arrays as numpy stores them: .npy headers, and .npz archives of them.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/io/npz/zip.hpp"

namespace farfield::io::npz {

struct NpyHeader {
  core::DType dtype = core::DType::f32;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<core::Index> shape;

  /// Elements; the header was refused when this overflows.
  core::Index size() const;
};

/// Parses the text of a header, a Python dictionary. Throws `corrupt_data`, `unsupported` for element types
/// that are neither numbers nor booleans.
NpyHeader parse_npy_header(std::string_view text);
/// Magic, version and header, padded to 64 bytes.
std::vector<std::byte> npy_header(core::DType type, const std::vector<core::Index>& shape);

/// One array being read in order.
class NpyStream {
public:
  explicit NpyStream(ZipMember member);
  const NpyHeader& header() const { return header_; }
  /// The next out.size() bytes of elements, in the machine's byte order; whole elements.
  void read(std::span<std::byte> out);

private:
  ZipMember member_;
  NpyHeader header_;
};

/// An archive of arrays. Errors name array and file.
class Npz {
public:
  Npz(std::unique_ptr<Bytes> bytes, std::string name);
  /// A .npz, or a .npz.bz2 (decompressed into memory, at most 2 GiB), by content.
  static Npz open(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  /// Names without ".npy", in the order of the archive.
  std::vector<std::string> arrays() const;
  bool has(const std::string& array) const;
  /// Throws `not_found`, with the names there are.
  NpyStream stream(const std::string& array) const;
  /// The whole array, row-major. Throws `resource_exhausted` beyond `limit_bytes`.
  core::AnyArray read(const std::string& array, core::Index limit_bytes = core::Index{4} << 30) const;

private:
  std::unique_ptr<Bytes> bytes_;
  std::string name_;
  std::vector<ZipEntry> entries_;
};

}  // namespace farfield::io::npz
