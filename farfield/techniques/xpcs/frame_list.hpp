#pragma once
// Frames named by a user: "0-999,1500,2000-2999".

#include <string>
#include <utility>
#include <vector>

#include "farfield/model/frame.hpp"

namespace farfield::techniques::xpcs {

/// Ranges of frame ids, both ends included, in order and without overlap.
class FrameList {
public:
  FrameList() = default;
  /// Numbers and ranges separated by commas, in any order; empty text: no frame. Throws `invalid_argument` that names
  /// what cannot be read; `option` names the option.
  FrameList(const std::string& text, const std::string& option);

  bool empty() const { return ranges_.empty(); }
  bool contains(model::FrameId id) const;
  model::FrameId first() const { return ranges_.front().first; }
  model::FrameId last() const { return ranges_.back().second; }

private:
  std::vector<std::pair<model::FrameId, model::FrameId>> ranges_;
};

}  // namespace farfield::techniques::xpcs
