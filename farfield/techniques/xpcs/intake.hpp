#pragma once
// Frames as they come, turned into time steps in order: which are used, which are late, which are missing.

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/thread_pool.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/technique/technique.hpp"
#include "farfield/techniques/xpcs/event_block.hpp"
#include "farfield/techniques/xpcs/frame_list.hpp"
#include "farfield/techniques/xpcs/options.hpp"

namespace farfield::techniques::xpcs {

/// A frame in its place in time.
struct ReadyFrame {
  model::FrameId id = 0;
  Index step = 0;      ///< (id - first) / stride / average; grows; steps left out are missing
  FrameEvents events{};
  double monitor = 1;  ///< where it was waited for
};

/// Ids are times: frames are handed on in the order of their ids, those that come early waiting for those that come
/// late. A frame that does not come is missing once `wait` others wait for it, or the scan has ended.
class Intake {
public:
  using Take = std::function<void(std::span<const ReadyFrame>)>;

  /// Throws `invalid_argument` for options that contradict each other.
  explicit Intake(const IntakeOptions& options);
  /// Shape of the frames, and the pixels whose values count: those that `tiling` has.
  void begin(Index ny, Index nx, const Tiling& tiling);

  /// Frames of any real type, or sparse. What is ready goes to `take`, valid during that call.
  void push(std::span<const model::FrameView> frames, core::ThreadPool& pool, const Take& take);
  void annotate(model::FrameId id, const model::Values& values, const Take& take);
  void end(const Take& take);

  /// Frames that could not be used, with the reason; handed out once.
  std::vector<std::pair<model::FrameId, std::string>> take_rejected();
  /// Monitor of a frame, NaN where it has none.
  double monitor(model::FrameId id) const;
  /// Frames up to this one, and with it, that the options select: those listed as bad are among them.
  Index wanted(model::FrameId last) const;
  /// Time steps of a scan of this many frames.
  Index steps_of(Index frames) const;
  Index frames_per_step() const { return options_.stride * options_.average; }

  void save(technique::Sink& sink) const;
  void restore(technique::Source& source);

private:
  struct Waiting {
    model::FrameId id = 0;
    std::vector<model::PixelCount> counts;
    std::vector<PixelValue> values;
  };
  struct Dense {
    std::unique_ptr<model::PixelCount[]> room;  // for every pixel; not zeroed
    std::span<const model::PixelCount> counts;
    std::vector<PixelValue> values;
    std::string refusal;
  };
  bool selected(Index used) const;  // by `frames` and `bad_frames`
  model::FrameId id_of(Index used) const { return first_ + used * options_.stride; }
  bool seen(Index used) const;
  void mark_seen(Index used);
  bool has_monitor(model::FrameId id) const;
  void compact(const core::AnyImage& image, Dense& out) const;
  void hand_on(Index used, model::FrameId id, const FrameEvents& events);
  void drain(bool all);
  void flush(const Take& take);

  IntakeOptions options_;
  FrameList frames_, bad_;
  model::FrameId first_ = 0;
  Index ny_ = 0, nx_ = 0;
  const Tiling* tiling_ = nullptr;
  Index next_ = 0;                      // the used frame whose turn it is
  std::vector<bool> seen_;              // by used frame
  std::map<Index, Waiting> waiting_;    // by used frame
  std::map<model::FrameId, double> monitors_;
  std::vector<std::pair<model::FrameId, std::string>> rejected_;
  std::vector<ReadyFrame> ready_;       // of the call at work
  std::vector<Waiting> released_;       // what ready_ points into
  std::vector<Dense> dense_;
};

}  // namespace farfield::techniques::xpcs
