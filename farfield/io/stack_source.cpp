#include "farfield/io/stack_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/codec/checksum.hpp"
#include "farfield/io/sparse_frames.hpp"
#include "farfield/io/system_error.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {

// image(y, x) -> out(y, x), turned as the transform says. Extents of `out` are those after the transform.
template <class T>
void turn(core::View<const T, 2> in, core::View<T, 2> out, const FrameTransform& t) {
  const Index ny = out.extent(0), nx = out.extent(1);
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) {
      const Index v = t.flip_y ? ny - 1 - y : y, u = t.flip_x ? nx - 1 - x : x;
      out(y, x) = t.transpose ? in(u, v) : in(v, u);
    }
}

class StackSource final : public model::FrameSource, public SparseFrames {
public:
  StackSource(ScanLayout layout, const OpenOptions& options)
      : layout_(std::move(layout)),
        stack_(std::move(layout_.frames)),
        pool_(options.pool),
        batch_bytes_(options.batch_bytes) {
    const Index fit = std::max<Index>(1, options.batch_bytes / stack_.frame_bytes());
    const Index whole = fit / stack_.chunk_frames() * stack_.chunk_frames();
    step_ = std::clamp<Index>(whole > 0 ? whole : fit, 1, std::max<Index>(1, stack_.frames()));
  }

  ScanLayout& layout() { return layout_; }
  const hdf5::Stack& stack() const { return stack_; }
  const model::Acquisition& acquisition() const override { return layout_.acquisition; }
  bool make_sparse() override {
    sparse_ = !layout_.transform.turns() && !layout_.transform.amplitude && stack_.can_read_sparse();
    return sparse_;
  }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (stop.stop_requested() || done_ >= stack_.frames()) return false;
    const Index count = std::min(step_, stack_.frames() - done_);
    const auto bad = sparse_ ? read_sparse(count) : read_dense(count);

    model::FrameBatch batch;
    std::size_t next_bad = 0;
    for (Index i = 0; i < count; ++i) {
      const Index at = done_ + i;
      const model::FrameId id = layout_.ids.empty() ? at : layout_.ids[static_cast<std::size_t>(at)];
      if (next_bad < bad.size() && bad[next_bad].first == at) {
        batch.bad.emplace_back(id, bad[next_bad++].second);
        continue;
      }
      if (sparse_) batch.frames.push_back({id, {}, {stack_.ny(), stack_.nx(), events_[static_cast<std::size_t>(i)]}});
      else batch.frames.push_back({id, image(i, buffer_.data() + i * stack_.frame_bytes())});
      if (auto values = values_of(at); !values.empty()) batch.values.emplace_back(id, std::move(values));
    }
    done_ += count;
    take(batch);
    return true;
  }

private:
  hdf5::Stack::Bad read_dense(Index count) {
    if (buffer_.empty()) buffer_ = core::Array<std::byte, 1>({step_ * stack_.frame_bytes()});
    return stack_.read(done_, count, buffer_.data(), pool_);
  }
  hdf5::Stack::Bad read_sparse(Index count) {
    const auto& mask = layout_.acquisition.detector.pixel_mask;
    if (valid_.empty() && !mask.empty())
      valid_ = codec::valid_bits({mask.data(), static_cast<std::size_t>(mask.size())});
    events_.resize(static_cast<std::size_t>(count));
    auto bad = stack_.read_sparse(done_, events_, valid_, pool_);
    // Bright frames need up to 8 bytes a pixel: fewer of them next time.
    std::size_t bytes = 0;
    for (const auto& list : events_) bytes += list.size() * sizeof(core::PixelCount);
    if (static_cast<Index>(bytes) > batch_bytes_) {
      step_ = std::max<Index>(1, step_ * batch_bytes_ / static_cast<Index>(bytes));
      if (step_ > stack_.chunk_frames()) step_ -= step_ % stack_.chunk_frames();
    }
    return bad;
  }

  core::AnyImage image(Index at, std::byte* stored) {
    const auto& d = layout_.acquisition.detector;
    const auto& t = layout_.transform;
    if (!t.turns() && !t.amplitude) return {stack_.dtype(), stored, d.ny, d.nx, d.nx};
    return core::visit_dtype(stack_.dtype(), [&](auto zero) -> core::AnyImage {
      using T = decltype(zero);
      if constexpr (!std::is_arithmetic_v<T>) {
        throw Error(ErrorCode::internal, "frames of complex numbers");
      } else {
        core::Array<T, 2> turned({d.ny, d.nx});
        turn<T>({reinterpret_cast<const T*>(stored), {stack_.ny(), stack_.nx()}}, turned.view(), t);
        if (!t.amplitude) {
          std::copy(turned.begin(), turned.end(), reinterpret_cast<T*>(stored));
          return {stack_.dtype(), stored, d.ny, d.nx, d.nx};
        }
        if (squared_.empty()) squared_ = core::Array<float, 3>({step_, d.ny, d.nx});
        std::transform(turned.begin(), turned.end(), squared_.view()[at].data(),
                       [](T v) { return static_cast<float>(v) * static_cast<float>(v); });
        return core::AnyImage::of(core::View<const float, 2>(squared_.view()[at]));
      }
    });
  }

  model::Values values_of(Index at) const {
    const auto i = static_cast<std::size_t>(at);
    model::Values values;
    if (!layout_.y.empty()) {
      const bool metres = layout_.acquisition.scan.unit == model::PositionUnit::metres;
      values[metres ? "y_m" : "y_px"] = layout_.y[i];
      values[metres ? "x_m" : "x_px"] = layout_.x[i];
    }
    for (const auto& [name, numbers] : layout_.values)
      if (!std::isnan(numbers[i])) values[name] = numbers[i];
    return values;
  }

  ScanLayout layout_;
  hdf5::Stack stack_;
  core::ThreadPool* pool_;
  Index batch_bytes_;
  bool sparse_ = false;
  Index step_ = 1, done_ = 0;
  core::Array<std::byte, 1> buffer_;
  core::Array<float, 3> squared_;
  std::vector<std::byte> valid_;                       // of the pixel mask, for sparse frames
  std::vector<std::vector<core::PixelCount>> events_;  // of a batch of them
};

}  // namespace

bool make_sparse(model::FrameSource& source) {
  auto* both = dynamic_cast<SparseFrames*>(&source);
  return both != nullptr && both->make_sparse();
}

void check_positions(const std::vector<double>& y, const std::vector<double>& x, Index frames,
                     const std::string& where) {
  if (y.size() != x.size())
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} positions in y and {} in x must be as many", y.size(), x.size()))
        .at(where);
  if (y.empty()) return;
  if (static_cast<Index>(y.size()) != frames)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} positions for {} frames: there must be one per frame", y.size(), frames))
        .at(where);
  for (std::size_t i = 0; i < y.size(); ++i)
    if (std::isfinite(y[i]) && std::isfinite(x[i])) return;
  throw Error(ErrorCode::corrupt_data, fmt::format("none of the {} positions is a finite number", y.size())).at(where);
}

std::vector<model::FrameId> frame_ids(const std::vector<double>& numbers, const std::string& where) {
  std::vector<model::FrameId> ids;
  ids.reserve(numbers.size());
  for (const double n : numbers) {
    if (!(n >= 0 && n < 9e15) || n != std::trunc(n))
      throw Error(ErrorCode::corrupt_data, fmt::format("frame number {} must be a whole number >= 0", n)).at(where);
    ids.push_back(static_cast<model::FrameId>(n));
  }
  std::vector<model::FrameId> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw Error(ErrorCode::corrupt_data, fmt::format("frame number {} comes twice", *twice)).at(where);
  return ids;
}

void check_mask(core::View<const std::uint32_t, 2> mask, const std::string& where) {
  if (mask.empty() || std::any_of(mask.begin(), mask.end(), [](std::uint32_t m) { return m == 0; })) return;
  throw Error(ErrorCode::corrupt_data, fmt::format("the mask hides all {} pixels (0 means good)", mask.size()))
      .at(where);
}

std::unique_ptr<model::FrameSource> make_source(ScanLayout layout, const std::string& file,
                                                const OpenOptions& options) {
  auto source = std::make_unique<StackSource>(std::move(layout), options);
  ScanLayout& l = source->layout();
  const hdf5::Stack& stack = source->stack();
  auto& a = l.acquisition;
  if (stack.frames() == 0) throw Error(ErrorCode::corrupt_data, "the scan has no frames").at(file);
  auto& d = a.detector;
  if (!d.pixel_mask.empty()) {
    if (d.pixel_mask.extent(0) != stack.ny() || d.pixel_mask.extent(1) != stack.nx())
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("mask of {} x {} pixels for frames of {} x {}", d.pixel_mask.extent(0),
                              d.pixel_mask.extent(1), stack.ny(), stack.nx()))
          .at(file);
    check_mask(d.pixel_mask, file);
  }
  const bool swap = l.transform.transpose;
  d.ny = swap ? stack.nx() : stack.ny();
  d.nx = swap ? stack.ny() : stack.nx();
  d.dtype = l.transform.amplitude ? core::DType::f32 : stack.dtype();
  if (l.transform.turns() && !d.pixel_mask.empty()) {
    core::Array<std::uint32_t, 2> turned({d.ny, d.nx});
    turn<std::uint32_t>(d.pixel_mask.view(), turned.view(), l.transform);
    d.pixel_mask = std::move(turned);
  }
  a.scan.expected_frames = stack.frames();
  check_positions(l.y, l.x, stack.frames(), l.positions_at.empty() ? file : l.positions_at + " in " + file);
  if (!l.ids.empty() && static_cast<Index>(l.ids.size()) != stack.frames())
    throw Error(ErrorCode::corrupt_data, fmt::format("{} frame numbers for {} frames", l.ids.size(), stack.frames()))
        .at(file);
  for (const auto& [name, numbers] : l.values)
    if (static_cast<Index>(numbers.size()) != stack.frames())
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("{} values of {} for {} frames", numbers.size(), name, stack.frames()))
          .at(file);
  model::validate(a, file);
  return source;
}

std::string file_checksum(const std::filesystem::path& path, std::stop_token stop) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw system_error(errno, "cannot read " + path.string());
  codec::Sha256 sum;
  std::vector<std::byte> buffer(1 << 20);
  ssize_t n = 0;
  while ((n = ::read(descriptor, buffer.data(), buffer.size())) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int number = errno;
      ::close(descriptor);
      throw system_error(number, "cannot read " + path.string());
    }
    sum.update({buffer.data(), static_cast<std::size_t>(n)});
    if (!stop.stop_requested()) continue;
    ::close(descriptor);
    throw core::Error(ErrorCode::cancelled, "stopped before the whole file was read").at(path.string());
  }
  ::close(descriptor);
  return "sha256:" + sum.hex();
}

}  // namespace farfield::io
