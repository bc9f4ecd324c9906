#pragma once
// HDF5 files behind RAII. This folder is the only place that knows the HDF5 library; nothing outside
// includes hdf5.h. All calls into the library are made under one lock, so objects may be used from
// several threads. Every error names the object and the file: "(/entry/data in scan.h5)".

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::io::hdf5 {

/// One reference to an object of the library, released at the end. (hid_t is a 64-bit integer.)
class Handle {
public:
  Handle() = default;
  explicit Handle(std::int64_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle();
  std::int64_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }

private:
  std::int64_t id_ = -1;
};

/// One step of a filter pipeline, in the order of writing.
struct Filter {
  int id = 0;
  std::vector<unsigned> parameters;
};
inline constexpr int kDeflate = 1, kShuffle = 2, kLz4 = 32004, kBitshuffle = 32008;

class File;

/// A dataset that is open.
class Dataset {
public:
  const std::string& path() const { return path_; }
  /// "/entry/data in /folder/scan.h5", for messages.
  std::string where() const;
  const std::vector<core::Index>& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  /// Elements.
  core::Index size() const;
  bool is_text() const { return text_; }
  /// Element type as delivered (half floats come as f32, booleans as u8). Throws `unsupported` for a type
  /// that is neither number, complex pair nor boolean.
  core::DType dtype() const;
  /// Empty: not chunked.
  const std::vector<core::Index>& chunk() const { return chunk_; }
  const std::vector<Filter>& filters() const { return filters_; }
  /// True where the bytes of a decoded chunk are the elements as delivered (no conversion, not virtual).
  bool bytes_are_elements() const { return native_; }

  /// The whole dataset, or a box of it. Throws `corrupt_data`, `resource_exhausted` for more bytes than
  /// `limit_bytes`.
  core::AnyArray read(core::Index limit_bytes = core::Index{16} << 30) const;
  void read_box(const std::vector<core::Index>& start, const std::vector<core::Index>& count, void* out) const;
  void write_box(const std::vector<core::Index>& start, const std::vector<core::Index>& count, const void* in);
  /// The bytes of one chunk as stored, with the mask of filters that were skipped; nothing where the chunk
  /// was never written (its elements have the fill value).
  struct RawChunk {
    std::vector<std::byte> bytes;
    std::uint32_t skipped = 0;
  };
  std::optional<RawChunk> read_chunk(const std::vector<core::Index>& offset) const;
  /// Stores bytes that have been through the filters. `offset` is the first element of the chunk.
  void write_chunk(const std::vector<core::Index>& offset, std::span<const std::byte> bytes);
  /// Grows (or shrinks) a chunked dataset.
  void resize(const std::vector<core::Index>& shape);

  /// First element as a number; text is parsed. Throws `corrupt_data` where there is none.
  double number() const;
  std::string text() const;
  /// All texts, in order (at most 10000); empty for numbers.
  std::vector<std::string> texts() const;

private:
  friend class File;
  Handle handle_;
  std::string path_, file_;
  std::vector<core::Index> shape_, chunk_;
  std::vector<Filter> filters_;
  bool text_ = false, native_ = false;
  std::optional<core::DType> dtype_;
};

enum class Kind { group, dataset, other };

/// How a new dataset is stored.
struct Storage {
  std::vector<core::Index> chunk{};      ///< empty: contiguous
  std::vector<core::Index> max_shape{};  ///< empty: fixed; -1: without bound
  std::vector<Filter> filters{};
};

class File {
public:
  /// Throws `not_found`, `io`, `corrupt_data` (not HDF5, truncated).
  static File open(const std::filesystem::path& path);
  /// Truncates `path`; `name` is what messages call the file (a temporary file's final name).
  static File create(const std::filesystem::path& path, const std::filesystem::path& name);
  /// True when the file starts as an HDF5 file does (user blocks allowed).
  static bool is_hdf5(const std::filesystem::path& path);
  File(File&&) noexcept = default;
  File& operator=(File&&) noexcept = default;

  const std::string& name() const { return name_; }
  /// What stands at `path`, through soft and external links; nothing where there is no such object or a
  /// link points nowhere.
  std::optional<Kind> kind(const std::string& path) const;
  bool has(const std::string& path) const { return kind(path).has_value(); }
  bool has_dataset(const std::string& path) const { return kind(path) == Kind::dataset; }
  /// Names in a group, sorted. Empty where there is no such group.
  std::vector<std::string> list(const std::string& group) const;
  /// Paths of datasets below `group`, depth first, at most `limit`; links are followed once.
  std::vector<std::string> datasets(const std::string& group = "/", std::size_t limit = 2000) const;
  /// Throws `not_found` with the nearest path there is, `corrupt_data` where something else stands there.
  Dataset dataset(const std::string& path) const;
  std::optional<Dataset> find_dataset(const std::string& path) const;

  std::optional<std::string> text_attribute(const std::string& object, const std::string& name) const;
  std::optional<double> number_attribute(const std::string& object, const std::string& name) const;
  /// At most 10000 numbers; empty where there is no such attribute.
  std::vector<double> number_list_attribute(const std::string& object, const std::string& name) const;
  std::vector<std::string> text_list_attribute(const std::string& object, const std::string& name) const;

  void make_group(const std::string& path);
  Dataset create_dataset(const std::string& path, core::DType type, const std::vector<core::Index>& shape,
                         const Storage& storage = {});
  void write(const std::string& path, const core::AnyArray& array, const Storage& storage = {});
  void write_text(const std::string& path, const std::string& text);
  void write_texts(const std::string& path, const std::vector<std::string>& texts);
  void write_number(const std::string& path, double value);
  void set_attribute(const std::string& object, const std::string& name, const std::string& text);
  void set_attribute(const std::string& object, const std::string& name, double value);
  void set_attribute(const std::string& object, const std::string& name, const std::vector<std::string>& texts);
  void set_vector_attribute(const std::string& object, const std::string& name, const std::vector<double>& values);
  void link(const std::string& target, const std::string& at);
  void link_external(const std::string& file, const std::string& target, const std::string& at);
  /// Flushes and closes; throws where the destructor could not.
  void close();

private:
  File() = default;
  Handle handle_;
  std::string name_;
};

}  // namespace farfield::io::hdf5
