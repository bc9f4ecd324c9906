#pragma once
// For tests of the verb reconstruct: a small scan in memory that may be spoilt, and the loop around the technique.

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "farfield/techniques/ptychography/reconstruction.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography::testing {

using core::ErrorCode;
using core::OptionValues;
using technique::StepState;

inline const technique::Verb& verb() {
  static const auto v = reconstruct_verb();
  return v;
}

/// 49 patterns of 32 x 32 of a star, Gaussian spot of 8 px, steps of 3 px.
inline OptionValues scan_options(OptionValues more = {}) {
  OptionValues v{{"patterns", std::int64_t{49}},
                 {"shape", std::int64_t{32}},
                 {"probe", std::string("gaussian")},
                 {"probe-size", 8.0},
                 {"step", 3.0},
                 {"jitter", 1.0},
                 {"photons", 1e5}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}

/// Estimated plans are the same in every process, whatever was measured before.
inline OptionValues options(OptionValues more = {}) {
  OptionValues v{{"iterations", std::int64_t{4}}, {"fft-planning", std::string("estimate")}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}

struct Recorder final : technique::Observer {
  void progress(const technique::Progress& p) override { reports.push_back(p); }
  void rejected(model::FrameId id, const std::string& reason) override { rejections.emplace_back(id, reason); }
  void warning(const std::string& text) override { warnings.push_back(text); }
  std::vector<technique::Progress> reports;
  std::vector<std::pair<model::FrameId, std::string>> rejections;
  std::vector<std::string> warnings;
};

struct Blocks final : technique::Sink, technique::Source {
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    blocks[std::string(name)].assign(bytes.begin(), bytes.end());
  }
  std::vector<std::byte> get(std::string_view name) override {
    const auto it = blocks.find(std::string(name));
    if (it == blocks.end()) throw core::Error(ErrorCode::corrupt_data, "no block " + std::string(name));
    return it->second;
  }
  bool has(std::string_view name) const override { return blocks.contains(std::string(name)); }
  std::map<std::string, std::vector<std::byte>> blocks;
};

/// A scan in memory that tests may spoil.
struct Scan {
  model::Acquisition acquisition;
  std::vector<core::AnyArray> frames;
  std::vector<model::Values> values;
  model::Product truth;
};

inline Scan make_scan(const OptionValues& given, std::uint64_t seed = 3) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto simulation = make_simulation(given, {&pool, nullptr, &clock, seed, 0});
  Scan scan;
  while (simulation->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames)
      core::visit_dtype(f.image.dtype, [&](auto zero) { scan.frames.emplace_back(f.image.view<decltype(zero)>()); });
    for (const auto& [id, v] : batch.values) scan.values.push_back(v);
  })) {}
  scan.acquisition = simulation->acquisition().clone();
  scan.truth = simulation->truth();
  return scan;
}

inline const Scan& star() {
  static const Scan scan = make_scan(scan_options());
  return scan;
}

/// A copy that a test may spoil; frames are shared.
inline Scan copy_of(const Scan& scan) { return {scan.acquisition.clone(), scan.frames, scan.values, {}}; }

struct Bench {
  explicit Bench(const OptionValues& values, int threads = 1, double memory_limit = 0, std::uint64_t seed = 1)
      : pool(threads), technique(verb().analyse(values, {&pool, nullptr, &clock, seed, memory_limit})) {}
  void push(const Scan& scan, std::size_t i) {
    const auto& shape = scan.frames[i].shape();
    const model::FrameView view{static_cast<model::FrameId>(i),
                                {scan.frames[i].dtype(), scan.frames[i].data(), shape[0], shape[1], shape[1]}};
    technique->push(std::span(&view, 1));
  }
  void feed(const Scan& scan) {
    for (std::size_t i = 0; i < scan.values.size(); ++i)
      technique->annotate(static_cast<model::FrameId>(i), scan.values[i]);
    for (std::size_t i = 0; i < scan.frames.size(); ++i) push(scan, i);
    technique->end_of_scan();
  }
  StepState complete() {
    for (int i = 0; i < 1000; ++i) {
      state = technique->step({}, observer);
      if (state != StepState::working) return state;
    }
    return state;
  }
  model::Product run(const Scan& scan) {
    technique->begin(scan.acquisition);
    feed(scan);
    complete();
    return technique->finish(observer);
  }

  core::ThreadPool pool;
  core::ManualClock clock;
  Recorder observer;
  std::unique_ptr<technique::Technique> technique;
  StepState state = StepState::working;
};

inline model::Product reconstruct(const Scan& scan, const OptionValues& values, int threads = 1) {
  return Bench(values, threads).run(scan);
}

/// The error of running `scan` with `values`; fails when there is none.
inline core::Error error_of(const Scan& scan, const OptionValues& values, double memory_limit = 0) {
  try {
    Bench(values, 1, memory_limit).run(scan);
  } catch (const core::Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error";
  return core::Error(ErrorCode::internal, "no error");
}
#define EXPECT_ERROR(error, expected_code, part)                                          \
  do {                                                                                    \
    const core::Error caught = (error);                                                   \
    EXPECT_EQ(caught.code(), expected_code) << caught.what();                             \
    EXPECT_NE(std::string(caught.what()).find(part), std::string::npos) << caught.what(); \
  } while (false)

inline double final_cost(const model::Product& p) { return p.metrics.at("final_cost"); }

}  // namespace farfield::techniques::ptychography::testing
