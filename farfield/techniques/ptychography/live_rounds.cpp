#include "farfield/techniques/ptychography/live_rounds.hpp"

#include <algorithm>
#include <numeric>

#include "farfield/technique/blocks.hpp"

namespace farfield::techniques::ptychography {

std::vector<Index> LiveRounds::choose(const std::vector<Index>& ready, Index most) {
  if (std::ssize(ready) <= most) return ready;
  const std::size_t n = ready.size(), size = static_cast<std::size_t>(most), around = size / 2, least = size - around;
  std::vector<std::uint8_t> chosen(n);
  turn_ %= n;
  for (std::size_t i = 0; i < around; ++i) chosen[(turn_ + i) % n] = 1;
  turn_ = (turn_ + around) % n;

  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < n; ++i)
    if (chosen[i] == 0) rest.push_back(i);
  // Among equals the newest: what came last is what people wait for.
  const auto before = [&](std::size_t a, std::size_t b) {
    const Index va = visits(ready[a]), vb = visits(ready[b]);
    return va != vb ? va < vb : a > b;
  };
  std::nth_element(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(least - 1), rest.end(), before);
  for (std::size_t i = 0; i < least; ++i) chosen[rest[i]] = 1;

  std::vector<Index> out;
  out.reserve(size);
  for (std::size_t i = 0; i < n; ++i)
    if (chosen[i] != 0) out.push_back(ready[i]);
  return out;
}

void LiveRounds::visited(std::span<const Index> slots) {
  for (const Index slot : slots) {
    const auto s = static_cast<std::size_t>(slot);
    if (s >= visits_.size()) visits_.resize(std::max(s + 1, 2 * visits_.size()));
    ++visits_[s];
  }
  total_ += slots.size();
}

Index LiveRounds::visits(Index slot) const {
  const auto s = static_cast<std::size_t>(slot);
  return s < visits_.size() ? visits_[s] : 0;
}

void LiveRounds::save(technique::Sink& sink) const {
  technique::put_values(sink, "visits", visits_);
  technique::put_values(sink, "turn", std::vector<std::int64_t>{static_cast<std::int64_t>(turn_)});
}

void LiveRounds::restore(technique::Source& source, Index slots) {
  const auto visits = technique::get_values<std::uint32_t>(source, "visits");
  const auto turn = technique::get_values<std::int64_t>(source, "turn", 1);
  if (turn[0] < 0 || turn[0] > slots)
    throw core::Error(core::ErrorCode::corrupt_data, "checkpoint: a turn that is out of range");
  visits_ = visits;
  turn_ = static_cast<std::size_t>(turn[0]);
  total_ = std::accumulate(visits_.begin(), visits_.end(), std::uint64_t{0});
}

}  // namespace farfield::techniques::ptychography
