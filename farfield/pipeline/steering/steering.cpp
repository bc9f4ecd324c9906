#include "farfield/pipeline/steering/steering.hpp"

#include <algorithm>

namespace farfield::pipeline {
namespace {
constexpr std::size_t kScans = 64;
}

Steering::Scan& Steering::scan_of(const std::string& name) {
  if (!scans_.contains(name) && scans_.size() >= kScans)
    scans_.erase(std::min_element(scans_.begin(), scans_.end(),
                                  [](const auto& a, const auto& b) { return a.second.heard < b.second.heard; }));
  Scan& scan = scans_[name];
  scan.rules.resize(rules_.size());
  scan.heard = ++heard_;
  return scan;
}

/// A trend compares the last records with the best of all before them. Those before are folded into one record, which
/// has the best of each value: the lowest under its name; the highest is kept in a second one.
void Steering::forget_old(Scan& scan) const {
  std::int64_t needed = 1;
  for (const Rule& rule : rules_) {
    needed = std::max(needed, rule.when.longest_trend());
    if (rule.release) needed = std::max(needed, rule.release->longest_trend());
  }
  auto& history = scan.history;
  const auto kept = static_cast<std::size_t>(needed) + 1;
  if (history.size() <= 2 * kept + 2) return;
  const auto cut = history.end() - static_cast<std::ptrdiff_t>(kept);
  QualityRecord low = history.front(), high = history.front();
  for (auto it = history.begin() + 1; it != cut; ++it)
    for (const auto& [name, v] : it->values) {
      const auto [l, new_low] = low.values.try_emplace(name, v);
      l->second = std::min(l->second, v);
      const auto [h, new_high] = high.values.try_emplace(name, v);
      h->second = std::max(h->second, v);
    }
  history.erase(history.begin() + 2, cut);
  history[0] = std::move(low);
  history[1] = std::move(high);
}

std::vector<Decision> Steering::take(QualityRecord record) {
  Scan& scan = scan_of(record.scan);
  // A number that starts again is another run under the same name.
  if (!scan.history.empty() && (record.number < scan.history.back().number || scan.history.back().last)) {
    scan.history.clear();
    scan.rules.assign(rules_.size(), {});
  }
  scan.history.push_back(std::move(record));
  const QualityRecord& now = scan.history.back();
  std::vector<Decision> out;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    RuleState& state = scan.rules[i];
    if (state.fired) {
      if (rule.release && rule.release->holds(scan.history)) state = {};
      continue;
    }
    std::string why;
    state.in_a_row = rule.when.holds(scan.history, &why) ? state.in_a_row + 1 : 0;
    if (state.in_a_row < rule.records) continue;
    state.fired = true;
    out.push_back({&rule, now.scan, now.number, now.time_s, why});
  }
  forget_old(scan);
  return out;
}

}  // namespace farfield::pipeline
