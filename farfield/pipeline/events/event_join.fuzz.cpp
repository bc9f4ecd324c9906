// Any bytes, cut in two, as the indices of two streams: reading, joining and building end, and account for every event.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "farfield/pipeline/events/event_builder.hpp"

using namespace farfield;
using namespace farfield::pipeline::events;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto* bytes = reinterpret_cast<const std::byte*>(data + 1);
  const std::size_t cut = (size - 1) * data[0] / 255;
  std::vector<IndexSource> sources;
  for (const auto& [begin, end] : {std::pair(std::size_t{0}, cut), std::pair(cut, size - 1)})
    sources.push_back({io::xtc2::read_memory_some({bytes + begin, bytes + end}), [] { return false; }});
  IndexReader reader(std::move(sources), {.block_events = 3, .read_bytes = 64});
  EventBuilder builder({Filter::parse("epics.raw.x > 1 and scan.raw.y < 2"), false, 2, 1000}, {"a", "b"});
  for (auto got = reader.next(); got != IndexReader::Got::end; got = reader.next()) {
    if (got == IndexReader::Got::waiting) std::abort();  // nothing grows here
    if (got == IndexReader::Got::transition) builder.apply(reader.transition());
    if (got != IndexReader::Got::block) continue;
    const auto& block = reader.block();
    Index joined = 0;
    for (const auto& batch : builder.build(block.number, block.after, block.bytes)) {
      Index rejected = 0;
      for (const auto& [reason, count] : batch.rejected) rejected += count;
      if (batch.joined != rejected + static_cast<Index>(batch.times.size())) std::abort();
      joined += batch.joined;
    }
    if (joined != block.events) std::abort();
  }
  return 0;
}
