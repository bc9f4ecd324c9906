#include "farfield/io/xtc2/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "farfield/core/error.hpp"

namespace farfield::io::xtc2 {

using core::DType;
using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kText = 256, kAlg = kText + 4, kName = kAlg + kText + 8;
constexpr std::size_t kFirstName = kContainerBytes + 4 + 3 * kText + kAlg + 4;
static_assert(kName == 524 && kFirstName == 1048);

// Takes the parts of a container one after the other; the caller has checked that they are there.
class Cursor {
public:
  explicit Cursor(const std::byte* at) : at_(at) {}
  std::uint32_t number() {
    const auto value = load<std::uint32_t>(at_);
    at_ += 4;
    return value;
  }
  std::string text() {
    const std::string_view all(reinterpret_cast<const char*>(at_), kText);
    at_ += kText;
    return std::string(all.substr(0, all.find('\0')));
  }

private:
  const std::byte* at_;
};
}  // namespace

std::string_view name(Transition transition) {
  static constexpr std::array<std::string_view, 13> kNames{
      "ClearReadout", "Reset",   "Configure",  "Unconfigure",         "BeginRun", "EndRun", "BeginStep", "EndStep",
      "Enable",       "Disable", "SlowUpdate", "L1Accept_EndOfBatch", "L1Accept"};
  const auto i = static_cast<std::size_t>(transition);
  return i < kNames.size() ? kNames[i] : "unknown";
}

Index item_size(FieldType type) {
  static constexpr std::array<Index, kFieldTypes> kSizes{1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 1, 4, 4};
  const auto i = static_cast<std::size_t>(type);
  return i < kSizes.size() ? kSizes[i] : 0;
}

DType dtype(FieldType type) {
  static constexpr std::array<DType, kFieldTypes> kTypes{DType::u8,  DType::u16, DType::u32, DType::u64, DType::i8,
                                                         DType::i16, DType::i32, DType::i64, DType::f32, DType::f64,
                                                         DType::u8,  DType::i32, DType::i32};
  const auto i = static_cast<std::size_t>(type);
  if (i >= kTypes.size())
    throw Error(ErrorCode::unsupported, fmt::format("element type {} is not one of 0 to {}", i, kFieldTypes - 1));
  return kTypes[i];
}

Index Names::find(std::string_view field) const {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == field; });
  return found == fields.end() ? -1 : found - fields.begin();
}

Index Names::arrays() const {
  return std::count_if(fields.begin(), fields.end(), [](const Field& f) { return f.rank > 0; });
}

Names parse_names(std::span<const std::byte> container) {
  if (container.size() < kFirstName || (container.size() - kFirstName) % kName != 0)
    throw Error(ErrorCode::corrupt_data, fmt::format("Names of {} bytes; {} and a multiple of {} were expected",
                                                     container.size(), kFirstName, kName));
  Names names;
  names.id = load<Container>(container.data()).names_id();
  Cursor from(container.data() + kContainerBytes);
  from.number();  // how many fields are arrays: counted below
  names.detector_type = from.text();
  names.detector = from.text();
  names.detector_id = from.text();
  names.algorithm = from.text();
  names.version = from.number();
  names.segment = from.number();
  names.fields.resize((container.size() - kFirstName) / kName);
  for (auto& field : names.fields) {
    field.algorithm = from.text();
    field.version = from.number();
    field.name = from.text();
    field.type = static_cast<FieldType>(from.number());
    field.rank = from.number();
    if (field.rank > kMaxRank)
      throw Error(ErrorCode::corrupt_data, fmt::format("field {} of {} has {} dimensions; at most {} are possible",
                                                       field.name, names.detector, field.rank, kMaxRank));
  }
  return names;
}

}  // namespace farfield::io::xtc2
