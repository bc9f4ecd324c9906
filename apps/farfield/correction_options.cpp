#include "apps/farfield/correction_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "farfield/io/npz/npy.hpp"

namespace farfield::apps {

const core::BoundSchema<CorrectionChoice>& correction_schema() {
  static const auto schema = [] {
    using O = CorrectionChoice;
    constexpr const char* kGroup = "Corrections";
    core::BoundSchema<O> s;
    s.add("window", &O::crop, "part of the detector that is used: first row, first column, rows, columns",
          {.min = 0, .max = 1 << 20, .unit = "px", .group = kGroup});
    s.add("detector-bin", &O::bin, "sum so many by so many pixels; one that is masked masks their sum",
          {.min = 1, .max = 1 << 20, .unit = "px", .group = kGroup});
    s.add("count-rate", &O::countrate,
          "add the photons that were missed at high rates, by the table that came with the scan (none where the "
          "detector has done so)",
          {.group = kGroup});
    s.add(
        "gain", &O::gain,
        "constants of a detector that switches its gain (JUNGFRAU): a .npz with pedestal (ADU) and factor (energy per "
        "ADU), each of shape (3, rows, columns)",
        {.group = kGroup});
    return s;
  }();
  return schema;
}

std::string text_of(const CorrectionChoice& c) {
  std::string text;
  if (!c.crop.empty()) text += fmt::format("window {}; ", fmt::join(c.crop, ","));
  if (c.bin != 1) text += fmt::format("detector-bin {}; ", c.bin);
  if (!c.countrate) text += "count rate as it came; ";
  if (!c.gain.empty()) text += fmt::format("gain {}; ", c.gain);
  return text.substr(0, text.size() - std::min<std::size_t>(text.size(), 2));
}

void choose(const CorrectionChoice& choice, pipeline::CorrectionOptions& corrections) {
  corrections.bin = choice.bin;
  corrections.countrate = choice.countrate;
  const auto& c = choice.crop;
  if (c.empty()) return;
  if (c.size() != 4 || std::any_of(c.begin(), c.end(), [](double v) { return v != std::floor(v); }))
    throw core::Error(core::ErrorCode::invalid_argument,
                      "option window must be four whole numbers: first row, first column, rows, columns");
  const auto at = [&](std::size_t i) { return static_cast<core::Index>(c[i]); };
  corrections.crop = pipeline::Crop{at(0), at(1), at(2), at(3)};
}

void add_gain(model::Acquisition& acquisition, const std::string& path) {
  if (path.empty()) return;
  const auto archive = io::npz::Npz::open(path);
  acquisition.inputs["gain_pedestal"] = archive.read("pedestal");
  acquisition.inputs["gain_factor"] = archive.read("factor");
}

namespace {
class WithGain final : public model::FrameSource {
public:
  WithGain(std::unique_ptr<model::FrameSource> scan, const std::string& path)
      : scan_(std::move(scan)), acquisition_(scan_->acquisition().clone()) {
    add_gain(acquisition_, path);
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return scan_->next(std::move(stop), take);
  }

private:
  std::unique_ptr<model::FrameSource> scan_;
  model::Acquisition acquisition_;
};
}  // namespace

std::unique_ptr<model::FrameSource> with_gain(std::unique_ptr<model::FrameSource> scan, const std::string& path) {
  if (path.empty()) return scan;
  return std::make_unique<WithGain>(std::move(scan), path);
}

}  // namespace farfield::apps
