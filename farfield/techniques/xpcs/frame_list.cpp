#include "farfield/techniques/xpcs/frame_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "farfield/core/error.hpp"

namespace farfield::techniques::xpcs {
namespace {

/// The number that `text` begins with; takes it away.
bool take_number(std::string_view& text, model::FrameId& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || out < 0) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

FrameList::FrameList(const std::string& text, const std::string& option) {
  const auto refuse = [&](std::string_view part) {
    return core::Error(core::ErrorCode::invalid_argument,
                       fmt::format("--{}: '{}' is neither a frame (12) nor a range of frames (12-34)", option, part));
  };
  std::string bare;
  std::copy_if(text.begin(), text.end(), std::back_inserter(bare), [](char c) { return c != ' '; });
  std::string_view rest = bare;
  while (!rest.empty()) {
    const auto part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    auto left = part;
    model::FrameId first = 0, last = 0;
    if (!take_number(left, first)) throw refuse(part);
    last = first;
    if (!left.empty()) {
      if (left.front() != '-') throw refuse(part);
      left.remove_prefix(1);
      if (!take_number(left, last) || !left.empty() || last < first) throw refuse(part);
    }
    ranges_.emplace_back(first, last);
  }
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<model::FrameId, model::FrameId>> merged;
  for (const auto& range : ranges_) {
    if (!merged.empty() && range.first - 1 <= merged.back().second)
      merged.back().second = std::max(merged.back().second, range.second);
    else merged.push_back(range);
  }
  ranges_ = std::move(merged);
}

bool FrameList::contains(model::FrameId id) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), id,
                                      [](model::FrameId value, const auto& range) { return value < range.first; });
  return after != ranges_.begin() && id <= std::prev(after)->second;
}

}  // namespace farfield::techniques::xpcs
