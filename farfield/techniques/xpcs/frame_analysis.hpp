#pragma once
// What all verbs that take frames have in common: frames become time steps, time steps blocks of events, and from these
// come the scattering curves. A verb adds what it makes of the blocks.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/xpcs/correlator.hpp"
#include "farfield/techniques/xpcs/intake.hpp"
#include "farfield/techniques/xpcs/options.hpp"

namespace farfield::techniques::xpcs {

class FrameAnalysis : public technique::Technique {
public:
  /// `scheme`: the delays to be correlated; {0, 0, 0}: none. Ranks share the pixels, or each has them all. Throws
  /// `invalid_argument` for options that cannot be.
  FrameAnalysis(const IntakeOptions& options, const LagScheme& scheme, const technique::Resources& resources,
                bool share_pixels = true);
  ~FrameAnalysis() override;

  /// Throws `invalid_argument` without a q-map, `corrupt_data` for a map, dark or flat of another shape than the
  /// frames or without a good pixel, `resource_exhausted` where the level data would not fit.
  void begin(const model::Acquisition& acquisition) override;
  void push(std::span<const model::FrameView> frames) override;
  void annotate(model::FrameId id, const model::Values& values) override;
  void end_of_scan() override;
  void save(technique::Sink& sink) const override;
  void restore(technique::Source& source) override;

protected:
  /// A whole block; `correlator()` has absorbed it. It may be moved away.
  virtual void absorbed(EventBlock& /*block*/) {}
  /// The next time step, beyond the absorbed ones, that must not share a block with the one before it.
  virtual Index boundary() const { return INT64_MAX; }

  /// Reports frames refused since the last call, and how far the scan has come.
  void report(technique::Observer& observer);
  /// Absorbs the block at work: nothing more will come.
  void close();
  /// Frames that came one by one are sorted by the hundred. Whoever looks at the block or the sums of frames has those
  /// that wait sorted before, so that it is as if each had been at once.
  void settle() const;
  /// The block at work, settled, with complete_steps(), in `copy` where that changes it: more frames may come to the
  /// last step.
  const EventBlock& complete_block(std::optional<EventBlock>& copy) const;
  /// Of all time steps so far and over all ranks.
  BinSums sums(PixelCorrelations* pixels = nullptr) const;
  /// Datasets and metrics of the scattering: saxs_1d ... transmission, q and the map.
  model::Product scattering(const std::string& verb, const BinSums& sums) const;
  Index steps() const { return correlator_->steps() + block_.steps; }
  Index absorbed_steps() const { return correlator_->steps(); }
  static void add_over_ranks(BinSums& sums, parallel::Communicator* ranks);
  bool ended() const { return ended_; }
  /// Scales intensities to what they would be without normalisation, on average.
  double intensity_scale() const;
  /// First of this rank's tiles, and one after its last.
  std::pair<Index, Index> own_tiles() const;
  /// A block as save() puts blocks: its validity, and numbered parts.
  void restore_block(technique::Source& source, const std::string& valid, const std::string& begin,
                     const std::string& events, EventBlock& block) const;
  /// Throws `corrupt_data` when fewer time steps came.
  void require_steps(Index least) const;

  const technique::Resources resources_;
  const IntakeOptions intake_options_;
  const LagScheme scheme_;
  Intake intake_;
  QMap map_;
  Tiling tiling_;
  CountCorrection correction_;
  mutable EventBlock block_;  ///< at work, after everything absorbed; its events only after settle()
  std::optional<double> frame_time_s_;
  std::vector<model::FrameId> ids_;  ///< of the frames used
  core::Index expected_frames_ = 0;

private:
  const bool share_pixels_;
  void take(std::span<const ReadyFrame> frames);
  void bin_chunk() const;
  void hold_chunk();
  void absorb_block();
  /// Frames that the intensities of each window stand for: steps that lack frames are scaled to the full number.
  std::vector<Index> window_weights() const;
  void make_correction(const model::Acquisition& acquisition, core::Array<std::uint32_t, 2>& mask);

  std::optional<Correlator> correlator_;
  Index window_steps_ = 1;
  mutable std::vector<double> frame_sums_;  // one per used frame
  std::vector<Index> window_frames_;  // that each window of the absorbed steps stands for
  // Frames of the block that are not sorted yet: the first of them held, the events of others belong to the caller.
  mutable std::vector<StepFrame> chunk_;
  struct HeldFrame {
    std::size_t counts_end = 0, values_end = 0;
  };
  mutable std::vector<HeldFrame> held_;
  mutable std::vector<model::PixelCount> held_counts_;
  mutable std::vector<PixelValue> held_values_;
  std::vector<std::pair<model::FrameId, std::string>> rejected_;  // since the last report()
  double reference_ = 0;  // the sum or monitor that intensities are normalised to
  Index reported_ = 0;
  double started_s_ = 0;
  bool ended_ = false;
};

}  // namespace farfield::techniques::xpcs
