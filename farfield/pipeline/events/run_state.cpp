#include "farfield/pipeline/events/run_state.hpp"

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;
using xtc2::Transition;

RunState::RunState(const std::vector<std::filesystem::path>& data) {
  for (const auto& path : data) {
    StreamState stream;
    stream.data = path;
    streams_.push_back(std::move(stream));
  }
}

void RunState::apply(const TransitionRecord& record) {
  static const xtc2::ValueName kNextChunk{"chunkinfo", "chunkinfo", "filename"};
  xtc2::Contents contents;
  for (std::size_t s = 0; s < streams_.size() && s < record.datagrams.size(); ++s) {
    StreamState& stream = streams_[s];
    const auto datagram = xtc2::Datagram::parse(record.datagrams[s]);
    if (!datagram) continue;
    xtc2::read_contents(*datagram, stream.names, contents);
    if (record.transition == Transition::configure) stream.index.configure(stream.names);
    stream.environment.update(record.transition, contents);
    if (record.transition != Transition::enable) continue;
    // An Enable that names another chunk is the last datagram of this one.
    for (const auto& item : contents.items) {
      const auto* block = std::get_if<xtc2::Block>(&item);
      if (block == nullptr || !kNextChunk.matches(*block->names)) continue;
      // A name from a file: only its last part counts, beside the chunk before.
      if (const auto name = block->value(block->names->find(kNextChunk.field)); name)
        if (const auto file = std::filesystem::path(name->text()).filename(); !file.empty())
          stream.data = stream.data.parent_path() / file;
    }
  }
  ++applied_;
}

const xtc2::SlowValue* RunState::slow_value(const xtc2::ValueName& name) const {
  for (const auto& stream : streams_)
    if (const auto* value = stream.environment.find(name)) return value;
  return nullptr;
}

const xtc2::Field* RunState::field(const xtc2::ValueName& name) const {
  for (const auto& stream : streams_)
    for (const auto& [id, names] : stream.names)
      if (name.matches(*names))
        if (const Index at = names->find(name.field); at >= 0) return &names->fields[static_cast<std::size_t>(at)];
  return nullptr;
}

}  // namespace farfield::pipeline::events
