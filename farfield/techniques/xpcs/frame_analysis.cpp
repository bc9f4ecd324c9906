#include "farfield/techniques/xpcs/frame_analysis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "farfield/parallel/communicator.hpp"
#include "farfield/technique/blocks.hpp"
#include "farfield/techniques/xpcs/product_parts.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Array;
using core::Error;
using core::ErrorCode;

namespace {

// Long enough that level data are carried over memory seldom, short enough that a level fits the cache.
constexpr Index kBlockSteps = 8192;
// A block of bright frames ends sooner: about the memory of the level data.
constexpr Index kEventsPerSlot = 96, kLeastEvents = Index{1} << 20;
constexpr std::size_t kEventsAtOnce = std::size_t{1} << 17;  // for each thread: a part of a block
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Array<float, 2> calibration(const core::AnyArray& image, const char* what, Index ny, Index nx) {
  if (image.rank() != 2 || image.shape()[0] != ny || image.shape()[1] != nx)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} of shape ({}) must have the shape of the frames, ({}, {})",
                                                     what, fmt::join(image.shape(), ", "), ny, nx));
  return image.to<float, 2>();
}

}  // namespace

FrameAnalysis::FrameAnalysis(const IntakeOptions& options, const LagScheme& scheme,
                             const technique::Resources& resources, bool share_pixels)
    : resources_(resources), intake_options_(options), scheme_(scheme), intake_(options), share_pixels_(share_pixels) {}
FrameAnalysis::~FrameAnalysis() = default;

std::pair<Index, Index> FrameAnalysis::own_tiles() const {
  if (resources_.communicator == nullptr || !share_pixels_) return {0, tiling_.tiles()};
  const Index rank = resources_.communicator->rank(), size = resources_.communicator->size();
  return {tiling_.mapped_tiles * rank / size,
          rank + 1 == size ? tiling_.tiles() : tiling_.mapped_tiles * (rank + 1) / size};
}

void FrameAnalysis::make_correction(const model::Acquisition& acquisition, Array<std::uint32_t, 2>& mask) {
  const auto& detector = acquisition.detector;
  const auto find = [&](const char* name) -> std::optional<Array<float, 2>> {
    const auto it = acquisition.inputs.find(name);
    if (it == acquisition.inputs.end() || it->second.empty()) return std::nullopt;
    return calibration(it->second, name, detector.ny, detector.nx);
  };
  const auto dark = find("dark"), deviation = find("dark_std"), flat = find("flat");
  correction_ = {};
  correction_.lowest = static_cast<float>(intake_options_.lld);
  if (intake_options_.sigma > 0 && !deviation)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--sigma {} needs the standard deviation of a dark; the scan comes without",
                            intake_options_.sigma));
  const auto judge = [&](Index i, bool good) {
    if (!good) mask.data()[i] |= model::pixel_mask::kDead;
    return good;
  };
  if (dark) {
    correction_.dark.resize(static_cast<std::size_t>(mask.size()));
    for (Index i = 0; i < mask.size(); ++i)
      correction_.dark[static_cast<std::size_t>(i)] = judge(i, std::isfinite(dark->data()[i])) ? dark->data()[i] : 0;
  }
  if (intake_options_.sigma > 0) {
    correction_.threshold.resize(static_cast<std::size_t>(mask.size()));
    for (Index i = 0; i < mask.size(); ++i) {
      const float std = deviation->data()[i];
      correction_.threshold[static_cast<std::size_t>(i)] =
          judge(i, std::isfinite(std) && std >= 0)
              ? static_cast<float>(intake_options_.lld + intake_options_.sigma * std)
              : 0;
    }
  }
  if (flat) {
    correction_.gain.resize(static_cast<std::size_t>(mask.size()));
    for (Index i = 0; i < mask.size(); ++i) {
      const float v = flat->data()[i];
      correction_.gain[static_cast<std::size_t>(i)] = judge(i, std::isfinite(v) && v > 0) ? 1 / v : 0;
    }
  }
}

void FrameAnalysis::begin(const model::Acquisition& acquisition) {
  const auto& detector = acquisition.detector;
  map_ = qmap_from(acquisition);
  if (map_.ny() != detector.ny || map_.nx() != detector.nx)
    throw Error(ErrorCode::corrupt_data, fmt::format("q-map of {} x {} pixels for frames of {} x {}", map_.ny(),
                                                     map_.nx(), detector.ny, detector.nx));
  Array<std::uint32_t, 2> mask =
      detector.pixel_mask.empty() ? Array<std::uint32_t, 2>({detector.ny, detector.nx}) : detector.pixel_mask.clone();
  make_correction(acquisition, mask);
  tiling_ = make_tiling(map_, mask.view());
  intake_.begin(detector.ny, detector.nx, tiling_);

  expected_frames_ = std::max<Index>(acquisition.scan.expected_frames, 0);
  const Index expected_steps = intake_.steps_of(expected_frames_);
  window_steps_ = intake_options_.window > 0 ? std::max<Index>(intake_options_.window / intake_.frames_per_step(), 1)
                  : expected_steps > 0       ? (expected_steps + 9) / 10
                                             : 1000;
  const double bytes = Correlator::bytes(tiling_, scheme_, expected_steps);
  if (resources_.memory_limit_bytes > 0 && bytes > resources_.memory_limit_bytes)
    throw Error(
        ErrorCode::resource_exhausted,
        fmt::format("{} pixels over {} time steps need {:.1f} GiB of level data, {:.1f} GiB may be used",
                    tiling_.order.slots(), expected_steps, bytes / 0x1p30, resources_.memory_limit_bytes / 0x1p30));
  const auto [first, last] = own_tiles();
  correlator_.emplace(tiling_, scheme_, window_steps_, first, last);

  if (intake_options_.frame_time_s > 0) {
    frame_time_s_ = intake_options_.frame_time_s;
  } else if (const auto it = acquisition.metadata.find(result::kFrameTime); it != acquisition.metadata.end()) {
    double seconds = 0;
    const auto& text = it->second;
    if (std::from_chars(text.data(), text.data() + text.size(), seconds).ec == std::errc{} && seconds > 0)
      frame_time_s_ = seconds;
  }
  started_s_ = resources_.clock->now_s();
}

void FrameAnalysis::push(std::span<const model::FrameView> frames) {
  intake_.push(frames, *resources_.pool, [this](auto ready) { take(ready); });
}
void FrameAnalysis::annotate(model::FrameId id, const model::Values& values) {
  intake_.annotate(id, values, [this](auto ready) { take(ready); });
}
void FrameAnalysis::end_of_scan() {
  intake_.end([this](auto ready) { take(ready); });
  ended_ = true;
}

void FrameAnalysis::take(std::span<const ReadyFrame> frames) {
  const Index most = std::max(kLeastEvents, kEventsPerSlot * tiling_.mapped_tiles * kTileSlots);
  for (const auto& frame : frames) {
    if (intake_options_.normalise == Normalise::frame_sum) {
      const double sum = frame_sum(frame.events, tiling_, correction_);
      if (!(sum > 0)) {
        rejected_.emplace_back(frame.id, "it has no counts; to divide by their sum, there must be some");
        continue;
      }
      if (reference_ == 0) reference_ = sum;
    }
    // Where a block ends depends on the frames alone, not on how they came: the bits are the same.
    const Index start = correlator_->steps();
    const bool new_step = frame.step >= start + block_.steps;
    if (block_.steps > 0 && new_step &&
        (frame.step - start >= kBlockSteps || block_.events >= most || frame.step >= boundary())) {
      bin_chunk();
      // Missing time steps up to a boundary belong to what lies before it.
      const Index limit = std::min({boundary() - start, frame.step - start, kBlockSteps});
      if (limit > block_.steps) {
        block_.valid.resize(static_cast<std::size_t>(limit), 0);
        block_.steps = limit;
      }
      absorb_block();
    }
    while (frame.step - correlator_->steps() >= kBlockSteps || frame.step >= boundary()) {
      block_.steps = std::min({frame.step - correlator_->steps(), boundary() - correlator_->steps(), kBlockSteps});
      block_.valid.assign(static_cast<std::size_t>(block_.steps), 0);
      absorb_block();
    }
    const Index step = frame.step - correlator_->steps();
    block_.steps = step + 1;
    block_.valid.resize(static_cast<std::size_t>(block_.steps), 0);
    block_.valid.back() = 1;
    block_.frames.resize(static_cast<std::size_t>(block_.steps), 0);
    ++block_.frames.back();
    block_.events += static_cast<Index>(frame.events.size());

    StepFrame in;
    in.step = static_cast<std::uint16_t>(step);
    in.events = frame.events;
    if (intake_options_.normalise == Normalise::monitor) {
      if (reference_ == 0) reference_ = frame.monitor;
      in.scale = static_cast<float>(reference_ / frame.monitor);
    }
    chunk_.push_back(in);
    ids_.push_back(frame.id);
  }
  hold_chunk();
}

void FrameAnalysis::hold_chunk() {
  std::size_t events = held_counts_.size() + held_values_.size();
  for (std::size_t i = held_.size(); i < chunk_.size(); ++i) events += chunk_[i].events.size();
  if (events >= kEventsAtOnce * static_cast<std::size_t>(resources_.pool->size())) {
    bin_chunk();
    return;
  }
  for (std::size_t i = held_.size(); i < chunk_.size(); ++i) {
    const auto& [counts, values] = chunk_[i].events;
    held_counts_.insert(held_counts_.end(), counts.begin(), counts.end());
    held_values_.insert(held_values_.end(), values.begin(), values.end());
    held_.push_back({held_counts_.size(), held_values_.size()});
  }
}

void FrameAnalysis::settle() const { bin_chunk(); }

void FrameAnalysis::bin_chunk() const {
  if (chunk_.empty()) return;
  HeldFrame begin;
  for (std::size_t i = 0; i < held_.size(); ++i) {
    const HeldFrame end = held_[i];
    chunk_[i].events = {std::span(held_counts_).subspan(begin.counts_end, end.counts_end - begin.counts_end),
                        std::span(held_values_).subspan(begin.values_end, end.values_end - begin.values_end)};
    begin = end;
  }
  Binning how;
  how.tiling = &tiling_;
  how.correction = &correction_;
  how.by_frame_sum = intake_options_.normalise == Normalise::frame_sum;
  how.reference_sum = reference_;
  std::tie(how.first_tile, how.last_tile) = own_tiles();
  for (auto& part : bin_frames(chunk_, how, *resources_.pool)) append(block_.parts, std::move(part));
  for (const auto& frame : chunk_) frame_sums_.push_back(frame.sum);
  chunk_.clear();
  held_.clear();
  held_counts_.clear();
  held_values_.clear();
}

std::vector<Index> FrameAnalysis::window_weights() const {
  auto out = window_frames_;
  for (std::size_t s = 0; s < block_.frames.size(); ++s) {
    if (block_.frames[s] == 0) continue;
    const auto window = static_cast<std::size_t>((correlator_->steps() + static_cast<Index>(s)) / window_steps_);
    if (out.size() <= window) out.resize(window + 1);
    out[window] += intake_options_.average;
  }
  return out;
}

void FrameAnalysis::absorb_block() {
  window_frames_ = window_weights();
  complete_steps(block_, intake_options_.average);
  correlator_->absorb(block_, *resources_.pool);
  absorbed(block_);
  block_ = {};
}

void FrameAnalysis::close() {
  settle();
  if (block_.steps > 0) absorb_block();
}

void FrameAnalysis::report(technique::Observer& observer) {
  for (const auto& [id, reason] : intake_.take_rejected()) observer.rejected(id, reason);
  for (const auto& [id, reason] : std::exchange(rejected_, {})) observer.rejected(id, reason);
  const auto frames = static_cast<Index>(ids_.size());
  if (frames == reported_) return;
  settle();
  reported_ = frames;
  double sum = 0;
  for (const double s : frame_sums_) sum += s;
  observer.progress({frames,
                     expected_frames_,
                     resources_.clock->now_s() - started_s_,
                     {{"counts_per_frame", sum / static_cast<double>(frames)}}});
}

void FrameAnalysis::require_steps(Index least) const {
  if (steps() < least || ids_.empty())
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} usable time steps; at least {} are needed", ids_.empty() ? 0 : steps(), least));
}

const EventBlock& FrameAnalysis::complete_block(std::optional<EventBlock>& copy) const {
  settle();
  if (!any_incomplete(block_, intake_options_.average)) return block_;
  copy = block_.clone();
  complete_steps(*copy, intake_options_.average);
  return *copy;
}

BinSums FrameAnalysis::sums(PixelCorrelations* pixels) const {
  std::optional<EventBlock> copy;
  auto out = correlator_->sums(complete_block(copy), *resources_.pool, pixels);
  auto* ranks = share_pixels_ ? resources_.communicator : nullptr;
  add_over_ranks(out, ranks);
  if (pixels != nullptr && ranks != nullptr)
    for (auto* image : {&pixels->g2, &pixels->past, &pixels->future})
      ranks->all_reduce({image->begin(), image->end()}, parallel::Reduce::sum);
  return out;
}

void FrameAnalysis::add_over_ranks(BinSums& sums, parallel::Communicator* ranks) {
  if (ranks == nullptr) return;
  const auto add = [&](auto& array) { ranks->all_reduce({array.begin(), array.end()}, parallel::Reduce::sum); };
  add(sums.sums);
  add(sums.intensity);
  add(sums.window_intensity);
  add(sums.pixel_intensity);
}

double FrameAnalysis::intensity_scale() const {
  if (intake_options_.normalise == Normalise::none || reference_ <= 0) return 1;
  settle();
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    sum += intake_options_.normalise == Normalise::monitor ? intake_.monitor(ids_[i]) : frame_sums_[i];
    count += 1;
  }
  return sum / count / reference_;
}

model::Product FrameAnalysis::scattering(const std::string& verb, const BinSums& sums) const {
  settle();
  model::Product out;
  out.technique = "xpcs";
  out.verb = verb;
  const auto frames = static_cast<double>(ids_.size());
  const double scale = intensity_scale();
  const auto weights = window_weights();
  const auto weight = static_cast<double>(std::accumulate(weights.begin(), weights.end(), Index{0}));
  const auto& order = tiling_.order;
  const Index statics = order.static_bins();

  Array<double, 1> saxs({statics}, kNone);
  const auto windows = std::min<Index>(sums.window_intensity.extent(0), static_cast<Index>(weights.size()));
  Array<double, 2> partial({windows, statics}, kNone);
  for (Index s = 0; s < statics; ++s) {
    const auto at = static_cast<std::size_t>(s);
    const auto pixels = static_cast<double>(order.first_slot[at + 1] - order.first_slot[at]);
    if (pixels == 0) continue;
    saxs(s) = sums.intensity(s) * scale / (pixels * weight);
    for (Index w = 0; w < windows; ++w)
      if (const auto n = weights[static_cast<std::size_t>(w)]; n > 0)
        partial(w, s) = sums.window_intensity(w, s) * scale / (pixels * static_cast<double>(n));
  }
  Array<double, 2> image({map_.ny(), map_.nx()}, kNone);
  for (std::size_t place = 0; place < tiling_.pixel.size(); ++place)
    if (tiling_.pixel[place] != PixelOrder::kUnused)
      image.data()[tiling_.pixel[place]] = sums.pixel_intensity(static_cast<Index>(place)) * scale / weight;

  std::vector<double> per_pixel, transmission;
  double monitors = 0;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    per_pixel.push_back(frame_sums_[i] / static_cast<double>(tiling_.good_pixels));
    transmission.push_back(intake_.monitor(ids_[i]));
    monitors += transmission.back();
  }
  auto& d = out.datasets;
  d.push_back({result::kQ,
               array_of(map_.q()),
               map_.axes.empty() ? "" : map_.axes.front().unit,
               {"q"},
               "value of the first axis of the map for each dynamic bin",
               "none"});
  d.push_back({result::kSaxs1d, core::AnyArray(saxs), "counts", {"static"}, "per pixel and frame, by static bin"});
  d.push_back({result::kSaxs1dPartial,
               core::AnyArray(partial),
               "counts",
               {"window", "static"},
               "the same in each window of frames"});
  d.push_back({result::kSaxs2d, core::AnyArray(image), "counts", {"y", "x"}, "per frame; NaN where masked", "log"});
  d.push_back({result::kFrame, array_of(ids_), "", {"frame"}, "ids of the frames used", "abscissa"});
  d.push_back({result::kFrameSum, array_of(per_pixel), "counts", {"frame"}, "per good pixel"});
  if (std::isfinite(monitors) && monitors > 0) {
    for (double& v : transmission) v *= frames / monitors;
    d.push_back({result::kTransmission, array_of(transmission), "", {"frame"}, "monitor over its mean"});
  }
  for (auto& [name, array] : to_inputs(map_)) {
    std::vector<std::string> axes = array.rank() == 2 ? std::vector<std::string>{"y", "x"} : std::vector{name};
    d.push_back({name, std::move(array), "", std::move(axes), "the q-map as used", "none"});
  }
  out.provenance["qmap/map_names"] = axis_names(map_);
  out.provenance["qmap/map_units"] = axis_units(map_);
  out.metrics = {{"frames", frames},
                 {"time_steps", static_cast<double>(steps())},
                 {"bad_frames", frames > 0 ? static_cast<double>(intake_.wanted(ids_.back())) - frames : 0},
                 {"frames_per_step", static_cast<double>(intake_.frames_per_step())},
                 {"pixels", static_cast<double>(order.slots())}};
  if (frame_time_s_) out.metrics[result::kFrameTime] = *frame_time_s_;
  return out;
}

void FrameAnalysis::save(technique::Sink& sink) const {
  settle();
  intake_.save(sink);
  int count = 0;
  correlator_->save([&](auto bytes) { sink.put(fmt::format("correlator_{}", count++), bytes); });
  sink.put("ids", std::as_bytes(std::span(ids_)));
  sink.put("frame_sums", std::as_bytes(std::span(frame_sums_)));
  sink.put("window_frames", std::as_bytes(std::span(window_frames_)));
  const double numbers[] = {reference_, static_cast<double>(block_.events)};
  sink.put("numbers", std::as_bytes(std::span(numbers)));
  sink.put("block_valid", std::as_bytes(std::span(block_.valid)));
  sink.put("block_frames", std::as_bytes(std::span(block_.frames)));
  for (std::size_t i = 0; i < block_.parts.size(); ++i) {
    const auto& part = block_.parts[i];
    sink.put(fmt::format("block_begin_{}", i), std::as_bytes(std::span(part.begin)));
    sink.put(fmt::format("block_events_{}", i), std::as_bytes(part.all()));
  }
}

void FrameAnalysis::restore_block(technique::Source& source, const std::string& valid, const std::string& begin,
                                  const std::string& events, EventBlock& block) const {
  const auto broken = [] { return Error(ErrorCode::corrupt_data, "the checkpoint contradicts itself"); };
  block = {};
  block.valid = technique::get_values<std::uint8_t>(source, valid);
  block.steps = static_cast<Index>(block.valid.size());
  if (block.steps > kBlockSteps) throw broken();
  for (int i = 0; source.has(begin + std::to_string(i)); ++i) {
    EventPart part;
    part.begin = technique::get_values<std::uint32_t>(source, begin + std::to_string(i));
    const auto list = technique::get_values<SlotEvent>(source, events + std::to_string(i));
    if (part.begin.size() != static_cast<std::size_t>(tiling_.tiles()) + 1 || part.begin.front() != 0 ||
        !std::is_sorted(part.begin.begin(), part.begin.end()) || part.begin.back() != list.size() ||
        std::any_of(list.begin(), list.end(),
                    [&](const SlotEvent& e) { return e.slot >= kTileSlots || e.step >= block.steps; }))
      throw broken();
    part.events = std::make_unique_for_overwrite<SlotEvent[]>(list.size());
    std::copy(list.begin(), list.end(), part.events.get());
    block.parts.push_back(std::move(part));
  }
}

void FrameAnalysis::restore(technique::Source& source) {
  const auto broken = [] { return Error(ErrorCode::corrupt_data, "the checkpoint contradicts itself"); };
  intake_.restore(source);
  int count = 0;
  correlator_->restore([&] { return source.get(fmt::format("correlator_{}", count++)); });
  ids_ = technique::get_values<model::FrameId>(source, "ids");
  frame_sums_ = technique::get_values<double>(source, "frame_sums");
  window_frames_ = technique::get_values<Index>(source, "window_frames");
  const auto numbers = technique::get_values<double>(source, "numbers");
  if (numbers.size() != 2 || frame_sums_.size() != ids_.size()) throw broken();
  reference_ = numbers[0];
  chunk_.clear();
  held_.clear();
  held_counts_.clear();
  held_values_.clear();
  block_ = {};
  block_.events = static_cast<Index>(numbers[1]);
  const auto events = block_.events;
  restore_block(source, "block_valid", "block_begin_", "block_events_", block_);
  block_.events = events;
  block_.frames = technique::get_values<std::uint32_t>(source, "block_frames");
  if (block_.frames.size() > block_.valid.size() ||
      std::any_of(block_.frames.begin(), block_.frames.end(), [&](auto n) { return n > intake_options_.average; }))
    throw broken();
  reported_ = static_cast<Index>(ids_.size());
}

}  // namespace farfield::techniques::xpcs
