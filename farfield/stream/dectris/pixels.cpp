#include "farfield/stream/dectris/pixels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/lz4.hpp"

namespace farfield::stream::dectris {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::failure;
using core::Result;

namespace {

constexpr Index kMostSide = 1 << 16;
constexpr Index kMostBytes = Index{1} << 30;
/// LZ4 adds at most 255 bytes for each byte of a match's length.
constexpr Index kMostRatio = 256;

struct Type {
  std::string_view name;
  DType type;
};
constexpr Type kTypes[] = {{"uint8", DType::u8},   {"uint16", DType::u16}, {"uint32", DType::u32},
                           {"uint64", DType::u64}, {"int8", DType::i8},    {"int16", DType::i16},
                           {"int32", DType::i32},  {"int64", DType::i64},  {"float32", DType::f32},
                           {"float64", DType::f64}};

void swap_bytes(std::span<std::byte> bytes, Index item) {
  for (auto at = bytes.begin(); at != bytes.end(); at += item) std::reverse(at, at + item);
}

Result<void> unpack_lz4(const PackedPixels& p, std::span<std::byte> out) {
  // A bare block cannot begin with three bytes of zero (a match at distance 0), the framing of a frame below 1 TB must.
  const bool framed = p.bytes.size() >= 8 && codec::load_be64(p.bytes.data()) == out.size();
  return framed ? codec::lz4_framed_decode(p.bytes, out) : codec::lz4_decode(p.bytes, out);
}

}  // namespace

Result<Encoding> parse_encoding(std::string_view text) {
  const std::string_view whole = text;
  const auto refuse = [&] {
    return failure(ErrorCode::unsupported,
                   fmt::format("encoding \"{}\" must be [bs8-|bs16-|bs32-]lz4 and < or >, or < or > alone", whole));
  };
  Encoding out;
  if (text.ends_with('<') || text.ends_with('>')) {
    out.big_endian = text.back() == '>';
    text.remove_suffix(1);
  }
  if (text.starts_with("bs")) {
    text.remove_prefix(2);
    const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto bits = text.substr(0, digits);
    if (bits != "8" && bits != "16" && bits != "32" && bits != "64") return refuse();
    out.shuffle_bytes = bits == "8" ? 1 : bits == "16" ? 2 : bits == "32" ? 4 : 8;
    text.remove_prefix(digits);
    if (text.starts_with('-')) text.remove_prefix(1);
    if (text != "lz4") return refuse();
    out.compression = Compression::bitshuffle_lz4;
    return out;
  }
  if (text == "lz4") out.compression = Compression::lz4;
  else if (!text.empty()) return refuse();
  return out;
}

Result<DType> parse_type(std::string_view text) {
  for (const auto& t : kTypes)
    if (t.name == text) return t.type;
  return failure(ErrorCode::unsupported, fmt::format("pixel type \"{}\" is not known", text));
}

std::string_view type_name(DType type) {
  for (const auto& t : kTypes)
    if (t.type == type) return t.name;
  return "";
}

Result<void> check(const PackedPixels& p) {
  const auto corrupt = [](std::string what) { return failure(ErrorCode::corrupt_data, std::move(what)); };
  if (p.ny < 1 || p.nx < 1 || p.ny > kMostSide || p.nx > kMostSide)
    return corrupt(fmt::format("frame of {} x {} pixels must have 1 to {} a side", p.ny, p.nx, kMostSide));
  const Index bytes = p.pixels_bytes(), packed = std::ssize(p.bytes);
  if (bytes > kMostBytes) return corrupt(fmt::format("frame of {} bytes must have at most {}", bytes, kMostBytes));
  if (p.compression == Compression::none ? bytes != packed : bytes / kMostRatio > packed)
    return corrupt(
        fmt::format("{} bytes cannot hold the {} x {} pixels of {}", packed, p.ny, p.nx, core::name(p.dtype)));
  return {};
}

Result<void> unpack(const PackedPixels& p, std::span<std::byte> out) {
  const Index item = core::item_size(p.dtype);
  if (std::ssize(out) != p.pixels_bytes())
    return failure(ErrorCode::internal, fmt::format("room of {} bytes for {}", out.size(), p.pixels_bytes()));
  Result<void> done;
  switch (p.compression) {
    case Compression::none:
      if (p.bytes.size() != out.size())
        return failure(ErrorCode::corrupt_data,
                       fmt::format("{} bytes of pixels instead of {}", p.bytes.size(), out.size()));
      std::memcpy(out.data(), p.bytes.data(), out.size());
      break;
    case Compression::lz4: done = unpack_lz4(p, out); break;
    case Compression::lz4_framed: done = codec::lz4_framed_decode(p.bytes, out); break;
    case Compression::bitshuffle_lz4:
      done = codec::bitshuffle_decode(p.bytes, {item, codec::BlockCompression::lz4}, out);
      break;
  }
  if (done && p.big_endian) swap_bytes(out, item);
  return done;
}

}  // namespace farfield::stream::dectris
