#pragma once
// Frames and what belongs to them from different streams, joined by frame number or by time. Either may be early or
// late by any amount while the scan runs.

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/stream/id_set.hpp"
#include "farfield/stream/positions/values.hpp"

namespace farfield::stream {

struct JoinOptions {
  /// Added to the times of the readings: how far their clock is behind the detector's.
  double time_offset_s = 0;
  /// Readings of one moment belong to a frame between two of them that are no further apart; farther out, to none.
  double most_between_s = 10;
  /// After the last frame, how long values that are still missing are waited for.
  double late_s = 10;
};

/// Readings with a frame number are handed on as they come. Of those with a time, a frame with "time_s" gets the values
/// of that moment, linear between the reading before and the one after.
class JoinedSource final : public model::FrameSource {
public:
  /// All of them outlive this.
  JoinedSource(model::FrameSource& frames, std::vector<ValueSource*> values, const JoinOptions& options,
               const core::Clock& clock);

  const model::Acquisition& acquisition() const override { return frames_.acquisition(); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override;

  /// Frames that came and have no values from these streams, or none yet.
  Index without_values() const { return std::ssize(waiting_) + never_; }
  /// Rows and messages that could not be read.
  Index unreadable() const;

private:
  void arrived(const model::FrameBatch& batch);
  void poll(model::FrameBatch& batch);
  void join_by_time(model::FrameBatch& batch);
  void hand_on(model::FrameBatch& batch, model::FrameId id, model::Values values);

  model::FrameSource& frames_;
  std::vector<ValueSource*> values_;
  JoinOptions options_;
  const core::Clock& clock_;
  bool frames_ended_ = false, values_ended_ = false;
  double ended_s_ = 0;
  std::set<model::FrameId> waiting_;  // frames without values
  IdSet valued_;  // frames, here or to come, that have values
  Index never_ = 0;  // frames between moments that are too far apart, or before the first
  std::multimap<double, model::FrameId> times_;  // frames that wait for the moment after them
  std::map<double, model::Values> moments_;
};

}  // namespace farfield::stream
