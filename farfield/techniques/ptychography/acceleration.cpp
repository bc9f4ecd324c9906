#include "farfield/techniques/ptychography/acceleration.hpp"

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"

namespace farfield::techniques::ptychography {
namespace {

constexpr float kSquareDecay = 0.999F;  // beta_2 of the paper

template <class T>
void put(technique::Sink& sink, const std::string& name, const core::Array<T, 2>& a) {
  put_values(sink, name, std::span<const Index>(a.extents()));
  put_values(sink, name + ".data", a);
}
template <class T>
core::Array<T, 2> get(technique::Source& source, const std::string& name) {
  const auto extents = get_values<Index>(source, name, 2);
  const auto data = get_values<T>(source, name + ".data");
  constexpr Index kMax = 1 << 20;
  if (extents[0] < 0 || extents[1] < 0 || extents[0] > kMax || extents[1] > kMax ||
      static_cast<Index>(data.size()) != extents[0] * extents[1])
    throw core::Error(core::ErrorCode::corrupt_data, "checkpoint block " + name + " is damaged");
  core::Array<T, 2> a({extents[0], extents[1]});
  std::copy(data.begin(), data.end(), a.begin());
  return a;
}

}  // namespace

void Accelerator::reserve(std::array<Index, 2> extents) {
  if (kind_ == Acceleration::none) return;
  if (velocity_.extents() != extents) velocity_ = core::Array<cfloat, 2>(extents);
  if (kind_ == Acceleration::adam && square_.extents() != extents) {
    square_ = core::Array<float, 2>(extents);
    visits_ = core::Array<float, 2>(extents);
  }
}

double Accelerator::rms(const Kernels& k, core::View<const cfloat, 2> delta) const {
  if (kind_ != Acceleration::adam) return 0;
  return std::sqrt(k.norm2(delta.size(), delta.data()) / static_cast<double>(std::max<Index>(delta.size(), 1)));
}

void Accelerator::add(const Kernels& k, core::ThreadPool& pool, core::View<cfloat, 2> image, Index y0, Index x0,
                      core::View<const cfloat, 2> delta, float step) {
  reserve(image.extents());
  const double of_all = rms(k, delta);
  pool.split(delta.extent(0),
             [&](Index begin, Index end, int) { add_rows(k, image, y0, x0, delta, step, of_all, begin, end); });
}

void Accelerator::add_rows(const Kernels& k, core::View<cfloat, 2> image, Index y0, Index x0,
                           core::View<const cfloat, 2> delta, float step, double rms, Index begin, Index end) {
  const Index width = delta.extent(1);
  if (kind_ == Acceleration::none) {
    for (Index y = begin; y < end; ++y) k.axpy(width, step, &delta(y, 0), &image(y0 + y, x0));
    return;
  }
  if (kind_ != Acceleration::adam) {
    // v <- m v + d; the image moves by v, or with Nesterov's look-ahead by m v + d. The factor 1 - m keeps
    // the length of a steady move.
    const float gain = step * (1 - momentum_);
    const bool ahead = kind_ == Acceleration::nesterov;
    for (Index y = begin; y < end; ++y)
      for (Index x = 0; x < width; ++x) {
        cfloat& v = velocity_(y0 + y, x0 + x);
        const cfloat d = gain * delta(y, x);
        v = momentum_ * v + d;
        image(y0 + y, x0 + x) += ahead ? momentum_ * v + d : v;
      }
    return;
  }
  // ADAM makes every pixel move alike; the length of the move is that of the update as a whole.
  const float length = step * static_cast<float>(rms), tiny = 1e-3F * static_cast<float>(rms);
  if (!(rms > 0)) return;
  for (Index y = begin; y < end; ++y)
    for (Index x = 0; x < width; ++x) {
      const cfloat d = delta(y, x);
      cfloat& v = velocity_(y0 + y, x0 + x);
      float& s = square_(y0 + y, x0 + x);
      const float n = ++visits_(y0 + y, x0 + x);
      v = momentum_ * v + (1 - momentum_) * d;
      s = kSquareDecay * s + (1 - kSquareDecay) * math::abs2(d);
      const float first = 1 - std::pow(momentum_, n), second = 1 - std::pow(kSquareDecay, n);
      image(y0 + y, x0 + x) += length / (std::sqrt(s / second) + tiny) * (v / first);
    }
}

void Accelerator::regrid(const State& s, const Regrid& r) {
  if (velocity_.empty()) return;
  velocity_ = ptychography::regrid(velocity_, r.old_y, r.old_x, s.object.extents(), s.origin_y, s.origin_x, cfloat{});
  if (square_.empty()) return;
  square_ = ptychography::regrid(square_, r.old_y, r.old_x, s.object.extents(), s.origin_y, s.origin_x, 0.0F);
  visits_ = ptychography::regrid(visits_, r.old_y, r.old_x, s.object.extents(), s.origin_y, s.origin_x, 0.0F);
}

void Accelerator::forget() {
  velocity_ = {};
  square_ = {};
  visits_ = {};
}

void Accelerator::save(technique::Sink& sink, const std::string& name) const {
  if (kind_ == Acceleration::none) return;
  put(sink, name + ".velocity", velocity_);
  if (kind_ != Acceleration::adam) return;
  put(sink, name + ".square", square_);
  put(sink, name + ".visits", visits_);
}

void Accelerator::restore(technique::Source& source, const std::string& name) {
  if (kind_ == Acceleration::none) return;
  velocity_ = get<cfloat>(source, name + ".velocity");
  if (kind_ != Acceleration::adam) return;
  square_ = get<float>(source, name + ".square");
  visits_ = get<float>(source, name + ".visits");
}

}  // namespace farfield::techniques::ptychography
