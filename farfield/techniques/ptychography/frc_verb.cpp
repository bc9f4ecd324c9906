#include "farfield/techniques/ptychography/frc_verb.hpp"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/compare.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Error;
using core::ErrorCode;
using core::Index;
using technique::StepState;

struct FrcOptions {
  HalfSplit split = HalfSplit::balanced;
  FrcImage image = FrcImage::complex;
  Index crop_px = 0;
};

const core::BoundSchema<FrcOptions>& own_schema() {
  static const core::BoundSchema<FrcOptions> schema = [] {
    core::BoundSchema<FrcOptions> s;
    s.add("frc-split", &FrcOptions::split, "how frames are dealt to the halves, one of each pair to each",
          {.choices = {"even-odd", "balanced", "random"}, .group = "Ring correlation"});
    s.add("frc-image", &FrcOptions::image, "what the ring correlation compares",
          {.choices = {"complex", "phase"}, .group = "Ring correlation"});
    s.add("frc-crop", &FrcOptions::crop_px,
          "pixels of the object left out at every side; 0: the largest rectangle that the scan illuminates",
          {.min = 0, .max = 1e6, .unit = "px", .group = "Ring correlation"});
    return s;
  }();
  return schema;
}

struct JoinedSchema : core::OptionSchema {
  JoinedSchema(const core::OptionSchema& a, const core::OptionSchema& b) {
    options_ = a.options();
    options_.insert(options_.end(), b.options().begin(), b.options().end());
  }
};

core::OptionValues part_of(const core::OptionValues& values, const core::OptionSchema& schema) {
  core::OptionValues out;
  for (const auto& [name, value] : values)
    if (schema.find(name) != nullptr) out[name] = value;
  return out;
}

bool is_end(StepState s) { return s != StepState::working && s != StepState::waiting; }

constexpr std::array<const char*, 2> kNames{"a", "b"};

/// Blocks of one half, under its name.
struct HalfSink final : technique::Sink {
  HalfSink(technique::Sink& sink, int half)
      : sink_(sink), prefix_(std::string(kNames[static_cast<std::size_t>(half)]) + "/") {}
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    sink_.put(prefix_ + std::string(name), bytes);
  }

private:
  technique::Sink& sink_;
  std::string prefix_;
};
struct HalfSource final : technique::Source {
  HalfSource(technique::Source& source, int half)
      : source_(source), prefix_(std::string(kNames[static_cast<std::size_t>(half)]) + "/") {}
  std::vector<std::byte> get(std::string_view name) override { return source_.get(prefix_ + std::string(name)); }
  bool has(std::string_view name) const override { return source_.has(prefix_ + std::string(name)); }

private:
  technique::Source& source_;
  std::string prefix_;
};

/// Passes on what a half reports: frames under their outer ids, iterations counted over both halves.
struct HalfObserver final : technique::Observer {
  HalfObserver(technique::Observer& out, const HalfDeal& deal, int half, std::int64_t& done, std::int64_t other)
      : out_(out), deal_(deal), half_(half), done_(done), other_(other) {}
  void progress(const technique::Progress& p) override {
    technique::Progress both = p;
    done_ = p.iteration;
    both.iteration = done_ + other_;
    both.iterations = 2 * p.iterations;
    both.values.emplace_back("half", half_ + 1);
    out_.progress(both);
  }
  void rejected(model::FrameId id, const std::string& reason) override {
    out_.rejected(deal_.outer(half_, id), reason);
  }
  void warning(const std::string& message) override { out_.warning(fmt::format("half {}: {}", half_ + 1, message)); }

private:
  technique::Observer& out_;
  const HalfDeal& deal_;
  int half_;
  std::int64_t& done_;
  std::int64_t other_;
};

class HalvesCorrelation final : public technique::Technique {
public:
  HalvesCorrelation(const FrcOptions& options, const core::OptionValues& reconstruct, const MakeReconstruction& make,
                    technique::Resources resources)
      : options_(options), deal_{options.split, resources.seed} {
    resources.memory_limit_bytes /= 2;
    for (auto& half : halves_) half = make(reconstruct, resources);
  }

  void begin(const model::Acquisition& acquisition) override {
    for (int h = 0; h < 2; ++h) {
      auto own = acquisition.clone();
      own.scan.expected_frames = deal_.share(h, acquisition.scan.expected_frames);
      half(h).begin(own);
    }
  }

  void push(std::span<const model::FrameView> frames) override {
    std::array<std::vector<model::FrameView>, 2> dealt;
    for (const auto& frame : frames) {
      if (frame.id < 0) throw Error(ErrorCode::invalid_argument, fmt::format("frame number {} must be >= 0", frame.id));
      dealt[static_cast<std::size_t>(deal_.half(frame.id))].push_back({HalfDeal::inner(frame.id), frame.image});
    }
    for (int h = 0; h < 2; ++h)
      if (const auto& own = dealt[static_cast<std::size_t>(h)]; !own.empty()) half(h).push(own);
  }

  void annotate(model::FrameId id, const model::Values& values) override {
    if (id >= 0) half(deal_.half(id)).annotate(HalfDeal::inner(id), values);
  }

  void end_of_scan() override {
    for (auto& half : halves_) half->end_of_scan();
  }

  StepState step(std::stop_token stop, technique::Observer& observer) override {
    // The half whose turn it is; the other one when that has nothing to do.
    for (int tries = 0; tries < 2; ++tries) {
      const int h = turn_;
      turn_ = 1 - turn_;
      auto& state = states_[static_cast<std::size_t>(h)];
      if (is_end(state)) continue;
      HalfObserver own(observer, deal_, h, done_[static_cast<std::size_t>(h)], done_[static_cast<std::size_t>(1 - h)]);
      state = half(h).step(stop, own);
      if (state != StepState::waiting) break;
    }
    return joint_state();
  }

  model::Product snapshot() const override { return joined(halves_[0]->snapshot(), halves_[1]->snapshot()); }

  void save(technique::Sink& sink) const override {
    const std::array<std::int64_t, 5> progress{turn_, static_cast<std::int64_t>(states_[0]),
                                               static_cast<std::int64_t>(states_[1]), done_[0], done_[1]};
    sink.put("halves", std::as_bytes(std::span(progress)));
    for (int h = 0; h < 2; ++h) {
      HalfSink own(sink, h);
      halves_[static_cast<std::size_t>(h)]->save(own);
    }
  }

  void restore(technique::Source& source) override {
    std::array<std::int64_t, 5> progress{};
    const auto bytes = source.get("halves");
    if (bytes.size() != sizeof progress)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("checkpoint block halves has {} bytes instead of {}", bytes.size(), sizeof progress));
    std::memcpy(progress.data(), bytes.data(), sizeof progress);
    constexpr auto kLast = static_cast<std::int64_t>(StepState::not_converged);
    if (progress[0] < 0 || progress[0] > 1 || std::min(progress[1], progress[2]) < 0 ||
        std::max(progress[1], progress[2]) > kLast)
      throw Error(ErrorCode::corrupt_data, "checkpoint block halves holds values that no computation writes");
    turn_ = static_cast<int>(progress[0]);
    states_ = {static_cast<StepState>(progress[1]), static_cast<StepState>(progress[2])};
    done_ = {progress[3], progress[4]};
    for (int h = 0; h < 2; ++h) {
      HalfSource own(source, h);
      half(h).restore(own);
    }
  }

  model::Product finish(technique::Observer& observer) override {
    std::array<model::Product, 2> products;
    for (int h = 0; h < 2; ++h) {
      HalfObserver own(observer, deal_, h, done_[static_cast<std::size_t>(h)], done_[static_cast<std::size_t>(1 - h)]);
      products[static_cast<std::size_t>(h)] = half(h).finish(own);
    }
    return joined(products[0], products[1]);
  }

private:
  technique::Technique& half(int h) { return *halves_[static_cast<std::size_t>(h)]; }

  StepState joint_state() const {
    if (!is_end(states_[0]) || !is_end(states_[1])) {
      const bool idle = (is_end(states_[0]) || states_[0] == StepState::waiting) &&
                        (is_end(states_[1]) || states_[1] == StepState::waiting);
      return idle ? StepState::waiting : StepState::working;
    }
    for (const StepState s : states_)
      if (s == StepState::not_converged) return s;
    return states_[0] == states_[1] ? states_[0] : StepState::finished;
  }

  model::Product joined(const model::Product& a, const model::Product& b) const {
    CompareOptions how;
    how.frc_image = options_.image;
    how.crop_px = options_.crop_px;
    auto out = compare(a, b, how);
    out.verb = "frc";
    for (int h = 0; h < 2; ++h)
      for (const auto& [name, value] : (h == 0 ? a : b).metrics)
        out.metrics[name + "_" + kNames[static_cast<std::size_t>(h)]] = value;
    out.provenance = a.provenance;
    return out;
  }

  FrcOptions options_;
  HalfDeal deal_;
  std::array<std::unique_ptr<technique::Technique>, 2> halves_;
  std::array<StepState, 2> states_{StepState::working, StepState::working};
  std::array<std::int64_t, 2> done_{};
  int turn_ = 0;
};

}  // namespace

int HalfDeal::flipped(model::FrameId pair) const {
  switch (split) {
    case HalfSplit::even_odd: return 0;
    case HalfSplit::balanced: return std::popcount(static_cast<std::uint64_t>(pair)) & 1;
    case HalfSplit::random: return static_cast<int>(math::Random(seed, static_cast<std::uint64_t>(pair)).next() >> 63);
  }
  return 0;
}

Index HalfDeal::share(int half_index, Index n) const {
  if (n < 0) return n;
  return n / 2 + (n % 2 == 1 && half(n - 1) == half_index);
}

technique::Verb frc_verb(const core::OptionSchema& reconstruct_schema, MakeReconstruction make) {
  const JoinedSchema schema(reconstruct_schema, own_schema());
  return {.name = "frc",
          .summary = "resolution of a scan: two halves reconstructed independently, their Fourier ring correlation",
          .options = schema,
          .inputs = {"frames"},
          .outputs = compare_verb().outputs,
          .analyse = [schema, make = std::move(make), reconstruct_schema](
                         const core::OptionValues& values,
                         const technique::Resources& resources) -> std::unique_ptr<technique::Technique> {
            const auto checked = schema.check(values);
            return std::make_unique<HalvesCorrelation>(own_schema().make(part_of(checked, own_schema())),
                                                       part_of(checked, reconstruct_schema), make, resources);
          }};
}

}  // namespace farfield::techniques::ptychography
