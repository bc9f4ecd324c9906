#include "farfield/techniques/xpcs/intake.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "farfield/technique/blocks.hpp"
#include "farfield/techniques/xpcs/kernels.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

// A frame number that is further ahead is a mistake, not a scan with so many frames lost.
constexpr Index kLongestGap = Index{1} << 20;
constexpr const char* kMonitor = "monitor";

}  // namespace

Intake::Intake(const IntakeOptions& options)
    : options_(options), frames_(options.frames, "frames"), bad_(options.bad_frames, "bad-frames") {
  if (!frames_.empty()) first_ = frames_.first();
}

void Intake::begin(Index ny, Index nx, const Tiling& tiling) {
  ny_ = ny;
  nx_ = nx;
  tiling_ = &tiling;
}

Index Intake::steps_of(Index frames) const {
  const Index last = frames_.empty() ? frames : std::min(frames, frames_.last() + 1);
  const Index span = std::max<Index>(last - first_, 0);
  return ((span + options_.stride - 1) / options_.stride + options_.average - 1) / options_.average;
}

Index Intake::wanted(model::FrameId last) const {
  const Index all = last < first_ ? 0 : (last - first_) / options_.stride + 1;
  if (frames_.empty()) return all;
  Index n = 0;
  for (Index used = 0; used < all; ++used) n += frames_.contains(id_of(used)) ? 1 : 0;
  return n;
}

bool Intake::selected(Index used) const {
  const auto id = id_of(used);
  return (frames_.empty() || frames_.contains(id)) && !bad_.contains(id);
}
bool Intake::seen(Index used) const {
  return used < static_cast<Index>(seen_.size()) && seen_[static_cast<std::size_t>(used)];
}
void Intake::mark_seen(Index used) {
  if (used >= static_cast<Index>(seen_.size())) seen_.resize(static_cast<std::size_t>(used) + 1);
  seen_[static_cast<std::size_t>(used)] = true;
}

double Intake::monitor(model::FrameId id) const {
  const auto it = monitors_.find(id);
  return it == monitors_.end() ? std::numeric_limits<double>::quiet_NaN() : it->second;
}
bool Intake::has_monitor(model::FrameId id) const {
  return options_.normalise != Normalise::monitor || monitors_.contains(id);
}

void Intake::compact(const core::AnyImage& image, Dense& out) const {
  out.counts = {};
  out.values.clear();
  out.refusal.clear();
  core::visit_dtype(image.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto rows = image.view<T>();
    if constexpr (std::is_same_v<T, std::uint8_t> || std::is_same_v<T, std::uint16_t> ||
                  std::is_same_v<T, std::uint32_t>) {
      if (!out.room)
        out.room = std::make_unique_for_overwrite<model::PixelCount[]>(static_cast<std::size_t>(ny_ * nx_));
      Index made = 0;
      for (Index y = 0; y < image.ny; ++y)
        made += xpcs::compact(&rows(y, 0), image.nx, static_cast<std::uint32_t>(y * image.nx), out.room.get() + made);
      out.counts = {out.room.get(), static_cast<std::size_t>(made)};
    } else if constexpr (std::is_arithmetic_v<T>) {
      for (Index y = 0; y < image.ny; ++y)
        for (Index x = 0; x < image.nx; ++x) {
          const auto value = static_cast<float>(rows(y, x));
          const auto pixel = static_cast<std::uint32_t>(y * image.nx + x);
          if (value == 0 || tiling_->slot[pixel] == PixelOrder::kUnused) continue;
          if (!std::isfinite(value)) {
            out.refusal = fmt::format("the good pixel ({}, {}) is {}", y, x, value);
            return;
          }
          out.values.push_back({pixel, value});
        }
    } else {
      out.refusal = "complex pixels are no counts";
    }
  });
}

void Intake::push(std::span<const model::FrameView> frames, core::ThreadPool& pool, const Take& take) {
  struct Wanted {
    const model::FrameView* frame;
    Index used;
  };
  std::vector<Wanted> wanted;
  for (const auto& frame : frames) {
    const Index since = frame.id - first_;
    if (since < 0 || since % options_.stride != 0) continue;
    const Index used = since / options_.stride;
    if (!selected(used) || seen(used)) continue;
    if (frame.ny() != ny_ || frame.nx() != nx_) {
      rejected_.emplace_back(frame.id,
                             fmt::format("{} x {} pixels instead of {} x {}", frame.ny(), frame.nx(), ny_, nx_));
      continue;
    }
    wanted.push_back({&frame, used});
  }

  if (dense_.size() < wanted.size()) dense_.resize(wanted.size());
  const bool any_dense =
      std::any_of(wanted.begin(), wanted.end(), [](const Wanted& w) { return !w.frame->is_sparse(); });
  if (any_dense)
    pool.for_each(static_cast<Index>(wanted.size()), [&](Index i, int) {
      const auto at = static_cast<std::size_t>(i);
      if (!wanted[at].frame->is_sparse()) compact(wanted[at].frame->image, dense_[at]);
    });

  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [frame, used] = wanted[i];
    const bool sparse = frame->is_sparse();
    if (!sparse && !dense_[i].refusal.empty()) {
      rejected_.emplace_back(frame->id, dense_[i].refusal);
      continue;
    }
    if (seen(used)) continue;
    if (used < next_) {
      rejected_.emplace_back(frame->id, fmt::format("came after frame {} had taken its turn", id_of(next_ - 1)));
      continue;
    }
    if (used - next_ > kLongestGap) {
      rejected_.emplace_back(
          frame->id, fmt::format("frame {} was expected: a gap of more than {} frames", id_of(next_), kLongestGap));
      continue;
    }
    mark_seen(used);
    const FrameEvents events =
        sparse ? FrameEvents{frame->sparse.events, {}} : FrameEvents{dense_[i].counts, dense_[i].values};
    while (next_ < used && !selected(next_)) ++next_;
    if (used == next_ && has_monitor(frame->id)) {
      hand_on(used, frame->id, events);
    } else {
      waiting_[used] = {
          frame->id, {events.counts.begin(), events.counts.end()}, {events.values.begin(), events.values.end()}};
    }
    drain(false);
  }
  flush(take);
}

void Intake::annotate(model::FrameId id, const model::Values& values, const Take& take) {
  const auto it = values.find(kMonitor);
  if (it == values.end()) return;
  monitors_[id] = it->second;
  if (options_.normalise != Normalise::monitor || waiting_.empty()) return;
  drain(false);
  flush(take);
}

void Intake::end(const Take& take) {
  drain(true);
  flush(take);
}

void Intake::hand_on(Index used, model::FrameId id, const FrameEvents& events) {
  next_ = used + 1;
  double monitor = 1;
  if (options_.normalise == Normalise::monitor) {
    monitor = monitors_.at(id);
    if (!(std::isfinite(monitor) && monitor > 0)) {
      rejected_.emplace_back(id, fmt::format("its monitor is {}; to divide by it, it must be > 0", monitor));
      return;
    }
  }
  ready_.push_back({id, used / options_.average, events, monitor});
}

void Intake::drain(bool all) {
  while (!waiting_.empty()) {
    const auto first = waiting_.begin();
    while (next_ < first->first && !selected(next_)) ++next_;
    const bool turn = first->first == next_ && has_monitor(first->second.id);
    if (!turn && !all && static_cast<Index>(waiting_.size()) <= options_.wait) return;
    if (!has_monitor(first->second.id)) {
      rejected_.emplace_back(first->second.id, "no monitor value came for it");
      next_ = first->first + 1;
    } else {
      released_.push_back(std::move(first->second));
      const auto& frame = released_.back();
      hand_on(first->first, frame.id, {frame.counts, frame.values});
    }
    waiting_.erase(first);
  }
}

void Intake::flush(const Take& take) {
  if (!ready_.empty()) take(ready_);
  ready_.clear();
  released_.clear();
}

std::vector<std::pair<model::FrameId, std::string>> Intake::take_rejected() { return std::exchange(rejected_, {}); }

void Intake::save(technique::Sink& sink) const {
  std::vector<std::uint8_t> seen(seen_.begin(), seen_.end());
  std::vector<Index> ids{next_};
  std::vector<model::PixelCount> counts;
  std::vector<PixelValue> values;
  for (const auto& [used, frame] : waiting_) {
    ids.insert(ids.end(),
               {used, frame.id, static_cast<Index>(frame.counts.size()), static_cast<Index>(frame.values.size())});
    counts.insert(counts.end(), frame.counts.begin(), frame.counts.end());
    values.insert(values.end(), frame.values.begin(), frame.values.end());
  }
  std::vector<double> monitors;
  for (const auto& [id, value] : monitors_) monitors.insert(monitors.end(), {static_cast<double>(id), value});
  technique::put_values(sink, "intake_seen", seen);
  technique::put_values(sink, "intake_ids", ids);
  technique::put_values(sink, "intake_counts", counts);
  technique::put_values(sink, "intake_values", values);
  technique::put_values(sink, "intake_monitors", monitors);
}

void Intake::restore(technique::Source& source) {
  const auto seen = technique::get_values<std::uint8_t>(source, "intake_seen");
  const auto ids = technique::get_values<Index>(source, "intake_ids");
  const auto counts = technique::get_values<model::PixelCount>(source, "intake_counts");
  const auto values = technique::get_values<PixelValue>(source, "intake_values");
  const auto monitors = technique::get_values<double>(source, "intake_monitors");
  const auto broken = [] {
    return Error(ErrorCode::corrupt_data, "the checkpoint's list of waiting frames is broken");
  };
  if (ids.size() % 4 != 1 || monitors.size() % 2 != 0) throw broken();
  seen_.assign(seen.begin(), seen.end());
  next_ = ids[0];
  waiting_.clear();
  auto c = counts.begin();
  auto v = values.begin();
  const auto pixels = static_cast<std::size_t>(ny_ * nx_);
  if (std::any_of(counts.begin(), counts.end(), [&](const auto& e) { return e.pixel >= pixels; }) ||
      std::any_of(values.begin(), values.end(), [&](const auto& e) { return e.pixel >= pixels; }))
    throw broken();
  for (std::size_t i = 1; i < ids.size(); i += 4) {
    if (ids[i + 2] < 0 || ids[i + 2] > counts.end() - c || ids[i + 3] < 0 || ids[i + 3] > values.end() - v)
      throw broken();
    waiting_[ids[i]] = {ids[i + 1], {c, c + ids[i + 2]}, {v, v + ids[i + 3]}};
    c += ids[i + 2];
    v += ids[i + 3];
  }
  monitors_.clear();
  for (std::size_t i = 0; i < monitors.size(); i += 2)
    monitors_[static_cast<model::FrameId>(monitors[i])] = monitors[i + 1];
}

}  // namespace farfield::techniques::xpcs
