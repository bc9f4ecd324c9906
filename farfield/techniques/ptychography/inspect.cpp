#include "farfield/techniques/ptychography/inspect.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <span>

#include "farfield/techniques/ptychography/inspect_counts.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Error;
using core::ErrorCode;
using core::Index;

class Inspect final : public technique::Technique {
public:
  Inspect(const InspectOptions& options, const technique::Resources& resources)
      : options_(options), clock_(*resources.clock) {}

  void begin(const model::Acquisition& acquisition) override {
    acquisition_ = acquisition.clone();
    if (options_.energy_eV > 0) acquisition_.beam.energy_eV = options_.energy_eV;
    if (options_.distance_m > 0) acquisition_.detector.distance_m = options_.distance_m;
    if (options_.detector_pixel_m > 0)
      acquisition_.detector.pixel_size_y_m = acquisition_.detector.pixel_size_x_m = options_.detector_pixel_m;
    if (options_.dc != DcChoice::file)
      acquisition_.detector.dc =
          options_.dc == DcChoice::centre ? model::DcLocation::centre : model::DcLocation::corner;
    counter_ = std::make_unique<PatternCounter>(acquisition_.detector);
    started_s_ = clock_.now_s();
  }

  void push(std::span<const model::FrameView> frames) override {
    for (const auto& frame : frames) {
      if (counter_->statistics().frames.contains(frame.id) || refused_.contains(frame.id)) continue;
      if (auto reason = counter_->add(frame.id, frame.image)) {
        refused_.insert({frame.id, *reason});
        rejected_.emplace_back(frame.id, std::move(*reason));
      }
    }
  }

  void annotate(model::FrameId id, const model::Values& values) override {
    const bool metres = acquisition_.scan.unit == model::PositionUnit::metres;
    const auto y = values.find(metres ? "y_m" : "y_px"), x = values.find(metres ? "x_m" : "x_px");
    if (y == values.end() || x == values.end()) return;
    if (std::isfinite(y->second) && std::isfinite(x->second)) {
      positions_[id] = {y->second, x->second};
      refused_positions_.erase(id);
    } else if (!positions_.contains(id)) {
      refused_positions_.insert(id);
    }
  }

  void end_of_scan() override { ended_ = true; }

  technique::StepState step(std::stop_token, technique::Observer& observer) override {
    for (const auto& [id, reason] : rejected_) observer.rejected(id, reason);
    rejected_.clear();
    const auto seen = static_cast<std::int64_t>(counter_->statistics().frames.size());
    if (seen > reported_) {
      reported_ = seen;
      observer.progress({seen, std::max<Index>(acquisition_.scan.expected_frames, 0), clock_.now_s() - started_s_, {}});
    }
    return ended_ ? technique::StepState::finished : technique::StepState::waiting;
  }

  model::Product snapshot() const override {
    return inspection_report({acquisition_, *counter_, positions_, static_cast<Index>(refused_.size()),
                              static_cast<Index>(refused_positions_.size())},
                             options_);
  }

  model::Product finish(technique::Observer& observer) override {
    if (counter_->statistics().frames.empty())
      throw Error(ErrorCode::corrupt_data, refused_.empty()
                                               ? "the scan has no patterns"
                                               : fmt::format("none of the {} patterns can be used; the first: {}",
                                                             refused_.size(), refused_.begin()->second));
    auto product = snapshot();
    const std::string& lines = product.provenance["warnings"];
    for (std::size_t at = 0; at < lines.size();) {
      const std::size_t end = std::min(lines.find('\n', at), lines.size());
      observer.warning(lines.substr(at, end - at));
      at = end + 1;
    }
    return product;
  }

  void save(technique::Sink& sink) const override {
    const auto& s = counter_->statistics();
    const auto put = [&](const char* name, const auto& array) {
      sink.put(name, std::as_bytes(std::span(array.begin(), array.end())));
    };
    put("sum", s.sum);
    put("peak", s.peak);
    put("histogram", s.histogram);
    std::vector<SavedFrame> frames;
    for (const auto& [id, f] : s.frames) frames.push_back({id, f});
    sink.put("frames", std::as_bytes(std::span(frames)));
  }

  void restore(technique::Source& source) override {
    auto& s = counter_->statistics();
    const auto fill = [&](const char* name, auto& array) {
      const auto bytes = source.get(name);
      const auto into = std::as_writable_bytes(std::span(array.begin(), array.end()));
      if (bytes.size() != into.size())
        throw Error(ErrorCode::corrupt_data, fmt::format("checkpoint block {} has {} bytes, this scan needs {}", name,
                                                         bytes.size(), into.size()));
      std::memcpy(into.data(), bytes.data(), bytes.size());
    };
    fill("sum", s.sum);
    fill("peak", s.peak);
    fill("histogram", s.histogram);
    const auto bytes = source.get("frames");
    std::vector<SavedFrame> frames(bytes.size() / sizeof(SavedFrame));
    if (bytes.size() != frames.size() * sizeof(SavedFrame))
      throw Error(ErrorCode::corrupt_data, fmt::format("checkpoint block frames has {} bytes, not a multiple of {}",
                                                       bytes.size(), sizeof(SavedFrame)));
    if (!bytes.empty()) std::memcpy(frames.data(), bytes.data(), bytes.size());
    s.frames.clear();
    for (const auto& f : frames) s.frames[f.id] = f.counts;
    reported_ = static_cast<std::int64_t>(s.frames.size());
  }

private:
  struct SavedFrame {
    model::FrameId id;
    FrameCounts counts;
  };

  InspectOptions options_;
  const core::Clock& clock_;
  model::Acquisition acquisition_;
  std::unique_ptr<PatternCounter> counter_;
  std::map<model::FrameId, Position> positions_;
  std::map<model::FrameId, std::string> refused_;  ///< and why
  std::set<model::FrameId> refused_positions_;
  std::vector<std::pair<model::FrameId, std::string>> rejected_;  ///< not reported yet
  std::int64_t reported_ = 0;
  double started_s_ = 0;
  bool ended_ = false;
};

}  // namespace

const core::BoundSchema<InspectOptions>& inspect_schema() {
  static const core::BoundSchema<InspectOptions> schema = [] {
    core::BoundSchema<InspectOptions> s;
    s.add("propagation", &InspectOptions::propagation, "from sample to detector",
          {.choices = {"far-field", "angular-spectrum", "fresnel"}});
    s.add("energy", &InspectOptions::energy_eV, "photon energy, over the file's; 0: as the file says",
          {.min = 0, .max = 1e7, .unit = "eV"});
    s.add("distance", &InspectOptions::distance_m, "sample to detector, over the file's; 0: as the file says",
          {.min = 0, .max = 1e4, .unit = "m"});
    s.add("detector-pixel", &InspectOptions::detector_pixel_m, "over the file's; 0: as the file says",
          {.min = 0, .max = 1, .unit = "m"});
    s.add("dc", &InspectOptions::dc, "where zero spatial frequency lies in the frames",
          {.choices = {"file", "centre", "corner"}});
    s.add("probe-diameter", &InspectOptions::probe_diameter_px, "for the overlap; 0: that of the scan's starting probe",
          {.min = 0, .max = 1e5, .unit = "px"});
    return s;
  }();
  return schema;
}

technique::Verb inspect_verb() {
  return {.name = "inspect",
          .summary = "geometry, overlap, dose, saturation and what looks wrong in a scan",
          .options = inspect_schema(),
          .inputs = {"frames"},
          .outputs = {"mean_pattern", "max_pattern", "valid", "frame_counts", "counts_edges", "counts_histogram"},
          .out_optional = true,
          .analyse = [](const core::OptionValues& values,
                        const technique::Resources& resources) -> std::unique_ptr<technique::Technique> {
            return std::make_unique<Inspect>(inspect_schema().make(values), resources);
          }};
}

}  // namespace farfield::techniques::ptychography
