#include "farfield/stream/dectris/encode.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/codec/cbor.hpp"
#include "farfield/codec/lz4.hpp"
#include "farfield/stream/dectris/header.hpp"

namespace farfield::stream::dectris {

using codec::CborWriter;
using core::Error;
using core::ErrorCode;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kChannel = "threshold_1";
constexpr double kTicksPerSecond = 1e9;  // v2 times: nanoseconds

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
std::vector<std::byte> bytes_of(const Json& json) {
  return bytes_of(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}
template <class T>
std::vector<std::byte> bytes_of(core::View<const T, 2> table) {
  const auto bytes = std::as_bytes(std::span(table.data(), static_cast<std::size_t>(table.size())));
  return {bytes.begin(), bytes.end()};
}

std::uint64_t typed_tag(core::DType type) {
  switch (type) {
    case core::DType::u8: return 64;
    case core::DType::u16: return 69;
    case core::DType::u32: return 70;
    case core::DType::u64: return 71;
    case core::DType::i8: return 72;
    case core::DType::i16: return 77;
    case core::DType::i32: return 78;
    case core::DType::i64: return 79;
    case core::DType::f32: return 85;
    case core::DType::f64: return 86;
    default: return 0;
  }
}

double nanoseconds(double seconds) { return std::round(seconds * kTicksPerSecond); }

std::optional<double> value(const model::Values& values, const std::string& name) {
  const auto it = values.find(name);
  return it == values.end() ? std::nullopt : std::optional(it->second);
}

std::string numbers(const model::Values& values) {
  Json out = Json::object();
  for (const auto& [name, number] : values) out[name] = number;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// SIMPLON multiplies by its flat field; the model divides.
core::Array<float, 2> flatfield(const model::Acquisition& a) {
  const auto it = a.inputs.find("flat");
  if (it == a.inputs.end()) return core::Array<float, 2>({a.detector.ny, a.detector.nx}, 1.0F);
  auto out = it->second.to<float, 2>();
  for (float& v : std::span(out.data(), static_cast<std::size_t>(out.size()))) v = 1 / v;
  return out;
}

core::Array<std::uint32_t, 2> mask(const model::Acquisition& a) {
  return a.detector.pixel_mask.empty() ? core::Array<std::uint32_t, 2>({a.detector.ny, a.detector.nx})
                                       : a.detector.pixel_mask.clone();
}

bool has_tables(const model::Acquisition& a) { return !a.detector.pixel_mask.empty() || a.inputs.contains("flat"); }

}  // namespace

Encoder::Encoder(const model::Acquisition& acquisition, SeriesId id, const EncodeOptions& options)
    : acquisition_(acquisition.clone()), id_(std::move(id)), options_(options) {
  if (type_name(acquisition.detector.dtype).empty())
    throw Error(ErrorCode::unsupported,
                fmt::format("frames of type {} cannot be sent", core::name(acquisition.detector.dtype)))
        .at(acquisition.source);
}

OwnedParts Encoder::start() const { return options_.protocol == Protocol::v1 ? start_v1() : start_v2(); }

OwnedParts Encoder::start_v1() const {
  const auto& a = acquisition_;
  const auto& d = a.detector;
  const Json shape = {d.nx, d.ny};
  OwnedParts parts;
  parts.push_back(bytes_of(
      Json{{"header_detail", has_tables(a) ? "all" : "basic"}, {"htype", "dheader-1.0"}, {"series", id_.number}}));
  Json config{{"countrate_correction_applied", true},
              {"description", a.title},
              {"detector_distance", d.distance_m.value_or(0)},
              {"flatfield_correction_applied", !a.inputs.contains("flat")},
              {"nimages", std::max<Index>(a.scan.expected_frames, 0)},
              {"ntrigger", 1},
              {"photon_energy", a.beam.energy_eV.value_or(0)},
              {"x_pixel_size", d.pixel_size_x_m.value_or(0)},
              {"x_pixels_in_detector", d.nx},
              {"y_pixel_size", d.pixel_size_y_m.value_or(0)},
              {"y_pixels_in_detector", d.ny}};
  if (d.saturation_counts) config["countrate_correction_count_cutoff"] = *d.saturation_counts;
  parts.push_back(bytes_of(config));
  if (has_tables(a)) {
    parts.push_back(bytes_of(Json{{"htype", "dflatfield-1.0"}, {"shape", shape}, {"type", "float32"}}));
    parts.push_back(bytes_of<float>(flatfield(a).view()));
    parts.push_back(bytes_of(Json{{"htype", "dpixelmask-1.0"}, {"shape", shape}, {"type", "uint32"}}));
    parts.push_back(bytes_of<std::uint32_t>(mask(a).view()));
    // True and measured rates of a detector that loses nothing.
    const core::Array<float, 2> rates({2, 2}, 0.0F);
    parts.push_back(bytes_of(Json{{"htype", "dcountrate_table-1.0"}, {"shape", {2, 2}}, {"type", "float32"}}));
    parts.push_back(bytes_of<float>(rates.view()));
  }
  parts.push_back(bytes_of(own_words(a)));
  return parts;
}

OwnedParts Encoder::start_v2() const {
  const auto& a = acquisition_;
  const auto& d = a.detector;
  CborWriter pairs;  // without the head: how many there are is known at the end
  std::uint64_t count = 0;
  const auto key = [&](const char* name) -> CborWriter& {
    ++count;
    return pairs.text(name);
  };
  const auto table = [&](auto&& image, std::uint64_t tag) {
    pairs.map(1).text(kChannel).tag(40).array(2).array(2).integer(d.ny).integer(d.nx).tag(tag).bytes(
        std::as_bytes(std::span(image.data(), static_cast<std::size_t>(image.size()))));
  };
  key("series_id").integer(id_.number);
  key("series_unique_id").text(id_.unique);
  key("channels").array(1).text(kChannel);
  key("detector_description").text(a.title);
  key("image_dtype").text(type_name(d.dtype));
  key("image_size_x").integer(d.nx);
  key("image_size_y").integer(d.ny);
  key("number_of_images").integer(std::max<Index>(a.scan.expected_frames, 0));
  key("countrate_correction_enabled").boolean(true);
  key("flatfield_enabled").boolean(!a.inputs.contains("flat"));
  key("pixel_mask_enabled").boolean(true);
  if (a.beam.energy_eV) key("incident_energy").real(*a.beam.energy_eV);
  if (d.pixel_size_x_m) key("pixel_size_x").real(*d.pixel_size_x_m);
  if (d.pixel_size_y_m) key("pixel_size_y").real(*d.pixel_size_y_m);
  if (d.saturation_counts) key("saturation_value").real(*d.saturation_counts);
  if (d.distance_m) key("detector_translation").array(3).real(0).real(0).real(-*d.distance_m);
  if (has_tables(a)) {
    key("flatfield");
    table(flatfield(a), 85);
    key("pixel_mask");
    table(mask(a), 70);
  }
  key("user_data").text(own_words(a));

  CborWriter head;
  head.tag(codec::kCborSelfDescribed).map(count + 1).text("type").text("start");
  auto message = std::move(head).message();
  message.insert(message.end(), pairs.message().begin(), pairs.message().end());
  return {std::move(message)};
}

std::vector<std::byte> Encoder::pack(const core::AnyImage& image) const {
  const Index item = core::item_size(image.dtype), row = image.nx * item;
  std::vector<std::byte> pixels(static_cast<std::size_t>(image.ny * row));
  for (Index y = 0; y < image.ny; ++y)
    std::memcpy(pixels.data() + y * row, static_cast<const std::byte*>(image.data) + y * image.row_stride * item,
                static_cast<std::size_t>(row));
  switch (options_.compression) {
    case Compression::none: return pixels;
    case Compression::bitshuffle_lz4: return codec::bitshuffle_encode(pixels, {item, codec::BlockCompression::lz4});
    case Compression::lz4:
    case Compression::lz4_framed: break;
  }
  if (options_.protocol == Protocol::v2) return codec::lz4_framed_encode(pixels);
  std::vector<std::byte> block(static_cast<std::size_t>(codec::lz4_bound(std::ssize(pixels))));
  block.resize(static_cast<std::size_t>(codec::lz4_encode(pixels, block)));
  return block;
}

OwnedParts Encoder::image(const model::FrameView& frame, const model::Values& values) const {
  const auto& d = acquisition_.detector;
  const auto& image = frame.image;
  if (frame.is_sparse() || image.ny != d.ny || image.nx != d.nx || image.dtype != d.dtype)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("frame {} is not one of {} x {} pixels of {}", frame.id, d.ny, d.nx, core::name(d.dtype)))
        .at(acquisition_.source);
  const auto blob = pack(image);
  const auto start_s = value(values, "time_s"), exposure_s = value(values, "exposure_s");
  const Index item = core::item_size(d.dtype);

  if (options_.protocol == Protocol::v1) {
    const std::string compression = options_.compression == Compression::none ? ""
                                    : options_.compression == Compression::bitshuffle_lz4
                                        ? fmt::format("bs{}-lz4", 8 * item)
                                        : "lz4";
    OwnedParts parts;
    parts.push_back(bytes_of(Json{{"frame", frame.id}, {"hash", ""}, {"htype", "dimage-1.0"}, {"series", id_.number}}));
    parts.push_back(bytes_of(Json{{"encoding", compression + "<"},
                                  {"htype", "dimage_d-1.0"},
                                  {"shape", {d.nx, d.ny}},
                                  {"size", blob.size()},
                                  {"type", type_name(d.dtype)}}));
    parts.push_back(blob);
    Json times{{"htype", "dconfig-1.0"}};
    if (exposure_s) times["real_time"] = nanoseconds(*exposure_s);
    if (start_s) times["start_time"] = nanoseconds(*start_s);
    parts.push_back(bytes_of(times));
    if (options_.values) parts.push_back(bytes_of(numbers(values)));
    return parts;
  }

  const auto ticks = [&](CborWriter& w, const char* key, double seconds) {
    w.text(key)
        .array(2)
        .integer(static_cast<std::int64_t>(nanoseconds(seconds)))
        .integer(static_cast<std::int64_t>(kTicksPerSecond));
  };
  CborWriter w;
  w.tag(codec::kCborSelfDescribed).map(5U + (start_s ? 1U : 0U) + (exposure_s ? 1U : 0U) + (options_.values ? 1U : 0U));
  w.text("type").text("image").text("series_id").integer(id_.number).text("series_unique_id").text(id_.unique);
  w.text("image_id").integer(frame.id);
  if (exposure_s) ticks(w, "real_time", *exposure_s);
  if (start_s) ticks(w, "start_time", *start_s);
  if (options_.values) w.text("user_data").text(numbers(values));
  w.text("data").map(1).text(kChannel).tag(40).array(2).array(2).integer(d.ny).integer(d.nx).tag(typed_tag(d.dtype));
  if (options_.compression == Compression::none) w.bytes(blob);
  else if (options_.compression == Compression::bitshuffle_lz4)
    w.tag(56500).array(3).text("bslz4").integer(item).bytes(blob);
  else w.tag(56500).array(3).text("lz4").integer(0).bytes(blob);
  return {std::move(w).message()};
}

OwnedParts Encoder::end() const {
  if (options_.protocol == Protocol::v1) return {bytes_of(Json{{"htype", "dseries_end-1.0"}, {"series", id_.number}})};
  CborWriter w;
  w.tag(codec::kCborSelfDescribed).map(3).text("type").text("end").text("series_id").integer(id_.number);
  w.text("series_unique_id").text(id_.unique);
  return {std::move(w).message()};
}

}  // namespace farfield::stream::dectris
