#include "farfield/technique/conformance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

namespace farfield::technique {
namespace {

using core::Error;
using core::Index;

/// Why a rule does not hold.
struct Failed {
  std::string what;
};

struct Blocks final : Sink, Source {
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    blocks[std::string(name)].assign(bytes.begin(), bytes.end());
  }
  std::vector<std::byte> get(std::string_view name) override {
    const auto it = blocks.find(std::string(name));
    if (it == blocks.end()) throw Error(core::ErrorCode::corrupt_data, "checkpoint has no block " + std::string(name));
    return it->second;
  }
  bool has(std::string_view name) const override { return blocks.contains(std::string(name)); }
  std::map<std::string, std::vector<std::byte>> blocks;
};

/// A frame as it came: dense, or sparse where `image` is empty.
struct RecordedFrame {
  model::FrameId id = 0;
  core::AnyArray image;
  Index ny = 0, nx = 0;
  std::vector<model::PixelCount> events;
};

/// The scan, in memory.
struct Recording {
  model::Acquisition acquisition;
  std::vector<RecordedFrame> frames;
  std::vector<std::pair<model::FrameId, model::Values>> values;
};

Recording record(model::FrameSource& source) {
  Recording out;
  out.acquisition = source.acquisition().clone();
  const auto take = [&](const model::FrameBatch& batch) {
    for (const auto& frame : batch.frames) {
      out.frames.push_back({frame.id, {}, frame.ny(), frame.nx(), {}});
      if (frame.is_sparse()) out.frames.back().events.assign(frame.sparse.events.begin(), frame.sparse.events.end());
      else
        core::visit_dtype(frame.image.dtype, [&](auto zero) {
          out.frames.back().image = core::AnyArray(frame.image.view<decltype(zero)>());
        });
    }
    out.values.insert(out.values.end(), batch.values.begin(), batch.values.end());
  };
  while (source.next({}, take)) {}
  if (out.frames.size() < 4)
    throw Failed{fmt::format("the scan has {} frames; the suite needs at least 4", out.frames.size())};
  return out;
}

model::FrameView view_of(const RecordedFrame& frame) {
  if (frame.image.empty()) return {frame.id, {}, {frame.ny, frame.nx, frame.events}};
  return {frame.id, {frame.image.dtype(), frame.image.data(), frame.ny, frame.nx, frame.nx}};
}

/// The same frames the other way: as events where they are images of whole numbers >= 0, as u32 images where they are
/// events.
std::vector<RecordedFrame> turned(const std::vector<RecordedFrame>& frames) {
  std::vector<RecordedFrame> out;
  for (const auto& frame : frames) {
    RecordedFrame other{frame.id, {}, frame.ny, frame.nx, {}};
    if (frame.image.empty()) {
      core::Array<std::uint32_t, 2> image({frame.ny, frame.nx});
      for (const auto& e : frame.events) image.data()[e.pixel] += e.count;
      other.image = core::AnyArray(image);
    } else {
      const auto counts = frame.image.to<std::uint32_t, 2>();
      const auto values = frame.image.to<double, 2>();
      for (Index i = 0; i < counts.size(); ++i) {
        if (static_cast<double>(counts.data()[i]) != values.data()[i])
          throw Failed{
              fmt::format("frame {} holds {}; the suite needs counts to make it sparse", frame.id, values.data()[i])};
        if (counts.data()[i] != 0) other.events.push_back({static_cast<std::uint32_t>(i), counts.data()[i]});
      }
    }
    out.push_back(std::move(other));
  }
  return out;
}

struct Feed {
  std::size_t push_size = SIZE_MAX;
  bool values_first = true;
  bool reversed = false;
};

void feed(Technique& technique, const Recording& scan, const Feed& how) {
  std::vector<model::FrameView> frames;
  for (const auto& frame : scan.frames) frames.push_back(view_of(frame));
  auto values = scan.values;
  if (how.reversed) {
    std::reverse(frames.begin(), frames.end());
    std::reverse(values.begin(), values.end());
  }
  const auto annotate = [&] {
    for (const auto& [id, v] : values) technique.annotate(id, v);
  };
  if (how.values_first) annotate();
  for (std::size_t at = 0; at < frames.size(); at += std::min(how.push_size, frames.size()))
    technique.push(std::span(frames).subspan(at, std::min(how.push_size, frames.size() - at)));
  if (!how.values_first) annotate();
  technique.end_of_scan();
}

struct CountingObserver final : Observer {
  void progress(const Progress&) override {
    ++reports;
    if (on_progress) on_progress();
  }
  int reports = 0;
  std::function<void()> on_progress;
};

class Suite {
public:
  explicit Suite(const ConformanceCase& test) : test_(test), scan_(record(*test.open())) {}

  void splits() {
    const auto whole = run(scan_, {});
    for (const Feed how : {Feed{1, true, false}, Feed{3, true, false}, Feed{SIZE_MAX, false, false}})
      require_same(whole, run(scan_, how),
                   how.values_first ? fmt::format("pushed {} at a time", how.push_size)
                                    : std::string("values after the frames"));
  }

  void sparse() {
    if (!test_.verb->sparse_frames) return;
    const auto whole = run(scan_, {});
    scan_.frames = turned(scan_.frames);
    require_same(whole, run(scan_, {}), "frames sparse instead of dense, or dense instead of sparse");
  }

  void repeat() { require_same(run(scan_, {}), run(scan_, {}), "run again with the same seed"); }

  void order() {
    const auto forward = run(scan_, {}), backward = run(scan_, {SIZE_MAX, true, true});
    for (const auto& dataset : forward.datasets) {
      const auto* other = backward.find(dataset.name);
      if (other == nullptr) throw Failed{"dataset " + dataset.name + " is missing when frames come in reverse"};
      if (is_time(dataset.name)) continue;
      const double difference = relative_difference(dataset.data, other->data);
      if (!(difference <= test_.order_tolerance))
        throw Failed{fmt::format("dataset {} differs by {} when frames come in reverse; allowed: {}", dataset.name,
                                 difference, test_.order_tolerance)};
    }
  }

  void stop() {
    // A stop that comes in the middle of a step: from the first report of progress.
    auto technique = make();
    technique->begin(scan_.acquisition);
    feed(*technique, scan_, {});
    std::stop_source source;
    CountingObserver observer;
    observer.on_progress = [&] { source.request_stop(); };
    for (int i = 0; i < test_.max_steps && !source.stop_requested(); ++i)
      if (is_end(technique->step(source.get_token(), observer))) return;
    observer.reports = 0;
    technique->step(source.get_token(), observer);
    if (observer.reports > 1)
      throw Failed{fmt::format("step() went on for {} iterations after stop was requested", observer.reports)};
    require_valid(technique->snapshot(), "after a stop");
  }

  void resume() {
    auto technique = make();
    technique->begin(scan_.acquisition);
    feed(*technique, scan_, {});
    std::vector<std::pair<int, Blocks>> checkpoints;  // after how many steps
    Observer observer;
    int steps = 0;
    for (;; ++steps) {
      require_ending(steps);
      const bool end = is_end(technique->step({}, observer));
      if (checkpoints.size() < kCheckpoints || end) {
        checkpoints.emplace_back(steps + 1, Blocks{});
        technique->save(checkpoints.back().second);
      }
      if (end) break;
    }
    ++steps;
    const auto uninterrupted = technique->finish(observer);
    for (auto& [done, blocks] : checkpoints) {
      auto again = make();
      again->begin(scan_.acquisition);
      again->restore(blocks);
      feed(*again, scan_, {});
      int more = 0;
      require_same(uninterrupted, complete(*again, &more), fmt::format("resumed after step {}", done));
      if (more > std::max(1, steps - done))
        throw Failed{
            fmt::format("resumed after step {} of {} it took {} more: work was done again", done, steps, more)};
    }
  }

  void snapshot() {
    auto technique = make();
    technique->begin(scan_.acquisition);
    feed(*technique, scan_, {});
    Observer observer;
    std::optional<model::Product> first, first_copy;
    for (int i = 0;; ++i) {
      require_ending(i);
      const bool end = is_end(technique->step({}, observer));
      auto product = technique->snapshot();
      require_valid(product, fmt::format("after step {}", i + 1));
      if (!first) {
        first_copy = product;
        for (auto& d : first_copy->datasets) d.data = d.data.clone();
        first = std::move(product);
      }
      if (end) break;
    }
    require_valid(technique->finish(observer), "from finish()");
    require_same(*first_copy, *first, "the first snapshot, looked at again at the end");
  }

  void empty() {
    Recording none;
    none.acquisition = scan_.acquisition.clone();
    none.acquisition.scan.expected_frames = 0;
    ends_decently(none, "without frames");
  }

  void masked() {
    Recording blind;
    blind.acquisition = scan_.acquisition.clone();
    auto& detector = blind.acquisition.detector;
    detector.pixel_mask = core::Array<std::uint32_t, 2>({detector.ny, detector.nx}, model::pixel_mask::kDead);
    blind.frames = scan_.frames;
    blind.values = scan_.values;
    ends_decently(blind, "with every pixel masked");
  }

private:
  static constexpr std::size_t kCheckpoints = 3;

  static bool is_end(StepState state) {
    return state == StepState::finished || state == StepState::converged || state == StepState::not_converged;
  }
  static bool is_time(std::string_view name) { return name.ends_with("seconds"); }

  std::unique_ptr<Technique> make() {
    return test_.verb->analyse(test_.options, {&pool_, nullptr, &clock_, test_.seed, 0});
  }

  void require_ending(int steps) const {
    if (steps >= test_.max_steps) throw Failed{fmt::format("still at work after {} steps", steps)};
  }

  model::Product complete(Technique& technique, int* steps = nullptr) const {
    Observer observer;
    for (int i = 0;; ++i) {
      require_ending(i);
      const auto state = technique.step({}, observer);
      if (state == StepState::waiting) throw Failed{"step() waits for more although the scan has ended"};
      if (!is_end(state)) continue;
      if (steps != nullptr) *steps = i + 1;
      return technique.finish(observer);
    }
  }

  model::Product run(const Recording& scan, const Feed& how) {
    auto technique = make();
    technique->begin(scan.acquisition);
    feed(*technique, scan, how);
    return complete(*technique);
  }

  void ends_decently(const Recording& scan, const std::string& when) {
    try {
      require_valid(run(scan, {}), when);
    } catch (const Error& e) {
      if (e.code() == core::ErrorCode::internal) throw Failed{fmt::format("{}: internal error: {}", when, e.what())};
    }
  }

  void require_valid(const model::Product& product, const std::string& when) const {
    for (const auto& name : test_.verb->outputs) {
      const auto* dataset = product.find(name);
      if (dataset == nullptr || dataset->data.empty()) throw Failed{fmt::format("{}: no dataset {}", when, name)};
      if (static_cast<int>(dataset->axes.size()) != dataset->data.rank())
        throw Failed{fmt::format("{}: dataset {} of rank {} names {} axes", when, name, dataset->data.rank(),
                                 dataset->axes.size())};
    }
    for (const auto& [name, value] : product.metrics)
      if (!std::isfinite(value)) throw Failed{fmt::format("{}: metric {} is {}", when, name, value)};
  }

  static void require_same(const model::Product& expected, const model::Product& actual, const std::string& how) {
    std::string difference;
    if (!same_bits(expected, actual, &difference)) throw Failed{how + ": " + difference};
  }

  /// |a - b| / |a| over the elements that are finite in both; infinite where shapes differ.
  static double relative_difference(const core::AnyArray& a, const core::AnyArray& b) {
    if (a.shape() != b.shape() || a.dtype() != b.dtype()) return std::numeric_limits<double>::infinity();
    double difference = 0, norm = 0;
    core::visit_dtype(a.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const auto *x = static_cast<const T*>(a.data()), *y = static_cast<const T*>(b.data());
      for (Index i = 0; i < a.size(); ++i) {
        const auto p = static_cast<core::cdouble>(x[i]), q = static_cast<core::cdouble>(y[i]);
        if (!std::isfinite(std::abs(p)) || !std::isfinite(std::abs(q))) continue;
        difference += std::norm(p - q);
        norm += std::norm(p);
      }
    });
    return difference == 0 ? 0 : std::sqrt(difference / norm);
  }

  const ConformanceCase& test_;
  core::ThreadPool pool_{1};
  core::ManualClock clock_;
  Recording scan_;
};

}  // namespace

std::vector<Violation> check_conformance(const ConformanceCase& test) {
  if (test.verb == nullptr || !test.verb->analyse || !test.open)
    throw Error(core::ErrorCode::invalid_argument, "the conformance suite needs an analysing verb and a scan");
  constexpr std::pair<const char*, void (Suite::*)()> kChecks[] = {
      {"splits", &Suite::splits}, {"sparse", &Suite::sparse}, {"stop", &Suite::stop},
      {"repeat", &Suite::repeat}, {"resume", &Suite::resume}, {"snapshot", &Suite::snapshot},
      {"empty", &Suite::empty},   {"masked", &Suite::masked}, {"order", &Suite::order}};
  std::vector<Violation> violations;
  for (const auto& [name, check] : kChecks) {
    try {
      Suite suite(test);
      (suite.*check)();
    } catch (const Failed& failed) {
      violations.push_back({name, failed.what});
    } catch (const std::exception& e) {
      violations.push_back({name, e.what()});
    }
  }
  return violations;
}

std::string to_text(const std::vector<Violation>& violations) {
  std::string text;
  for (const auto& v : violations) text += v.check + ": " + v.what + "\n";
  return text;
}

bool same_bits(const model::Product& a, const model::Product& b, std::string* difference) {
  const auto differ = [&](std::string what) {
    if (difference != nullptr) *difference = std::move(what);
    return false;
  };
  if (a.datasets.size() != b.datasets.size())
    return differ(fmt::format("{} datasets instead of {}", b.datasets.size(), a.datasets.size()));
  for (const auto& x : a.datasets) {
    if (x.name.ends_with("seconds")) continue;
    const auto* y = b.find(x.name);
    if (y == nullptr) return differ("dataset " + x.name + " is missing");
    if (x.data.dtype() != y->data.dtype() || x.data.shape() != y->data.shape())
      return differ("dataset " + x.name + " has another type or shape");
    if (!x.data.empty() && std::memcmp(x.data.data(), y->data.data(), static_cast<std::size_t>(x.data.bytes())) != 0)
      return differ("dataset " + x.name + " differs");
  }
  for (const auto& [name, value] : a.metrics) {
    if (name.ends_with("seconds")) continue;
    const auto it = b.metrics.find(name);
    if (it == b.metrics.end() || std::bit_cast<std::uint64_t>(it->second) != std::bit_cast<std::uint64_t>(value))
      return differ(
          fmt::format("metric {} is {} instead of {}", name, it == b.metrics.end() ? NAN : it->second, value));
  }
  return true;
}

}  // namespace farfield::technique
