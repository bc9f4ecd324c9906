#include "farfield/io/xtc2/dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace farfield::io::xtc2 {

namespace {
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    else out += c;
  }
  return out;
}

void put_number(std::string& text, FieldType type, const std::byte* bytes) {
  core::visit_dtype(dtype(type), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      fmt::format_to(std::back_inserter(text), "{:f}", load<T>(bytes));
    } else if constexpr (std::is_integral_v<T>) {
      fmt::format_to(std::back_inserter(text), "{}", load<T>(bytes));
    }
  });
}

void put_value(std::string& text, const Value& value, Index words) {
  const Field& field = *value.field;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "'{}'", printable(field.name));
  if (field.type == FieldType::text) {
    fmt::format_to(out, ": \"{}\"\n", printable(value.text()));
    return;
  }
  const Index item = item_size(field.type);
  if (field.rank == 0) {
    text += ": ";
    put_number(text, field.type, value.bytes.data());
  } else {
    text += " (shape:";
    for (std::uint32_t r = 0; r < field.rank; ++r) fmt::format_to(out, " {}", value.shape[r]);
    text += "): ";
    const Index count = std::min(words, static_cast<Index>(value.bytes.size()) / item);
    for (Index i = 0; i < count; ++i) {
      text += ' ';
      put_number(text, field.type, value.bytes.data() + i * item);
    }
  }
  text += '\n';
}

void put_names(std::string& text, const Names& names) {
  const auto out = std::back_inserter(text);
  fmt::format_to(
      out, "*** DetName: {}, Segment {}, DetType: {}, DetId: {}, Alg: {}, Version: 0x{:06x}, namesid: 0x{:x}, Names:\n",
      printable(names.detector), names.segment, printable(names.detector_type), printable(names.detector_id),
      printable(names.algorithm), names.version, names.id);
  for (const Field& field : names.fields)
    fmt::format_to(out, "Name: '{}' Type: {} Rank: {}\n", printable(field.name), static_cast<unsigned>(field.type),
                   field.rank);
}
}  // namespace

void dump(const Datagram& datagram, Index number, NamesTable& table, const DumpOptions& options, std::string& text,
          std::vector<std::string>& faults) {
  const Header& h = datagram.header();
  const auto out = std::back_inserter(text);
  fmt::format_to(
      out,
      "event {}, {:>11} transition:  time 0x{:08x}.0x{:08x},  env 0x{:08x}, payloadSize {} damage 0x{:x} extent {}\n",
      number, name(h.transition()), h.seconds, h.nanoseconds, h.env, h.xtc.extent - kContainerBytes, h.xtc.damage,
      h.xtc.extent);
  Contents contents;
  read_contents(datagram, table, contents);  // also without values: the names count for what comes
  faults.insert(faults.end(), contents.faults.begin(), contents.faults.end());
  if (!options.values) return;
  std::vector<Value> values;
  for (const auto& item : contents.items) {
    if (const auto* names = std::get_if<std::shared_ptr<const Names>>(&item)) {
      put_names(text, **names);
      continue;
    }
    const auto& block = std::get<Block>(item);
    fmt::format_to(out, "Found {} names for namesid 0x{:x}\n", block.names->fields.size(), block.names->id);
    if (const auto read = block.values(values); !read) faults.push_back(read.error().message());
    for (std::size_t i = 0; i < values.size(); ++i) {
      fmt::format_to(out, "{}: '{}' rank {}, type {}\n", i, printable(values[i].field->name), values[i].field->rank,
                     static_cast<unsigned>(values[i].field->type));
      put_value(text, values[i], options.words);
    }
  }
}

}  // namespace farfield::io::xtc2
