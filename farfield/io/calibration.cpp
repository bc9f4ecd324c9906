#include "farfield/io/calibration.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "farfield/io/sparse_frames.hpp"

namespace farfield::io {

using core::Array;
using core::Error;
using core::ErrorCode;
using core::Index;

namespace {

PixelStatistics read_statistics(const std::string& path, const model::Acquisition& of, const OpenOptions& options) {
  OpenOptions how = options;
  how.qmap = how.metadata = "";
  how.frame_ny = of.detector.ny;  // for formats that do not say
  how.frame_nx = of.detector.nx;
  const auto source = open_scan(path, how);
  const auto& d = source->acquisition().detector;
  if (d.ny != of.detector.ny || d.nx != of.detector.nx)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("its frames of {} x {} pixels do not fit those of the scan, {} "
                            "x {}",
                            d.ny, d.nx, of.detector.ny, of.detector.nx))
        .at(path);
  return pixel_statistics(*source);
}

/// Divided by its mean over the pixels that are good and have light.
Array<float, 2> read_flat(const std::string& path, const model::Acquisition& of, const OpenOptions& options) {
  auto flat = read_statistics(path, of, options).mean;
  const auto& mask = of.detector.pixel_mask;
  double sum = 0, n = 0;
  for (Index i = 0; i < flat.size(); ++i) {
    const float v = flat.data()[i];
    if (!std::isfinite(v) || !(v > 0) || !(mask.empty() || mask.data()[i] == 0)) continue;
    sum += static_cast<double>(v);
    n += 1;
  }
  if (n == 0) throw Error(ErrorCode::invalid_argument, "no good pixel of it has light").at(path);
  const auto scale = static_cast<float>(n / sum);
  for (float& v : flat) v *= scale;
  return flat;
}

/// A scan with these inputs besides.
class Calibrated final : public model::FrameSource, public SparseFrames {
public:
  Calibrated(std::unique_ptr<model::FrameSource> scan, model::Acquisition acquisition)
      : scan_(std::move(scan)), acquisition_(std::move(acquisition)) {}
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool make_sparse() override { return io::make_sparse(*scan_); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return scan_->next(std::move(stop), take);
  }

private:
  std::unique_ptr<model::FrameSource> scan_;
  model::Acquisition acquisition_;
};

}  // namespace

PixelStatistics pixel_statistics(model::FrameSource& source) {
  const auto& detector = source.acquisition().detector;
  const Index ny = detector.ny, nx = detector.nx;
  PixelStatistics out;
  Array<double, 2> mean({ny, nx}), squares({ny, nx}), frame({ny, nx});
  const auto take = [&](const model::FrameView& view) {
    if (view.ny() != ny || view.nx() != nx)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("frame {} of {} x {} pixels instead of {} x {}", view.id, view.ny(), view.nx(), ny, nx))
          .at(source.acquisition().source);
    frame.fill(0);
    if (view.is_sparse()) {
      for (const auto& e : view.sparse.events) frame.data()[e.pixel] += static_cast<double>(e.count);
    } else {
      core::visit_dtype(view.image.dtype, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_arithmetic_v<T>) {
          const auto rows = view.image.view<T>();
          for (Index y = 0; y < ny; ++y)
            for (Index x = 0; x < nx; ++x) frame(y, x) = static_cast<double>(rows(y, x));
        } else {
          throw Error(ErrorCode::unsupported, "frames must be counts, not complex numbers")
              .at(source.acquisition().source);
        }
      });
    }
    // B. P. Welford, Technometrics 4, 419 (1962), doi:10.1080/00401706.1962.10490022
    const auto n = static_cast<double>(++out.frames);
    for (Index i = 0; i < frame.size(); ++i) {
      const double d = frame.data()[i] - mean.data()[i];
      mean.data()[i] += d / n;
      squares.data()[i] += d * (frame.data()[i] - mean.data()[i]);
    }
  };
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& view : batch.frames) take(view);
  })) {}
  if (out.frames == 0)
    throw Error(ErrorCode::corrupt_data, "no frame of it can be used").at(source.acquisition().source);
  out.mean = Array<float, 2>({ny, nx});
  out.deviation = Array<float, 2>({ny, nx}, std::numeric_limits<float>::quiet_NaN());
  for (Index i = 0; i < mean.size(); ++i) {
    out.mean.data()[i] = static_cast<float>(mean.data()[i]);
    if (out.frames > 1)
      out.deviation.data()[i] = static_cast<float>(std::sqrt(squares.data()[i] / static_cast<double>(out.frames - 1)));
  }
  return out;
}

std::unique_ptr<model::FrameSource> with_calibrations(std::unique_ptr<model::FrameSource> scan,
                                                      const std::string& dark_path, const std::string& flat_path,
                                                      const OpenOptions& options) {
  if (dark_path.empty() && flat_path.empty()) return scan;
  auto acquisition = scan->acquisition().clone();
  if (!dark_path.empty()) {
    const auto dark = read_statistics(dark_path, acquisition, options);
    acquisition.inputs["dark"] = core::AnyArray(dark.mean);
    if (dark.frames > 1) acquisition.inputs["dark_std"] = core::AnyArray(dark.deviation);
    else acquisition.inputs.erase("dark_std");
  }
  if (!flat_path.empty()) acquisition.inputs["flat"] = core::AnyArray(read_flat(flat_path, acquisition, options));
  return std::make_unique<Calibrated>(std::move(scan), std::move(acquisition));
}

}  // namespace farfield::io
