#include "farfield/stream/dectris/series.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <utility>

#include "farfield/core/log.hpp"
#include "farfield/stream/dectris/unpacking.hpp"

namespace farfield::stream::dectris {

using core::Error;
using core::ErrorCode;
using std::chrono::milliseconds;

namespace {

/// How long next() waits before it shows that it is alive.
constexpr milliseconds kHeartbeat{20};
/// How long it waits for more while images are being unpacked.
constexpr milliseconds kGlance{1};
/// Small images are unpacked in groups of about this size: handing one over costs as much as unpacking 10 kB.
constexpr Index kGroupBytes = Index{1} << 20;
constexpr Index kMostBadAtOnce = 1000;
constexpr std::size_t kSeriesRemembered = 64, kDamagedRemembered = 1000;

std::string text_of(const Envelope& envelope) {
  std::string text;
  for (const auto& part : envelope.parts)
    text.append(reinterpret_cast<const char*>(part.data()), std::min<std::size_t>(part.size(), 1 << 16));
  return text;
}

/// Detectors mark pixels that are masked or have overflowed by the largest number that there is.
std::optional<double> largest(core::DType type) {
  switch (type) {
    case core::DType::u8: return std::numeric_limits<std::uint8_t>::max();
    case core::DType::u16: return std::numeric_limits<std::uint16_t>::max();
    case core::DType::u32: return std::numeric_limits<std::uint32_t>::max();
    default: return std::nullopt;
  }
}

}  // namespace

std::string_view name(SeriesState state) {
  switch (state) {
    case SeriesState::running: return "running";
    case SeriesState::complete: return "complete";
    case SeriesState::cut_short: return "cut short by another series";
    case SeriesState::silent: return "ended without a word";
    case SeriesState::stopped: return "stopped";
  }
  return "";
}

/// Images that are unpacked together, and the messages that hold them.
struct Series::Group final : UnpackingGroup {
  std::vector<Held> images;
  std::shared_ptr<std::byte> memory;
  Index bytes = 0;
};

SeriesReceiver::SeriesReceiver(Feed& feed, SeriesOptions options)
    : feed_(feed),
      options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : static_cast<const core::Clock&>(steady_)),
      buffers_(std::make_shared<Buffers>(static_cast<std::size_t>(std::max(0, options_.threads)) * 2 + 4)),
      unpacker_(std::make_unique<Unpacker>(options_.threads)) {
  if (options_.batch_bytes < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("batch of {} bytes must be at least 1", options_.batch_bytes));
}
SeriesReceiver::~SeriesReceiver() = default;

bool SeriesReceiver::is_over(const SeriesId& id) const {
  return std::find(over_.begin(), over_.end(), id) != over_.end();
}

ReceiverCounts SeriesReceiver::counts() const {
  const std::lock_guard lock(counting_);
  return counts_;
}

void SeriesReceiver::count_stray() {
  const std::lock_guard lock(counting_);
  ++counts_.strays;
}

FeedOutcome SeriesReceiver::receive(Held& held, milliseconds limit, std::stop_token stop) {
  if (!pending_.empty()) {
    held = std::move(pending_.front());
    pending_.pop_front();
    return FeedOutcome::message;
  }
  const auto count = [&](Index bytes) {
    const std::lock_guard lock(counting_);
    ++counts_.messages;
    counts_.bytes += bytes;
  };
  const auto unreadable = [&](const Error& e) {
    {
      const std::lock_guard lock(counting_);
      ++counts_.unreadable;
      counts_.last_unreadable = e.what();
    }
    core::log(core::LogLevel::warning, "message_unreadable", {{"from", feed_.name()}, {"reason", e.what()}});
  };
  // A flood of messages that cannot be read must not keep the caller from looking around.
  for (int tries = 0; tries < 1000; ++tries) {
    try {
      const auto outcome = feed_.receive(held.envelope, limit, stop);
      if (outcome != FeedOutcome::message) return outcome;
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      count(0);
      unreadable(e);
      continue;
    }
    count(held.envelope.bytes());
    auto message = parse(held.envelope.parts);
    if (message) {
      held.message = std::move(*message);
      return FeedOutcome::message;
    }
    unreadable(message.error());
  }
  return FeedOutcome::timeout;
}

std::unique_ptr<Series> SeriesReceiver::next(std::stop_token stop) {
  std::unique_ptr<Series> series;
  std::optional<SeriesStart> start;
  std::vector<Held> waiting;  // damaged images, until the shape of a whole one is known
  const auto begin = [&](const SeriesId& id, std::string start_text) {
    series.reset(new Series(*this, id, std::move(start_text)));
    start.reset();
    waiting.clear();
  };
  for (;;) {
    Held held;
    const auto outcome = receive(held, std::chrono::seconds(1), stop);
    if (outcome == FeedOutcome::timeout) continue;
    if (outcome != FeedOutcome::message) return nullptr;
    const SeriesId id = held.message.series();

    if (auto* beginning = std::get_if<SeriesStart>(&held.message.content)) {
      core::log(core::LogLevel::info, "series_armed", {{"series", std::to_string(id.number)}});
      std::erase(over_, id);  // numbers may begin anew
      begin(id, text_of(held.envelope));
      start = std::move(*beginning);
      continue;
    }
    if (std::holds_alternative<SeriesEnd>(held.message.content)) {
      if (series && series->id_ == id) {
        core::log(core::LogLevel::info, "series_without_images", {{"series", std::to_string(id.number)}});
        series.reset();
      }
      continue;
    }
    if (is_over(id)) {
      count_stray();
      continue;
    }
    if (!series || series->id_ != id) begin(id, "");  // joined after its start
    waiting.push_back(std::move(held));
    const auto* image = std::get_if<SeriesImage>(&waiting.back().message.content);
    if (image == nullptr) {
      if (waiting.size() > kDamagedRemembered) waiting.erase(waiting.begin());
      continue;
    }
    if (!start) start.emplace().channels.emplace_back();
    series->adopt(std::move(*start), *image);
    std::move(waiting.begin(), waiting.end(), std::back_inserter(pending_));
    return series;
  }
}

void Series::adopt(SeriesStart start, const SeriesImage& first) {
  const auto& wanted = receiver_.options_.channel;
  std::vector<std::string> names;
  const PackedPixels* pixels = nullptr;
  for (const auto& [name, p] : first.channels) {
    names.push_back(name);
    if (pixels == nullptr && (wanted.empty() || wanted == name)) {
      pixels = &p;
      channel_ = name;
    }
  }
  if (pixels == nullptr)
    throw Error(ErrorCode::not_found,
                fmt::format("there is no channel \"{}\"; there are: {}", wanted, fmt::join(names, ", ")))
        .at(receiver_.feed_.name());

  acquisition_ = std::move(start.acquisition);
  acquisition_.source = fmt::format("series {} of {}", id_.number, receiver_.feed_.name());
  auto& d = acquisition_.detector;
  d.ny = pixels->ny;
  d.nx = pixels->nx;
  d.dtype = pixels->dtype;
  if (!d.saturation_counts && !start.own_words) d.saturation_counts = largest(d.dtype);
  for (auto& channel : start.channels) {
    if (channel.name != channel_ && start.channels.size() > 1) continue;
    const auto fits = [&](const auto& table, const char* what) {
      if (table.empty()) return false;
      if (table.extent(0) == d.ny && table.extent(1) == d.nx) return true;
      core::log(core::LogLevel::warning, "header_does_not_fit",
                {{"what", what}, {"shape", fmt::format("{} x {}", table.extent(0), table.extent(1))}});
      return false;
    };
    if (fits(channel.pixel_mask, "pixel mask")) d.pixel_mask = std::move(channel.pixel_mask);
    if (!start.flatfield_applied && fits(channel.flatfield, "flat field")) {
      // SIMPLON multiplies by it, the pipeline divides.
      for (Index i = 0; i < channel.flatfield.size(); ++i)
        channel.flatfield.data()[i] = 1 / channel.flatfield.data()[i];
      acquisition_.inputs["flat"] = core::AnyArray(channel.flatfield);
    }
    if (channel.threshold_eV) acquisition_.metadata["threshold_eV"] = fmt::format("{}", *channel.threshold_eV);
    break;
  }
  if (!start.countrate_applied && !start.countrate.empty())
    acquisition_.inputs["countrate"] = core::AnyArray(start.countrate);
  acquisition_.metadata["series"] = std::to_string(id_.number);
  if (!id_.unique.empty()) acquisition_.metadata["series_unique_id"] = id_.unique;
  model::validate(acquisition_, acquisition_.source);
  last_message_s_ = now_s();
}

double Series::now_s() const { return receiver_.clock_.now_s(); }

const PackedPixels* Series::pixels_of(const SeriesImage& image) const {
  for (const auto& [name, pixels] : image.channels)
    if (name == channel_) return &pixels;
  return nullptr;
}

bool Series::all_seen() const {
  const Index expected = acquisition_.scan.expected_frames;
  return expected >= 0 && seen_.size() >= expected;
}

void Series::finish(SeriesState state) {
  state_ = state;
  auto& over = receiver_.over_;
  over.push_back(id_);
  if (over.size() > kSeriesRemembered) over.pop_front();
  core::log(core::LogLevel::info, "series_over",
            {{"series", std::to_string(id_.number)},
             {"state", std::string(name(state))},
             {"images", std::to_string(seen_.size())}});
}

bool Series::take(Held held, std::vector<Held>& images, model::FrameBatch& batch) {
  const SeriesId id = held.message.series();
  const bool mine = id == id_;
  if (std::holds_alternative<SeriesStart>(held.message.content)) {
    // Sent again to somebody who came late, it says nothing new. Of v1 only its text tells a restarted detector.
    if (mine && (!id_.unique.empty() || start_text_.empty() || start_text_ == text_of(held.envelope))) return true;
  } else if (std::holds_alternative<SeriesEnd>(held.message.content)) {
    if (!mine) return true;
    if (!ended_s_) ended_s_ = now_s();
    if (!all_seen()) return true;  // some may still be on their way
    finish(SeriesState::complete);
    return false;
  } else if (mine) {
    last_message_s_ = now_s();
    if (const auto* image = std::get_if<SeriesImage>(&held.message.content)) {
      seen_.insert(image->frame);
      images.push_back(std::move(held));
    } else {
      const auto& damaged = std::get<DamagedImage>(held.message.content);
      seen_.insert(damaged.frame);
      batch.bad.emplace_back(damaged.frame, damaged.reason);
    }
    return true;
  } else if (receiver_.is_over(id)) {
    receiver_.count_stray();
    return true;
  }
  receiver_.pending_.push_front(std::move(held));
  finish(ended_s_ ? SeriesState::complete : SeriesState::cut_short);
  return false;
}

FeedOutcome Series::receive(std::stop_token stop, model::FrameBatch& batch) {
  auto& unpacker = *receiver_.unpacker_;
  const auto& d = acquisition_.detector;
  const Index frame_bytes = d.ny * d.nx * core::item_size(d.dtype);
  const Index most = std::max(receiver_.options_.batch_bytes, (unpacker.threads() + 1) * frame_bytes);
  const auto first_is_done = [&] { return !unpacking_.empty() && unpacker.done(*unpacking_.front()); };
  std::vector<Held> images;
  const auto room = [&] { return unpacking_bytes_ + (std::ssize(images) + 1) * frame_bytes <= most; };
  auto outcome = FeedOutcome::message;
  while (!first_is_done() && std::ssize(batch.bad) < kMostBadAtOnce && room()) {
    const bool empty = images.empty() && batch.bad.empty();
    Held held;
    outcome = receiver_.receive(held, !empty ? milliseconds(0) : unpacking_.empty() ? kHeartbeat : kGlance, stop);
    if (outcome == FeedOutcome::timeout && empty && !unpacking_.empty()) continue;
    if (outcome != FeedOutcome::message || !take(std::move(held), images, batch)) break;
    if (std::ssize(images) * frame_bytes >= kGroupBytes) begin_unpacking(std::exchange(images, {}));
  }
  begin_unpacking(std::move(images));
  return outcome;
}

bool Series::next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& hand_out) {
  if (state_ != SeriesState::running) return false;
  model::FrameBatch batch;
  const auto outcome = receive(stop, batch);
  if (state_ != SeriesState::running) {
    // A message said so.
  } else if (outcome == FeedOutcome::stopped) {
    finish(SeriesState::stopped);
  } else if (outcome == FeedOutcome::ended) {
    finish(ended_s_ ? SeriesState::complete : SeriesState::silent);
  } else if (ended_s_ &&
             (all_seen() || (outcome == FeedOutcome::timeout && now_s() - *ended_s_ >= receiver_.options_.late_s))) {
    finish(SeriesState::complete);
  } else if (!ended_s_ && outcome == FeedOutcome::timeout &&
             now_s() - last_message_s_ >= receiver_.options_.silence_s) {
    finish(SeriesState::silent);
  }
  // Where there is no room for more, the oldest must be waited for; at the end all are.
  collect(outcome == FeedOutcome::message && batch.bad.empty(), batch);
  hand_out(batch);
  return state_ == SeriesState::running;
}

/// Of the bytes of a message, and of what was put together from its pieces.
std::shared_ptr<const void> Series::owner_of(const Held& held) {
  if (!held.message.storage) return held.envelope.owner;
  return std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(held.envelope.owner,
                                                                                               held.message.storage);
}

void Series::begin_unpacking(std::vector<Held> images) {
  if (images.empty()) return;
  const auto& d = acquisition_.detector;
  const Index stride = (d.ny * d.nx * core::item_size(d.dtype) + 63) / 64 * 64;
  auto group = std::make_shared<Group>();
  group->images = std::move(images);
  group->bytes = stride * std::ssize(group->images);
  group->memory = receiver_.buffers_->get(group->bytes);
  std::byte* out = group->memory.get();
  for (const auto& held : group->images) {
    const auto* pixels = pixels_of(std::get<SeriesImage>(held.message.content));
    Unpacking one{pixels, out};
    if (pixels == nullptr) {
      one.wrong = fmt::format("no channel \"{}\"", channel_);
    } else if (pixels->ny != d.ny || pixels->nx != d.nx || pixels->dtype != d.dtype) {
      one.pixels = nullptr;
      one.wrong = fmt::format("frame of {} x {} pixels of {} instead of {} x {} of {}", pixels->ny, pixels->nx,
                              core::name(pixels->dtype), d.ny, d.nx, core::name(d.dtype));
    }
    group->work.push_back(std::move(one));
    out += stride;
  }
  unpacking_bytes_ += group->bytes;
  unpacking_.push_back(group);
  receiver_.unpacker_->begin(std::move(group));
}

void Series::collect(bool wait, model::FrameBatch& batch) {
  const bool all = state_ != SeriesState::running;
  std::vector<std::shared_ptr<std::byte>> memory;
  for (; !unpacking_.empty(); unpacking_.pop_front()) {
    const auto& group = *unpacking_.front();
    if (!receiver_.unpacker_->done(group)) {
      if (!all && !(wait && memory.empty())) break;
      receiver_.unpacker_->wait(group);
    }
    hand_over(group, batch);
    unpacking_bytes_ -= group.bytes;
    memory.push_back(group.memory);
  }
  if (memory.size() == 1) batch.keep = memory.front();
  else if (!memory.empty()) batch.keep = std::make_shared<decltype(memory)>(std::move(memory));
}

void Series::hand_over(const Group& group, model::FrameBatch& batch) const {
  const auto& d = acquisition_.detector;
  for (std::size_t i = 0; i < group.images.size(); ++i) {
    const auto& image = std::get<SeriesImage>(group.images[i].message.content);
    const auto& [pixels, out, wrong] = group.work[i];
    if (!wrong.empty()) {
      batch.bad.emplace_back(image.frame, wrong);
      continue;
    }
    if (receiver_.options_.tap) receiver_.options_.tap(image.frame, *pixels, owner_of(group.images[i]));
    batch.frames.push_back({image.frame, {d.dtype, out, d.ny, d.nx, d.nx}});
    if (!image.values.empty()) batch.values.emplace_back(image.frame, image.values);
  }
}

}  // namespace farfield::stream::dectris
