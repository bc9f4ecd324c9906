#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "farfield/codec/cbor.hpp"
#include "farfield/stream/dectris/header.hpp"

namespace farfield::stream::dectris {

using codec::CborType;
using codec::CborValue;
using core::DType;
using core::Error;
using core::ErrorCode;
using core::Result;

namespace {

constexpr std::uint64_t kMultiDimensional = 40;  // RFC 8746: [[rows, columns], typed array]
constexpr std::uint64_t kCompressed = 56500;     // DECTRIS: [algorithm, bytes of an element, data]
constexpr std::int64_t kMostFrames = std::int64_t{1} << 48;

[[noreturn]] void corrupt(const std::string& what) { throw Error(ErrorCode::corrupt_data, what); }

const CborValue& need(const CborValue& map, std::string_view key) {
  const auto* value = map.find(key);
  if (value == nullptr) corrupt(fmt::format("\"{}\" is missing", key));
  return *value;
}

std::int64_t whole(const CborValue& map, std::string_view key) {
  const auto n = need(map, key).whole();
  if (!n || *n < 0 || *n > kMostFrames) corrupt(fmt::format("\"{}\" must be a whole number >= 0", key));
  return *n;
}

/// RFC 8746, little endian and big endian.
struct TypedTag {
  std::uint64_t tag;
  DType type;
  bool big_endian;
};
constexpr TypedTag kTypedTags[] = {
    {64, DType::u8, false},  {65, DType::u16, true},  {66, DType::u32, true},  {67, DType::u64, true},
    {68, DType::u8, false},  {69, DType::u16, false}, {70, DType::u32, false}, {71, DType::u64, false},
    {72, DType::i8, false},  {73, DType::i16, true},  {74, DType::i32, true},  {75, DType::i64, true},
    {77, DType::i16, false}, {78, DType::i32, false}, {79, DType::i64, false}, {81, DType::f32, true},
    {82, DType::f64, true},  {85, DType::f32, false}, {86, DType::f64, false}};

/// A typed array of any rank as one of n x 1 (or as told) still packed.
PackedPixels typed(const CborValue& v) {
  PackedPixels out;
  const TypedTag* type = nullptr;
  for (const auto& t : kTypedTags)
    if (v.has_tag(t.tag)) type = &t;
  if (type == nullptr) throw Error(ErrorCode::unsupported, "an array of numbers has no tag that says of which type");
  out.dtype = type->type;
  out.big_endian = type->big_endian;
  if (!v.has_tag(kCompressed)) {
    if (v.type != CborType::bytes) corrupt(fmt::format("{} instead of the bytes of an array", name(v.type)));
    out.bytes = v.bytes;
    return out;
  }
  if (v.type != CborType::array || v.items.size() != 3 || v.items[0].type != CborType::text ||
      v.items[2].type != CborType::bytes)
    corrupt("compressed bytes must be [algorithm, bytes of an element, data]");
  const auto algorithm = v.items[0].text;
  if (algorithm == "bslz4") {
    out.compression = Compression::bitshuffle_lz4;
    if (v.items[1].whole() != core::item_size(out.dtype))
      corrupt(fmt::format("bslz4 of other elements than those of {}", core::name(out.dtype)));
  } else if (algorithm == "lz4") {
    out.compression = Compression::lz4_framed;
  } else {
    throw Error(ErrorCode::unsupported, fmt::format("compression \"{}\" is neither bslz4 nor lz4", algorithm));
  }
  out.bytes = v.items[2].bytes;
  return out;
}

PackedPixels image(const CborValue& v) {
  if (!v.has_tag(kMultiDimensional) || v.type != CborType::array || v.items.size() != 2 ||
      v.items[0].type != CborType::array || v.items[0].items.size() != 2)
    corrupt("an image must be [[rows, columns], pixels]");
  auto out = typed(v.items[1]);
  const auto ny = v.items[0].items[0].whole(), nx = v.items[0].items[1].whole();
  if (!ny || !nx) corrupt("rows and columns of an image must be whole numbers");
  out.ny = *ny;
  out.nx = *nx;
  core::value_or_throw(check(out));
  return out;
}

template <class T>
core::Array<T, 2> unpacked(const CborValue& v, const char* what) {
  const auto packed = image(v);
  if (packed.dtype != core::dtype_of<T>)
    corrupt(fmt::format("{} of {} must be of {}", what, core::name(packed.dtype), core::name(core::dtype_of<T>)));
  core::Array<T, 2> out({packed.ny, packed.nx});
  core::value_or_throw(
      unpack(packed, std::as_writable_bytes(std::span(out.data(), static_cast<std::size_t>(out.size())))));
  return out;
}

/// An array of numbers without shape: its length is that of its bytes, so that it may not be compressed.
template <class T>
std::vector<T> list(const CborValue& v, const char* what) {
  const auto packed = typed(v);
  if (packed.dtype != core::dtype_of<T> || packed.compression != Compression::none || packed.big_endian ||
      packed.bytes.size() % sizeof(T) != 0)
    corrupt(fmt::format("{} must be bytes of {}", what, core::name(core::dtype_of<T>)));
  std::vector<T> out(packed.bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), packed.bytes.data(), packed.bytes.size());
  return out;
}

/// What has a counterpart in JSON; bytes only by their number.
nlohmann::json to_json(const CborValue& v) {
  switch (v.type) {
    case CborType::text: return std::string(v.text);
    case CborType::boolean: return v.boolean;
    case CborType::bytes: return fmt::format("({} bytes)", v.bytes.size());
    case CborType::array: {
      auto out = nlohmann::json::array();
      for (const auto& item : v.items) out.push_back(to_json(item));
      return out;
    }
    case CborType::map: {
      auto out = nlohmann::json::object();
      for (std::size_t i = 0; i + 1 < v.items.size(); i += 2)
        if (v.items[i].type == CborType::text) out[std::string(v.items[i].text)] = to_json(v.items[i + 1]);
      return out;
    }
    default: break;
  }
  if (const auto n = v.whole()) return *n;
  if (const auto n = v.number()) return *n;
  return nullptr;
}

std::string json_text(const CborValue& v) {
  // User data may itself be text in JSON.
  if (v.type == CborType::text) return std::string(v.text);
  return to_json(v).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

SeriesId series(const CborValue& map) {
  SeriesId id{whole(map, "series_id"), {}};
  if (const auto* unique = map.find("series_unique_id"); unique != nullptr && unique->type == CborType::text)
    id.unique = unique->text;
  return id;
}

Scalars scalars(const CborValue& map) {
  Scalars out;
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
    if (map.items[i].type != CborType::text) continue;
    const auto& v = map.items[i + 1];
    const std::string key(map.items[i].text);
    if (v.type == CborType::boolean) out[key] = v.boolean;
    else if (const auto n = v.number()) out[key] = *n;
    else if (v.type == CborType::text) out[key] = std::string(v.text);
    else if (key == "goniometer" || key == "detector_translation") out[key] = json_text(v);
  }
  return out;
}

SeriesStart start_of(const CborValue& map) {
  SeriesStart start;
  start.id = series(map);
  const auto s = scalars(map);
  auto& a = start.acquisition;
  keep(s, a);
  a.beam.energy_eV = positive(s, "incident_energy");
  if (const auto angstrom = positive(s, "incident_wavelength"); !a.beam.energy_eV && angstrom)
    a.beam.energy_eV = model::kHcEvM / (*angstrom * 1e-10);
  a.detector.pixel_size_y_m = positive(s, "pixel_size_y");
  a.detector.pixel_size_x_m = positive(s, "pixel_size_x");
  a.detector.saturation_counts = positive(s, "saturation_value");
  // Along the beam, towards the source: the detector stands behind the sample.
  if (const auto* t = map.find("detector_translation");
      t != nullptr && t->type == CborType::array && t->items.size() == 3)
    if (const auto z = t->items[2].number(); z && std::abs(*z) > 0) a.detector.distance_m = std::abs(*z);
  const auto side = [&](const char* key) {
    const auto n = positive(s, key).value_or(0);
    return n <= (1 << 16) ? static_cast<Index>(n) : 0;
  };
  a.detector.ny = side("image_size_y");
  a.detector.nx = side("image_size_x");
  if (const auto n = positive(s, "number_of_images"); n && *n < static_cast<double>(kMostFrames))
    a.scan.expected_frames = static_cast<Index>(*n);
  if (const auto type = text(s, "image_dtype"))
    if (const auto known = parse_type(*type)) start.dtype = *known;
  start.flatfield_applied = flag(s, "flatfield_enabled").value_or(true);
  start.countrate_applied = flag(s, "countrate_correction_enabled").value_or(true);

  if (const auto* channels = map.find("channels"); channels != nullptr && channels->type == CborType::array)
    for (const auto& c : channels->items)
      if (c.type == CborType::text) start.channels.emplace_back().name = c.text;
  if (start.channels.empty()) start.channels.emplace_back().name = "threshold_1";
  const auto per_channel = [&](const char* key, const auto& take) {
    const auto* values = map.find(key);
    if (values == nullptr || values->type != CborType::map) return;
    for (auto& channel : start.channels)
      if (const auto* v = values->find(channel.name)) take(channel, *v);
  };
  per_channel("threshold_energy", [](Channel& c, const CborValue& v) { c.threshold_eV = v.number(); });
  per_channel("pixel_mask",
              [](Channel& c, const CborValue& v) { c.pixel_mask = unpacked<std::uint32_t>(v, "pixel mask"); });
  per_channel("flatfield", [](Channel& c, const CborValue& v) { c.flatfield = unpacked<float>(v, "flat field"); });
  if (const auto* rates = map.find("countrate_correction_lookup_table"); rates != nullptr) {
    // The place of an entry is the measured count, the entry the true one. The last one marks what is beyond.
    const auto entries = list<std::uint32_t>(*rates, "the count-rate table");
    const auto count = static_cast<Index>(entries.size()) - 1;
    if (count > 0) start.countrate = core::Array<float, 2>({count, 2});
    for (Index i = 0; i < count; ++i) {
      start.countrate(i, 0) = static_cast<float>(i);
      start.countrate(i, 1) = static_cast<float>(entries[static_cast<std::size_t>(i)]);
    }
  }
  if (const auto* user = map.find("user_data"); user != nullptr && user->type != CborType::null) {
    a.metadata["user_data"] = json_text(*user);
    start.own_words = read_own_words(a.metadata["user_data"], a);
  }
  check_header(a);
  return start;
}

/// [numerator, denominator]
std::optional<double> ratio(const CborValue& map, std::string_view key) {
  const auto* v = map.find(key);
  if (v == nullptr || v->type != CborType::array || v->items.size() != 2) return std::nullopt;
  const auto n = v->items[0].number(), d = v->items[1].number();
  if (!n || !d || !(*d > 0)) return std::nullopt;
  return *n / *d;
}

void read_image(const CborValue& map, SeriesImage& out) {
  const auto& data = need(map, "data");
  if (data.type != CborType::map || data.items.empty()) corrupt("\"data\" must be a map of channels");
  for (std::size_t i = 0; i + 1 < data.items.size(); i += 2) {
    if (data.items[i].type != CborType::text) corrupt("the name of a channel must be text");
    out.channels.push_back({std::string(data.items[i].text), image(data.items[i + 1])});
  }
  if (const auto* user = map.find("user_data"); user != nullptr && user->type != CborType::null)
    out.values = numbers_of(json_text(*user));
  if (const auto start = ratio(map, "start_time")) out.values.emplace("time_s", *start);
  if (const auto real = ratio(map, "real_time")) out.values.emplace("exposure_s", *real);
}

}  // namespace

Result<Message> parse_v2(std::span<const std::byte> bytes) {
  auto document = codec::cbor_decode(bytes);
  if (!document) return tl::unexpected(document.error());
  const auto storage = std::make_shared<const codec::CborDocument>(std::move(*document));
  const CborValue& root = storage->root();
  try {
    if (!root.has_tag(codec::kCborSelfDescribed)) corrupt("a message of stream v2 must begin with the bytes D9 D9 F7");
    if (root.type != CborType::map) corrupt(fmt::format("a message of stream v2 is a map, not {}", name(root.type)));
    const auto& type = need(root, "type");
    if (type.type != CborType::text) corrupt("\"type\" must be text");
    if (type.text == "start") return Message{start_of(root), storage};
    if (type.text == "end") return Message{SeriesEnd{series(root)}, storage};
    if (type.text != "image")
      return core::failure(ErrorCode::unsupported,
                           fmt::format("message \"{}\" is none of start, image, end", type.text));
    SeriesImage image;
    image.id = series(root);
    image.frame = whole(root, "image_id");
    try {
      read_image(root, image);
    } catch (const Error& e) {
      return Message{DamagedImage{image.id, image.frame, e.what()}, {}};
    }
    return Message{std::move(image), storage};
  } catch (const Error& e) {
    return tl::unexpected(e);
  }
}

}  // namespace farfield::stream::dectris
