#include "farfield/pipeline/events/result_file.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

namespace farfield::pipeline::events {

using core::DType;
using core::Error;
using core::ErrorCode;

namespace {
constexpr Index kChunk = 16384;  // elements
}

Index total(const Reasons& reasons) {
  return std::accumulate(reasons.begin(), reasons.end(), Index{0},
                         [](Index sum, const auto& r) { return sum + r.second; });
}

std::string to_json(const EventTotals& totals) {
  const nlohmann::ordered_json object{{"joined", totals.joined},   {"processed", totals.processed},
                                      {"damaged", totals.damaged}, {"rejected", totals.rejected},
                                      {"bad", totals.bad},         {"index_faults", totals.index_faults},
                                      {"reads", totals.reads},     {"fetched_bytes", totals.fetched_bytes}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ResultFile::ResultFile(const std::filesystem::path& path, std::vector<std::string> values)
    : file_(path), hdf5_(io::hdf5::File::create(file_.temporary(), path)) {
  times_ = create("/time", DType::u64);
  streams_ = create("/streams", DType::u64);
  hdf5_->make_group("/values");
  for (auto& name : values) {
    Value value;
    value.name = std::move(name);
    values_.push_back(std::move(value));
  }
}

ResultFile::Stored ResultFile::create(const std::string& path, DType type) {
  Stored stored;
  stored.dataset = hdf5_->create_dataset(path, type, {0}, {.chunk = {kChunk}, .max_shape = {-1}});
  return stored;
}

void ResultFile::extend(Stored& stored, const void* data, Index count) {
  if (count == 0) return;
  stored.dataset.resize({stored.rows + count});
  stored.dataset.write_box({stored.rows}, {count}, data);
  stored.rows += count;
}

void ResultFile::append_missing(Value& value, Index count) {
  const auto n = static_cast<std::size_t>(count);
  switch (value.kind) {
    case Column::Kind::none: return;
    case Column::Kind::integer: extend(value.data, std::vector<std::int64_t>(n, kMissingInteger).data(), count); return;
    case Column::Kind::real:
      extend(value.data, std::vector<double>(n, std::numeric_limits<double>::quiet_NaN()).data(), count);
      return;
    case Column::Kind::ragged: extend(value.lengths, std::vector<std::int64_t>(n, 0).data(), count); return;
  }
}

// The first rows that know what the value is; all before have none.
void ResultFile::begin_value(Value& value, const Column& column) {
  value.kind = column.kind;
  value.type = column.type;
  const std::string path = "/values/" + value.name;
  if (value.kind == Column::Kind::ragged) {
    value.data = create(path, value.type);
    value.lengths = create(path + "_len", DType::i64);
  } else {
    value.data = create(path, value.kind == Column::Kind::integer ? DType::i64 : DType::f64);
  }
  append_missing(value, times_.rows);
}

void ResultFile::append(const Rows& rows) {
  const auto count = static_cast<Index>(rows.times.size());
  for (std::size_t i = 0; i < values_.size(); ++i) {
    Value& value = values_[i];
    const Column& column = rows.columns.at(i);
    if (column.kind == Column::Kind::none) {
      append_missing(value, count);
      continue;
    }
    if (value.kind == Column::Kind::none) begin_value(value, column);
    if (value.kind != column.kind || (value.kind == Column::Kind::ragged && value.type != column.type))
      throw Error(ErrorCode::conflict, fmt::format("{} changes its type within the run", value.name));
    switch (column.kind) {
      case Column::Kind::none: break;
      case Column::Kind::integer: extend(value.data, column.integers.data(), count); break;
      case Column::Kind::real: extend(value.data, column.reals.data(), count); break;
      case Column::Kind::ragged:
        extend(value.data, column.elements.data(),
               static_cast<Index>(column.elements.size()) / core::item_size(column.type));
        extend(value.lengths, column.lengths.data(), count);
        break;
    }
  }
  extend(times_, rows.times.data(), count);
  extend(streams_, rows.streams.data(), count);
}

void ResultFile::commit(const Sums& sums, const EventTotals& totals) {
  hdf5_->make_group("/sums");
  for (const auto& [name, sum] : sums) {
    core::AnyArray array(DType::f64, {sum.shape.begin(), sum.shape.end()});
    auto* out = static_cast<double*>(array.data());
    for (std::size_t i = 0; i < sum.sum.size(); ++i)
      out[i] = std::isfinite(sum.sum[i]) ? sum.sum[i] + sum.rest[i] : sum.sum[i];  // infinite: the rest is none
    hdf5_->write("/sums/" + name, array);
    hdf5_->set_attribute("/sums/" + name, "events", static_cast<double>(sum.events));
  }
  hdf5_->make_group("/account");
  const std::pair<const char*, Index> numbers[] = {{"joined", totals.joined},
                                                   {"processed", totals.processed},
                                                   {"rejected", total(totals.rejected)},
                                                   {"bad", total(totals.bad)},
                                                   {"damaged", totals.damaged},
                                                   {"reads", totals.reads},
                                                   {"fetched_bytes", totals.fetched_bytes}};
  for (const auto& [name, value] : numbers) hdf5_->set_attribute("/account", name, static_cast<double>(value));
  hdf5_->write_text("/account/reasons", to_json(totals));
  hdf5_->close();
  file_.commit();
}

}  // namespace farfield::pipeline::events
