#include "farfield/pipeline/events/batch.hpp"

namespace farfield::pipeline::events {

namespace {
template <class T>
void put_all(MessageWriter& to, const std::vector<T>& values) {
  to.put_list(std::span<const T>(values));
}
}  // namespace

void put(MessageWriter& to, const TransitionRecord& record) {
  to.put(record.transition);
  to.put(record.time);
  to.put(static_cast<std::uint64_t>(record.datagrams.size()));
  for (const auto& datagram : record.datagrams) put_all(to, datagram);
}

TransitionRecord get_transition(MessageReader& from) {
  TransitionRecord record;
  record.transition = from.get<io::xtc2::Transition>();
  record.time = from.get<EventTime>();
  for (auto n = from.get<std::uint64_t>(); n > 0; --n) record.datagrams.push_back(from.get_list<std::byte>());
  return record;
}

void put(MessageWriter& to, const Reasons& reasons) {
  to.put(static_cast<std::uint64_t>(reasons.size()));
  for (const auto& [reason, count] : reasons) {
    to.put_text(reason);
    to.put(count);
  }
}

Reasons get_reasons(MessageReader& from) {
  Reasons reasons;
  for (auto n = from.get<std::uint64_t>(); n > 0; --n) {
    auto reason = from.get_text();
    reasons[std::move(reason)] += from.get<Index>();
  }
  return reasons;
}

void put(MessageWriter& to, const Batch& batch) {
  to.put(batch.number);
  to.put(static_cast<std::uint64_t>(batch.transitions.size()));
  for (const auto& record : batch.transitions) put(to, record);
  to.put(batch.joined);
  put(to, batch.rejected);
  put_all(to, batch.times);
  put_all(to, batch.pieces);
  put_all(to, batch.carried);
}

Batch get_batch(MessageReader& from) {
  Batch batch;
  batch.number = from.get<BatchNumber>();
  for (auto n = from.get<std::uint64_t>(); n > 0; --n) batch.transitions.push_back(get_transition(from));
  batch.joined = from.get<Index>();
  batch.rejected = get_reasons(from);
  batch.times = from.get_list<EventTime>();
  batch.pieces = from.get_list<Piece>();
  batch.carried = from.get_list<std::byte>();
  return batch;
}

void put(MessageWriter& to, const Rows& rows) {
  to.put(rows.number);
  to.put(rows.joined);
  put(to, rows.rejected);
  put(to, rows.bad);
  to.put(rows.damaged);
  to.put(rows.reads);
  to.put(rows.fetched_bytes);
  put_all(to, rows.times);
  put_all(to, rows.streams);
  to.put(static_cast<std::uint64_t>(rows.columns.size()));
  for (const Column& column : rows.columns) {
    to.put(column.kind);
    to.put(column.type);
    put_all(to, column.integers);
    put_all(to, column.reals);
    put_all(to, column.lengths);
    put_all(to, column.elements);
  }
}

Rows get_rows(MessageReader& from) {
  Rows rows;
  rows.number = from.get<BatchNumber>();
  rows.joined = from.get<Index>();
  rows.rejected = get_reasons(from);
  rows.bad = get_reasons(from);
  rows.damaged = from.get<Index>();
  rows.reads = from.get<Index>();
  rows.fetched_bytes = from.get<Index>();
  rows.times = from.get_list<EventTime>();
  rows.streams = from.get_list<std::uint64_t>();
  for (auto n = from.get<std::uint64_t>(); n > 0; --n) {
    Column column;
    column.kind = from.get<Column::Kind>();
    column.type = from.get<core::DType>();
    column.integers = from.get_list<std::int64_t>();
    column.reals = from.get_list<double>();
    column.lengths = from.get_list<std::int64_t>();
    column.elements = from.get_list<std::byte>();
    rows.columns.push_back(std::move(column));
  }
  return rows;
}

void put(MessageWriter& to, const Sums& sums) {
  to.put(static_cast<std::uint64_t>(sums.size()));
  for (const auto& [name, sum] : sums) {
    to.put_text(name);
    put_all(to, sum.shape);
    put_all(to, sum.sum);
    put_all(to, sum.rest);
    to.put(sum.events);
  }
}

Sums get_sums(MessageReader& from) {
  Sums sums;
  for (auto n = from.get<std::uint64_t>(); n > 0; --n) {
    auto& sum = sums[from.get_text()];
    sum.shape = from.get_list<std::uint32_t>();
    sum.sum = from.get_list<double>();
    sum.rest = from.get_list<double>();
    sum.events = from.get<Index>();
  }
  return sums;
}

bool add(ArraySum& to, const ArraySum& from) {
  if (to.events == 0) {
    to = from;
    return true;
  }
  if (to.shape != from.shape || to.sum.size() != from.sum.size()) return false;
  for (std::size_t i = 0; i < to.sum.size(); ++i) {
    to.add(i, from.sum[i]);
    to.rest[i] += from.rest[i];
  }
  to.events += from.events;
  return true;
}

}  // namespace farfield::pipeline::events
