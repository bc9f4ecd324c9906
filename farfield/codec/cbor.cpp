#include "farfield/codec/cbor.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "farfield/codec/endian.hpp"

namespace farfield::codec {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {

constexpr unsigned kIndefinite = 31;
constexpr unsigned kBreak = 0xff;

double half_to_double(std::uint16_t half) {
  const int exponent = (half >> 10) & 0x1f;
  const double mantissa = half & 0x3ff;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent != 31 ? std::ldexp(mantissa + 1024, exponent - 25)
                           : mantissa == 0  ? std::numeric_limits<double>::infinity()
                                            : std::numeric_limits<double>::quiet_NaN();
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace

std::string_view name(CborType type) {
  switch (type) {
    case CborType::integer: return "unsigned integer";
    case CborType::negative: return "negative integer";
    case CborType::bytes: return "byte string";
    case CborType::text: return "text";
    case CborType::array: return "array";
    case CborType::map: return "map";
    case CborType::boolean: return "boolean";
    case CborType::null: return "null";
    case CborType::undefined: return "undefined";
    case CborType::simple: return "simple value";
    case CborType::real: return "real number";
  }
  return "item";
}

bool CborValue::has_tag(std::uint64_t tag) const {
  for (const auto t : tags)
    if (t == tag) return true;
  return false;
}

const CborValue* CborValue::find(std::string_view key) const {
  if (type != CborType::map) return nullptr;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2)
    if (items[i].type == CborType::text && items[i].text == key) return &items[i + 1];
  return nullptr;
}

std::optional<double> CborValue::number() const {
  if (type == CborType::integer) return static_cast<double>(integer);
  if (type == CborType::negative) return -1 - static_cast<double>(integer);
  if (type == CborType::real) return real;
  return std::nullopt;
}

std::optional<std::int64_t> CborValue::whole() const {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (integer > kMost) return std::nullopt;
  if (type == CborType::integer) return static_cast<std::int64_t>(integer);
  if (type == CborType::negative) return -1 - static_cast<std::int64_t>(integer);
  return std::nullopt;
}

/// Recursive descent; the depth is limited, so the stack is.
class CborParser {
public:
  CborParser(std::span<const std::byte> message, const CborLimits& limits, CborDocument& document)
      : message_(message), limits_(limits), document_(document) {}

  void parse() {
    item(document_.root_, 0);
    if (at_ != message_.size()) fail(fmt::format("{} bytes follow the item", message_.size() - at_));
  }

private:
  struct Head {
    unsigned major = 0, info = 0;
    std::uint64_t value = 0;
    bool indefinite() const { return info == kIndefinite; }
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt_data, fmt::format("CBOR at byte {} of {}: {}", at_, message_.size(), what));
  }

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > message_.size() - at_)
      fail(fmt::format("{} bytes are announced, {} are left", count, message_.size() - at_));
    const auto bytes = message_.subspan(at_, static_cast<std::size_t>(count));
    at_ += static_cast<std::size_t>(count);
    return bytes;
  }

  Head head() {
    const auto first = std::to_integer<unsigned>(take(1)[0]);
    Head h{first >> 5, first & 0x1f, first & 0x1f};
    if (h.info < 24) return h;
    if (h.info <= 27) {
      h.value = 0;
      for (const std::byte b : take(std::uint64_t{1} << (h.info - 24)))
        h.value = h.value << 8 | std::to_integer<std::uint64_t>(b);
      return h;
    }
    const bool may_be_indefinite = h.major >= 2 && h.major <= 5;
    if (!h.indefinite() || !may_be_indefinite) fail(fmt::format("first byte 0x{:02x} is not well-formed", first));
    return h;
  }

  bool take_break() {
    if (at_ >= message_.size()) fail("the end of an item of indefinite length is missing");
    if (std::to_integer<unsigned>(message_[at_]) != kBreak) return false;
    ++at_;
    return true;
  }

  void item(CborValue& out, int depth) {
    if (depth > limits_.depth) fail(fmt::format("more than {} levels", limits_.depth));
    Head h = head();
    // A chain of tags is no depth in C++, but it is memory.
    for (; h.major == 6; h = head()) {
      count_item();
      out.tags.push_back(h.value);
    }
    count_item();
    switch (h.major) {
      case 0:
        out.type = CborType::integer;
        out.integer = h.value;
        return;
      case 1:
        out.type = CborType::negative;
        out.integer = h.value;
        return;
      case 2:
        out.type = CborType::bytes;
        out.bytes = string(h);
        return;
      case 3: {
        out.type = CborType::text;
        const auto s = string(h);
        out.text = {reinterpret_cast<const char*>(s.data()), s.size()};
        return;
      }
      case 4:
      case 5: return container(out, h, depth);
      default: return simple(out, h);
    }
  }

  void container(CborValue& out, const Head& h, int depth) {
    const bool map = h.major == 5;
    out.type = map ? CborType::map : CborType::array;
    const auto one = [&] { item(out.items.emplace_back(), depth + 1); };
    if (h.indefinite()) {
      while (!take_break()) {
        one();
        if (map) one();
      }
      return;
    }
    // Not reserved: the count is the message's word; count_item() stops what is too much.
    for (std::uint64_t i = 0; i < h.value; ++i) {
      one();
      if (map) one();
    }
  }

  std::span<const std::byte> string(const Head& h) {
    if (!h.indefinite()) return take(h.value);
    auto& joined = document_.joined_.emplace_back();
    while (!take_break()) {
      const Head piece = head();
      if (piece.major != h.major || piece.indefinite()) fail("a piece of a string is not a string of its kind");
      count_item();
      const auto bytes = take(piece.value);
      joined_bytes_ += std::ssize(bytes);
      if (joined_bytes_ > limits_.joined_bytes)
        fail(fmt::format("strings in pieces exceed {} bytes", limits_.joined_bytes));
      joined.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return std::as_bytes(std::span(joined));
  }

  void simple(CborValue& out, const Head& h) {
    out.type = CborType::real;
    switch (h.info) {
      case 20:
      case 21:
        out.type = CborType::boolean;
        out.boolean = h.info == 21;
        return;
      case 22: out.type = CborType::null; return;
      case 23: out.type = CborType::undefined; return;
      case 25: out.real = half_to_double(static_cast<std::uint16_t>(h.value)); return;
      case 26: out.real = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(h.value))); return;
      case 27: out.real = std::bit_cast<double>(h.value); return;
      default:
        if (h.info == 24 && h.value < 32) fail(fmt::format("simple value {} must not take two bytes", h.value));
        out.type = CborType::simple;
        out.integer = h.value;
    }
  }

  void count_item() {
    if (++items_ > limits_.items) fail(fmt::format("more than {} items", limits_.items));
  }

  std::span<const std::byte> message_;
  const CborLimits& limits_;
  CborDocument& document_;
  std::size_t at_ = 0;
  Index items_ = 0, joined_bytes_ = 0;
};

core::Result<CborDocument> cbor_decode(std::span<const std::byte> message, const CborLimits& limits) {
  CborDocument document;
  try {
    CborParser(message, limits, document).parse();
  } catch (const Error& e) {
    return tl::unexpected(e);
  }
  return document;
}

CborWriter& CborWriter::head(unsigned major, std::uint64_t value) {
  const auto put = [&](unsigned info, int bytes) {
    out_.push_back(static_cast<std::byte>(major << 5 | info));
    for (int i = bytes - 1; i >= 0; --i) out_.push_back(static_cast<std::byte>(value >> (8 * i)));
  };
  if (value < 24) put(static_cast<unsigned>(value), 0);
  else if (value <= 0xff) put(24, 1);
  else if (value <= 0xffff) put(25, 2);
  else if (value <= 0xffffffff) put(26, 4);
  else put(27, 8);
  return *this;
}

CborWriter& CborWriter::integer(std::int64_t value) {
  return value >= 0 ? head(0, static_cast<std::uint64_t>(value)) : head(1, static_cast<std::uint64_t>(-1 - value));
}

CborWriter& CborWriter::real(double value) {
  const std::size_t at = out_.size();
  out_.resize(at + 9);
  out_[at] = std::byte{0xfb};
  store_be64(out_.data() + at + 1, std::bit_cast<std::uint64_t>(value));
  return *this;
}

CborWriter& CborWriter::boolean(bool value) {
  out_.push_back(value ? std::byte{0xf5} : std::byte{0xf4});
  return *this;
}

CborWriter& CborWriter::null() {
  out_.push_back(std::byte{0xf6});
  return *this;
}

CborWriter& CborWriter::text(std::string_view value) {
  head(3, value.size());
  const auto bytes = std::as_bytes(std::span(value));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  return *this;
}

CborWriter& CborWriter::bytes(std::span<const std::byte> value) {
  head(2, value.size());
  out_.insert(out_.end(), value.begin(), value.end());
  return *this;
}

CborWriter& CborWriter::value(const CborValue& v) {
  for (const auto t : v.tags) tag(t);
  switch (v.type) {
    case CborType::integer: return head(0, v.integer);
    case CborType::negative: return head(1, v.integer);
    case CborType::bytes: return bytes(v.bytes);
    case CborType::text: return text(v.text);
    case CborType::boolean: return boolean(v.boolean);
    case CborType::null: return null();
    case CborType::undefined: out_.push_back(std::byte{0xf7}); return *this;
    case CborType::simple: return head(7, v.integer);
    case CborType::real: return real(v.real);
    case CborType::array: array(v.items.size()); break;
    case CborType::map: map(v.items.size() / 2); break;
  }
  for (const auto& item : v.items) value(item);
  return *this;
}

}  // namespace farfield::codec
