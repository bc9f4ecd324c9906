// Maximum likelihood by conjugate gradients on object, probe and positions together (Thibault, Guizar-Sicairos
// 2012, doi:10.1088/1367-2630/14/6/063004). With residuals chi_j of all patterns j, the steepest descent direction is
//   g_O = sum_j conj(S_j P) chi_j,   g_P = sum_j S_j^T conj(O_j) chi_j,   g_j = Re <P d(O_j)/d(y, x), chi_j>.
// It is scaled by the diagonal (per position: 2 x 2) blocks of the Gauss-Newton matrix, which makes the three kinds of
// unknowns commensurable whatever the scales of object and probe:
//   z_O = g_O / (sum_j |S_j P|^2 + damping max |P|^2),   z_P = g_P / sum_j mean|O_j|^2,   z_j = (2 x 2)^-1 g_j.
// Directions follow Polak and Ribiere (Nocedal, Wright, Numerical Optimization, 5.44, "PR+"):
//   d = z + beta d_before,   beta = max(0, <g, z - z_before> / <g_before, z_before>).
// The step along d is exact: the exit waves are polynomials of the step, and so are the intensities, of degree
// four; the root of the slope of the true cost is found from its values at 0 and at trial steps about a first
// guess, which comes from a few patterns. Five transforms per pattern and iteration, two for the gradient and three
// for the line; no exit wave is kept.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"
#include "farfield/techniques/ptychography/full_batch.hpp"
#include "farfield/techniques/ptychography/line_kernels.hpp"
#include "farfield/techniques/ptychography/line_search.hpp"

namespace farfield::techniques::ptychography {
namespace {

/// Patterns from which the step is guessed.
constexpr Index kPilot = 16;

/// Correction of one position, and its gradient g in the coordinates where the 2 x 2 block L L^T is the identity.
struct Shift {
  double dy = 0, dx = 0;
  double gy = 0, gx = 0;
};

/// Scratch of one thread for the line search.
struct LineTiles {
  LineTiles(Shape shape, int modes)
      : b({modes, shape.ny, shape.nx}),
        c({modes, shape.ny, shape.nx}),
        first({shape.ny, shape.nx}),
        second({shape.ny, shape.nx}),
        rows(static_cast<std::size_t>(row_scratch(shape.nx))) {}
  core::Array<cfloat, 3> b, c;
  core::Array<cfloat, 2> first, second;
  std::vector<float> rows;
};

class CgMl final : public Algorithm {
public:
  bool full_batch() const override { return true; }

  ModulusSums iterate(Pass& pass) override {
    State& s = pass.state;
    if (object_direction_.extents() != s.object.extents() || probe_direction_.extents() != s.probe.extents()) {
      object_direction_ = core::Array<cfloat, 2>(s.object.extents());
      object_before_ = core::Array<cfloat, 2>(s.object.extents());
      probe_direction_ = core::Array<cfloat, 3>(s.probe.extents());
      probe_before_ = core::Array<cfloat, 3>(s.probe.extents());
      forget();
    }
    shifts_.resize(s.y.size());
    const ModulusSums sums = gradient(pass);
    if (stopped_) return {};
    choose_direction(pass, sums);
    move(pass, line_search(pass));
    return sums;
  }

  void forget() override { gradient2_before_ = 0; }

  void regrid(const State& s, const Regrid& r) override {
    if (object_direction_.empty()) return;
    object_direction_ =
        ptychography::regrid(object_direction_, r.old_y, r.old_x, s.object.extents(), s.origin_y, s.origin_x, cfloat{});
    object_before_ =
        ptychography::regrid(object_before_, r.old_y, r.old_x, s.object.extents(), s.origin_y, s.origin_x, cfloat{});
  }

  void save(technique::Sink& sink) const override {
    const std::array<Index, 5> extents{object_direction_.extent(0), object_direction_.extent(1),
                                       probe_direction_.extent(0), probe_direction_.extent(1),
                                       probe_direction_.extent(2)};
    put_values(sink, "extents", std::span<const Index>(extents));
    put_values(sink, "object_direction", object_direction_);
    put_values(sink, "object_before", object_before_);
    put_values(sink, "probe_direction", probe_direction_);
    put_values(sink, "probe_before", probe_before_);
    put_values(sink, "shifts", shifts_);
    const std::array<double, 3> scalars{gradient2_before_, step_, cost_before_};
    put_values(sink, "scalars", std::span<const double>(scalars));
    const std::array<Index, 2> unknowns{static_cast<Index>(unknowns_before_), patterns_before_};
    put_values(sink, "unknowns", std::span<const Index>(unknowns));
  }

  void restore(technique::Source& source) override {
    const auto e = get_values<Index>(source, "extents", 5);
    object_direction_ = core::Array<cfloat, 2>({e[0], e[1]});
    object_before_ = core::Array<cfloat, 2>({e[0], e[1]});
    probe_direction_ = core::Array<cfloat, 3>({e[2], e[3], e[4]});
    probe_before_ = core::Array<cfloat, 3>({e[2], e[3], e[4]});
    get_values(source, "object_direction", object_direction_);
    get_values(source, "object_before", object_before_);
    get_values(source, "probe_direction", probe_direction_);
    get_values(source, "probe_before", probe_before_);
    shifts_ = get_values<Shift>(source, "shifts");
    const auto scalars = get_values<double>(source, "scalars", 3);
    gradient2_before_ = scalars[0];
    step_ = scalars[1];
    cost_before_ = scalars[2];
    const auto unknowns = get_values<Index>(source, "unknowns", 2);
    unknowns_before_ = static_cast<unsigned>(unknowns[0]);
    patterns_before_ = unknowns[1];
  }

private:
  /// Number of probe modes that change in this pass.
  static int moving_modes(const Pass& pass) {
    return !pass.update_probe ? 0 : pass.update_modes ? pass.state.modes() : 1;
  }

  ModulusSums gradient(Pass& pass) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Index n = s.shape.size(), nx = s.shape.nx, stride = s.object_stride();
    const int moving = moving_modes(pass);
    batch_.begin(pass);
    stopped_ = false;
    pass.pool.run([&](int thread) {
      Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
      w.reset();
      for (const Index slot : batch_.share(thread)) {
        if (stopped(pass)) stopped_ = true;
        if (stopped_) return;
        pass.model.exit_waves(s, slot, w);
        const ModulusSums sums = pass.model.residuals(s, slot, w);
        batch_.sums(thread) += sums;
        pass.observe(slot, sums, w);
        FullBatch::Rows rows[2];
        const int pieces = batch_.rows(s, slot, thread, rows);
        for (int m = 0; m < s.modes(); ++m) {
          const cfloat *chi = w.psi[static_cast<std::size_t>(m)], *p = w.p[static_cast<std::size_t>(m)];
          for (int i = 0; i < pieces; ++i) {
            const Index at = rows[i].first * nx;
            k.gradients({rows[i].count, nx}, chi + at, p + at, s.window(slot) + rows[i].first * stride, stride,
                        rows[i].object, stride, rows[i].illumination, m < moving ? w.term.data() + at : nullptr);
          }
          if (m < moving)
            k.unshift_add(s.shape, all_rows(s.shape), s.placements[static_cast<std::size_t>(slot)].shift, w.term.data(),
                          batch_.probe_sum(thread) + m * n, w.row.data());
        }
      }
    });
    if (!stopped_) batch_.finish(pass.pool, k, pass.sharing);
    return batch_.total();
  }

  void choose_direction(Pass& pass, const ModulusSums& sums) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Index width = s.object_stride();

    double shared[7] = {sums.model_intensity, sums.cost, sums.valid, static_cast<double>(pass.slots.size()), 0, 0, 0};
    pass.sharing.sum(std::span(shared, 4));
    const double power = k.norm2(s.probe.size(), s.probe.data());
    const float probe_scale = power > 0 && shared[0] > 0 ? static_cast<float>(std::sqrt(power / shared[0])) : 0.0F;
    const double cost = shared[1] / std::max(1.0, shared[2]);

    // All inner products in coordinates scaled by the square root of the preconditioner: g becomes g / sqrt(block).
    const float floor = static_cast<float>(pass.options.damping) * k.max_abs2(s.shape.size(), s.probe.data()) + 1e-30F;
    core::Array<cfloat, 2>& g = batch_.object();
    core::Array<cfloat, 3>& h = batch_.probe();
    double old_slope = pass.update_object ? pass.sharing.dot_object(k, g.view(), object_direction_.view()) : 0.0;
    double old_slope_probe = pass.update_probe ? k.dot(h.size(), h.data(), probe_direction_.data()) : 0.0;
    pass.pool.split(s.object.extent(0), [&](Index begin, Index end, int) {
      for (Index i = begin * width; i < end * width; ++i) {
        float& scale = batch_.illumination().data()[i];
        scale = pass.update_object ? 1 / std::sqrt(scale + floor) : 0.0F;
        g.data()[i] *= scale;
      }
    });
    for (auto& v : h) v *= probe_scale;
    double gg = pass.sharing.dot_object(k, g.view(), g.view()),
           gb = pass.sharing.dot_object(k, g.view(), object_before_.view());
    if (pass.refine_positions) scale_positions(pass, old_slope, gg, gb);
    shared[0] = gg;
    shared[1] = gb;
    shared[2] = old_slope;
    pass.sharing.sum(std::span(shared, 3));
    gg = shared[0] + k.norm2(h.size(), h.data());
    gb = shared[1] + k.dot(h.size(), h.data(), probe_before_.data());
    old_slope = shared[2] + old_slope_probe;

    const unsigned unknowns = (pass.update_object ? 1U : 0U) + (pass.refine_positions ? 2U : 0U) +
                              4U * static_cast<unsigned>(moving_modes(pass));
    const auto patterns = static_cast<Index>(shared[3]);
    // A step that did not help (constraints, saturation coming and going) or other unknowns: the old direction says
    // nothing.
    const bool fresh =
        gradient2_before_ <= 0 || unknowns != unknowns_before_ || (patterns == patterns_before_ && cost > cost_before_);
    double beta = fresh ? 0.0 : std::max(0.0, (gg - gb) / gradient2_before_);
    if (gg + beta * old_slope <= 0) beta = 0;
    slope_ = -2 * (gg + beta * old_slope);
    gradient2_before_ = gg;
    unknowns_before_ = unknowns;
    patterns_before_ = patterns;
    cost_before_ = cost;

    const auto b = static_cast<float>(beta);
    pass.pool.split(s.object.extent(0), [&](Index begin, Index end, int) {
      const float* scale = batch_.illumination().data();
      for (Index i = begin * width; i < end * width; ++i)
        object_direction_.data()[i] = scale[i] * g.data()[i] + b * object_direction_.data()[i];
    });
    std::swap(object_before_, g);
    for (Index i = 0; i < h.size(); ++i) {
      probe_direction_.data()[i] = probe_scale * h.data()[i] + b * probe_direction_.data()[i];
      probe_before_.data()[i] = h.data()[i];
    }
    if (pass.refine_positions) turn_positions(pass, beta);
  }

  /// Replaces each position's g by L^-1 g and adds to the three inner products.
  void scale_positions(Pass& pass, double& old_slope, double& gg, double& gb) {
    for (const Index slot : pass.slots) {
      const StepSums& p = pass.observations[static_cast<std::size_t>(slot)].position;
      Shift& shift = shifts_[static_cast<std::size_t>(slot)];
      old_slope += p.a_chi * shift.dy + p.b_chi * shift.dx;
      const auto [l_yy, l_xy, l_xx] = cholesky(p);
      const double gy = l_yy > 0 ? p.a_chi / l_yy : 0.0, gx = l_xx > 0 ? (p.b_chi - l_xy * gy) / l_xx : 0.0;
      gg += gy * gy + gx * gx;
      gb += gy * shift.gy + gx * shift.gx;
      shift.gy = gy;
      shift.gx = gx;
    }
  }
  void turn_positions(Pass& pass, double beta) {
    for (const Index slot : pass.slots) {
      const auto [l_yy, l_xy, l_xx] = cholesky(pass.observations[static_cast<std::size_t>(slot)].position);
      Shift& shift = shifts_[static_cast<std::size_t>(slot)];
      const double zx = l_xx > 0 ? shift.gx / l_xx : 0.0, zy = l_yy > 0 ? (shift.gy - l_xy * zx) / l_yy : 0.0;  // L^-T
      shift.dy = zy + beta * shift.dy;
      shift.dx = zx + beta * shift.dx;
    }
  }
  struct Lower {
    double yy, xy, xx;
  };
  static Lower cholesky(const StepSums& p) {
    // A trace of the identity keeps patterns without structure along one axis from running away along it.
    const double ridge = 1e-3 * (p.aa + p.bb);
    if (ridge <= 0) return {0, 0, 0};
    const double yy = std::sqrt(p.aa + ridge), xy = p.ab / yy;
    return {yy, xy, std::sqrt(p.bb + ridge - xy * xy)};
  }

  double line_search(Pass& pass) {
    prepare_tiles(pass);
    std::vector<Index> pilot;
    const auto n = static_cast<Index>(pass.slots.size()), count = std::min(n, kPilot);
    for (Index i = 0; i < count; ++i) pilot.push_back(pass.slots[static_cast<std::size_t>(i * n / count)]);
    const auto few = [&](const Trials& trials) {
      return slopes(pass, trials, [&](int thread, const auto& visit) {
        for (Index i = thread; i < count; i += pass.pool.size()) visit(pilot[static_cast<std::size_t>(i)]);
      });
    };
    const auto all = [&](const Trials& trials) {
      return slopes(pass, trials, [&](int thread, const auto& visit) {
        for (const Index slot : batch_.share(thread)) visit(slot);
      });
    };
    // With the old step as the second trial, one visit to the few patterns is mostly enough.
    const double before = step_ > 0 ? step_ : 1.0;
    const double few_slope = few({0, before})[0];
    const double guess = find_root(few, few_slope, before);
    step_ = find_root(all, slope_, guess > 0 ? guess : before);
    return step_;
  }

  /// d cost / d step at the trial steps, over the patterns that share(thread, visit) visits.
  template <class Share>
  Trials slopes(Pass& pass, const Trials& trials, const Share& share) {
    State& s = pass.state;
    const LineKernels& line = cpu_line_kernels(pass.model.kernels().isa);
    const Index n = s.shape.size(), stride = s.object_stride();
    const int modes = s.modes(), moving = moving_modes(pass);
    const bool quadratic = moving > 0 || pass.refine_positions;
    std::vector<LineSlopes> sums(static_cast<std::size_t>(pass.pool.size()));
    pass.pool.run([&](int thread) {
      Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
      LineTiles& tiles = tiles_[static_cast<std::size_t>(thread)];
      w.reset();
      std::vector<cfloat*> b, c, images;
      for (int m = 0; m < modes; ++m) {
        b.push_back(tiles.b.data() + m * n);
        c.push_back(tiles.c.data() + m * n);
        images.insert(images.end(), {w.psi[static_cast<std::size_t>(m)], b.back()});
        if (quadratic) images.push_back(c.back());
      }
      share(thread, [&](Index slot) {
        const Placement& place = s.placements[static_cast<std::size_t>(slot)];
        ObjectLine object{s.window(slot), stride, object_direction_.data() + place.oy * stride + place.ox, stride,
                          nullptr};
        if (pass.refine_positions) {
          const Shift& shift = shifts_[static_cast<std::size_t>(slot)];
          line.moving_window(s.shape, object.o, object.first, stride, static_cast<float>(shift.dy),
                             static_cast<float>(shift.dx), tiles.first.data(), tiles.second.data());
          object = {object.o, stride, tiles.first.data(), s.shape.nx, tiles.second.data()};
        }
        for (int m = 0; m < modes; ++m) {
          const auto mm = static_cast<std::size_t>(m);
          if (quadratic && m >= moving && object.second == nullptr) std::fill_n(c[mm], n, cfloat{});
          line.waves(s.shape, place.shift, s.probe_mode(m), m < moving ? probe_direction_.data() + m * n : nullptr,
                     object, w.psi[mm], b[mm], c[mm], tiles.rows.data());
        }
        LineTask task{n, modes, w.psi.data(), b.data(), quadratic ? c.data() : nullptr, pass.model.task(s, slot, w),
                      {}};
        for (int t = 0; t < kTrials; ++t) task.steps[t] = static_cast<float>(trials[static_cast<std::size_t>(t)]);
        sums[static_cast<std::size_t>(thread)] += at_detector(pass.model.propagator(), line, task, images, s.shape.nx);
      });
    });
    LineSlopes total;
    for (const auto& part : sums) total += part;
    pass.sharing.sum(std::span(total.at));
    Trials out;
    std::copy_n(total.at, kTrials, out.begin());
    return out;
  }

  /// images: a, b and, where the wave is quadratic in the step, c of each mode, at the sample; they are spoilt.
  static LineSlopes at_detector(const operators::Propagator& propagator, const LineKernels& line, const LineTask& task,
                                std::span<cfloat* const> images, Index nx) {
    if (!propagator.has_parts(static_cast<int>(images.size()))) {
      for (cfloat* image : images) propagator.forward(image);
      return line.slopes(task);
    }
    struct Visitor {
      const LineKernels& line;
      const LineTask& task;
      Index nx;
      LineSlopes sums{};
    } visitor{line, task, nx};
    propagator.transform().visit(
        images,
        [](void* context, const math::FftBlock& block) {
          Visitor& v = *static_cast<Visitor*>(context);
          v.sums += v.line.slopes_block(v.task, v.nx, block);
        },
        &visitor);
    return visitor.sums;
  }

  void move(Pass& pass, double step) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const auto t = static_cast<float>(step);
    if (pass.update_object) k.axpy(s.object.size(), t, object_direction_.data(), s.object.data());
    k.axpy(moving_modes(pass) * s.shape.size(), t, probe_direction_.data(), s.probe.data());
    if (!pass.refine_positions) return;
    const double limit = pass.options.position_step_limit_px;
    for (const Index slot : pass.slots) {
      const auto i = static_cast<std::size_t>(slot);
      s.y[i] += std::clamp(step * shifts_[i].dy, -limit, limit);
      s.x[i] += std::clamp(step * shifts_[i].dx, -limit, limit);
      // The wish is granted; the curvature stays, for what draws positions towards a model.
      pass.observations[i].position.a_chi = pass.observations[i].position.b_chi = 0;
    }
  }

  void prepare_tiles(const Pass& pass) {
    const auto threads = static_cast<std::size_t>(pass.pool.size());
    if (tiles_.size() == threads && tiles_[0].b.extents() == pass.state.probe.extents()) return;
    tiles_.clear();
    for (std::size_t t = 0; t < threads; ++t) tiles_.emplace_back(pass.state.shape, pass.state.modes());
  }

  FullBatch batch_;
  std::atomic<bool> stopped_ = false;  ///< before the gradient was complete; nothing has changed then
  std::vector<LineTiles> tiles_;
  core::Array<cfloat, 2> object_direction_;
  core::Array<cfloat, 2> object_before_;  ///< scaled gradient of the last iteration
  core::Array<cfloat, 3> probe_direction_, probe_before_;
  std::vector<Shift> shifts_;  ///< by slot
  double gradient2_before_ = 0;  ///< scaled; 0: no last iteration
  double step_ = 0, cost_before_ = 0;
  double slope_ = 0;  ///< d cost / d step at 0 along the direction of this iteration
  unsigned unknowns_before_ = 0;
  Index patterns_before_ = 0;
};

}  // namespace

std::unique_ptr<Algorithm> make_cgml(const Options&) { return std::make_unique<CgMl>(); }

}  // namespace farfield::techniques::ptychography
