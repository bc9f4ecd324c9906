#include "farfield/techniques/ptychography/batches.hpp"

#include <algorithm>
#include <cmath>
#include <list>
#include <utility>

namespace farfield::techniques::ptychography {
namespace {

/// Cuts [begin, end) into `parts` near-equal clusters, each time across the longer axis.
void bisect(Batch::iterator begin, Batch::iterator end, Index parts, const State& state, double c, double s,
            std::vector<Batch>& out) {
  if (parts <= 1) {
    out.emplace_back(begin, end);
    return;
  }
  const auto u = [&](Index slot) {
    return c * state.y[static_cast<std::size_t>(slot)] + s * state.x[static_cast<std::size_t>(slot)];
  };
  const auto v = [&](Index slot) {
    return c * state.x[static_cast<std::size_t>(slot)] - s * state.y[static_cast<std::size_t>(slot)];
  };
  double u0 = 1e300, u1 = -1e300, v0 = 1e300, v1 = -1e300;
  for (auto it = begin; it != end; ++it) {
    u0 = std::min(u0, u(*it));
    u1 = std::max(u1, u(*it));
    v0 = std::min(v0, v(*it));
    v1 = std::max(v1, v(*it));
  }
  const bool along_u = u1 - u0 >= v1 - v0;
  const Index left = parts / 2;
  const auto middle = begin + (end - begin) * left / parts;
  std::nth_element(begin, middle, end, [&](Index a, Index b) {
    const double ka = along_u ? u(a) : v(a), kb = along_u ? u(b) : v(b);
    return ka != kb ? ka < kb : a < b;
  });
  bisect(begin, middle, left, state, c, s, out);
  bisect(middle, end, parts - left, state, c, s, out);
}

}  // namespace

std::vector<Batch> make_batches(const std::vector<Index>& slots, const State& state, Index size, BatchChoice choice,
                                math::Random& random) {
  std::vector<Batch> out;
  if (slots.empty()) return out;
  const auto n = static_cast<Index>(slots.size());
  size = std::clamp<Index>(size, 1, n);
  const Index parts = (n + size - 1) / size;
  Batch order = slots;
  if (choice == BatchChoice::compact && parts > 1) {
    const double angle = random.uniform(0, M_PI / 2);
    bisect(order.begin(), order.end(), parts, state, std::cos(angle), std::sin(angle), out);
    for (auto& batch : out) random.shuffle(batch);
    random.shuffle(out);
    return out;
  }
  if (choice != BatchChoice::sequential) random.shuffle(order);
  for (Index p = 0; p < parts; ++p)
    out.emplace_back(order.begin() + n * p / parts, order.begin() + n * (p + 1) / parts);
  return out;
}

Box box_of(const Batch& batch, const State& state) {
  Box box{state.object.extent(0), state.object.extent(1), 0, 0};
  for (const Index slot : batch) {
    const Placement& p = state.placements[static_cast<std::size_t>(slot)];
    box = {std::min(box.y0, p.oy), std::min(box.x0, p.ox), std::max(box.y1, p.oy + state.shape.ny),
           std::max(box.x1, p.ox + state.shape.nx)};
  }
  return box;
}

std::vector<Round> make_rounds(std::vector<Batch> batches, const State& state, Index lanes, Index each) {
  std::vector<Round> rounds;
  std::list<std::pair<Batch, Box>> waiting;
  for (Batch& batch : batches) {
    const Box box = box_of(batch, state);
    waiting.emplace_back(std::move(batch), box);
  }
  const auto parallel = static_cast<std::size_t>(lanes);
  while (!waiting.empty()) {
    Round& round = rounds.emplace_back();
    if (lanes == 1) {
      auto& lane = round.lanes.emplace_back();
      for (Index i = 0; i < each && !waiting.empty(); ++i, waiting.pop_front())
        lane.push_back(std::move(waiting.front().first));
      continue;
    }
    std::vector<std::vector<Box>> taken(parallel);
    round.lanes.resize(parallel);
    for (Index i = 0; i < each; ++i) {
      // One more batch for every lane, or for none.
      std::vector<decltype(waiting)::iterator> chosen;
      for (std::size_t lane = 0; lane < parallel; ++lane) {
        const auto free = [&](const auto& candidate) {
          for (std::size_t other = 0; other < parallel; ++other)
            if (other != lane)
              for (const Box& box : taken[other])
                if (box.meets(candidate.second)) return false;
          return true;
        };
        auto it = waiting.begin();
        for (; it != waiting.end(); ++it)
          if (std::find(chosen.begin(), chosen.end(), it) == chosen.end() && free(*it)) break;
        if (it == waiting.end()) break;
        chosen.push_back(it);
        taken[lane].push_back(it->second);
      }
      if (chosen.size() < parallel) break;
      for (std::size_t lane = 0; lane < parallel; ++lane) {
        round.lanes[lane].push_back(std::move(chosen[lane]->first));
        waiting.erase(chosen[lane]);
      }
    }
    if (!round.lanes[0].empty()) continue;
    round.lanes.assign(1, {std::move(waiting.front().first)});
    waiting.pop_front();
  }
  return rounds;
}

}  // namespace farfield::techniques::ptychography
