#pragma once
// What has arrived of a scan: frames become patterns, values become positions, bad ones are kept with their reasons.

#include <map>
#include <string>
#include <vector>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/geometry.hpp"
#include "farfield/techniques/ptychography/patterns.hpp"
#include "farfield/techniques/ptychography/tiles.hpp"

namespace farfield::techniques::ptychography {

class Intake {
public:
  Intake() = default;
  /// Throws as FramePreparation and Geometry do. `tiles` (null: alone) outlives this.
  Intake(const model::Acquisition&, const Options&, TileSharing* tiles);

  /// Throws `conflict` when a frame is not what the checkpoint says.
  void push(std::span<const model::FrameView>);
  /// Throws `invalid_argument` for metres without a geometry.
  void annotate(model::FrameId, const model::Values&);
  /// Hands on what was rejected since the last call.
  void report(technique::Observer&);

  const FramePreparation& preparation() const { return preparation_; }
  const Geometry& geometry() const { return geometry_; }
  const Patterns& patterns() const { return patterns_; }
  /// Total of each slot.
  const std::vector<double>& counts() const { return counts_; }
  /// Beam intensity recorded with a frame, any unit; nothing where there is none.
  std::optional<double> monitor(model::FrameId) const;
  /// Frames of a checkpoint have not all come again yet.
  bool awaiting() const { return !awaited_.empty(); }

  /// After the last frame, once: throws `corrupt_data` for a scan without usable patterns, with all positions equal or
  /// without counts, `conflict` for one that lacks frames of the checkpoint. With several processes each has the
  /// patterns of its tile from here on.
  void complete(technique::Observer&, Sharing&);

  /// Throws `corrupt_data` when the windows of all ready patterns span more than any detector could see: a slip of
  /// units. Returns the pixels of the object.
  double object_pixels() const;

  /// The first `slots` slots with the first `ready` ready ones, in order.
  void save(technique::Sink&, Index slots, Index ready) const;
  /// Makes room for the frames of a checkpoint; they count as arrived when they are pushed again. Returns the number of
  /// ready patterns. Throws `conflict` for frames of another shape, `corrupt_data` for a damaged checkpoint.
  Index restore(technique::Source&);

private:
  struct Awaited {
    void* tile;
    double counts;
  };

  FramePreparation preparation_;
  Geometry geometry_;
  Patterns patterns_;
  TileSharing* tiles_ = nullptr;
  std::vector<double> counts_;
  std::map<model::FrameId, double> monitors_;
  std::map<model::FrameId, std::string> unplaced_;  ///< why a position cannot be used
  std::map<model::FrameId, Awaited> awaited_;
  std::vector<std::pair<model::FrameId, std::string>> rejected_;
  std::string first_rejection_;
  Index rejections_ = 0;
  bool restored_ = false;
};

}  // namespace farfield::techniques::ptychography
