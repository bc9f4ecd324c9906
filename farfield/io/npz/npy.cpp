#include "farfield/io/npz/npy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/core/options.hpp"

namespace farfield::io::npz {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// {'descr': '<f4', 'fortran_order': False, 'shape': (1, 516, 128, 128), }
class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) {}

  NpyHeader parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        element_type(header);
        descr = true;
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        order = true;
      } else if (key == "shape") {
        header.shape = tuple();
        shape = true;
      } else {
        fail(fmt::format("unknown key \"{}\"", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) fail("descr, fortran_order and shape must be there");
    return header;
  }

private:
  [[noreturn]] static void fail(const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "npy header: " + what);
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    blanks();
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("'{}' expected at character {}", c, at_));
  }
  std::string quoted() {
    blanks();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail(fmt::format("a string was expected at character {}", at_));
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a string does not end");
    std::string word(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    blanks();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    fail("fortran_order must be True or False");
  }
  std::vector<Index> tuple() {
    std::vector<Index> shape;
    expect('(');
    Index size = 1;
    while (!accept(')')) {
      blanks();
      Index extent = 0;
      const auto [end, status] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (status != std::errc() || extent < 0) fail("shape must hold whole numbers >= 0");
      at_ = static_cast<std::size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // numpy under Python 2
      shape.push_back(extent);
      if (shape.size() > 32 || __builtin_mul_overflow(size, std::max<Index>(extent, 1), &size) ||
          size > (Index{1} << 58))
        fail("an array of that shape is not possible");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }
  void element_type(NpyHeader& header) {
    blanks();
    if (at_ < text_.size() && text_[at_] == '[')
      throw Error(ErrorCode::unsupported, "arrays of records are not read; numbers are");
    const std::string descr = quoted();
    struct Known {
      const char* code;
      DType type;
    };
    static constexpr Known known[] = {{"b1", DType::u8},   {"u1", DType::u8},  {"u2", DType::u16}, {"u4", DType::u32},
                                      {"u8", DType::u64},  {"i1", DType::i8},  {"i2", DType::i16}, {"i4", DType::i32},
                                      {"i8", DType::i64},  {"f4", DType::f32}, {"f8", DType::f64}, {"c8", DType::c64},
                                      {"c16", DType::c128}};
    for (const auto& k : known)
      if (descr.size() > 1 && descr.substr(1) == k.code &&
          std::string_view("<>|=").find(descr[0]) != std::string_view::npos) {
        header.dtype = k.type;
        header.big_endian = descr[0] == '>';
        return;
      }
    throw Error(ErrorCode::unsupported,
                fmt::format("arrays of type \"{}\" are not read; integers, float32/64 and complex64/128 are", descr));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

void swap_elements(std::span<std::byte> bytes, DType type) {
  const Index part = type == DType::c64 ? 4 : type == DType::c128 ? 8 : core::item_size(type);
  for (auto p = bytes.begin(); part > 1 && p != bytes.end(); p += part) std::reverse(p, p + part);
}
}  // namespace

Index NpyHeader::size() const {
  Index n = 1;
  for (const Index e : shape) n *= e;
  return n;
}

NpyHeader parse_npy_header(std::string_view text) { return Parser(text).parse(); }

std::vector<std::byte> npy_header(DType type, const std::vector<Index>& shape) {
  static constexpr const char* codes[] = {"|u1", "<u2", "<u4", "<u8", "|i1", "<i2",
                                          "<i4", "<i8", "<f4", "<f8", "<c8", "<c16"};
  std::string dims;
  for (const Index e : shape) dims += fmt::format("{}, ", e);
  if (shape.size() > 1) dims.resize(dims.size() - 2);
  std::string text =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", codes[static_cast<int>(type)], dims);
  text.append(63 - (10 + text.size()) % 64, ' ');
  text += '\n';
  const std::string head = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(text.size() & 0xff) +
                           static_cast<char>(text.size() >> 8) + text;
  const auto bytes = std::as_bytes(std::span(head));
  return {bytes.begin(), bytes.end()};
}

NpyStream::NpyStream(ZipMember member) : member_(std::move(member)) {
  std::byte head[12] = {};
  member_.read(std::span(head).first(10));
  if (std::memcmp(head, "\x93NUMPY", 6) != 0) throw Error(ErrorCode::corrupt_data, "the member is not a npy array");
  const auto byte = [&](int i) { return static_cast<std::size_t>(head[i]); };
  std::size_t bytes = byte(8) | byte(9) << 8;
  if (byte(6) >= 2) {
    member_.read(std::span(head).subspan(10, 2));
    bytes |= byte(10) << 16 | byte(11) << 24;
  }
  if (byte(6) < 1 || byte(6) > 3 || bytes > 65536)
    throw Error(ErrorCode::unsupported, fmt::format("npy version {} with a header of {} bytes", byte(6), bytes));
  std::string text(bytes, '\0');
  member_.read(std::as_writable_bytes(std::span(text)));
  header_ = parse_npy_header(text);
  Index wanted = 0;
  if (__builtin_mul_overflow(header_.size(), core::item_size(header_.dtype), &wanted) || member_.left() != wanted)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("shape ({}) of {} needs {} bytes, the array has {}", fmt::join(header_.shape, ", "),
                            core::name(header_.dtype), wanted, member_.left()));
}

void NpyStream::read(std::span<std::byte> out) {
  member_.read(out);
  if (header_.big_endian) swap_elements(out, header_.dtype);
}

Npz::Npz(std::unique_ptr<Bytes> bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {
  try {
    entries_ = zip_directory(*bytes_);
  } catch (Error& e) {
    throw e.at(name_);
  }
}

Npz Npz::open(const std::filesystem::path& path) {
  constexpr Index kMostUnpacked = Index{2} << 30;
  char head[3] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  if (std::string_view(head, 3) == "BZh") return {bzip2_bytes(path, kMostUnpacked), path.string()};
  return {file_bytes(path), path.string()};
}

std::vector<std::string> Npz::arrays() const {
  std::vector<std::string> names;
  for (const auto& e : entries_)
    names.push_back(e.name.ends_with(".npy") ? e.name.substr(0, e.name.size() - 4) : e.name);
  return names;
}

bool Npz::has(const std::string& array) const {
  const auto names = arrays();
  return std::find(names.begin(), names.end(), array) != names.end();
}

NpyStream Npz::stream(const std::string& array) const {
  const auto names = arrays();
  const auto found = std::find(names.begin(), names.end(), array);
  if (found == names.end()) {
    std::string message = fmt::format("there is no array \"{}\"; there are: {}", array, fmt::join(names, ", "));
    if (const auto near = core::nearest_name(array, names)) message += fmt::format("; did you mean \"{}\"?", *near);
    throw Error(ErrorCode::not_found, message).at(name_);
  }
  try {
    return NpyStream(ZipMember(*bytes_, entries_[static_cast<std::size_t>(found - names.begin())]));
  } catch (Error& e) {
    throw e.at(fmt::format("{} in {}", array, name_));
  }
}

core::AnyArray Npz::read(const std::string& array, Index limit_bytes) const {
  NpyStream in = stream(array);
  const NpyHeader& h = in.header();
  const Index item = core::item_size(h.dtype), bytes = h.size() * item;
  const std::string where = fmt::format("{} in {}", array, name_);
  if (bytes > limit_bytes)
    throw Error(ErrorCode::resource_exhausted,
                fmt::format("an array of {} bytes is more than the {} allowed here", bytes, limit_bytes))
        .at(where);
  core::AnyArray out(h.dtype, h.shape);
  try {
    in.read({static_cast<std::byte*>(out.data()), static_cast<std::size_t>(bytes)});
  } catch (Error& e) {
    throw e.at(where);
  }
  if (!h.fortran_order || h.shape.size() < 2) return out;
  // First index fastest -> last index fastest.
  core::AnyArray turned(h.dtype, h.shape);
  std::vector<Index> at(h.shape.size(), 0);
  const auto* from = static_cast<const std::byte*>(out.data());
  auto* to = static_cast<std::byte*>(turned.data());
  for (Index i = 0, n = h.size(); i < n; ++i) {
    Index offset = 0;
    for (std::size_t r = 0; r < at.size(); ++r) offset = offset * h.shape[r] + at[r];
    std::memcpy(to + offset * item, from + i * item, static_cast<std::size_t>(item));
    for (std::size_t r = 0; r < at.size() && ++at[r] == h.shape[r]; ++r) at[r] = 0;
  }
  return turned;
}

}  // namespace farfield::io::npz
