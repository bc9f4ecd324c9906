#include "farfield/techniques/ptychography/intake.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "farfield/techniques/ptychography/checkpoint.hpp"
#include "farfield/techniques/ptychography/initial.hpp"

namespace farfield::techniques::ptychography {

using core::Error;
using core::ErrorCode;

namespace {

/// Objects beyond this are taken for a slip of units.
constexpr double kLongestSide_px = 1e5, kLargestArea_px = 4e8;

/// A length for people: 3.1 m, 12 um.
std::string length_text(double metres) {
  for (const auto& [unit, name] : {std::pair(1.0, "m"), std::pair(1e-3, "mm"), std::pair(1e-6, "um")})
    if (metres >= unit) return fmt::format("{:.3g} {}", metres / unit, name);
  return fmt::format("{:.3g} nm", metres * 1e9);
}

}  // namespace

Intake::Intake(const model::Acquisition& acquisition, const Options& options, TileSharing* tiles)
    : preparation_(acquisition.detector, options),
      geometry_(acquisition, options, preparation_.shape()),
      patterns_(preparation_.shape(), preparation_.dtype()),
      tiles_(tiles) {}

void Intake::push(std::span<const model::FrameView> frames) {
  for (const auto& frame : frames) {
    const auto known = awaited_.find(frame.id);
    if (tiles_ != nullptr && known == awaited_.end() && (restored_ || !tiles_->takes(frame.id))) continue;
    void* tile = known != awaited_.end() ? known->second.tile : patterns_.add(frame.id);
    if (tile == nullptr) continue;  // a duplicate
    if (const auto reason = preparation_.prepare(frame.image, tile)) {
      if (known == awaited_.end()) patterns_.drop_last();
      rejected_.emplace_back(frame.id, *reason);
      continue;
    }
    const double counts = total_counts(tile, patterns_.dtype(), patterns_.shape().size());
    if (known == awaited_.end()) {
      counts_.push_back(counts);
      continue;
    }
    if (counts != known->second.counts)
      throw Error(ErrorCode::conflict,
                  fmt::format("the checkpoint belongs to other patterns: frame {} has {} counts, there it had {}",
                              frame.id, counts, known->second.counts));
    awaited_.erase(known);
  }
}

void Intake::annotate(model::FrameId id, const model::Values& values) {
  if (const auto position = geometry_.position_px(values)) {
    const auto [y, x] = *position;
    if (std::isfinite(y) && std::isfinite(x)) patterns_.set_position(id, y, x);
    else unplaced_[id] = fmt::format("its position ({}, {}) px is not finite", y, x);
  }
  if (const auto found = values.find("monitor");
      found != values.end() && std::isfinite(found->second) && found->second > 0)
    monitors_[id] = found->second;
}

void Intake::report(technique::Observer& observer) {
  for (const auto& [id, reason] : rejected_) observer.rejected(id, reason);
  rejections_ += static_cast<Index>(rejected_.size());
  if (!rejected_.empty() && first_rejection_.empty()) first_rejection_ = rejected_.front().second;
  rejected_.clear();
}

std::optional<double> Intake::monitor(model::FrameId id) const {
  const auto found = monitors_.find(id);
  return found == monitors_.end() ? std::nullopt : std::optional(found->second);
}

void Intake::complete(technique::Observer& observer, Sharing& sharing) {
  if (awaiting())
    throw Error(ErrorCode::conflict, fmt::format("the checkpoint holds frame {} and {} more, which this scan lacks",
                                                 awaited_.begin()->first, awaited_.size() - 1));
  const auto& ready = patterns_.ready();
  std::vector<std::uint8_t> has_position(static_cast<std::size_t>(patterns_.slots()));
  for (const Index slot : ready) has_position[static_cast<std::size_t>(slot)] = 1;
  for (Index slot = 0; slot < patterns_.slots(); ++slot)
    if (has_position[static_cast<std::size_t>(slot)] == 0) {
      const auto reason = unplaced_.find(patterns_.id(slot));
      rejected_.emplace_back(patterns_.id(slot), reason != unplaced_.end() ? reason->second : "it has no position");
    }
  report(observer);

  double sums[6] = {};  // patterns, rejected, counts, mean position and its spread
  sums[0] = static_cast<double>(ready.size());
  sums[1] = static_cast<double>(rejections_);
  for (const Index slot : ready) {
    sums[2] += counts_[static_cast<std::size_t>(slot)];
    sums[3] += patterns_.y(slot);
    sums[4] += patterns_.x(slot);
  }
  sharing.sum(std::span(sums, 5));
  const double y = sums[3] / sums[0], x = sums[4] / sums[0];
  if (sums[0] == 0)
    throw Error(ErrorCode::corrupt_data, sums[1] == 0 ? std::string("the scan has no frames")
                                                      : fmt::format("none of the {} frames can be used; the first: {}",
                                                                    sums[1], first_rejection_));
  for (const Index slot : ready) sums[5] += std::hypot(patterns_.y(slot) - y, patterns_.x(slot) - x);
  sharing.sum(std::span(sums + 5, 1));
  const double rounding = 1e-9 * (1 + std::hypot(y, x)) * sums[0];
  if (sums[0] > 1 && sums[5] <= rounding)
    throw Error(
        ErrorCode::corrupt_data,
        fmt::format("all {} positions are equal, ({:.6g}, {:.6g}) px; neighbouring patterns must overlap, but differ",
                    sums[0], y, x));
  if (sums[2] == 0) throw Error(ErrorCode::corrupt_data, fmt::format("all {} patterns are empty", sums[0]));
  if (tiles_ != nullptr && !restored_) {
    patterns_ = tiles_->split(std::move(patterns_));
    counts_.clear();
    for (Index slot = 0; slot < patterns_.slots(); ++slot)
      counts_.push_back(total_counts(patterns_.counts(slot), patterns_.dtype(), patterns_.shape().size()));
  }
}

double Intake::object_pixels() const {
  double y0 = 1e300, x0 = 1e300, y1 = -1e300, x1 = -1e300;
  for (const Index slot : patterns_.ready()) {
    y0 = std::min(y0, patterns_.y(slot));
    x0 = std::min(x0, patterns_.x(slot));
    y1 = std::max(y1, patterns_.y(slot));
    x1 = std::max(x1, patterns_.x(slot));
  }
  const double height = y1 - y0 + static_cast<double>(patterns_.shape().ny),
               width = x1 - x0 + static_cast<double>(patterns_.shape().nx);
  if (!(height <= kLongestSide_px && width <= kLongestSide_px && height * width <= kLargestArea_px)) {
    const bool wide = width >= height;
    const auto pixel = wide ? geometry_.pixel_x_m() : geometry_.pixel_y_m();
    const double size = wide ? width : height, span = wide ? x1 - x0 : y1 - y0;
    const std::string limit =
        fmt::format("at most {:.0g} px a side and {:.0g} px in all; are the positions in the unit that the scan says?",
                    kLongestSide_px, kLargestArea_px);
    throw Error(ErrorCode::corrupt_data,
                pixel ? fmt::format("object would be {} {} (positions span {} at {} a pixel: {:.3g} px); {}",
                                    length_text(size * *pixel), wide ? "wide" : "high", length_text(span * *pixel),
                                    length_text(*pixel), size, limit)
                      : fmt::format("object would be {:.3g} px {} (positions span {:.3g} px); {}", size,
                                    wide ? "wide" : "high", span, limit));
  }
  return height * width;
}

void Intake::save(technique::Sink& sink, Index slots, Index ready) const {
  std::vector<std::int64_t> ids, order(patterns_.ready().begin(), patterns_.ready().begin() + ready);
  std::vector<double> recorded;
  for (Index slot = 0; slot < slots; ++slot) ids.push_back(patterns_.id(slot));
  for (const Index slot : order) recorded.insert(recorded.end(), {patterns_.y(slot), patterns_.x(slot)});
  put_values(sink, "patterns/shape",
             std::vector<std::int64_t>{patterns_.shape().ny, patterns_.shape().nx,
                                       static_cast<std::int64_t>(patterns_.dtype())});
  put_values(sink, "patterns/ids", ids);
  put_values(sink, "patterns/order", order);
  put_values(sink, "patterns/positions", recorded);
  put_values(sink, "patterns/counts", std::span(counts_.data(), static_cast<std::size_t>(slots)));
}

Index Intake::restore(technique::Source& source) {
  const auto damaged = [](const char* what) {
    throw Error(ErrorCode::corrupt_data, fmt::format("checkpoint: {}", what));
  };
  const auto shape = get_values<std::int64_t>(source, "patterns/shape", 3);
  if (Shape{shape[0], shape[1]} != patterns_.shape() || shape[2] != static_cast<std::int64_t>(patterns_.dtype()))
    throw Error(
        ErrorCode::conflict,
        fmt::format("the checkpoint belongs to other patterns: {} x {} px there, {} x {} px of {} here", shape[0],
                    shape[1], patterns_.shape().ny, patterns_.shape().nx, core::name(patterns_.dtype())));
  const auto ids = get_values<std::int64_t>(source, "patterns/ids");
  const auto slots = static_cast<Index>(ids.size());
  const auto order = get_values<std::int64_t>(source, "patterns/order");
  const auto recorded = get_values<double>(source, "patterns/positions", 2 * static_cast<Index>(order.size()));
  counts_ = get_values<double>(source, "patterns/counts", slots);
  if (std::any_of(order.begin(), order.end(), [&](Index slot) { return slot < 0 || slot >= slots; }))
    damaged("a pattern out of range");
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    void* tile = patterns_.add(ids[slot]);
    if (tile == nullptr) damaged("a frame that is there twice");
    awaited_[ids[slot]] = {tile, counts_[slot]};
  }
  for (std::size_t i = 0; i < order.size(); ++i)
    patterns_.set_position(ids[static_cast<std::size_t>(order[i])], recorded[2 * i], recorded[2 * i + 1]);
  if (patterns_.ready() != order) damaged("a pattern that is there twice");
  restored_ = true;
  return static_cast<Index>(order.size());
}

}  // namespace farfield::techniques::ptychography
