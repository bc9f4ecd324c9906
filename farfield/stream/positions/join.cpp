#include "farfield/stream/positions/join.hpp"

#include <chrono>
#include <thread>

namespace farfield::stream {

namespace {
/// Moments kept for frames that are late.
constexpr std::size_t kMostMoments = 1 << 20;
}  // namespace

JoinedSource::JoinedSource(model::FrameSource& frames, std::vector<ValueSource*> values, const JoinOptions& options,
                           const core::Clock& clock)
    : frames_(frames), values_(std::move(values)), options_(options), clock_(clock), values_ended_(values_.empty()) {}

Index JoinedSource::unreadable() const {
  Index sum = 0;
  for (const auto* source : values_) sum += source->unreadable;
  return sum;
}

void JoinedSource::hand_on(model::FrameBatch& batch, model::FrameId id, model::Values values) {
  batch.values.emplace_back(id, std::move(values));
  waiting_.erase(id);
  valued_.insert(id);
}

void JoinedSource::arrived(const model::FrameBatch& batch) {
  if (values_.empty()) return;
  for (const auto& frame : batch.frames)
    if (!valued_.contains(frame.id)) waiting_.insert(frame.id);
  for (const auto& [id, values] : batch.values)
    if (const auto time = values.find("time_s"); time != values.end() && waiting_.contains(id))
      times_.emplace(time->second, id);
}

void JoinedSource::poll(model::FrameBatch& batch) {
  if (values_ended_) return;
  bool open = false;
  for (auto* source : values_)
    open |= source->poll([&](Reading reading) {
      if (reading.frame) {
        if (reading.time_s) reading.values.emplace("time_s", *reading.time_s);
        hand_on(batch, *reading.frame, std::move(reading.values));
      } else {
        moments_[*reading.time_s + options_.time_offset_s] = std::move(reading.values);
        if (moments_.size() > kMostMoments) moments_.erase(moments_.begin());
      }
    });
  values_ended_ = !open;
}

void JoinedSource::join_by_time(model::FrameBatch& batch) {
  for (auto it = times_.begin(); it != times_.end();) {
    const auto [time, id] = *it;
    const auto after = moments_.lower_bound(time);
    if (after == moments_.end()) break;  // and none for later frames
    if (!waiting_.contains(id)) {
      it = times_.erase(it);
      continue;
    }
    const auto before = after == moments_.begin() ? after : std::prev(after);
    const double span = after->first - before->first;
    if (after->first == time) {
      hand_on(batch, id, after->second);
    } else if (before != after && span <= options_.most_between_s) {
      const double part = (time - before->first) / span;
      model::Values values;
      for (const auto& [name, number] : before->second)
        if (const auto then = after->second.find(name); then != after->second.end())
          values[name] = number + part * (then->second - number);
      hand_on(batch, id, std::move(values));
    } else {
      waiting_.erase(id);
      ++never_;
    }
    it = times_.erase(it);
  }
}

bool JoinedSource::next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) {
  if (!frames_ended_) {
    const auto join = [&](const model::FrameBatch& batch) {
      model::FrameBatch joined = batch;
      arrived(batch);
      poll(joined);
      join_by_time(joined);
      take(joined);
    };
    if (frames_.next(stop, join)) return true;
    frames_ended_ = true;
    ended_s_ = clock_.now_s();
    return !values_.empty() && !stop.stop_requested();
  }
  if (stop.stop_requested()) return false;
  model::FrameBatch late;
  poll(late);
  join_by_time(late);
  const bool came = !late.values.empty();
  if (came) take(late);
  if (waiting_.empty() || values_ended_ || clock_.now_s() - ended_s_ >= options_.late_s) return false;
  if (!came) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return true;
}

}  // namespace farfield::stream
