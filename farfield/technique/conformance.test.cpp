// The suite itself: a technique that keeps the contract passes, and each way of breaking it is named.

#include "farfield/technique/conformance.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

namespace farfield::technique {
namespace {

using core::Index;

enum class Fault {
  none,
  counts_pushes,
  ignores_stop,
  random,
  forgets_state,
  shares_memory,
  no_dataset,
  never_ends,
  internal,
  depends_on_order,
  blind_to_events
};

/// Iterates x <- x / 2 + sum of first pixels, ten times.
struct Toy final : Technique {
  explicit Toy(Fault f) : fault(f) {}
  void begin(const model::Acquisition&) override {}
  void push(std::span<const model::FrameView> frames) override {
    if (fault == Fault::counts_pushes) sum += 1;
    for (const auto& f : frames) {
      const double pixel = f.is_sparse() ? (fault == Fault::blind_to_events ? 0 : f.sparse.events[0].count)
                                         : f.image.view<std::uint16_t>()(0, 0);
      sum = fault == Fault::depends_on_order ? sum * 0.5 + pixel : sum + pixel;
    }
  }
  void annotate(model::FrameId, const model::Values&) override {}
  void end_of_scan() override {}
  StepState step(std::stop_token stop, Observer& observer) override {
    if (fault == Fault::internal && sum == 0) throw core::Error(core::ErrorCode::internal, "division by zero");
    if (iteration >= 10 && fault != Fault::never_ends) return StepState::finished;
    const int rounds = fault == Fault::ignores_stop ? 3 : 1;
    for (int i = 0; i < rounds; ++i) {
      if (stop.stop_requested() && fault != Fault::ignores_stop) return StepState::working;
      (*x)(0) = (*x)(0) / 2 + sum + (fault == Fault::random ? static_cast<double>(++calls) : 0);
      observer.progress({++iteration, 10, 0, {}});
    }
    return iteration >= 10 && fault != Fault::never_ends ? StepState::finished : StepState::working;
  }
  model::Product snapshot() const override {
    model::Product p;
    if (fault == Fault::no_dataset) return p;
    p.datasets.push_back({"x", fault == Fault::shares_memory ? shared : core::AnyArray(*x), "", {"i"}, ""});
    if (fault == Fault::shares_memory) shared.view<double, 1>()[0] = (*x)(0);
    return p;
  }
  void save(Sink& sink) const override {
    sink.put("x", std::as_bytes(std::span(x->begin(), x->end())));
    sink.put("iteration", std::as_bytes(std::span(&iteration, 1)));
  }
  void restore(Source& source) override {
    if (fault == Fault::forgets_state) return;
    std::memcpy(x->data(), source.get("x").data(), sizeof(double));
    std::memcpy(&iteration, source.get("iteration").data(), sizeof iteration);
  }
  model::Product finish(Observer&) override { return snapshot(); }

  static inline int calls = 0;
  Fault fault;
  double sum = 0;
  std::int64_t iteration = 0;
  std::unique_ptr<core::Array<double, 1>> x = std::make_unique<core::Array<double, 1>>(core::Array<double, 1>({1}));
  mutable core::AnyArray shared{core::DType::f64, {1}};
};

struct FiveFrames final : model::FrameSource {
  FiveFrames() { a.detector.ny = a.detector.nx = 1; }
  const model::Acquisition& acquisition() const override { return a; }
  bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
    if (done) return false;
    model::FrameBatch batch;
    for (Index i = 0; i < 5; ++i) {
      pixels(i, 0, 0) = static_cast<std::uint16_t>(3 * i + 1);
      batch.frames.push_back({i, core::AnyImage::of<std::uint16_t>(pixels[i])});
    }
    take(batch);
    return done = true;
  }
  model::Acquisition a;
  core::Array<std::uint16_t, 3> pixels{{5, 1, 1}};
  bool done = false;
};

std::set<std::string> broken(Fault fault) {
  Verb verb;
  verb.name = "iterate";
  verb.outputs = {"x"};
  verb.sparse_frames = true;
  verb.analyse = [fault](const core::OptionValues&, const Resources&) { return std::make_unique<Toy>(fault); };
  ConformanceCase test;
  test.verb = &verb;
  test.open = [] { return std::make_unique<FiveFrames>(); };
  test.max_steps = 50;
  std::set<std::string> checks;
  for (const auto& v : check_conformance(test)) checks.insert(v.check);
  return checks;
}

using Names = std::set<std::string>;

TEST(Conformance, ATechniqueThatKeepsTheContractPasses) { EXPECT_EQ(broken(Fault::none), Names{}); }
TEST(Conformance, FindsDependenceOnHowFramesArePushed) { EXPECT_TRUE(broken(Fault::counts_pushes).contains("splits")); }
TEST(Conformance, FindsThatSparseFramesAreTakenForOthers) {
  EXPECT_EQ(broken(Fault::blind_to_events), Names{"sparse"});
}
TEST(Conformance, FindsAStepThatDoesNotStop) { EXPECT_EQ(broken(Fault::ignores_stop), Names{"stop"}); }
TEST(Conformance, FindsUnseededRandomness) { EXPECT_TRUE(broken(Fault::random).contains("repeat")); }
TEST(Conformance, FindsAnIncompleteCheckpoint) { EXPECT_EQ(broken(Fault::forgets_state), Names{"resume"}); }
TEST(Conformance, FindsASnapshotThatChangesLater) { EXPECT_TRUE(broken(Fault::shares_memory).contains("snapshot")); }
TEST(Conformance, FindsAMissingDataset) { EXPECT_TRUE(broken(Fault::no_dataset).contains("snapshot")); }
TEST(Conformance, FindsAComputationWithoutEnd) { EXPECT_TRUE(broken(Fault::never_ends).contains("splits")); }
TEST(Conformance, FindsAnInternalErrorOnEmptyInput) { EXPECT_EQ(broken(Fault::internal), Names{"empty"}); }
TEST(Conformance, FindsDependenceOnTheOrderOfFrames) { EXPECT_EQ(broken(Fault::depends_on_order), Names{"order"}); }

TEST(Conformance, RefusesAVerbThatDoesNotAnalyse) {
  Verb verb;
  ConformanceCase test;
  test.verb = &verb;
  EXPECT_THROW(check_conformance(test), core::Error);
}

}  // namespace
}  // namespace farfield::technique
