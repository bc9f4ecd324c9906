#include "farfield/io/xtc2/smalldata.hpp"

#include <fmt/format.h>

#include <limits>

#include "farfield/io/xtc2/builder.hpp"

namespace farfield::io::xtc2 {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::uint32_t kIndexId = 512U << 8;  // node 512 is one that the data acquisition does not use

// An event in an index: header, ShapesData { Shapes {}, Data { offset, size } }.
constexpr std::size_t kEventBytes = 76, kBlockAt = 24, kShapesAt = 36, kDataAt = 48, kEntryAt = 60;

void append(std::vector<std::byte>& out, const void* bytes, std::size_t count) {
  const auto* from = static_cast<const std::byte*>(bytes);
  out.insert(out.end(), from, from + count);
}

bool is(const std::byte* at, ContainerType type, std::uint32_t extent) {
  const auto c = load<Container>(at);
  return c.type() == type && c.extent == extent;
}
}  // namespace

const Names& index_names() {
  static const Names names{.id = kIndexId,
                           .detector = "smdinfo",
                           .detector_type = "offset",
                           .detector_id = "",
                           .segment = 0,
                           .algorithm = "offsetAlg",
                           .version = 0,
                           .fields = {{"intOffset", FieldType::u64}, {"intDgramSize", FieldType::u64}}};
  return names;
}

void append_index(const Datagram& datagram, Index offset, std::vector<std::byte>& out) {
  Header header = datagram.header();
  if (header.is_event()) {
    header.xtc = {0, 0, static_cast<std::uint16_t>(ContainerType::parent), kEventBytes - 12};
    const Container parts[] = {{kIndexId, 0, static_cast<std::uint16_t>(ContainerType::shapes_data), 52},
                               {0, 0, static_cast<std::uint16_t>(ContainerType::shapes), 12},
                               {0, 0, static_cast<std::uint16_t>(ContainerType::data), 28}};
    const IndexEntry entry{static_cast<std::uint64_t>(offset), datagram.bytes().size()};
    append(out, &header, sizeof header);
    append(out, parts, sizeof parts);
    append(out, &entry, sizeof entry);
  } else if (datagram.transition() == Transition::configure) {
    NamesTable table;
    Contents contents;
    read_contents(datagram, table, contents);
    if (table.contains(kIndexId))
      throw Error(ErrorCode::conflict, fmt::format("there are names under {:#x} already: is this an index?", kIndexId));
    DatagramBuilder builder(datagram.bytes());
    builder.add(index_names());
    const auto bytes = builder.finish();
    append(out, bytes.data(), bytes.size());
  } else if (datagram.transition() == Transition::end_run) {
    header.xtc.extent = kContainerBytes;
    append(out, &header, sizeof header);
  } else {
    append(out, datagram.bytes().data(), datagram.bytes().size());
  }
}

void IndexReader::configure(const NamesTable& table) {
  names_ = nullptr;
  for (const auto& [id, names] : table) {
    if (names->detector != "smdinfo") continue;
    offset_field_ = names->find("intOffset");
    size_field_ = names->find("intDgramSize");
    if (offset_field_ >= 0 && size_field_ >= 0) names_ = names;
  }
}

std::optional<IndexEntry> IndexReader::entry(std::span<const std::byte> datagram) const {
  if (names_ == nullptr) return std::nullopt;
  const auto checked = [](IndexEntry e) -> std::optional<IndexEntry> {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
    if (e.size < kHeaderBytes || e.offset > kMost || e.size > kMost - e.offset) return std::nullopt;
    return e;
  };
  // As every writer known writes it; what follows reads the rest.
  const std::byte* at = datagram.data();
  if (datagram.size() == kEventBytes && is(at + kBlockAt, ContainerType::shapes_data, 52) &&
      is(at + kShapesAt, ContainerType::shapes, 12) && is(at + kDataAt, ContainerType::data, 28) &&
      load<Container>(at + kBlockAt).names_id() == names_->id && offset_field_ == 0 && size_field_ == 1 &&
      names_->fields[0].type == FieldType::u64 && names_->fields[1].type == FieldType::u64)
    return checked(load<IndexEntry>(at + kEntryAt));
  const auto parsed = Datagram::parse(datagram);
  if (!parsed) return std::nullopt;
  NamesTable table{{names_->id, names_}};
  Contents contents;
  read_contents(*parsed, table, contents);
  for (const auto& item : contents.items) {
    const auto* block = std::get_if<Block>(&item);
    if (block == nullptr || block->names != names_) continue;
    const auto offset = block->value(offset_field_), size = block->value(size_field_);
    if (offset && size && offset->bytes.size() == 8 && size->bytes.size() == 8)
      return checked({load<std::uint64_t>(offset->bytes.data()), load<std::uint64_t>(size->bytes.data())});
  }
  return std::nullopt;
}

}  // namespace farfield::io::xtc2
