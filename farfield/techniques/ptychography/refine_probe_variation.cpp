#include "farfield/techniques/ptychography/refine_probe_variation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {
namespace {

bool is_zero(const State& state) {
  return std::all_of(state.eigen_probes.begin(), state.eigen_probes.end(), [](cfloat v) { return v == cfloat{}; });
}

float& weight(State& state, Index slot, int k) {
  return state.opr_weights[static_cast<std::size_t>(slot * state.opr_modes() + k)];
}

cfloat* eigen_probe(State& state, int k) { return state.eigen_probes.data() + k * state.shape.size(); }

/// Small dense matrices, row-major.
struct Matrix {
  explicit Matrix(int size) : n(size), v(static_cast<std::size_t>(size * size)) {}
  double& operator()(int i, int j) { return v[static_cast<std::size_t>(i * n + j)]; }
  int n;
  std::vector<double> v;
};

/// Eigenvectors (columns) of a symmetric matrix, largest eigenvalue first: cyclic Jacobi (Golub, Van Loan, 8.5).
Matrix eigenvectors(Matrix a) {
  Matrix q(a.n);
  for (int i = 0; i < a.n; ++i) q(i, i) = 1;
  for (int sweep = 0; sweep < 30; ++sweep)
    for (int i = 0; i < a.n; ++i)
      for (int j = i + 1; j < a.n; ++j) {
        if (std::abs(a(i, j)) <= 1e-14 * std::sqrt(std::abs(a(i, i) * a(j, j)))) continue;
        const double angle = 0.5 * std::atan2(2 * a(i, j), a(j, j) - a(i, i)), c = std::cos(angle), s = std::sin(angle);
        const auto rotate = [&](double& x, double& y) {
          const double t = c * x - s * y;
          y = s * x + c * y;
          x = t;
        };
        for (int k = 0; k < a.n; ++k) rotate(a(k, i), a(k, j));
        for (int k = 0; k < a.n; ++k) rotate(a(i, k), a(j, k));
        for (int k = 0; k < a.n; ++k) rotate(q(k, i), q(k, j));
      }
  std::vector<int> order(static_cast<std::size_t>(a.n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int i, int j) { return a(i, i) > a(j, j); });
  Matrix sorted(a.n);
  for (int k = 0; k < a.n; ++k)
    for (int i = 0; i < a.n; ++i) sorted(i, k) = q(i, order[static_cast<std::size_t>(k)]);
  return sorted;
}

/// Gram-Schmidt, twice for accuracy; the weights take over what is taken out, so that the sum stays. A direction
/// that is a combination of earlier ones becomes zero.
void orthonormalise(State& state, std::span<const Index> slots, const Kernels& kernels) {
  const Index n = state.shape.size();
  const int modes = state.opr_modes();
  for (int k = 0; k < modes; ++k) {
    cfloat* e = eigen_probe(state, k);
    const double before = kernels.norm2(n, e);
    for (int pass = 0; pass < 2; ++pass)
      for (int l = 0; l < k; ++l) {
        const double share = kernels.dot(n, eigen_probe(state, l), e);
        kernels.axpy(n, static_cast<float>(-share), eigen_probe(state, l), e);
        for (const Index slot : slots) weight(state, slot, l) += static_cast<float>(share) * weight(state, slot, k);
      }
    const double length = std::sqrt(kernels.norm2(n, e));
    const double scale = length * length > 1e-12 * before ? 1 / length : 0;
    for (Index i = 0; i < n; ++i) e[i] *= static_cast<float>(scale);
    for (const Index slot : slots) weight(state, slot, k) *= static_cast<float>(length);
  }
}

/// Turns orthonormal eigen-probes and weights to those with a diagonal covariance of weights, largest first.
void sort_by_power(State& state, std::span<const Index> slots, Sharing& sharing) {
  const int modes = state.opr_modes();
  Matrix covariance(modes);
  for (const Index slot : slots)
    for (int k = 0; k < modes; ++k)
      for (int l = 0; l < modes; ++l)
        covariance(k, l) += static_cast<double>(weight(state, slot, k)) * static_cast<double>(weight(state, slot, l));
  sharing.sum(covariance.v);
  Matrix q = eigenvectors(covariance);
  std::vector<float> turned(static_cast<std::size_t>(modes));
  for (const Index slot : slots) {
    for (int k = 0; k < modes; ++k) {
      double sum = 0;
      for (int l = 0; l < modes; ++l) sum += q(l, k) * static_cast<double>(weight(state, slot, l));
      turned[static_cast<std::size_t>(k)] = static_cast<float>(sum);
    }
    std::copy(turned.begin(), turned.end(), &weight(state, slot, 0));
  }
  std::vector<cfloat> pixel(static_cast<std::size_t>(modes));
  for (Index i = 0; i < state.shape.size(); ++i) {
    for (int k = 0; k < modes; ++k) {
      pixel[static_cast<std::size_t>(k)] = 0;
      for (int l = 0; l < modes; ++l)
        pixel[static_cast<std::size_t>(k)] += static_cast<float>(q(l, k)) * eigen_probe(state, l)[i];
    }
    for (int k = 0; k < modes; ++k) eigen_probe(state, k)[i] = pixel[static_cast<std::size_t>(k)];
  }
}

}  // namespace

void begin_probe_variation(State& state, std::span<Workspace> workspaces, int modes) {
  const Shape shape = state.shape;
  const core::Array<cfloat, 3>::Extents extents{modes, shape.ny, shape.nx};
  if (modes > 0 && state.eigen_probes.extents() != extents) {
    state.eigen_probes = core::Array<cfloat, 3>(extents);
    state.opr_weights.assign(state.y.size() * static_cast<std::size_t>(modes), 0.0F);
  }
  for (Workspace& w : workspaces) {
    w.variation = {};
    if (modes == 0) continue;
    w.variation.gradient = core::Array<cfloat, 3>(extents);
    w.variation.weights2.assign(static_cast<std::size_t>(modes), 0.0);
    w.variation.tile = core::Array<cfloat, 2>({shape.ny, shape.nx});
  }
}

void observe_probe_variation(State& state, const ForwardModel& model, Index slot, Workspace& w) {
  const Kernels& kernels = model.kernels();
  const Index n = state.shape.size(), stride = state.object_stride();
  const cfloat *object = state.window(slot), *chi = w.psi[0], *p = w.p[0];
  ProbeVariationSums& sums = w.variation;

  // The gradient of the unshifted probe.
  for (Index y = 0; y < state.shape.ny; ++y)
    for (Index x = 0; x < state.shape.nx; ++x)
      w.term(y, x) = math::conj_mul(object[y * stride + x], chi[y * state.shape.nx + x]);
  sums.tile.fill({});
  kernels.unshift_add(state.shape, all_rows(state.shape), state.placements[static_cast<std::size_t>(slot)].shift,
                      w.term.data(), sums.tile.data(), w.row.data());

  for (int k = 0; k < state.opr_modes(); ++k) {
    const cfloat* e = model.shifted(state, slot, eigen_probe(state, k), w.term.data(), w);
    const StepSums step = kernels.object_step_sums(state.shape, chi, e, object, stride);  // along E_k O
    float used = 0;
    if (step.aa > 0) used = weight(state, slot, k) += static_cast<float>(step.a_chi / step.aa);
    else
      used =
          math::Random(static_cast<std::uint64_t>(slot), static_cast<std::uint64_t>(k)).uniform() < 0.5 ? -1.0F : 1.0F;
    kernels.axpy(n, used, sums.tile.data(), sums.gradient.data() + k * n);
    sums.weights2[static_cast<std::size_t>(k)] += static_cast<double>(used * used);
    if (k == 0) sums.exit_power += kernels.object_step_sums(state.shape, chi, p, object, stride).aa;
  }
  sums.probe_power += kernels.norm2(n, p);
}

void refine_probe_variation(State& state, std::span<Workspace> workspaces, std::span<const Index> slots,
                            const Kernels& kernels, Sharing& sharing) {
  const int modes = state.opr_modes();
  if (modes == 0 || workspaces.empty()) return;
  const Index n = state.shape.size();
  ProbeVariationSums& all = workspaces[0].variation;
  for (std::size_t t = 1; t < workspaces.size(); ++t) {
    const ProbeVariationSums& other = workspaces[t].variation;
    kernels.axpy(n * modes, 1, other.gradient.data(), all.gradient.data());
    for (std::size_t k = 0; k < all.weights2.size(); ++k) all.weights2[k] += other.weights2[k];
    all.probe_power += other.probe_power;
    all.exit_power += other.exit_power;
  }
  sharing.sum(std::span(all.gradient.data(), static_cast<std::size_t>(n * modes)));
  std::vector<double> scalars = all.weights2;
  scalars.insert(scalars.end(), {all.probe_power, all.exit_power, static_cast<double>(slots.size())});
  for (int k = 0; k < modes; ++k) {
    double sum = 0;
    for (const Index slot : slots) sum += static_cast<double>(weight(state, slot, k));
    scalars.push_back(sum);
  }
  sharing.sum(scalars);
  const auto m = static_cast<std::size_t>(modes);
  const double probe_power = scalars[m], exit_power = scalars[m + 1], patterns = scalars[m + 2];
  if (!(exit_power > 0)) return;
  const double transmission = exit_power / probe_power;  // mean |O|^2 under the beam

  // What is common to all patterns belongs to the probe.
  for (int k = 0; k < modes; ++k) {
    const auto mean = static_cast<float>(scalars[m + 3 + static_cast<std::size_t>(k)] / patterns);
    kernels.axpy(n, mean, eigen_probe(state, k), state.probe_mode(0));
    for (const Index slot : slots) weight(state, slot, k) -= mean;
  }
  const bool first = is_zero(state);
  for (int k = 0; k < modes; ++k) {
    const double curvature = all.weights2.empty() ? 0 : scalars[static_cast<std::size_t>(k)] * transmission;
    cfloat* gradient = all.gradient.data() + k * n;
    // Along the eigen-probes themselves the weights have made the step already.
    if (!first)
      for (int l = 0; l < modes; ++l)
        kernels.axpy(n, static_cast<float>(-kernels.dot(n, eigen_probe(state, l), gradient)), eigen_probe(state, l),
                     gradient);
    if (curvature > 0) kernels.axpy(n, static_cast<float>(1 / curvature), gradient, eigen_probe(state, k));
  }
  orthonormalise(state, slots, kernels);
  sort_by_power(state, slots, sharing);
}

}  // namespace farfield::techniques::ptychography
