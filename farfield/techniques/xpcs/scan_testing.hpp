#pragma once
// Scans in memory and how to run a verb on them, for the tests of this folder.

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/technique/technique.hpp"
#include "farfield/techniques/xpcs/correlate.hpp"
#include "farfield/techniques/xpcs/testing.hpp"
#include "farfield/techniques/xpcs/two_time_analysis.hpp"

namespace farfield::techniques::xpcs::testing {

/// Counts (pixel, frame) as a scan; frame i has the id i.
struct Scan {
  QMap map;
  core::Array<double, 2> counts;
  std::vector<double> monitors;
  model::Acquisition acquisition() const {
    model::Acquisition a;
    a.detector.ny = map.ny();
    a.detector.nx = map.nx();
    a.scan.expected_frames = counts.extent(1);
    a.inputs = to_inputs(map);
    return a;
  }
};

inline Scan random_scan(unsigned seed, Index frames = 200, double mean = 0.3) {
  Dice dice(seed);
  Scan scan;
  scan.map = random_map(dice, 20, 30, 6, 3);
  scan.counts = random_counts(dice, 600, frames, mean);
  for (Index i = 0; i < frames; ++i) scan.monitors.push_back(0.5 + dice.real());
  return scan;
}

struct Collected : technique::Observer {
  void rejected(model::FrameId id, const std::string& why) override { refused.emplace_back(id, why); }
  void warning(const std::string& message) override { warnings.push_back(message); }
  std::vector<std::pair<model::FrameId, std::string>> refused;
  std::vector<std::string> warnings;
};

struct Analysis {
  explicit Analysis(const Scan& s, int threads = 1, parallel::Communicator* ranks = nullptr)
      : scan(s), pool(threads), resources{&pool, ranks, &clock, 0, 0} {}

  model::Product run(const CorrelateOptions& options) {
    const auto technique = make_correlate(options, resources);
    technique->begin(scan.acquisition());
    return run(*technique);
  }
  model::Product run(const TwoTimeOptions& options) {
    const auto technique = make_two_time(options, resources);
    technique->begin(scan.acquisition());
    return run(*technique);
  }
  model::Product run(technique::Technique& technique) {
    std::vector<Index> order(static_cast<std::size_t>(scan.counts.extent(1)));
    std::iota(order.begin(), order.end(), 0);
    if (shuffle > 0) std::shuffle(order.begin(), order.end(), std::mt19937(shuffle));
    for (const Index t : order) {
      if (std::find(lost.begin(), lost.end(), t) != lost.end()) continue;
      if (!scan.monitors.empty()) technique.annotate(t, {{"monitor", scan.monitors[static_cast<std::size_t>(t)]}});
      push(technique, t);
    }
    technique.end_of_scan();
    while (technique.step({}, observer) == technique::StepState::working) {}
    return technique.finish(observer);
  }
  void push(technique::Technique& technique, Index t) const {
    if (dense == core::DType::u64) {
      const auto events = events_of(scan.counts, t);
      const model::FrameView frame{t, {}, {scan.map.ny(), scan.map.nx(), events}};
      technique.push(std::span(&frame, 1));
      return;
    }
    core::AnyArray image(dense, {scan.map.ny(), scan.map.nx()});
    core::visit_dtype(dense, [&](auto zero) {
      using T = decltype(zero);
      for (Index p = 0; p < image.size(); ++p) static_cast<T*>(image.data())[p] = static_cast<T>(scan.counts(p, t));
    });
    const model::FrameView frame{t, {dense, image.data(), scan.map.ny(), scan.map.nx(), scan.map.nx()}};
    technique.push(std::span(&frame, 1));
  }

  const Scan& scan;
  core::ThreadPool pool;
  core::ManualClock clock;
  technique::Resources resources;
  Collected observer;
  core::DType dense = core::DType::u64;  // u64: sparse
  unsigned shuffle = 0;
  std::vector<Index> lost;
};

/// A simulation for the conformance suite.
struct Source final : model::FrameSource {
  explicit Source(Scan s, bool dense) : scan(std::move(s)), a(scan.acquisition()), as_images(dense) {}
  const model::Acquisition& acquisition() const override { return a; }
  bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
    if (done) return false;
    model::FrameBatch batch;
    const Index frames = scan.counts.extent(1);
    core::Array<std::uint16_t, 3> images({frames, scan.map.ny(), scan.map.nx()});
    std::vector<std::vector<model::PixelCount>> events;
    for (Index t = 0; t < frames; ++t) events.push_back(events_of(scan.counts, t));
    for (Index t = 0; t < frames; ++t) {
      const auto& list = events[static_cast<std::size_t>(t)];
      for (const auto& e : list) images[t].data()[e.pixel] = static_cast<std::uint16_t>(e.count);
      if (as_images) batch.frames.push_back({t, core::AnyImage::of<std::uint16_t>(images[t])});
      else batch.frames.push_back({t, {}, {scan.map.ny(), scan.map.nx(), list}});
      batch.values.emplace_back(t, model::Values{{"monitor", scan.monitors[static_cast<std::size_t>(t)]}});
    }
    take(batch);
    return done = true;
  }
  Scan scan;
  model::Acquisition a;
  bool as_images, done = false;
};

}  // namespace farfield::techniques::xpcs::testing
