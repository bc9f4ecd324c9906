#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "farfield/stream/dectris/header.hpp"

namespace farfield::stream::dectris {

using core::Error;
using core::ErrorCode;
using core::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestJson = 1 << 20;
constexpr std::int64_t kMostFrames = std::int64_t{1} << 48;

[[noreturn]] void corrupt(const std::string& what) { throw Error(ErrorCode::corrupt_data, what); }

std::string_view text_of(std::span<const std::byte> part) {
  return {reinterpret_cast<const char*>(part.data()), part.size()};
}

json object(Parts parts, std::size_t index, const char* what) {
  if (index >= parts.size()) corrupt(fmt::format("part {} ({}) is missing", index + 1, what));
  const auto text = text_of(parts[index]);
  if (text.size() > kLongestJson)
    corrupt(fmt::format("part {} ({}) has {} bytes of JSON", index + 1, what, text.size()));
  auto parsed = json::parse(text.begin(), text.end(), nullptr, false);
  if (!parsed.is_object()) corrupt(fmt::format("part {} ({}) is not a JSON object", index + 1, what));
  return parsed;
}

std::string word(const json& o, const char* name) {
  const auto it = o.find(name);
  return it != o.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::int64_t whole(const json& o, const char* name) {
  const auto it = o.find(name);
  if (it == o.end() || !it->is_number_integer() || *it < 0 || *it > kMostFrames)
    corrupt(fmt::format("\"{}\" must be a whole number >= 0", name));
  return it->get<std::int64_t>();
}

void expect_type(const json& o, std::string_view wanted) {
  const auto type = word(o, "htype");
  if (type.substr(0, type.find('-')) != wanted)
    corrupt(fmt::format("a part \"{}\" stands where \"{}-1.0\" must be", type, wanted));
}

/// "shape": [x, y], width first.
std::pair<Index, Index> shape(const json& o) {
  const auto it = o.find("shape");
  if (it == o.end() || !it->is_array() || it->size() != 2 || !(*it)[0].is_number_integer() ||
      !(*it)[1].is_number_integer())
    corrupt("\"shape\" must be two whole numbers, [x, y]");
  const auto x = (*it)[0].get<std::int64_t>(), y = (*it)[1].get<std::int64_t>();
  if (x < 1 || y < 1 || x > (1 << 16) || y > (1 << 16))
    corrupt(fmt::format("\"shape\" [{}, {}] must be 1 to 65536", x, y));
  return {y, x};
}

template <class T>
core::Array<T, 2> table(Parts parts, std::size_t index, const json& o, const char* type) {
  if (word(o, "type") != type) corrupt(fmt::format("\"type\" of {} must be {}", word(o, "htype"), type));
  const auto [rows, columns] = shape(o);
  if (index >= parts.size()) corrupt(fmt::format("part {} ({}) is missing", index + 1, word(o, "htype")));
  const auto bytes = parts[index];
  if (std::ssize(bytes) != rows * columns * static_cast<Index>(sizeof(T)))
    corrupt(fmt::format("{} has {} bytes for {} x {}", word(o, "htype"), bytes.size(), rows, columns));
  core::Array<T, 2> out({rows, columns});
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

Scalars scalars(const json& config) {
  Scalars out;
  for (const auto& [name, value] : config.items()) {
    if (value.is_boolean()) out[name] = value.get<bool>();
    else if (value.is_number()) out[name] = value.get<double>();
    else if (value.is_string()) out[name] = value.get<std::string>();
    else if (!value.is_null()) out[name] = value.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  return out;
}

void read_config(const json& config, SeriesStart& start) {
  const auto s = scalars(config);
  auto& a = start.acquisition;
  keep(s, a);
  a.beam.energy_eV = positive(s, "photon_energy");
  if (const auto angstrom = positive(s, "wavelength"); !a.beam.energy_eV && angstrom)
    a.beam.energy_eV = model::kHcEvM / (*angstrom * 1e-10);
  a.detector.pixel_size_y_m = positive(s, "y_pixel_size");
  a.detector.pixel_size_x_m = positive(s, "x_pixel_size");
  a.detector.distance_m = positive(s, "detector_distance");
  const auto side = [&](const char* name) {
    const auto n = positive(s, name).value_or(0);
    return n <= (1 << 16) ? static_cast<Index>(n) : 0;
  };
  a.detector.ny = side("y_pixels_in_detector");
  a.detector.nx = side("x_pixels_in_detector");
  const double frames = positive(s, "nimages").value_or(0) * positive(s, "ntrigger").value_or(1);
  if (frames >= 1 && frames < static_cast<double>(kMostFrames)) a.scan.expected_frames = static_cast<Index>(frames);
  a.detector.saturation_counts = positive(s, "countrate_correction_count_cutoff");
  if (const auto bits = number(s, "bit_depth_image")) {
    if (*bits == 8) start.dtype = core::DType::u8;
    if (*bits == 16) start.dtype = core::DType::u16;
    if (*bits == 32) start.dtype = core::DType::u32;
  }
  start.flatfield_applied = flag(s, "flatfield_correction_applied").value_or(true);
  start.countrate_applied = flag(s, "countrate_correction_applied").value_or(true);
  start.channels.at(0).threshold_eV = positive(s, "threshold_energy");
}

/// Rows (true, measured) counts per second become (measured, true) counts per frame.
core::Array<float, 2> counts_per_frame(const core::Array<float, 2>& rates, double count_time_s) {
  if (rates.extent(1) != 2) corrupt(fmt::format("count-rate table of {} columns must have 2", rates.extent(1)));
  core::Array<float, 2> out({rates.extent(0), 2});
  for (Index i = 0; i < rates.extent(0); ++i) {
    out(i, 0) = static_cast<float>(rates(i, 1) * count_time_s);
    out(i, 1) = static_cast<float>(rates(i, 0) * count_time_s);
  }
  return out;
}

void read_appendix(std::span<const std::byte> part, SeriesStart& start) {
  const std::string appendix(text_of(part.first(std::min(part.size(), kLongestJson))));
  start.acquisition.metadata["header_appendix"] = appendix;
  start.own_words = read_own_words(appendix, start.acquisition);
}

SeriesStart header(Parts parts, const json& first) {
  SeriesStart start;
  start.id.number = whole(first, "series");
  start.header_detail = word(first, "header_detail");
  start.channels.resize(1);
  std::size_t at = 1;
  std::optional<double> count_time_s;
  if (start.header_detail == "all" || start.header_detail == "basic") {
    const auto config = object(parts, at++, "configuration");
    read_config(config, start);
    count_time_s = positive(scalars(config), "count_time");
  } else if (start.header_detail != "none") {
    corrupt(fmt::format("\"header_detail\" is \"{}\"; it must be all, basic or none", start.header_detail));
  }
  if (start.header_detail == "all") {
    const auto flatfield = object(parts, at, "flat field");
    expect_type(flatfield, "dflatfield");
    start.channels[0].flatfield = table<float>(parts, at + 1, flatfield, "float32");
    const auto mask = object(parts, at + 2, "pixel mask");
    expect_type(mask, "dpixelmask");
    start.channels[0].pixel_mask = table<std::uint32_t>(parts, at + 3, mask, "uint32");
    const auto rates = object(parts, at + 4, "count-rate table");
    expect_type(rates, "dcountrate_table");
    const auto pairs = table<float>(parts, at + 5, rates, "float32");
    if (count_time_s) start.countrate = counts_per_frame(pairs, *count_time_s);
    at += 6;
  }
  if (at < parts.size()) read_appendix(parts[at], start);
  if (parts.size() > at + 1) corrupt(fmt::format("header of {} parts; there must be at most {}", parts.size(), at + 1));
  check_header(start.acquisition);
  return start;
}

void read_image(Parts parts, SeriesImage& image) {
  const auto data = object(parts, 1, "image data");
  expect_type(data, "dimage_d");
  if (parts.size() < 3) corrupt("part 3 (pixels) is missing");
  auto& channel = image.channels.emplace_back();
  auto& p = channel.pixels;
  std::tie(p.ny, p.nx) = shape(data);
  p.dtype = core::value_or_throw(parse_type(word(data, "type")));
  const auto encoding = core::value_or_throw(parse_encoding(word(data, "encoding")));
  p.compression = encoding.compression;
  p.big_endian = encoding.big_endian;
  p.bytes = parts[2];
  if (encoding.compression == Compression::bitshuffle_lz4 && encoding.shuffle_bytes != core::item_size(p.dtype))
    corrupt(fmt::format("encoding {} does not fit pixels of {}", word(data, "encoding"), core::name(p.dtype)));
  if (const auto size = data.find("size"); size != data.end() && *size != p.bytes.size())
    corrupt(fmt::format("{} bytes of pixels; \"size\" says {}", p.bytes.size(), size->dump()));
  core::value_or_throw(check(p));

  if (parts.size() < 4) return;
  if (parts.size() > 5) corrupt(fmt::format("image of {} parts; there must be at most 5", parts.size()));
  if (parts.size() == 5) image.values = numbers_of(text_of(parts[4].first(std::min(parts[4].size(), kLongestJson))));
  const auto times = object(parts, 3, "times");
  expect_type(times, "dconfig");
  const auto seconds = [&](const char* name, const char* value) {
    if (const auto it = times.find(name); it != times.end() && it->is_number())
      image.values.emplace(value, it->get<double>() * 1e-9);
  };
  seconds("start_time", "time_s");
  seconds("real_time", "exposure_s");
}

}  // namespace

Result<Message> parse_v1(Parts parts) {
  try {
    const auto first = object(parts, 0, "kind of message");
    const auto type = word(first, "htype");
    const auto kind = type.substr(0, type.find('-'));
    if (kind == "dheader") return Message{header(parts, first), {}};
    if (kind == "dseries_end") return Message{SeriesEnd{{whole(first, "series"), {}}}, {}};
    if (kind != "dimage")
      return core::failure(ErrorCode::unsupported,
                           fmt::format("message \"{}\" is none of dheader, dimage, dseries_end", type));
    SeriesImage image;
    image.id.number = whole(first, "series");
    image.frame = whole(first, "frame");
    // The frame is known from here on: what else is wrong costs this frame only.
    try {
      read_image(parts, image);
    } catch (const Error& e) {
      return Message{DamagedImage{image.id, image.frame, e.what()}, {}};
    }
    return Message{std::move(image), {}};
  } catch (const Error& e) {
    return tl::unexpected(e);
  }
}

Result<Message> parse(Parts parts) {
  if (parts.empty() || parts[0].empty()) return core::failure(ErrorCode::corrupt_data, "an empty message");
  if (parts[0][0] == std::byte{'{'}) return parse_v1(parts);
  if (parts.size() > 1)
    return core::failure(ErrorCode::corrupt_data,
                         fmt::format("a message of stream v2 has one part, not {}", parts.size()));
  return parse_v2(parts[0]);
}

}  // namespace farfield::stream::dectris
