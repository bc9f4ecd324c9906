#include "farfield/io/hdf5/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>

#include "farfield/core/options.hpp"
#include "farfield/io/hdf5/library.hpp"
#include "farfield/io/system_error.hpp"

namespace farfield::io::hdf5 {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::optional<DType> float_type(std::size_t bytes) {
  if (bytes == 2 || bytes == 4) return DType::f32;
  if (bytes == 8 || bytes == 16) return DType::f64;
  return std::nullopt;
}

std::optional<DType> number_type(hid_t type);

std::optional<DType> complex_pair(hid_t type) {
  if (H5Tget_nmembers(type) != 2) return std::nullopt;
  std::optional<DType> part;
  for (unsigned i = 0; i < 2; ++i) {
    char* raw = H5Tget_member_name(type, i);
    const std::string name = raw != nullptr ? raw : "";
    H5free_memory(raw);
    const bool known =
        i == 0 ? (name == "r" || name == "real" || name == "re") : (name == "i" || name == "imag" || name == "im");
    if (!known) return std::nullopt;
    const Handle member(H5Tget_member_type(type, i));
    if (H5Tget_class(member.get()) != H5T_FLOAT) return std::nullopt;
    part = number_type(member.get());
  }
  if (part == DType::f32) return DType::c64;
  if (part == DType::f64) return DType::c128;
  return std::nullopt;
}

std::optional<DType> number_type(hid_t type) {
  const std::size_t bytes = H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER: {
      const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
      if (bytes == 1) return is_signed ? DType::i8 : DType::u8;
      if (bytes == 2) return is_signed ? DType::i16 : DType::u16;
      if (bytes == 4) return is_signed ? DType::i32 : DType::u32;
      if (bytes == 8) return is_signed ? DType::i64 : DType::u64;
      return std::nullopt;
    }
    case H5T_FLOAT: return float_type(bytes);
    case H5T_ENUM: {  // h5py's booleans
      const Handle base(H5Tget_super(type));
      return number_type(base.get());
    }
    case H5T_COMPOUND: return complex_pair(type);
    default: return std::nullopt;
  }
}

// Bytes as stored are elements as delivered when the library would convert nothing.
bool same_bytes(hid_t stored, DType type) {
  if (type == DType::c64 || type == DType::c128) {
    const std::size_t part = type == DType::c64 ? 4 : 8;
    const Handle first(H5Tget_member_type(stored, 0));
    return H5Tget_size(stored) == 2 * part && H5Tget_member_offset(stored, 1) == part &&
           H5Tget_order(first.get()) == H5T_ORDER_LE;
  }
  const Handle memory = memory_type(type);
  return H5Tequal(stored, memory.get()) > 0;
}

Handle create_links() {
  Handle list(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(list.get(), 1);
  H5Pset_char_encoding(list.get(), H5T_CSET_UTF8);
  return list;
}

Handle file_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_file_locking(access.get(), true, true);  // file systems without locks are common at beamlines
  return access;
}

herr_t keep_name(hid_t, const char* name, const H5L_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}
}  // namespace

File File::open(const std::filesystem::path& path) {
  std::ifstream probe(path, std::ios::binary);
  if (!probe) throw system_error(errno, "cannot read " + path.string());
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(ErrorCode::io, fmt::format("cannot read {}: it is a folder", path.string()));
  if (!is_hdf5(path)) throw Error(ErrorCode::corrupt_data, fmt::format("{} is not an HDF5 file", path.string()));
  const Lock lock;
  const Handle access = file_access();
  File file;
  file.name_ = path.string();
  file.handle_ =
      own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), ErrorCode::corrupt_data, "cannot open " + file.name_);
  return file;
}

File File::create(const std::filesystem::path& path, const std::filesystem::path& name) {
  const Lock lock;
  const Handle access = file_access();
  File file;
  file.name_ = name.string();
  file.handle_ = own(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), ErrorCode::io,
                     "cannot write " + file.name_);
  return file;
}

bool File::is_hdf5(const std::filesystem::path& path) {
  // The signature stands at 0 or after a user block of 512, 1024, ... bytes.
  std::ifstream in(path, std::ios::binary);
  for (std::streamoff offset = 0; in && offset <= (std::streamoff{1} << 20); offset = offset == 0 ? 512 : 2 * offset) {
    char head[8] = {};
    in.seekg(offset);
    if (!in.read(head, sizeof head)) return false;
    if (std::string_view(head, 8) == std::string_view("\x89HDF\r\n\x1a\n", 8)) return true;
  }
  return false;
}

std::optional<Kind> File::kind(const std::string& path) const {
  const Lock lock;
  const Handle object(H5Oopen(handle_.get(), path.c_str(), H5P_DEFAULT));
  if (!object) {
    H5Eclear2(H5E_DEFAULT);
    return std::nullopt;
  }
  switch (H5Iget_type(object.get())) {
    case H5I_GROUP: return Kind::group;
    case H5I_DATASET: return Kind::dataset;
    default: return Kind::other;
  }
}

std::vector<std::string> File::list(const std::string& group) const {
  std::vector<std::string> names;
  if (kind(group) != Kind::group) return names;
  const Lock lock;
  const Handle object(H5Gopen2(handle_.get(), group.c_str(), H5P_DEFAULT));
  hsize_t next = 0;
  if (!object || H5Literate(object.get(), H5_INDEX_NAME, H5_ITER_INC, &next, keep_name, &names) < 0)
    throw library_error(ErrorCode::corrupt_data, "group cannot be listed").at(place(group, name_));
  return names;
}

std::vector<std::string> File::datasets(const std::string& group, std::size_t limit) const {
  std::vector<std::string> found;
  std::set<std::pair<unsigned long, haddr_t>> seen;  // groups may contain themselves
  const std::function<void(const std::string&, int)> visit = [&](const std::string& path, int depth) {
    if (depth > 32 || found.size() >= limit || seen.size() >= limit) return;
    {
      const Lock lock;
      H5O_info_t info;
      if (H5Oget_info_by_name2(handle_.get(), path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
        H5Eclear2(H5E_DEFAULT);
        return;
      }
      if (!seen.emplace(info.fileno, info.addr).second) return;
    }
    for (const auto& name : list(path)) {
      const std::string child = (path == "/" ? "" : path) + "/" + name;
      const auto what = kind(child);
      if (what == Kind::dataset && found.size() < limit) found.push_back(child);
      if (what == Kind::group) visit(child, depth + 1);
    }
  };
  visit(group, 0);
  return found;
}

std::optional<Dataset> File::find_dataset(const std::string& path) const {
  if (kind(path) != Kind::dataset) return std::nullopt;
  return dataset(path);
}

Dataset File::dataset(const std::string& path) const {
  const Lock lock;
  Dataset d;
  d.path_ = path;
  d.file_ = name_;
  const auto what = kind(path);
  if (!what) {
    std::string message = fmt::format("there is no dataset {}", path);
    H5L_info_t link;
    if (H5Lget_info(handle_.get(), path.c_str(), &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_EXTERNAL &&
        link.u.val_size < 65536) {
      std::vector<char> value(link.u.val_size + 1, '\0');
      const char *file = nullptr, *target = nullptr;
      if (H5Lget_val(handle_.get(), path.c_str(), value.data(), link.u.val_size, H5P_DEFAULT) >= 0 &&
          H5Lunpack_elink_val(value.data(), link.u.val_size, nullptr, &file, &target) >= 0)
        message = fmt::format("{} is a link to {} in {}, which cannot be opened", path, target, file);
    }
    H5Eclear2(H5E_DEFAULT);
    if (const auto near = core::nearest_name(path, datasets())) message += fmt::format("; did you mean {}?", *near);
    throw Error(ErrorCode::not_found, message).at(name_);
  }
  if (*what != Kind::dataset)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is a group, where a dataset was expected", path)).at(name_);
  d.handle_ =
      own(H5Dopen2(handle_.get(), path.c_str(), H5P_DEFAULT), ErrorCode::corrupt_data, "dataset cannot be opened");
  const Handle type(H5Dget_type(d.handle_.get())), space(H5Dget_space(d.handle_.get())),
      list(H5Dget_create_plist(d.handle_.get()));
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (!type || !list || rank < 0 || rank > H5S_MAX_RANK)
    throw library_error(ErrorCode::corrupt_data, "dataset cannot be described").at(d.where());
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  for (const hsize_t e : extents) {
    if (e > static_cast<hsize_t>(std::numeric_limits<Index>::max()))
      throw Error(ErrorCode::corrupt_data, fmt::format("extent {} is not possible", e)).at(d.where());
    d.shape_.push_back(static_cast<Index>(e));
  }
  if (H5Sget_simple_extent_type(space.get()) == H5S_NULL) d.shape_ = {0};
  d.text_ = H5Tget_class(type.get()) == H5T_STRING;
  d.dtype_ = number_type(type.get());
  const H5D_layout_t layout = H5Pget_layout(list.get());
  d.native_ = d.dtype_ && layout != H5D_VIRTUAL && same_bytes(type.get(), *d.dtype_);
  if (layout == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(static_cast<std::size_t>(rank));
    H5Pget_chunk(list.get(), rank, chunk.data());
    d.chunk_.assign(chunk.begin(), chunk.end());
  }
  for (int i = 0, n = std::max(0, H5Pget_nfilters(list.get())); i < n; ++i) {
    unsigned flags = 0, config = 0, values[32] = {};
    std::size_t count = std::size(values);
    const H5Z_filter_t id =
        H5Pget_filter2(list.get(), static_cast<unsigned>(i), &flags, &count, values, 0, nullptr, &config);
    d.filters_.push_back({id, {values, values + std::min(count, std::size(values))}});
  }
  return d;
}

namespace {
std::optional<Handle> open_attribute(hid_t file, const std::string& object, const std::string& name) {
  if (H5Aexists_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    return std::nullopt;
  }
  Handle attribute(H5Aopen_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  if (!attribute) {
    H5Eclear2(H5E_DEFAULT);
    return std::nullopt;
  }
  return attribute;
}
}  // namespace

std::optional<std::string> File::text_attribute(const std::string& object, const std::string& name) const {
  const Lock lock;
  const auto attribute = open_attribute(handle_.get(), object, name);
  if (!attribute) return std::nullopt;
  const Handle type(H5Aget_type(attribute->get())), space(H5Aget_space(attribute->get()));
  if (H5Tget_class(type.get()) != H5T_STRING) return std::nullopt;
  return read_string(type.get(), space.get(), place(object + "@" + name, name_),
                     [&](hid_t memory, void* out) { return H5Aread(attribute->get(), memory, out); });
}

std::vector<double> File::number_list_attribute(const std::string& object, const std::string& name) const {
  const Lock lock;
  const auto attribute = open_attribute(handle_.get(), object, name);
  if (!attribute) return {};
  const Handle type(H5Aget_type(attribute->get())), space(H5Aget_space(attribute->get()));
  const H5T_class_t kind = H5Tget_class(type.get());
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if ((kind != H5T_INTEGER && kind != H5T_FLOAT) || count < 1 || count > 10000) return {};
  std::vector<double> values(static_cast<std::size_t>(count));
  if (H5Aread(attribute->get(), H5T_NATIVE_DOUBLE, values.data()) < 0)
    throw library_error(ErrorCode::corrupt_data, "attribute cannot be read").at(place(object + "@" + name, name_));
  return values;
}

std::optional<double> File::number_attribute(const std::string& object, const std::string& name) const {
  const auto values = number_list_attribute(object, name);
  return values.size() == 1 ? std::optional(values.front()) : std::nullopt;
}

std::vector<std::string> File::text_list_attribute(const std::string& object, const std::string& name) const {
  const Lock lock;
  const auto attribute = open_attribute(handle_.get(), object, name);
  if (!attribute) return {};
  const Handle type(H5Aget_type(attribute->get())), space(H5Aget_space(attribute->get()));
  return read_strings(type.get(), space.get(), place(object + "@" + name, name_),
                      [&](hid_t memory, void* out) { return H5Aread(attribute->get(), memory, out); });
}

void File::make_group(const std::string& path) {
  const Lock lock;
  if (kind(path) == Kind::group) return;
  const Handle links = create_links();
  own(H5Gcreate2(handle_.get(), path.c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT), ErrorCode::io,
      fmt::format("cannot write {} in {}", path, name_));
}

Dataset File::create_dataset(const std::string& path, DType type, const std::vector<Index>& shape,
                             const Storage& storage) {
  const Lock lock;
  const std::string what = fmt::format("cannot write {} in {}", path, name_);
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  std::vector<hsize_t> most;
  for (const Index e : storage.max_shape) most.push_back(e < 0 ? H5S_UNLIMITED : static_cast<hsize_t>(e));
  const Handle space = own(extents.empty() ? H5Screate(H5S_SCALAR)
                                           : H5Screate_simple(static_cast<int>(extents.size()), extents.data(),
                                                              most.empty() ? nullptr : most.data()),
                           ErrorCode::internal, what);
  const Handle list(H5Pcreate(H5P_DATASET_CREATE)), links = create_links(), element = memory_type(type);
  H5Pset_obj_track_times(list.get(), false);  // the same content gives the same bytes
  if (!storage.chunk.empty()) {
    const std::vector<hsize_t> chunk(storage.chunk.begin(), storage.chunk.end());
    H5Pset_chunk(list.get(), static_cast<int>(chunk.size()), chunk.data());
  }
  for (const auto& f : storage.filters) {
    const herr_t done = f.id == kDeflate   ? H5Pset_deflate(list.get(), f.parameters.empty() ? 4 : f.parameters[0])
                          : f.id == kShuffle ? H5Pset_shuffle(list.get())
                                           : H5Pset_filter(list.get(), f.id, H5Z_FLAG_MANDATORY, f.parameters.size(),
                                                           f.parameters.data());
    if (done < 0) throw library_error(ErrorCode::internal, what);
  }
  Handle created =
      own(H5Dcreate2(handle_.get(), path.c_str(), element.get(), space.get(), links.get(), list.get(), H5P_DEFAULT),
          ErrorCode::io, what);
  return dataset(path);
}

void File::write(const std::string& path, const core::AnyArray& array, const Storage& storage) {
  const Lock lock;
  const Dataset d = create_dataset(path, array.dtype(), array.shape(), storage);
  if (array.size() == 0) return;
  const Handle element = memory_type(array.dtype());
  if (H5Dwrite(d.handle_.get(), element.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, array.data()) < 0)
    throw library_error(ErrorCode::io, fmt::format("cannot write {} in {}", path, name_));
}

void File::write_number(const std::string& path, double value) {
  core::AnyArray array(DType::f64, {});
  *static_cast<double*>(array.data()) = value;
  write(path, array);
}

void File::write_text(const std::string& path, const std::string& text) {
  const Lock lock;
  const std::string what = fmt::format("cannot write {} in {}", path, name_);
  const Handle type = string_type(text.size()), space(H5Screate(H5S_SCALAR)), links = create_links(),
               list(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_obj_track_times(list.get(), false);
  const Handle d =
      own(H5Dcreate2(handle_.get(), path.c_str(), type.get(), space.get(), links.get(), list.get(), H5P_DEFAULT),
          ErrorCode::io, what);
  if (H5Dwrite(d.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.c_str()) < 0)
    throw library_error(ErrorCode::io, what);
}

namespace {
void write_attribute(hid_t file, const std::string& object, const std::string& name, hid_t type, hid_t space,
                     const void* data, const std::string& where) {
  const Handle attribute =
      own(H5Acreate_by_name(file, object.c_str(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          ErrorCode::io, "cannot write attribute " + name + " of " + where);
  if (H5Awrite(attribute.get(), type, data) < 0)
    throw library_error(ErrorCode::io, "cannot write attribute " + name + " of " + where);
}
}  // namespace

void File::set_attribute(const std::string& object, const std::string& name, const std::string& text) {
  const Lock lock;
  const Handle type = string_type(text.size()), space(H5Screate(H5S_SCALAR));
  write_attribute(handle_.get(), object, name, type.get(), space.get(), text.c_str(), place(object, name_));
}

void File::set_attribute(const std::string& object, const std::string& name, double value) {
  const Lock lock;
  const Handle space(H5Screate(H5S_SCALAR));
  write_attribute(handle_.get(), object, name, H5T_NATIVE_DOUBLE, space.get(), &value, place(object, name_));
}

namespace {
/// Texts side by side, all as long as the longest.
struct Padded {
  explicit Padded(const std::vector<std::string>& texts) {
    for (const auto& text : texts) bytes = std::max(bytes, text.size());
    buffer.resize(bytes * texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i)
      std::copy(texts[i].begin(), texts[i].end(), buffer.begin() + static_cast<std::ptrdiff_t>(i * bytes));
  }
  std::size_t bytes = 1;
  std::string buffer;
};
}  // namespace

void File::write_texts(const std::string& path, const std::vector<std::string>& texts) {
  const Lock lock;
  const std::string what = fmt::format("cannot write {} in {}", path, name_);
  const Padded padded(texts);
  const hsize_t count = texts.size();
  const Handle type = string_type(padded.bytes), space(H5Screate_simple(1, &count, nullptr)), links = create_links();
  const Handle d =
      own(H5Dcreate2(handle_.get(), path.c_str(), type.get(), space.get(), links.get(), H5P_DEFAULT, H5P_DEFAULT),
          ErrorCode::io, what);
  if (count > 0 && H5Dwrite(d.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.buffer.data()) < 0)
    throw library_error(ErrorCode::io, what);
}

void File::set_attribute(const std::string& object, const std::string& name, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  const Lock lock;
  const Padded padded(texts);
  const hsize_t count = texts.size();
  const Handle type = string_type(padded.bytes), space(H5Screate_simple(1, &count, nullptr));
  write_attribute(handle_.get(), object, name, type.get(), space.get(), padded.buffer.data(), place(object, name_));
}

void File::set_vector_attribute(const std::string& object, const std::string& name, const std::vector<double>& values) {
  const Lock lock;
  const hsize_t count = values.size();
  const Handle space(H5Screate_simple(1, &count, nullptr));
  write_attribute(handle_.get(), object, name, H5T_NATIVE_DOUBLE, space.get(), values.data(), place(object, name_));
}

void File::link(const std::string& target, const std::string& at) {
  const Lock lock;
  const Handle links = create_links();
  if (H5Lcreate_soft(target.c_str(), handle_.get(), at.c_str(), links.get(), H5P_DEFAULT) < 0)
    throw library_error(ErrorCode::io, fmt::format("cannot write {} in {}", at, name_));
}

void File::link_external(const std::string& file, const std::string& target, const std::string& at) {
  const Lock lock;
  const Handle links = create_links();
  if (H5Lcreate_external(file.c_str(), target.c_str(), handle_.get(), at.c_str(), links.get(), H5P_DEFAULT) < 0)
    throw library_error(ErrorCode::io, fmt::format("cannot write {} in {}", at, name_));
}

void File::close() {
  const Lock lock;
  if (!handle_) return;
  const herr_t flushed = H5Fflush(handle_.get(), H5F_SCOPE_LOCAL);
  Error error = library_error(ErrorCode::io, "cannot write " + name_);
  handle_ = Handle();
  if (flushed < 0) throw std::move(error);
}

}  // namespace farfield::io::hdf5
