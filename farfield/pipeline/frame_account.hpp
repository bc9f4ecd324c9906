#pragma once
// What became of every frame of a scan. The books always balance:
//   received = processed + dropped + pending
//   expected = received + missing + to come   (for ids within the scan)

#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "farfield/model/frame.hpp"

namespace farfield::pipeline {

using core::Index;

/// Why frames were dropped, and which: the first few ids, so that a million bad frames stay readable.
struct DropReason {
  Index frames = 0;
  std::vector<model::FrameId> first_ids;
};

struct FrameTotals {
  Index expected = -1;    ///< as the source announced it; -1: not known
  Index received = 0;     ///< different frames that the source delivered, damaged ones included
  Index processed = 0;    ///< given to the technique and not refused by it
  Index dropped = 0;      ///< damaged, or refused by the technique
  Index pending = 0;      ///< received, neither processed nor dropped yet
  /// Ids in [0, expected) that were not received; while the scan runs, and where `expected` is not known, only the gaps
  /// below the highest id.
  Index missing = 0;
  Index to_come = 0;  ///< ids in [0, expected) above the highest one received, while the scan runs; 0 at its end
  Index duplicates = 0;  ///< deliveries of a frame received before; not counted in `received`
  std::map<std::string, DropReason> reasons{};  ///< of the dropped ones
  std::map<std::string, double> quality{};  ///< metrics of a live scan, to be stored with its account
};

/// Thread-safe.
class FrameAccount {
public:
  explicit FrameAccount(Index expected = -1) : expected_(expected) {}

  /// A frame came. False: it came before (counted as duplicate); it must not be handed on.
  bool receive(model::FrameId id);
  /// The technique took it. Ignored for a frame that is not pending.
  void process(model::FrameId id);
  /// The frame cannot be used: damaged at the source (then it need not have been received) or refused by the
  /// technique, also after it was processed. The first reason given for a frame stays.
  void drop(model::FrameId id, const std::string& reason);

  /// The scan is over: nothing is to come any more, what was is missing.
  void close();

  FrameTotals totals() const;

private:
  enum class Fate : std::uint8_t { pending, processed, dropped };
  Index& count(Fate fate);
  bool enter(model::FrameId id, Fate fate);

  mutable std::mutex mutex_;
  std::unordered_map<model::FrameId, Fate> fates_;
  FrameTotals totals_;
  Index expected_, within_ = 0;
  model::FrameId highest_ = -1;  // of those within the scan
  bool closed_ = false;
};

/// One JSON object: the fields of FrameTotals; "expected" is null where it is not known.
std::string to_json(const FrameTotals& totals);
/// One line for people, e.g. "516 frames received: 514 processed, 2 dropped (damaged chunk: 3, 8); 0 missing".
std::string to_text(const FrameTotals& totals);

}  // namespace farfield::pipeline
