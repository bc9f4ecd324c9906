#pragma once
// What the values of a detector are called and how they lie in memory: the Names containers of a Configure datagram.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/io/xtc2/layout.hpp"

namespace farfield::io::xtc2 {

/// Element types, by their numbers in the file.
enum class FieldType : std::uint32_t { u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, text, enum_value, enum_entry };
inline constexpr std::uint32_t kFieldTypes = 13;
/// Bytes of one element; 0 for a type that is not in the list.
Index item_size(FieldType type);
/// As numbers (text: u8; enums: i32). Throws `unsupported` for a type that is not in the list.
core::DType dtype(FieldType type);

/// Dimensions that a Shape has room for.
inline constexpr int kMaxRank = 5;

/// One value of a detector.
struct Field {
  std::string
      name;  ///< may hold '.' (a hierarchy) and ':' ("gain:gainEnum" of an enum, "high:gainEnum" of its entries)
  FieldType type = FieldType::u8;
  std::uint32_t rank = 0;  ///< 0: a scalar
  std::string algorithm{};  ///< mostly empty
  std::uint32_t version = 0;
};

/// The values of one algorithm of one segment of one detector.
struct Names {
  std::uint32_t id = 0;  ///< node << 8 | number: how ShapesData refer to it
  std::string detector, detector_type, detector_id;
  std::uint32_t segment = 0;
  std::string algorithm;
  std::uint32_t version = 0;  ///< major << 16 | minor << 8 | micro
  std::vector<Field> fields;

  /// Index of a field; -1 where there is none.
  Index find(std::string_view field) const;
  Index arrays() const;  ///< fields of rank > 0
};

/// From a whole Names container. Throws `corrupt_data`.
Names parse_names(std::span<const std::byte> container);

/// The Names that are valid at a point of a stream. A Configure datagram begins a new table.
using NamesTable = std::map<std::uint32_t, std::shared_ptr<const Names>>;

}  // namespace farfield::io::xtc2
