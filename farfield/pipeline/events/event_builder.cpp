#include "farfield/pipeline/events/event_builder.hpp"

#include <limits>

#include "farfield/core/error.hpp"

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;

std::vector<Batch> EventBuilder::build(std::uint64_t number, std::optional<EventTime> after,
                                       std::span<const std::span<const std::byte>> bytes) {
  const int streams = run_.streams();
  if (bytes.size() != static_cast<std::size_t>(streams))
    throw core::Error(core::ErrorCode::internal, "a block with another number of streams");
  Join join(streams);
  if (after) join.begin_after(*after);
  for (int s = 0; s < streams; ++s) join.set_bytes(s, bytes[static_cast<std::size_t>(s)], true);
  table_.clear();
  join.run(std::numeric_limits<Index>::max(), table_);

  std::vector<Batch> batches(1);
  Index bytes_to_fetch = 0;
  std::vector<std::span<const std::byte>> datagrams(static_cast<std::size_t>(streams));
  for (Index event = 0; event < table_.size(); ++event) {
    Batch* batch = &batches.back();
    if (static_cast<Index>(batch->times.size()) >= options_.batch_events || bytes_to_fetch >= options_.batch_bytes) {
      batch = &batches.emplace_back();
      bytes_to_fetch = 0;
    }
    ++batch->joined;
    const auto places = table_.of(event);
    bool complete = true;
    for (std::size_t s = 0; s < datagrams.size(); ++s) {
      datagrams[s] = {};
      if (places[s] == kMissing) {
        complete = false;
        continue;
      }
      const auto from = bytes[s].subspan(places[s]);
      datagrams[s] = from.first(static_cast<std::size_t>(xtc2::load<xtc2::Header>(from.data()).size()));
    }
    if (options_.complete && !complete) {
      ++batch->rejected["not in every stream"];
      continue;
    }
    if (!options_.filter.empty()) {
      const auto verdict = options_.filter.judge(run_, datagrams);
      if (verdict != Filter::Verdict::keep) {
        ++batch->rejected[verdict == Filter::Verdict::reject ? "filter" : "no value for the filter"];
        continue;
      }
    }
    batch->times.push_back(table_.time(event));
    for (int s = 0; s < streams; ++s) {
      const auto datagram = datagrams[static_cast<std::size_t>(s)];
      Piece piece;
      if (!datagram.empty() && run_.stream(s).index.is_index()) {
        const auto entry = run_.stream(s).index.entry(datagram);
        piece = entry ? Piece{entry->offset, entry->size} : Piece{0, kNoEntry};
        if (entry) bytes_to_fetch += static_cast<Index>(std::min<std::uint64_t>(entry->size, std::uint64_t{1} << 32));
      } else if (!datagram.empty()) {
        piece = {batch->carried.size(), datagram.size()};
        batch->carried.insert(batch->carried.end(), datagram.begin(), datagram.end());
      }
      batch->pieces.push_back(piece);
    }
  }
  for (std::size_t part = 0; part < batches.size(); ++part)
    batches[part].number = {number, static_cast<std::uint32_t>(part), static_cast<std::uint32_t>(batches.size())};
  return batches;
}

}  // namespace farfield::pipeline::events
