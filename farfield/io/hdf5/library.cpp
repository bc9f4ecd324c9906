#include "farfield/io/hdf5/library.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <regex>
#include <vector>

#include "farfield/io/hdf5/filters.hpp"

namespace farfield::io::hdf5 {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::recursive_mutex& mutex() {
  static std::recursive_mutex m;
  return m;
}

// The stack runs from the call that we made inwards; the last entry says what went wrong.
herr_t keep_last(unsigned, const H5E_error2_t* entry, void* text) {
  if (entry->desc != nullptr) *static_cast<std::string*>(text) = entry->desc;
  return 0;
}
}  // namespace

Lock::Lock() : lock_(mutex()) {
  static const bool registered = [] {
    // Files are closed by their owners. At exit the library would also visit files whose close failed on a
    // full disk, which it has freed already (a crash in 1.10).
    H5dont_atexit();
    H5open();
    register_filters();
    return true;
  }();
  (void)registered;
  // The library's print-to-stderr switch is kept per thread.
  thread_local const bool silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  (void)silent;
}

Error library_error(ErrorCode code, const std::string& what) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_last, &reason);
  H5Eclear2(H5E_DEFAULT);
  static const std::regex system("errno = ([0-9]+)");
  std::smatch match;
  if (std::regex_search(reason, match, system)) {
    const int number = std::stoi(match[1]);
    reason = std::strerror(number);
    code = number == ENOSPC || number == EDQUOT || number == EFBIG ? ErrorCode::resource_exhausted : ErrorCode::io;
  }
  return {code, reason.empty() ? what : fmt::format("{}: {}", what, reason)};
}

Handle own(std::int64_t id, ErrorCode code, const std::string& what) {
  if (id < 0) throw library_error(code, what);
  return Handle(id);
}

Handle::~Handle() {
  if (id_ < 0) return;
  const Lock lock;
  H5Idec_ref(id_);
}

std::string place(const std::string& object, const std::string& file) { return object + " in " + file; }

namespace {
Handle complex_type(hid_t part, std::size_t bytes) {
  Handle type(H5Tcreate(H5T_COMPOUND, 2 * bytes));
  H5Tinsert(type.get(), "r", 0, part);
  H5Tinsert(type.get(), "i", bytes, part);
  return type;
}
}  // namespace

Handle memory_type(DType type) {
  switch (type) {
    case DType::u8: return Handle(H5Tcopy(H5T_NATIVE_UINT8));
    case DType::u16: return Handle(H5Tcopy(H5T_NATIVE_UINT16));
    case DType::u32: return Handle(H5Tcopy(H5T_NATIVE_UINT32));
    case DType::u64: return Handle(H5Tcopy(H5T_NATIVE_UINT64));
    case DType::i8: return Handle(H5Tcopy(H5T_NATIVE_INT8));
    case DType::i16: return Handle(H5Tcopy(H5T_NATIVE_INT16));
    case DType::i32: return Handle(H5Tcopy(H5T_NATIVE_INT32));
    case DType::i64: return Handle(H5Tcopy(H5T_NATIVE_INT64));
    case DType::f32: return Handle(H5Tcopy(H5T_NATIVE_FLOAT));
    case DType::f64: return Handle(H5Tcopy(H5T_NATIVE_DOUBLE));
    case DType::c64: return complex_type(H5T_NATIVE_FLOAT, sizeof(float));
    case DType::c128: return complex_type(H5T_NATIVE_DOUBLE, sizeof(double));
  }
  throw Error(ErrorCode::internal, "unknown element type");
}

std::vector<std::string> read_strings(hid_t type, hid_t space, const std::string& where,
                                      const std::function<herr_t(hid_t, void*)>& read) {
  std::vector<std::string> texts;
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  if (H5Tget_class(type) != H5T_STRING || count < 1 || count > 10000) return texts;
  const Handle memory(H5Tcopy(type));
  if (H5Tis_variable_str(type) > 0) {
    std::vector<char*> raw(static_cast<std::size_t>(count), nullptr);
    if (read(memory.get(), raw.data()) < 0)
      throw library_error(ErrorCode::corrupt_data, "texts cannot be read").at(where);
    for (const char* text : raw) texts.emplace_back(text != nullptr ? text : "");
    H5Dvlen_reclaim(memory.get(), space, H5P_DEFAULT, raw.data());
    return texts;
  }
  const std::size_t bytes = H5Tget_size(type);
  if (bytes < 1 || bytes > 65536) return texts;
  std::string buffer(bytes * static_cast<std::size_t>(count), '\0');
  if (read(memory.get(), buffer.data()) < 0)
    throw library_error(ErrorCode::corrupt_data, "texts cannot be read").at(where);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const std::string text = buffer.substr(i * bytes, bytes);
    texts.push_back(text.substr(0, text.find('\0')));
  }
  return texts;
}

Handle string_type(std::size_t bytes) {
  Handle type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), std::max<std::size_t>(bytes, 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

std::string read_string(hid_t type, hid_t space, const std::string& where,
                        const std::function<herr_t(hid_t, void*)>& read) {
  constexpr Index kMostBytes = Index{16} << 20;
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  if (count < 1) throw Error(ErrorCode::corrupt_data, "there is no text").at(where);
  const Handle memory(H5Tcopy(type));
  if (H5Tis_variable_str(type) > 0) {
    if (count > kMostBytes / static_cast<Index>(sizeof(char*)))
      throw Error(ErrorCode::corrupt_data, fmt::format("{} texts are too many", count)).at(where);
    std::vector<char*> texts(static_cast<std::size_t>(count), nullptr);
    if (read(memory.get(), texts.data()) < 0)
      throw library_error(ErrorCode::corrupt_data, "text cannot be read").at(where);
    std::string text = texts[0] != nullptr ? texts[0] : "";
    H5Dvlen_reclaim(memory.get(), space, H5P_DEFAULT, texts.data());
    return text;
  }
  const auto bytes = static_cast<Index>(H5Tget_size(type));
  if (bytes < 1 || bytes > kMostBytes || count > kMostBytes / bytes)
    throw Error(ErrorCode::corrupt_data, fmt::format("text of {} x {} bytes is too long", count, bytes)).at(where);
  std::string buffer(static_cast<std::size_t>(bytes * count), '\0');
  if (read(memory.get(), buffer.data()) < 0)
    throw library_error(ErrorCode::corrupt_data, "text cannot be read").at(where);
  buffer.resize(static_cast<std::size_t>(bytes));
  buffer.resize(std::strlen(buffer.c_str()));
  if (H5Tget_strpad(type) == H5T_STR_SPACEPAD)
    while (!buffer.empty() && buffer.back() == ' ') buffer.pop_back();
  return buffer;
}

}  // namespace farfield::io::hdf5
