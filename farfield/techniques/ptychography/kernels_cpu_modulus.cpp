// The detector plane for one instruction set: on a whole tile of interleaved complex numbers, and on a part of it that
// a transform shows with real and imaginary parts in vectors of their own.

#include <algorithm>

#include "farfield/math/simd.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"
#include "farfield/techniques/ptychography/sub_pixel_shift_simd.hpp"

namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE {
ModulusSums modulus(const ModulusTask&);
void modulus_block(const ModulusTask&, Index nx, const math::FftBlock&, ModulusLanes&);
namespace {

using namespace math::simd::FARFIELD_ISA_NAMESPACE;
using namespace tile_simd;

/// Sums run in float over this many vectors and then in double, so that a 256^2 tile loses no digits.
constexpr Index kBlock = 64;

struct Sums {
  Vec cost = set(0), difference = set(0), amplitude = set(0), model = set(0), measured = set(0), valid = set(0);
};

/// The arithmetic of kLanes pixels.
struct Detector {
  const ModulusTask& t;
  bool poisson = t.likelihood == Likelihood::poisson, newton = poisson && t.newton;
  Vec scale = set(t.intensity_scale), residual = set(t.residual_scale), saturation = set(t.saturation), one = set(1),
      tiny = set(1e-30F);

  /// What to multiply psi by, for I_model = scale `intensity` + background and measured counts; `weight` is 1 for lanes
  /// that are pixels. `i` is the first pixel.
  template <class P>
  Vec factor(Vec intensity, Vec measured, Vec weight, Index i, P part, Sums& s) const {
    Vec model = intensity * scale;
    if (t.background != nullptr) model = model + load(t.background + i, part);
    const Vec r_model = rsqrt(max(model, tiny)), root = measured * rsqrt(max(measured, tiny)),
              root_model = model * r_model;
    const Vec ratio = root * r_model, d = root_model - root;
    if (t.valid != nullptr) weight = weight * load(t.valid + i, part);
    if (t.saturation > 0) weight = keep_if_less(measured, saturation, weight);
    const Vec gradient = ((poisson ? ratio * ratio : ratio) - one) * weight;
    const Vec wd = weight * d;
    s.cost = fma(wd, d, s.cost);
    s.difference = s.difference + abs(wd);
    s.amplitude = fma(weight, root, s.amplitude);
    s.model = fma(weight, model, s.model);
    s.measured = fma(weight, measured, s.measured);
    s.valid = s.valid + weight;
    if (t.background_gradient != nullptr)
      store(t.background_gradient + i, load(t.background_gradient + i, part) + gradient, part);
    return (newton ? gradient / fma(ratio, ratio, one) : gradient) * residual;
  }
};

template <class Counts, bool kOneMode>
ModulusSums modulus_of(const ModulusTask& t) {
  const auto* counts = static_cast<const Counts*>(t.counts);
  const Detector detector{t};
  const Vec one = set(1), zero = set(0);
  ModulusSums sums;
  for (Index begin = 0; begin < t.n; begin += kBlock * kLanes) {
    const Index end = std::min(t.n, begin + kBlock * kLanes);
    Sums s;
    const auto pixels = [&](Index i, auto part) {
      // kLanes pixels are two vectors of interleaved complex numbers per mode.
      Index low = kLanes, high = kLanes;
      if constexpr (std::is_same_v<decltype(part), Part>) {
        low = std::min(2 * part.n, kLanes);
        high = 2 * part.n - low;
      }
      const auto get = [&](const float* p, Vec& a, Vec& b) {
        if constexpr (std::is_same_v<decltype(part), Part>) {
          a = load(p, Part{low});
          b = high > 0 ? load(p + kLanes, Part{high}) : zero;
        } else {
          a = load(p, Full{});
          b = load(p + kLanes, Full{});
        }
      };
      const auto put = [&](float* p, Vec a, Vec b) {
        if constexpr (std::is_same_v<decltype(part), Part>) {
          store(p, a, Part{low});
          if (high > 0) store(p + kLanes, b, Part{high});
        } else {
          store(p, a, Full{});
          store(p + kLanes, b, Full{});
        }
      };
      Vec a0, b0, intensity = zero;
      if constexpr (kOneMode) {
        get(f(t.psi[0] + i), a0, b0);
        intensity = abs2(a0, b0);
      } else {
        for (int m = 0; m < t.modes; ++m) {
          get(f(t.psi[m] + i), a0, b0);
          intensity = intensity + abs2(a0, b0);
        }
      }
      Vec weight = one;
      if constexpr (std::is_same_v<decltype(part), Part>) {
        float lanes[kLanes];
        for (Index k = 0; k < kLanes; ++k) lanes[k] = k < part.n ? 1.0F : 0.0F;
        weight = load(lanes, Full{});
      }
      Vec fa, fb;
      twice(detector.factor(intensity, load_counts(counts + i, part), weight, i, part, s), fa, fb);
      if constexpr (kOneMode) {
        put(f(t.psi[0] + i), a0 * fa, b0 * fb);
      } else {
        for (int m = 0; m < t.modes; ++m) {
          get(f(t.psi[m] + i), a0, b0);
          put(f(t.psi[m] + i), a0 * fa, b0 * fb);
        }
      }
    };
    Index i = begin;
    for (; i + kLanes <= end; i += kLanes) pixels(i, Full{});
    if (i < end) pixels(i, Part{end - i});
    sums.cost += static_cast<double>(sum(s.cost));
    sums.abs_difference += static_cast<double>(sum(s.difference));
    sums.amplitude += static_cast<double>(sum(s.amplitude));
    sums.model_intensity += static_cast<double>(sum(s.model));
    sums.measured_intensity += static_cast<double>(sum(s.measured));
    sums.valid += static_cast<double>(sum(s.valid));
  }
  return sums;
}

template <class Counts, bool kOneMode>
void block_of(const ModulusTask& t, Index nx, const math::FftBlock& b, ModulusLanes& lanes) {
  const auto* counts = static_cast<const Counts*>(t.counts);
  const Detector detector{t};
  const Vec one = set(1);
  for (Index x = 0; x < b.columns; x += kLanes) {
    Sums s;
    for (Index r = 0; r < b.rows; ++r) {
      const Index at = r * 2 * b.columns + x, i = (b.first_row + r * b.row_step) * nx + b.first_column + x;
      const auto re = [&](int m) { return b.data[m] + at; };
      const auto im = [&](int m) { return b.data[m] + at + b.columns; };
      Vec vr = load(re(0), Full{}), vi = load(im(0), Full{}), intensity = fma(vr, vr, vi * vi);
      if constexpr (!kOneMode)
        for (int m = 1; m < t.modes; ++m) {
          vr = load(re(m), Full{});
          vi = load(im(m), Full{});
          intensity = fma(vr, vr, fma(vi, vi, intensity));
        }
      const Vec factor = detector.factor(intensity, load_counts(counts + i, Full{}), one, i, Full{}, s);
      if constexpr (kOneMode) {
        store(re(0), vr * factor, Full{});
        store(im(0), vi * factor, Full{});
      } else {
        for (int m = 0; m < t.modes; ++m) {
          store(re(m), load(re(m), Full{}) * factor, Full{});
          store(im(m), load(im(m), Full{}) * factor, Full{});
        }
      }
    }
    const auto add = [&](float* to, Vec v) {
      to += x % ModulusLanes::kLanes;
      store(to, load(to, Full{}) + v, Full{});
    };
    add(lanes.cost, s.cost);
    add(lanes.abs_difference, s.difference);
    add(lanes.amplitude, s.amplitude);
    add(lanes.model_intensity, s.model);
    add(lanes.measured_intensity, s.measured);
    add(lanes.valid, s.valid);
  }
}

/// f(value of the counts' type, std::bool_constant: one mode)
template <class F>
auto for_task(const ModulusTask& t, F&& f) {
  const auto modes = [&](auto counts) {
    return t.modes == 1 ? f(counts, std::true_type{}) : f(counts, std::false_type{});
  };
  switch (t.dtype) {
    case core::DType::u8: return modes(std::uint8_t{});
    case core::DType::u16: return modes(std::uint16_t{});
    case core::DType::u32: return modes(std::uint32_t{});
    default: return modes(float{});
  }
}

}  // namespace

ModulusSums modulus(const ModulusTask& t) {
  return for_task(t, [&](auto counts, auto one_mode) { return modulus_of<decltype(counts), one_mode()>(t); });
}

void modulus_block(const ModulusTask& t, Index nx, const math::FftBlock& b, ModulusLanes& lanes) {
  for_task(t, [&](auto counts, auto one_mode) { block_of<decltype(counts), one_mode()>(t, nx, b, lanes); });
}

}  // namespace farfield::techniques::ptychography::FARFIELD_ISA_NAMESPACE
