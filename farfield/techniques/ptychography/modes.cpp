#include "farfield/techniques/ptychography/modes.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "farfield/math/complex.hpp"

namespace farfield::techniques::ptychography {

using core::cdouble;
using core::cfloat;
using core::Index;

namespace {

cdouble inner(core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) {
  cdouble sum = 0;
  for (Index i = 0; i < a.size(); ++i) sum += cdouble(math::conj_mul(a.data()[i], b.data()[i]));
  return sum;
}

/// (a, b) <- (a, b) V for the unitary V that makes them orthogonal.
void rotate(core::View<cfloat, 2> a, core::View<cfloat, 2> b, double aa, double bb, cdouble ab) {
  const double size = std::abs(ab), zeta = (bb - aa) / (2 * size);
  const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
  const double c = 1 / std::sqrt(1 + t * t);
  const cfloat s(c * t * ab / size);
  const auto cf = static_cast<float>(c);
  for (Index i = 0; i < a.size(); ++i) {
    const cfloat u = a.data()[i], v = b.data()[i];
    a.data()[i] = cf * u - math::conj_mul(s, v);
    b.data()[i] = math::cmul(s, u) + cf * v;
  }
}

}  // namespace

void orthogonalise(core::View<cfloat, 3> modes, Index first) {
  const Index count = modes.extent(0);
  constexpr int kSweeps = 12;         // Jacobi converges quadratically; 4 to 6 are common
  constexpr double kOrthogonal = 1e-6;  // cosine; what single precision holds
  bool done = false;
  for (int sweep = 0; sweep < kSweeps && !done; ++sweep) {
    done = true;
    for (Index a = first; a < count; ++a)
      for (Index b = a + 1; b < count; ++b) {
        const double aa = inner(modes[a], modes[a]).real(), bb = inner(modes[b], modes[b]).real();
        const cdouble ab = inner(modes[a], modes[b]);
        if (!(std::abs(ab) > kOrthogonal * std::sqrt(aa * bb))) continue;
        rotate(modes[a], modes[b], aa, bb, ab);
        done = false;
      }
  }

  std::vector<Index> order(static_cast<std::size_t>(count - std::min(first, count)));
  std::iota(order.begin(), order.end(), first);
  std::vector<double> power(static_cast<std::size_t>(count));
  for (const Index m : order) power[static_cast<std::size_t>(m)] = inner(modes[m], modes[m]).real();
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
    return power[static_cast<std::size_t>(a)] > power[static_cast<std::size_t>(b)];
  });
  if (std::is_sorted(order.begin(), order.end())) return;
  core::Array<cfloat, 3> sorted({count - first, modes.extent(1), modes.extent(2)});
  for (std::size_t k = 0; k < order.size(); ++k)
    std::copy(modes[order[k]].begin(), modes[order[k]].end(), sorted[static_cast<Index>(k)].begin());
  std::copy(sorted.begin(), sorted.end(), modes[first].begin());
}

core::Array<double, 1> power_shares(core::View<const cfloat, 3> modes) {
  core::Array<double, 1> shares({modes.extent(0)});
  for (Index m = 0; m < modes.extent(0); ++m) shares(m) = inner(modes[m], modes[m]).real();
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (total > 0)
    for (double& share : shares) share /= total;
  return shares;
}

}  // namespace farfield::techniques::ptychography
