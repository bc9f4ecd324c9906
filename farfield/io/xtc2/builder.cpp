#include "farfield/io/xtc2/builder.hpp"

#include <fmt/format.h>

#include <limits>

#include "farfield/core/error.hpp"

namespace farfield::io::xtc2 {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kTextBytes = 256;
constexpr std::size_t kRootAt = kHeaderBytes - kContainerBytes, kExtentAt = 8;
}  // namespace

NewValue NewValue::text(std::string_view text) {
  NewValue value;
  value.bytes.resize((text.size() / 4 + 1) * 4);
  if (!text.empty()) std::memcpy(value.bytes.data(), text.data(), text.size());
  value.shape = {static_cast<std::uint32_t>(value.bytes.size())};
  return value;
}

template <class T>
void DatagramBuilder::put(const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void DatagramBuilder::put_text(std::string_view text) {
  if (text.size() >= kTextBytes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("\"{}\" has {} bytes; names have at most {}", text, text.size(), kTextBytes - 1));
  const std::size_t at = bytes_.size();
  bytes_.resize(at + kTextBytes);
  if (!text.empty()) std::memcpy(bytes_.data() + at, text.data(), text.size());
}

// Extents are filled in when a container is complete.
std::size_t DatagramBuilder::open(std::uint32_t src, ContainerType type) {
  const std::size_t at = bytes_.size();
  put(Container{src, 0, static_cast<std::uint16_t>(type), 0});
  return at;
}

void DatagramBuilder::close(std::size_t at) {
  const std::size_t size = bytes_.size() - at;
  if (size > std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorCode::resource_exhausted, fmt::format("a container of {} bytes; sizes have 32 bits", size));
  const auto extent = static_cast<std::uint32_t>(size);
  std::memcpy(bytes_.data() + at + kExtentAt, &extent, sizeof extent);
}

DatagramBuilder::DatagramBuilder(EventTime time, std::uint32_t env) {
  Header header;
  header.nanoseconds = nanoseconds(time);
  header.seconds = seconds(time);
  header.env = env;
  put(header);
}

DatagramBuilder::DatagramBuilder(std::span<const std::byte> datagram) : bytes_(datagram.begin(), datagram.end()) {}

void DatagramBuilder::add(const Names& names) {
  const std::size_t at = open(names.id, ContainerType::names);
  put(static_cast<std::uint32_t>(names.arrays()));
  put_text(names.detector_type);
  put_text(names.detector);
  put_text(names.detector_id);
  put_text(names.algorithm);
  put(names.version);
  put(names.segment);
  for (const Field& field : names.fields) {
    put_text(field.algorithm);
    put(field.version);
    put_text(field.name);
    put(field.type);
    put(field.rank);
  }
  close(at);
}

void DatagramBuilder::add(const Names& names, std::span<const NewValue> values) {
  if (values.size() != names.fields.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} values for the {} fields of {}", values.size(), names.fields.size(), names.detector));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Field& field = names.fields[i];
    std::uint64_t bytes = static_cast<std::uint64_t>(item_size(field.type));
    for (const auto extent : values[i].shape)
      if (__builtin_mul_overflow(bytes, extent, &bytes)) bytes = 0;
    if (values[i].shape.size() != field.rank || bytes != values[i].bytes.size())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{} bytes in {} dimensions do not fit field {} of {}, which has {} dimensions",
                              values[i].bytes.size(), values[i].shape.size(), field.name, names.detector, field.rank));
  }
  const std::size_t whole = open(names.id, ContainerType::shapes_data);
  const std::size_t shapes = open(0, ContainerType::shapes);
  for (const auto& value : values) {
    if (value.shape.empty()) continue;
    for (std::size_t r = 0; r < kMaxRank; ++r) put(r < value.shape.size() ? value.shape[r] : std::uint32_t{0});
  }
  close(shapes);
  const std::size_t data = open(0, ContainerType::data);
  for (const auto& value : values) bytes_.insert(bytes_.end(), value.bytes.begin(), value.bytes.end());
  close(data);
  close(whole);
}

std::vector<std::byte> DatagramBuilder::finish() {
  close(kRootAt);
  return std::move(bytes_);
}

}  // namespace farfield::io::xtc2
