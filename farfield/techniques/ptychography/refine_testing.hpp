#pragma once
// For tests: a small simulated scan and the loop around an algorithm, with the refinements between the passes.

#include <cmath>
#include <optional>

#include "farfield/techniques/ptychography/refine_background.hpp"
#include "farfield/techniques/ptychography/refine_intensity.hpp"
#include "farfield/techniques/ptychography/refine_positions.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"
#include "farfield/techniques/ptychography/tiles.hpp"

namespace farfield::techniques::ptychography::testing {

/// 120 patterns of 64 x 64 with a probe of about 30 px every 8 px, counting noise, positions in pixels; `more` wins.
inline core::OptionValues small_scan(const core::OptionValues& more = {}) {
  core::OptionValues o{{"patterns", std::int64_t{120}},
                       {"shape", std::int64_t{64}},
                       {"photons", 3e5},
                       {"step", 6.0},
                       {"jitter", 1.5},
                       {"pixel-units", true},
                       {"probe", std::string("disc")},
                       {"probe-size", 26.0},
                       {"phantom", std::string("coins")},
                       {"start-probe", std::string("exact")}};
  for (const auto& [name, value] : more) o[name] = value;
  return o;
}

struct Features {
  bool positions = false, intensity = false, background = false;
  int opr_modes = 0;
};

class SmallScan {
public:
  /// With `tiles`: this process's share of the scan.
  explicit SmallScan(const core::OptionValues& simulation, Options chosen = {}, std::uint64_t seed = 7,
                     TileSharing* tiles = nullptr, int threads = 1)
      : options(std::move(chosen)), pool(threads), random(seed) {
    const core::SteadyClock clock;
    auto source = make_simulation(simulation, {&pool, nullptr, &clock, seed, 0});
    const auto& acquisition = source->acquisition();
    preparation = FramePreparation(acquisition.detector, options);
    patterns = Patterns(preparation.shape(), preparation.dtype());
    while (source->next({}, [&](const model::FrameBatch& batch) {
      for (const auto& frame : batch.frames)
        if (tiles == nullptr || tiles->takes(frame.id)) preparation.prepare(frame.image, patterns.add(frame.id));
      for (const auto& [id, values] : batch.values) patterns.set_position(id, values.at("y_px"), values.at("x_px"));
    })) {}
    if (tiles != nullptr) patterns = tiles->split(std::move(patterns));
    truth = source->truth();
    state.shape = preparation.shape();
    state.probe = truth.find("probe")->data.to<cfloat, 3>();
    model.emplace(kernels(),
                  operators::Propagator::far_field(state.shape.ny, state.shape.nx, math::FftEffort::estimate), patterns,
                  preparation.valid(), preparation.saturation(), options.likelihood);
    for (int t = 0; t < threads; ++t) workspaces.emplace_back(state.shape, state.modes());
    algorithm = options.algorithm == AlgorithmKind::lsqml  ? make_lsqml(options)
                : options.algorithm == AlgorithmKind::cgml ? make_cgml(options)
                                                           : make_projection(options);
    cover(state, patterns, {1, 0}, 4);
    if (tiles != nullptr) tiles->align(state, *model);
  }

  static const Kernels& kernels() { return cpu_kernels(core::isa()); }
  const std::vector<Index>& slots() const { return patterns.ready(); }

  /// One iteration and what follows it; the cost per valid pixel that it saw.
  double pass(const Features& f, Sharing& sharing, TileSharing* tiles = nullptr) {
    begin_background(state, patterns, slots(), workspaces, f.background, sharing);
    begin_probe_variation(state, workspaces, f.opr_modes);
    observations.resize(state.y.size());
    Pass p{.options = options,
           .iteration = iteration++,
           .state = state,
           .model = *model,
           .slots = slots(),
           .pool = pool,
           .workspaces = workspaces,
           .random = random,
           .sharing = sharing,
           .stop = {},
           .update_probe = update_probe,
           .update_opr = f.opr_modes > 0,
           .refine_positions = f.positions,
           .observations = observations};
    ModulusSums sums = algorithm->iterate(p);
    if (tiles != nullptr) {
      sums = tiles->total(sums);
      if (!algorithm->full_batch()) tiles->average(state, *model);
    }
    if (f.opr_modes > 0) refine_probe_variation(state, workspaces, slots(), kernels(), sharing);
    if (f.background) refine_background(state, patterns, slots(), workspaces, options.likelihood, sharing);
    if (f.intensity) refine_intensity(state, slots(), observations, sharing);
    if (f.positions) refine_positions(state, patterns, slots(), observations, options, sharing);
    const Regrid old{state.origin_y, state.origin_x, state.object.extents()};
    if (cover(state, patterns, {1, 0}, 4)) algorithm->regrid(state, old);
    if (tiles != nullptr) tiles->align(state, *model);
    return sums.cost / sums.valid;
  }
  double pass(const Features& f = {}) {
    Sharing alone;
    return pass(f, alone);
  }

  /// One evaluation, nothing changed; sums over the patterns of this process.
  ModulusSums evaluate() {
    ModulusSums sums;
    for (const Index slot : slots()) {
      model->exit_waves(state, slot, workspaces[0]);
      sums += model->compare(state, slot, workspaces[0]);
    }
    return sums;
  }

  /// Moves each position by up to `limit` px along each axis; returns (y, x) as they were.
  std::pair<std::vector<double>, std::vector<double>> disturb_positions(double limit) {
    std::pair<std::vector<double>, std::vector<double>> before{state.y, state.x};
    math::Random offsets(3);
    for (const Index slot : slots()) {
      state.y[static_cast<std::size_t>(slot)] += offsets.uniform(-limit, limit);
      state.x[static_cast<std::size_t>(slot)] += offsets.uniform(-limit, limit);
      state.place(slot);
    }
    return before;
  }
  /// Root mean square distance to (y, x), px, their mean apart.
  double position_error(const std::pair<std::vector<double>, std::vector<double>>& right) const {
    double sum = 0;
    for (const auto& [now, then] : {std::pair(&state.y, &right.first), std::pair(&state.x, &right.second)}) {
      const double n = static_cast<double>(then->size());
      double mean = 0;
      for (std::size_t i = 0; i < then->size(); ++i) mean += ((*now)[i] - (*then)[i]) / n;
      for (std::size_t i = 0; i < then->size(); ++i) sum += std::pow((*now)[i] - (*then)[i] - mean, 2) / n;
    }
    return std::sqrt(sum);
  }

  Options options;
  core::ThreadPool pool;
  math::Random random;
  FramePreparation preparation;
  Patterns patterns;
  model::Product truth;
  State state;
  std::optional<ForwardModel> model;
  std::vector<Workspace> workspaces;
  std::vector<Observation> observations;
  std::unique_ptr<Algorithm> algorithm;
  std::int64_t iteration = 0;
  bool update_probe = true;
};

}  // namespace farfield::techniques::ptychography::testing
