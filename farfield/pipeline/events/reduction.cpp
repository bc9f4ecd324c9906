#include "farfield/pipeline/events/reduction.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;
using xtc2::Value;

namespace {
Column::Kind kind_of(const xtc2::Field& field) {
  if (field.rank > 0) return Column::Kind::ragged;
  return field.type == xtc2::FieldType::f32 || field.type == xtc2::FieldType::f64 ? Column::Kind::real
                                                                                  : Column::Kind::integer;
}

std::int64_t integer(const Value& value) {
  return core::visit_dtype(xtc2::dtype(value.field->type), [&](auto zero) -> std::int64_t {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T>) return static_cast<std::int64_t>(xtc2::load<T>(value.bytes.data()));
    return kMissingInteger;
  });
}

// Adds an array that lies anywhere in memory.
void add_array(ArraySum& to, const Value& value) {
  core::visit_dtype(xtc2::dtype(value.field->type), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) {
      const std::byte* from = value.bytes.data();
      for (std::size_t i = 0; i < to.sum.size(); ++i)
        to.add(i, static_cast<double>(xtc2::load<T>(from + i * sizeof(T))));
    }
  });
  ++to.events;
}
}  // namespace

Reduction::Reduction(ReductionOptions options, const std::vector<std::filesystem::path>& data,
                     const FetchOptions& fetch, const core::Clock& clock, std::stop_token stop)
    : options_(std::move(options)),
      run_(data),
      fetcher_(fetch, clock, std::move(stop)),
      clock_(clock),
      contents_(data.size()) {}

void Reduction::start_columns(Rows& rows) const {
  for (const auto& name : options_.values) {
    Column column;
    if (const auto* field = run_.field(name); field != nullptr && xtc2::item_size(field->type) > 0) {
      column.kind = kind_of(*field);
      column.type = xtc2::dtype(field->type);
    }
    rows.columns.push_back(std::move(column));
  }
}

void Reduction::append(Column& column, const Value* value) const {
  // A value of another kind than the column's comes from a segment that is described otherwise: missing.
  if (value != nullptr && (kind_of(*value->field) != column.kind || xtc2::dtype(value->field->type) != column.type))
    value = nullptr;
  switch (column.kind) {
    case Column::Kind::none: return;
    case Column::Kind::integer: column.integers.push_back(value != nullptr ? integer(*value) : kMissingInteger); return;
    case Column::Kind::real:
      column.reals.push_back(value != nullptr ? value->number() : std::numeric_limits<double>::quiet_NaN());
      return;
    case Column::Kind::ragged: break;
  }
  std::size_t bytes = value != nullptr ? value->bytes.size() : 0;
  if (value != nullptr && value->field->type == xtc2::FieldType::text) bytes = value->text().size();
  column.lengths.push_back(static_cast<std::int64_t>(bytes) / core::item_size(column.type));
  if (bytes > 0)
    column.elements.insert(column.elements.end(), value->bytes.begin(),
                           value->bytes.begin() + static_cast<std::ptrdiff_t>(bytes));
}

// Finds what is wanted in the datagrams of one event; why it cannot be used, or empty.
std::string Reduction::read_event(std::span<const std::span<const std::byte>> datagrams, EventTime time,
                                  bool& damaged) {
  found_.assign(options_.values.size(), {});
  arrays_.clear();
  for (std::size_t s = 0; s < datagrams.size(); ++s) {
    if (datagrams[s].empty()) continue;
    const auto datagram = xtc2::Datagram::parse(datagrams[s]);
    if (!datagram || datagram->bytes().size() != datagrams[s].size())
      return "its data are no datagram of the size in the index";
    if (datagram->time() != time || !datagram->header().is_event()) return "its data are of another event";
    damaged = damaged || datagram->header().xtc.damage != 0;
    auto& contents = contents_[s];
    xtc2::read_contents(*datagram, run_.stream(static_cast<int>(s)).names, contents);
    if (!contents.faults.empty()) return contents.faults.front();
    for (const auto& item : contents.items) {
      const auto* block = std::get_if<xtc2::Block>(&item);
      if (block == nullptr) continue;
      damaged = damaged || block->damage != 0;
      for (std::size_t i = 0; i < options_.values.size(); ++i) {
        if (found_[i].field != nullptr || !options_.values[i].matches(*block->names)) continue;
        const Index at = block->names->find(options_.values[i].field);
        if (at < 0) continue;
        auto value = block->value(at);
        if (!value) return value.error().message();
        found_[i] = *value;
      }
      for (const auto& name : options_.sums) {
        if (!name.matches(*block->names)) continue;
        const Index at = block->names->find(name.field);
        if (at < 0) continue;
        auto value = block->value(at);
        if (!value) return value.error().message();
        if (value->field->type == xtc2::FieldType::text) return fmt::format("{} is a text: it has no sum", name.text());
        auto key = name;
        key.segment = block->names->segment;
        arrays_.emplace_back(key.text(), *value);
      }
    }
  }
  for (const auto& [key, value] : arrays_) {
    const auto sum = sums_.find(key);
    if (sum != sums_.end() && !std::equal(sum->second.shape.begin(), sum->second.shape.end(), value.shape.begin(),
                                          value.shape.begin() + value.field->rank))
      return fmt::format("{} has another shape than before", key);
  }
  return {};
}

Rows Reduction::take(const Batch& batch, std::vector<EventNote>& notes) {
  for (const auto& record : batch.transitions) run_.apply(record);
  const auto streams = static_cast<std::size_t>(run_.streams());
  const std::size_t events = batch.times.size();
  if (batch.pieces.size() != events * streams)
    throw core::Error(core::ErrorCode::internal, "a batch whose pieces are not those of its events");

  fetcher_.forget();
  const Index reads = fetcher_.reads(), fetched_bytes = fetcher_.bytes();
  std::vector<std::vector<Fetched>> fetched(streams);
  std::vector<Piece> pieces(events);
  for (std::size_t s = 0; s < streams; ++s) {
    for (std::size_t e = 0; e < events; ++e) pieces[e] = batch.pieces[e * streams + s];
    if (run_.stream(static_cast<int>(s)).index.is_index()) {
      fetcher_.fetch(run_.stream(static_cast<int>(s)).data, pieces, fetched[s]);
      continue;
    }
    fetched[s].assign(events, {});
    for (std::size_t e = 0; e < events; ++e)
      if (pieces[e].size > 0) fetched[s][e].bytes = std::span(batch.carried).subspan(pieces[e].offset, pieces[e].size);
  }
  fetched_s_ = clock_.now_s();

  Rows rows;
  rows.number = batch.number;
  rows.joined = batch.joined;
  rows.rejected = batch.rejected;
  rows.reads = fetcher_.reads() - reads;
  rows.fetched_bytes = fetcher_.bytes() - fetched_bytes;
  start_columns(rows);
  notes.clear();
  std::vector<std::span<const std::byte>> datagrams(streams);
  for (std::size_t e = 0; e < events; ++e) {
    EventNote note{batch.times[e], clock_.now_s(), 0, false, false};
    std::string fault;
    std::uint64_t present = 0;
    for (std::size_t s = 0; s < streams; ++s) {
      datagrams[s] = fetched[s][e].bytes;
      if (!datagrams[s].empty()) present |= std::uint64_t{1} << s;
      if (fault.empty()) fault = fetched[s][e].fault;
    }
    if (fault.empty()) fault = read_event(datagrams, batch.times[e], note.damaged);
    note.bad = !fault.empty();
    if (note.bad) {
      ++rows.bad[fault];
    } else {
      if (note.damaged) ++rows.damaged;
      rows.times.push_back(batch.times[e]);
      rows.streams.push_back(present);
      for (std::size_t i = 0; i < options_.values.size(); ++i) {
        const Value* value = found_[i].field != nullptr ? &found_[i] : nullptr;
        Value slow;
        if (value == nullptr)
          if (const auto* held = run_.slow_value(options_.values[i])) {
            slow = held->value();
            value = &slow;
          }
        append(rows.columns[i], value);
      }
      for (const auto& [key, value] : arrays_) {
        auto& sum = sums_[key];
        if (sum.events == 0) {
          sum.shape.assign(value.shape.begin(), value.shape.begin() + value.field->rank);
          sum.sum.assign(value.bytes.size() / static_cast<std::size_t>(xtc2::item_size(value.field->type)), 0);
          sum.rest.assign(sum.sum.size(), 0);
        }
        add_array(sum, value);
      }
    }
    note.end_s = clock_.now_s();
    notes.push_back(note);
  }
  return rows;
}

}  // namespace farfield::pipeline::events
