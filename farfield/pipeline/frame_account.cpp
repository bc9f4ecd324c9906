#include "farfield/pipeline/frame_account.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace farfield::pipeline {
namespace {
constexpr std::size_t kIdsKept = 10;
}

Index& FrameAccount::count(Fate fate) {
  return fate == Fate::pending ? totals_.pending : fate == Fate::processed ? totals_.processed : totals_.dropped;
}

bool FrameAccount::enter(model::FrameId id, Fate fate) {
  if (!fates_.emplace(id, fate).second) return false;
  ++totals_.received;
  ++count(fate);
  if (id >= 0 && (expected_ < 0 || id < expected_)) {
    ++within_;
    highest_ = std::max(highest_, id);
  }
  return true;
}

bool FrameAccount::receive(model::FrameId id) {
  const std::lock_guard lock(mutex_);
  const bool is_new = enter(id, Fate::pending);
  if (!is_new) ++totals_.duplicates;
  return is_new;
}

void FrameAccount::process(model::FrameId id) {
  const std::lock_guard lock(mutex_);
  const auto it = fates_.find(id);
  if (it == fates_.end() || it->second != Fate::pending) return;
  --totals_.pending;
  ++totals_.processed;
  it->second = Fate::processed;
}

void FrameAccount::drop(model::FrameId id, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!enter(id, Fate::dropped)) {
    auto& fate = fates_.at(id);
    if (fate == Fate::dropped) return;
    --count(fate);
    ++totals_.dropped;
    fate = Fate::dropped;
  }
  auto& entry = totals_.reasons[reason];
  ++entry.frames;
  if (entry.first_ids.size() < kIdsKept) entry.first_ids.push_back(id);
}

void FrameAccount::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

FrameTotals FrameAccount::totals() const {
  const std::lock_guard lock(mutex_);
  FrameTotals out = totals_;
  out.expected = expected_;
  out.to_come = closed_ || expected_ < 0 ? 0 : std::max<Index>(0, expected_ - 1 - highest_);
  out.missing = (expected_ >= 0 ? expected_ : highest_ + 1) - within_ - out.to_come;
  return out;
}

std::string to_json(const FrameTotals& t) {
  nlohmann::ordered_json j;
  j["expected"] = t.expected >= 0 ? nlohmann::ordered_json(t.expected) : nlohmann::ordered_json(nullptr);
  j["received"] = t.received;
  j["processed"] = t.processed;
  j["dropped"] = t.dropped;
  j["pending"] = t.pending;
  j["missing"] = t.missing;
  j["to_come"] = t.to_come;
  j["duplicates"] = t.duplicates;
  j["reasons"] = nlohmann::ordered_json::array();
  for (const auto& [reason, entry] : t.reasons)
    j["reasons"].push_back({{"reason", reason}, {"frames", entry.frames}, {"first_ids", entry.first_ids}});
  for (const auto& [name, value] : t.quality)
    j["quality"][name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  // A reason may quote bytes of a damaged file.
  return j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const FrameTotals& t) {
  std::string text = fmt::format("{} frames received: {} processed, {} dropped", t.received, t.processed, t.dropped);
  if (!t.reasons.empty()) {
    std::string reasons;
    for (const auto& [reason, entry] : t.reasons)
      reasons += fmt::format("{}{}: {}{}", reasons.empty() ? "" : "; ", reason, fmt::join(entry.first_ids, ", "),
                             entry.frames > static_cast<Index>(entry.first_ids.size()) ? ", ..." : "");
    text += " (" + reasons + ")";
  }
  if (t.pending > 0) text += fmt::format(", {} pending", t.pending);
  if (t.to_come > 0) text += fmt::format("; {} to come", t.to_come);
  if (t.missing > 0) text += fmt::format("; {} missing", t.missing);
  if (t.duplicates > 0) text += fmt::format("; {} duplicates", t.duplicates);
  return text;
}

}  // namespace farfield::pipeline
