#pragma once
// One suite that every technique passes, whatever it computes. A technique's test calls check_conformance()
// with a small simulated scan and expects no violation.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "farfield/technique/technique.hpp"

namespace farfield::technique {

/// What the suite runs: an analysing verb on a scan that can be opened again and again.
struct ConformanceCase {
  const Verb* verb = nullptr;
  core::OptionValues options;                               ///< few iterations: the verb runs about 20 times
  std::function<std::unique_ptr<model::FrameSource>()> open;  ///< a scan of at least 4 frames, complete
  std::uint64_t seed = 1;
  int max_steps = 1000;  ///< of one computation; more is a technique that does not end
  /// Greatest relative difference (root of sum of squares, per dataset) when frames and annotations come in
  /// another order. Where the order of frames decides the order of updates this is not rounding error.
  double order_tolerance = 0;
};

struct Violation {
  std::string check;  ///< "splits", "sparse", "stop", "repeat", "resume", "snapshot", "empty", "masked", "order"
  std::string what;
};

/// The rules, each on one thread:
/// - splits: however the frames are divided over pushes, and whether values come before or after them, the product has
/// the same bits;
/// - sparse: where the verb takes sparse frames, dense ones end in the same bits;
/// - stop: once stop is requested, step() comes back without doing more than one more iteration;
/// - repeat: the same seed gives the same bits;
/// - resume: saved after any step and restored into a new object, the product has the bits of going on, and no step is
/// done twice;
/// - snapshot: after every step a snapshot has every dataset in the verb's `outputs`, and stays as it was while work
/// goes on;
/// - empty: without a frame, it ends with a valid product or a core::Error that is not `internal`;
/// - masked: with every pixel masked, likewise;
/// - order: frames and values in reverse order end in the same product within `order_tolerance`.
std::vector<Violation> check_conformance(const ConformanceCase& test);

/// One line per violation, for a test's message.
std::string to_text(const std::vector<Violation>& violations);

/// Whether two products have the same datasets (names, types, shapes, bits) and metrics. `difference` says where not.
/// Metrics and datasets whose name ends in "seconds" are times and are left out.
bool same_bits(const model::Product& a, const model::Product& b, std::string* difference = nullptr);

}  // namespace farfield::technique
