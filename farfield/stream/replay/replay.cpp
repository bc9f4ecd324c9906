#include "farfield/stream/replay/replay.hpp"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <random>

namespace farfield::stream {

using core::Error;
using core::ErrorCode;

namespace {

void check(const ReplayOptions& o) {
  const auto part = [](const char* name, double value) {
    if (!(value >= 0 && value <= 1))
      throw Error(ErrorCode::invalid_argument, fmt::format("{} = {} must be 0 to 1", name, value));
  };
  part("jitter", o.jitter);
  part("gaps", o.gaps);
  part("duplicates", o.duplicates);
  if (!(o.rate_hz >= 0 && o.rate_hz <= 1e6))
    throw Error(ErrorCode::invalid_argument, fmt::format("rate {} Hz must be 0 to 1000000", o.rate_hz));
  if (o.disorder < 0 || o.disorder > 10000 || o.frames < 0)
    throw Error(ErrorCode::invalid_argument, "disorder must be 0 to 10000, frames >= 0");
}

class Player {
public:
  Player(const model::Acquisition& acquisition, const ReplayOptions& options, const SendMessage& send,
         const SendValues& values, std::stop_token stop)
      : options_(options),
        send_(send),
        values_(values),
        stop_(std::move(stop)),
        random_(options.seed),
        dtype_(acquisition.detector.dtype),
        encoder_(limited(acquisition, options), options.series, options.encode),
        begin_(std::chrono::steady_clock::now()) {}

  bool start() { return send(encoder_.start()); }

  bool take(const model::FrameBatch& batch) {
    counts_.unreadable += std::ssize(batch.bad);
    for (const auto& [id, v] : batch.values) known_[id].insert(v.begin(), v.end());
    for (const auto& frame : batch.frames) {
      if (options_.frames > 0 && seen_ == options_.frames) return false;
      ++seen_;
      if (!one(frame)) return false;
    }
    return true;
  }

  /// What is held back, and the end of the series.
  bool end() {
    while (!held_.empty())
      if (!release()) return false;
    for (const auto& [id, v] : known_)
      if (values_ && !values_(id, v)) return false;
    return send(encoder_.end());
  }

  ReplayCounts counts() const {
    auto out = counts_;
    out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    return out;
  }

private:
  struct Held {
    model::FrameId id;
    dectris::OwnedParts message;
    model::Values values;
  };

  static model::Acquisition limited(const model::Acquisition& a, const ReplayOptions& o) {
    auto out = a.clone();
    if (o.frames > 0 && (out.scan.expected_frames < 0 || out.scan.expected_frames > o.frames))
      out.scan.expected_frames = o.frames;
    return out;
  }

  bool chance(double part) { return part > 0 && std::uniform_real_distribution<>(0, 1)(random_) < part; }

  bool one(const model::FrameView& frame) {
    model::Values values;
    if (const auto it = known_.find(frame.id); it != known_.end()) {
      values = std::move(it->second);
      known_.erase(it);
    }
    if (chance(options_.gaps)) {
      ++counts_.left_out;
      return true;
    }
    held_.push_back({frame.id, encoder_.image(dense(frame), values), std::move(values)});
    return std::ssize(held_) <= options_.disorder || release();
  }

  /// Sends one of those held back, any of them.
  bool release() {
    const auto at = static_cast<std::size_t>(std::uniform_int_distribution<Index>(0, std::ssize(held_) - 1)(random_));
    Held next = std::move(held_[at]);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
    if (!wait()) return false;
    // The stage reports before the detector has read out.
    if (values_ && !values_(next.id, next.values)) return false;
    if (!send(next.message)) return false;
    ++counts_.sent;
    if (!chance(options_.duplicates)) return true;
    ++counts_.duplicated;
    return send(next.message);
  }

  bool send(const dectris::OwnedParts& parts) {
    for (const auto& part : parts) counts_.bytes += std::ssize(part);
    return send_(parts);
  }

  /// Until the frame is due; false when stopped.
  bool wait() {
    if (options_.rate_hz <= 0) return !stop_.stop_requested();
    const double late = options_.jitter * std::uniform_real_distribution<>(-1, 1)(random_);
    const auto due =
        begin_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                     std::chrono::duration<double>((static_cast<double>(turn_++) + late) / options_.rate_hz));
    std::unique_lock lock(mutex_);
    wake_.wait_until(lock, stop_, due, [] { return false; });
    return !stop_.stop_requested();
  }

  model::FrameView dense(const model::FrameView& frame) {
    if (!frame.is_sparse()) return frame;
    const auto& s = frame.sparse;
    dense_.assign(static_cast<std::size_t>(s.ny * s.nx * core::item_size(dtype_)), std::byte{0});
    core::visit_dtype(dtype_, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T>) {
        auto* pixels = reinterpret_cast<T*>(dense_.data());
        for (const auto& e : s.events) {
          const auto sum = static_cast<std::uint64_t>(pixels[e.pixel]) + e.count;
          if (sum > static_cast<std::uint64_t>(std::numeric_limits<T>::max()))
            throw Error(ErrorCode::corrupt_data,
                        fmt::format("frame {}: {} counts in a pixel of {}", frame.id, sum, core::name(dtype_)));
          pixels[e.pixel] = static_cast<T>(sum);
        }
      } else {
        throw Error(ErrorCode::unsupported, "sparse frames of other than whole numbers");
      }
    });
    return {frame.id, {dtype_, dense_.data(), s.ny, s.nx, s.nx}};
  }

  const ReplayOptions& options_;
  const SendMessage& send_;
  const SendValues& values_;
  std::stop_token stop_;
  std::mt19937_64 random_;
  core::DType dtype_;
  dectris::Encoder encoder_;
  std::chrono::steady_clock::time_point begin_;
  std::map<model::FrameId, model::Values> known_;  // of frames that have not come
  std::vector<Held> held_;
  std::vector<std::byte> dense_;
  ReplayCounts counts_;
  Index seen_ = 0;
  std::int64_t turn_ = 0;
  std::mutex mutex_;
  std::condition_variable_any wake_;
};

}  // namespace

ReplayCounts replay(model::FrameSource& source, const ReplayOptions& options, const SendMessage& send,
                    const SendValues& values, std::stop_token stop) {
  check(options);
  auto inner = options;
  if (values) inner.encode.values = false;
  Player player(source.acquisition(), inner, send, values, stop);
  bool go_on = player.start();
  while (go_on && source.next(stop, [&](const model::FrameBatch& batch) { go_on = player.take(batch); })) {}
  if (!stop.stop_requested()) (void)player.end();
  return player.counts();
}

}  // namespace farfield::stream
