// Any bytes as a file: the reader ends, values lie within the file, and what is made of it (text, index) is made
// without a fault of memory.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "farfield/io/xtc2/dump.hpp"
#include "farfield/io/xtc2/reader.hpp"
#include "farfield/io/xtc2/smalldata.hpp"

using namespace farfield;
using namespace farfield::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  xtc2::DatagramReader reader(xtc2::read_memory_some({bytes, bytes + size}), 64);
  xtc2::NamesTable table, again;
  xtc2::IndexReader index;
  std::string text;
  std::vector<std::string> faults;
  std::vector<std::byte> small;
  std::vector<xtc2::Value> values;
  std::size_t total = 0;
  for (core::Index number = 1; const auto datagram = reader.next(); ++number) {
    total += datagram->bytes().size();
    text.clear();
    xtc2::dump(*datagram, number, table, {.words = 4}, text, faults);
    if (datagram->transition() == xtc2::Transition::configure) index.configure(table);
    if (datagram->header().is_event()) index.entry(datagram->bytes());
    xtc2::Contents contents;
    xtc2::read_contents(*datagram, again, contents);
    for (const auto& item : contents.items) {
      const auto* block = std::get_if<xtc2::Block>(&item);
      if (block == nullptr || !block->values(values)) continue;
      for (const auto& value : values) {
        if (value.bytes.size() > size) std::abort();
        try {
          value.array();
        } catch (const core::Error&) {}
        value.text();
        if (value.field->rank == 0) value.number();
      }
    }
    try {
      xtc2::append_index(*datagram, reader.offset(), small);
    } catch (const core::Error&) {}
  }
  if (total > size) std::abort();
  reader.rest();
  return 0;
}
