#pragma once
// Series of a SIMPLON stream as scans, one after the other. A series may be joined after its start, be cut short by
// another one (a detector that was restarted), end without a word, or lack images: the next one is received all the
// same.

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "farfield/core/clock.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/stream/dectris/message.hpp"
#include "farfield/stream/feed.hpp"
#include "farfield/stream/id_set.hpp"

namespace farfield::stream::dectris {

struct SeriesOptions {
  std::string channel{};             ///< which threshold's images; "": the first
  int threads = 1;  ///< that unpack images while others are received; 1: the calling thread unpacks
  /// Most bytes of images that are being unpacked and handed out at once; at least one image for each thread and one
  /// more are.
  Index batch_bytes = Index{64} << 20;
  const core::Clock* clock = nullptr;   ///< null: the steady clock
  double silence_s = 60;  ///< a series that nothing came of for so long is over
  double late_s = 1;      ///< images that are still missing may come this long after the end
  /// Sees each image that is about to be handed out, still packed; `owner` keeps its bytes. For archives.
  std::function<void(model::FrameId, const PackedPixels&, const std::shared_ptr<const void>& owner)> tap{};
};

/// How a series came to its end.
enum class SeriesState { running, complete, cut_short, silent, stopped };
std::string_view name(SeriesState state);

/// What came through a receiver so far, besides the images that the series handed out.
struct ReceiverCounts {
  Index messages = 0, bytes = 0;
  Index unreadable = 0;  ///< messages of which not even the frame number could be read
  Index strays = 0;      ///< images of a series that had ended
  std::string last_unreadable{};  ///< why
};

class Buffers;
class SeriesReceiver;
class Unpacker;

/// One series. Frames that could not be read are in FrameBatch::bad; duplicates are handed on as they come.
class Series final : public model::FrameSource {
public:
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override;

  const SeriesId& id() const { return id_; }
  SeriesState state() const { return state_; }

private:
  friend class SeriesReceiver;
  struct Held {
    Envelope envelope;
    Message message;
  };
  Series(SeriesReceiver& receiver, SeriesId id, std::string start_text)
      : receiver_(receiver), id_(std::move(id)), start_text_(std::move(start_text)) {}
  /// What is known of the scan. Throws as SeriesReceiver::next().
  void adopt(SeriesStart start, const SeriesImage& first);
  struct Group;
  /// Takes a message; false where the series is over with it, or by what follows.
  bool take(Held held, std::vector<Held>& images, model::FrameBatch& batch);
  /// Takes messages while there are some and room for them.
  FeedOutcome receive(std::stop_token stop, model::FrameBatch& batch);
  void begin_unpacking(std::vector<Held> images);
  /// The images of the oldest groups that are done; waits for the first of them where `wait`.
  void collect(bool wait, model::FrameBatch& batch);
  void hand_over(const Group& group, model::FrameBatch& batch) const;
  const PackedPixels* pixels_of(const SeriesImage& image) const;
  static std::shared_ptr<const void> owner_of(const Held& held);
  bool all_seen() const;
  void finish(SeriesState state);
  double now_s() const;

  SeriesReceiver& receiver_;
  SeriesId id_;
  std::string start_text_;  ///< the start message, to know it again
  std::string channel_;
  model::Acquisition acquisition_;
  SeriesState state_ = SeriesState::running;
  IdSet seen_;
  std::deque<std::shared_ptr<Group>> unpacking_;  ///< in the order in which they came
  Index unpacking_bytes_ = 0;
  double last_message_s_ = 0;
  std::optional<double> ended_s_;
};

/// Owns the order of things: which series a message belongs to. For one thread; outlives its series.
class SeriesReceiver {
public:
  /// `feed` outlives this. Throws `invalid_argument`.
  SeriesReceiver(Feed& feed, SeriesOptions options);
  ~SeriesReceiver();

  /// Waits for the beginning of the next series and its first image, by which its shape is known. Null: stopped, or
  /// the feed has ended. A series without an image is passed over. Throws `not_found` for a channel that it lacks,
  /// `corrupt_data`, and what the feed throws.
  std::unique_ptr<Series> next(std::stop_token stop);
  /// Messages that were taken from the feed and belong to what comes next.
  std::size_t waiting() const { return pending_.size(); }
  /// Any thread may ask while another one reads.
  ReceiverCounts counts() const;

private:
  friend class Series;
  using Held = Series::Held;
  /// The next message that can be read.
  FeedOutcome receive(Held& held, std::chrono::milliseconds limit, std::stop_token stop);
  bool is_over(const SeriesId& id) const;
  void count_stray();

  Feed& feed_;
  SeriesOptions options_;
  core::SteadyClock steady_;
  const core::Clock& clock_;
  std::deque<Held> pending_;
  std::deque<SeriesId> over_;  ///< the last few
  mutable std::mutex counting_;
  ReceiverCounts counts_;
  std::shared_ptr<Buffers> buffers_;
  std::unique_ptr<Unpacker> unpacker_;
};

}  // namespace farfield::stream::dectris
