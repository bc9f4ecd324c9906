#pragma once
// Resolution of one scan: the verb `frc` reconstructs two halves of its patterns independently and compares them.

#include <functional>
#include <memory>

#include "farfield/core/options.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::ptychography {

using MakeReconstruction =
    std::function<std::unique_ptr<technique::Technique>(const core::OptionValues&, const technique::Resources&)>;

/// How frames are dealt out. Always one of each pair (2k, 2k + 1) to each half, so that both see the whole sample.
enum class HalfSplit {
  even_odd,  ///< a raster with rows of even length leaves columns to each half
  balanced,  ///< Thue-Morse order, which falls into step with no raster
  random,    ///< by the seed
};

struct HalfDeal {
  HalfSplit split = HalfSplit::balanced;
  std::uint64_t seed = 0;

  int half(model::FrameId id) const { return static_cast<int>(id & 1) ^ flipped(id / 2); }  ///< 0 or 1
  /// Frames of a half are numbered anew without gaps, by pair.
  static model::FrameId inner(model::FrameId id) { return id / 2; }
  model::FrameId outer(int half, model::FrameId inner) const { return 2 * inner + (half ^ flipped(inner)); }
  /// Frames that a half gets of ids 0 to n - 1; -1 stays -1.
  core::Index share(int half, core::Index n) const;

private:
  int flipped(model::FrameId pair) const;
};

/// Its options are those of `reconstruct` and frc-split, frc-image, frc-crop. Each step is one step of one half,
/// in turn. The product is that of compare() with the metrics of the halves beside it (name_a, name_b).
technique::Verb frc_verb(const core::OptionSchema& reconstruct_schema, MakeReconstruction make);

}  // namespace farfield::techniques::ptychography
