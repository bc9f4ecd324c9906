#include "farfield/techniques/ptychography/tiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "farfield/math/complex.hpp"

namespace farfield::techniques::ptychography {

using core::Error;
using core::ErrorCode;

namespace {

using Order = std::vector<std::size_t>;

void bisect(Order::iterator begin, Order::iterator end, int first, int parts, std::span<const double> y,
            std::span<const double> x, std::vector<int>& owner) {
  if (parts == 1) {
    for (auto it = begin; it != end; ++it) owner[*it] = first;
    return;
  }
  const auto extent = [&](std::span<const double> v) {
    const auto [low, high] = std::minmax_element(begin, end, [&](std::size_t a, std::size_t b) { return v[a] < v[b]; });
    return begin == end ? 0 : v[*high] - v[*low];
  };
  const auto& key = extent(y) >= extent(x) ? y : x;
  const int left = parts / 2;
  // Cumulative rounding, so that parts differ by at most one however often the scan is cut.
  const auto count = end - begin;
  const auto middle = begin + count / parts * left + std::min<std::ptrdiff_t>(count % parts, left);
  std::nth_element(begin, middle, end,
                   [&](std::size_t a, std::size_t b) { return key[a] != key[b] ? key[a] < key[b] : a < b; });
  bisect(begin, middle, first, left, y, x, owner);
  bisect(middle, end, first + left, parts - left, y, x, owner);
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& v) {
  return std::as_bytes(std::span(v));
}
template <class T>
std::span<std::byte> writable_bytes_of(std::vector<T>& v) {
  return std::as_writable_bytes(std::span(v));
}

/// |P|^2 summed over modes: what a window lights.
core::Array<float, 2> intensity(const State& state) {
  core::Array<float, 2> tile({state.shape.ny, state.shape.nx});
  for (int m = 0; m < state.modes(); ++m)
    for (Index i = 0; i < tile.size(); ++i) tile.data()[i] += math::abs2(state.probe_mode(m)[i]);
  return tile;
}

/// A list of equal records of every process, in the order of ranks, known to all.
std::vector<double> all_records(parallel::Communicator& c, const std::vector<double>& mine,
                                std::vector<std::size_t>& begin_of_rank) {
  const auto ranks = static_cast<std::size_t>(c.size()), here = static_cast<std::size_t>(c.rank());
  std::vector<double> lengths(ranks);
  lengths[here] = static_cast<double>(mine.size());
  c.all_reduce(lengths, parallel::Reduce::sum);
  begin_of_rank.assign(ranks + 1, 0);
  for (std::size_t r = 0; r < ranks; ++r)
    begin_of_rank[r + 1] = begin_of_rank[r] + static_cast<std::size_t>(lengths[r]);
  std::vector<double> all(begin_of_rank.back());
  std::copy(mine.begin(), mine.end(), all.begin() + static_cast<std::ptrdiff_t>(begin_of_rank[here]));
  c.all_reduce(all, parallel::Reduce::sum);  // zero everywhere else
  return all;
}

}  // namespace

std::vector<int> split_scan(std::span<const double> y, std::span<const double> x, int parts) {
  if (parts < 1) throw Error(ErrorCode::invalid_argument, fmt::format("number of tiles {} must be >= 1", parts));
  std::vector<int> owner(y.size());
  Order order(y.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  bisect(order.begin(), order.end(), 0, parts, y, x, owner);
  return owner;
}

Patterns TileSharing::split(Patterns&& dealt) {
  struct Entry {
    model::FrameId id;
    double y, x;
    int holder, owner;
  };
  std::vector<double> mine;
  for (const Index slot : dealt.ready())
    mine.insert(mine.end(), {static_cast<double>(dealt.id(slot)), dealt.y(slot), dealt.x(slot)});
  std::vector<std::size_t> begin;
  const auto all = all_records(communicator_, mine, begin);
  std::vector<Entry> entries;
  for (int r = 0; r < size(); ++r)
    for (std::size_t i = begin[static_cast<std::size_t>(r)]; i < begin[static_cast<std::size_t>(r) + 1]; i += 3)
      entries.push_back({static_cast<model::FrameId>(all[i]), all[i + 1], all[i + 2], r, 0});
  if (entries.size() < static_cast<std::size_t>(size()))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} patterns cannot be shared by {} processes; use at most as many processes as patterns",
                            entries.size(), size()));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
  std::vector<double> y, x;
  for (const Entry& e : entries) {
    y.push_back(e.y);
    x.push_back(e.x);
  }
  const auto owners = split_scan(y, x, size());
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i].owner = owners[i];

  // Tiles of the new patterns, to be filled in place; what goes to and comes from whom, by frame id on both sides.
  const auto tile_bytes = static_cast<std::size_t>(dealt.shape().size() * core::item_size(dealt.dtype()));
  std::map<model::FrameId, Index> slot_of;
  for (const Index slot : dealt.ready()) slot_of[dealt.id(slot)] = slot;
  Patterns kept(dealt.shape(), dealt.dtype());
  const auto ranks = static_cast<std::size_t>(size());
  std::vector<std::vector<const std::byte*>> outgoing(ranks);
  std::vector<std::vector<std::byte*>> incoming(ranks);
  std::vector<std::size_t> traffic(ranks * ranks);
  for (const Entry& e : entries) {
    const auto holder = static_cast<std::size_t>(e.holder), owner = static_cast<std::size_t>(e.owner);
    ++traffic[holder * ranks + owner];
    const auto* from = e.holder == rank() ? static_cast<const std::byte*>(dealt.counts(slot_of[e.id])) : nullptr;
    std::byte* to = nullptr;
    if (e.owner == rank()) {
      to = static_cast<std::byte*>(kept.add(e.id));
      kept.set_position(e.id, e.y, e.x);
    }
    if (from != nullptr && to != nullptr) std::memcpy(to, from, tile_bytes);
    else if (from != nullptr) outgoing[owner].push_back(from);
    else if (to != nullptr) incoming[holder].push_back(to);
  }
  for (std::size_t r = 0; r < ranks; ++r) traffic[r * ranks + r] = 0;

  // In rounds of a few MB per pair, the same number on all processes.
  const std::size_t piece = std::max<std::size_t>(1, (std::size_t{4} << 20) / tile_bytes);
  const std::size_t most = *std::max_element(traffic.begin(), traffic.end());
  for (std::size_t at = 0; at < most; at += piece) {
    std::vector<std::vector<std::byte>> send(ranks), receive(ranks);
    std::vector<parallel::Communicator::Message> messages;
    for (std::size_t r = 0; r < ranks; ++r) {
      for (std::size_t i = at; i < std::min(at + piece, outgoing[r].size()); ++i)
        send[r].insert(send[r].end(), outgoing[r][i], outgoing[r][i] + tile_bytes);
      if (at < incoming[r].size()) receive[r].resize(std::min(piece, incoming[r].size() - at) * tile_bytes);
      if (!send[r].empty() || !receive[r].empty()) messages.push_back({static_cast<int>(r), send[r], receive[r]});
    }
    communicator_.exchange(messages);
    for (std::size_t r = 0; r < ranks; ++r)
      for (std::size_t i = 0; i * tile_bytes < receive[r].size(); ++i)
        std::memcpy(incoming[r][at + i], receive[r].data() + i * tile_bytes, tile_bytes);
  }
  dealt = {};
  return kept;
}

std::vector<TileSharing::Box> TileSharing::boxes_of_all(const State& state) const {
  std::vector<double> corners(static_cast<std::size_t>(4 * size()));
  const double mine[] = {state.origin_y, state.origin_x, state.origin_y + static_cast<double>(state.object.extent(0)),
                         state.origin_x + static_cast<double>(state.object.extent(1))};
  std::copy(std::begin(mine), std::end(mine), corners.begin() + 4 * rank());
  communicator_.all_reduce(corners, parallel::Reduce::sum);
  std::vector<Box> boxes;
  for (std::size_t i = 0; i < corners.size(); i += 4)
    boxes.push_back({static_cast<Index>(corners[i]), static_cast<Index>(corners[i + 1]),
                     static_cast<Index>(corners[i + 2]), static_cast<Index>(corners[i + 3])});
  return boxes;
}

void TileSharing::find_shared(const State& state) {
  const Box& here = boxes_[static_cast<std::size_t>(rank())];
  neighbours_.clear();
  for (int r = 0; r < size(); ++r) {
    const Box& there = boxes_[static_cast<std::size_t>(r)];
    const Box both{std::max(here.y0, there.y0) - here.y0, std::max(here.x0, there.x0) - here.x0,
                   std::min(here.y1, there.y1) - here.y0, std::min(here.x1, there.x1) - here.x0};
    if (r != rank() && !both.empty()) neighbours_.push_back({r, both});
  }
  shared_.clear();
  owned_.clear();
  const Index nx = state.object.extent(1);
  std::vector<std::uint8_t> shared(static_cast<std::size_t>(nx)), owned(static_cast<std::size_t>(nx));
  const auto add_runs = [nx](const std::vector<std::uint8_t>& marked, Index y, std::vector<Run>& runs) {
    for (Index x = 0; x < nx; ++x)
      if (marked[static_cast<std::size_t>(x)] != 0) {
        if (x > 0 && marked[static_cast<std::size_t>(x - 1)] != 0) ++runs.back().x1;
        else runs.push_back({y, x, x + 1});
      }
  };
  for (Index y = 0; y < state.object.extent(0); ++y) {
    std::fill(shared.begin(), shared.end(), std::uint8_t{0});
    std::fill(owned.begin(), owned.end(), std::uint8_t{1});
    for (const auto& [r, box] : neighbours_)
      if (y >= box.y0 && y < box.y1) {
        std::fill(shared.begin() + box.x0, shared.begin() + box.x1, std::uint8_t{1});
        if (r < rank()) std::fill(owned.begin() + box.x0, owned.begin() + box.x1, std::uint8_t{0});
      }
    add_runs(shared, y, shared_);
    add_runs(owned, y, owned_);
  }
}

void TileSharing::align(State& state, const ForwardModel& model) {
  auto boxes = boxes_of_all(state);
  if (boxes == boxes_) return;
  boxes_ = std::move(boxes);
  find_shared(state);
  mean_object(state, model);
}

void TileSharing::mean_object(State& state, const ForwardModel& model) {
  const auto lit = intensity(state);
  // A little weight everywhere: where nobody's light falls, the plain mean of the holders.
  const float least = 1e-6F * *std::max_element(lit.begin(), lit.end()) + 1e-30F;
  core::Array<float, 2> weight(state.object.extents(), least);
  const Index ny = state.shape.ny, nx = state.shape.nx;
  for (const Index slot : model.patterns().ready()) {
    const Placement& p = state.placements[static_cast<std::size_t>(slot)];
    const bool touches = std::any_of(neighbours_.begin(), neighbours_.end(), [&](const Neighbour& n) {
      return p.oy < n.overlap.y1 && p.oy + ny > n.overlap.y0 && p.ox < n.overlap.x1 && p.ox + nx > n.overlap.x0;
    });
    for (Index y = 0; touches && y < ny; ++y)
      for (Index x = 0; x < nx; ++x) weight(p.oy + y, p.ox + x) += lit(y, x);
  }
  core::Array<cfloat, 2> weighted(state.object.extents());
  for (const auto& [y, x0, x1] : shared_)
    for (Index x = x0; x < x1; ++x) weighted(y, x) = weight(y, x) * state.object(y, x);
  sum_object(weighted.view());
  sum_object(weight.view());
  for (const auto& [y, x0, x1] : shared_)
    for (Index x = x0; x < x1; ++x) state.object(y, x) = weighted(y, x) / weight(y, x);
}

void TileSharing::average(State& state, const ForwardModel& model) {
  mean_object(state, model);
  std::vector<double> patterns{static_cast<double>(model.patterns().ready().size())};
  const double here = patterns[0];
  sum(patterns);
  const auto share = static_cast<float>(here / patterns[0]);
  for (cfloat& v : state.probe) v *= share;
  sum(std::span(state.probe.data(), static_cast<std::size_t>(state.probe.size())));
}

void TileSharing::sum(std::span<double> values) { communicator_.all_reduce(values, parallel::Reduce::sum); }

void TileSharing::sum(std::span<cfloat> values) {
  communicator_.all_reduce(std::span(reinterpret_cast<float*>(values.data()), 2 * values.size()),
                           parallel::Reduce::sum);
}

template <class T>
void TileSharing::sum_shared(core::View<T, 2> object) {
  const auto& here = boxes_[static_cast<std::size_t>(rank())];
  if (object.extent(0) != here.y1 - here.y0 || object.extent(1) != here.x1 - here.x0)
    throw Error(ErrorCode::internal, "an object-shaped array does not have the extents that align() saw");
  std::vector<std::vector<T>> send(neighbours_.size()), receive(neighbours_.size());
  std::vector<parallel::Communicator::Message> messages;
  for (std::size_t i = 0; i < neighbours_.size(); ++i) {
    const Box& box = neighbours_[i].overlap;
    for (Index y = box.y0; y < box.y1; ++y)
      send[i].insert(send[i].end(), &object(y, box.x0), &object(y, box.x0) + (box.x1 - box.x0));
    receive[i].resize(send[i].size());
    messages.push_back({neighbours_[i].rank, bytes_of(send[i]), writable_bytes_of(receive[i])});
  }
  communicator_.exchange(messages);

  // Added in the order of ranks, so that all holders of a pixel round alike.
  std::vector<T> mine;
  for (const auto& [y, x0, x1] : shared_) {
    mine.insert(mine.end(), &object(y, x0), &object(y, x0) + (x1 - x0));
    std::fill_n(&object(y, x0), x1 - x0, T{});
  }
  std::size_t next = 0;
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) {
      const T* from = mine.data();
      for (const auto& [y, x0, x1] : shared_)
        for (Index x = x0; x < x1; ++x) object(y, x) += *from++;
    } else if (next < neighbours_.size() && neighbours_[next].rank == r) {
      const T* from = receive[next].data();
      const Box& box = neighbours_[next++].overlap;
      for (Index y = box.y0; y < box.y1; ++y)
        for (Index x = box.x0; x < box.x1; ++x) object(y, x) += *from++;
    }
  }
}

void TileSharing::sum_object(core::View<cfloat, 2> object) { sum_shared(object); }
void TileSharing::sum_object(core::View<float, 2> object) { sum_shared(object); }

double TileSharing::dot_object(const Kernels& k, core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) const {
  double total = 0;
  for (const auto& [y, x0, x1] : owned_) total += k.dot(x1 - x0, &a(y, x0), &b(y, x0));
  return total;
}

bool TileSharing::agree(bool here) {
  double any = here ? 1 : 0;
  communicator_.all_reduce(std::span(&any, 1), parallel::Reduce::max);
  return any > 0;
}

ModulusSums TileSharing::total(const ModulusSums& here) {
  double v[] = {here.cost, here.abs_difference, here.amplitude, here.model_intensity, here.measured_intensity,
                here.valid};
  sum(v);
  return {v[0], v[1], v[2], v[3], v[4], v[5]};
}

Index TileSharing::border_pixels() const {
  Index pixels = 0;
  for (const auto& n : neighbours_) pixels += n.overlap.size();
  return pixels;
}

std::optional<Whole> TileSharing::gather(const State& state, const Patterns& patterns, cfloat fill) const {
  const auto opr = static_cast<std::size_t>(state.opr_modes()), fields = 6 + opr;
  std::vector<double> mine;
  for (const Index slot : patterns.ready()) {
    const auto s = static_cast<std::size_t>(slot);
    mine.insert(mine.end(), {static_cast<double>(patterns.id(slot)), state.y[s], state.x[s], patterns.y(slot),
                             patterns.x(slot), static_cast<double>(state.amplitude[s])});
    for (std::size_t k = 0; k < opr; ++k) mine.push_back(static_cast<double>(state.opr_weights[s * opr + k]));
  }
  std::vector<std::size_t> begin;
  const auto all = all_records(communicator_, mine, begin);
  const auto boxes = boxes_of_all(state);
  const auto pixels = [](const core::Array<cfloat, 2>& a) {
    return std::span(a.data(), static_cast<std::size_t>(a.size()));
  };
  if (!first()) {
    communicator_.exchange(std::vector<parallel::Communicator::Message>{{0, std::as_bytes(pixels(state.object)), {}}});
    return std::nullopt;
  }

  std::vector<core::Array<cfloat, 2>> parts;
  std::vector<parallel::Communicator::Message> messages;
  for (int r = 1; r < size(); ++r) {
    const Box& box = boxes[static_cast<std::size_t>(r)];
    auto& part = parts.emplace_back(std::array<Index, 2>{box.y1 - box.y0, box.x1 - box.x0});
    messages.push_back({r, {}, std::as_writable_bytes(std::span(part.data(), static_cast<std::size_t>(part.size())))});
  }
  communicator_.exchange(messages);
  parts.insert(parts.begin(), state.object.clone());

  Whole whole;
  State& s = whole.state;
  Box hull = boxes[0];
  for (const Box& b : boxes)
    hull = {std::min(hull.y0, b.y0), std::min(hull.x0, b.x0), std::max(hull.y1, b.y1), std::max(hull.x1, b.x1)};
  s.object = core::Array<cfloat, 2>({hull.y1 - hull.y0, hull.x1 - hull.x0}, fill);
  for (std::size_t r = 0; r < parts.size(); ++r)
    for (Index y = 0; y < parts[r].extent(0); ++y)
      std::copy_n(&parts[r](y, 0), parts[r].extent(1), &s.object(boxes[r].y0 - hull.y0 + y, boxes[r].x0 - hull.x0));
  s.shape = state.shape;
  s.origin_y = static_cast<double>(hull.y0);
  s.origin_x = static_cast<double>(hull.x0);
  s.probe = state.probe.clone();
  s.eigen_probes = state.eigen_probes.clone();
  s.background = state.background.clone();

  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < all.size(); i += fields) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return all[a] < all[b]; });
  for (const std::size_t i : order) {
    whole.ids.push_back(static_cast<model::FrameId>(all[i]));
    s.y.push_back(all[i + 1]);
    s.x.push_back(all[i + 2]);
    whole.recorded_y.push_back(all[i + 3]);
    whole.recorded_x.push_back(all[i + 4]);
    s.amplitude.push_back(static_cast<float>(all[i + 5]));
    for (std::size_t k = 0; k < opr; ++k) s.opr_weights.push_back(static_cast<float>(all[i + 6 + k]));
  }
  s.placements.resize(order.size());
  for (Index slot = 0; slot < static_cast<Index>(order.size()); ++slot) s.place(slot);
  return whole;
}

}  // namespace farfield::techniques::ptychography
