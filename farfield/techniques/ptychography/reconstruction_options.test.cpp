// Every option of the verb reconstruct has an effect; what its product holds.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "farfield/math/complex.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/ptychography/reconstruction_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using namespace testing;
using core::Array;

/// Options of which a computation of four passes must show the effect: each with what it is added to.
struct Effect {
  const char* option;
  core::OptionValue value;
  OptionValues beside{};
};

TEST(ReconstructionOptions, EachHasAnEffect) {
  using Int = std::int64_t;
  const OptionValues modes{{"probe-modes", Int{3}}},
      positions{{"refine-positions", true}, {"position-update-start", Int{0}}},
      opr{{"opr-modes", Int{1}}, {"opr-update-start", Int{1}}},
      intensity{{"fit-intensity", true}, {"intensity-update-start", Int{0}}},
      background{{"fit-background", true}, {"background-update-start", Int{0}}}, clip{{"object-amplitude-max", 0.7}},
      support{{"probe-support", 0.3}},
      zone_plate{{"probe-start", std::string("zone-plate")},
                 {"zone-plate-diameter", 100e-6},
                 {"zone-plate-outer-zone", 400e-9}},
      near{{"propagation", std::string("angular-spectrum")}}, cgml{{"algorithm", std::string("cgml")}},
      cgml_modes{{"algorithm", std::string("cgml")}, {"probe-modes", Int{3}}, {"probe-update-start", Int{0}}},
      raar{{"algorithm", std::string("raar")}}, dm{{"algorithm", std::string("dm")}};
  const std::vector<Effect> effects = {
      {"algorithm", std::string("cgml")},
      {"iterations", Int{3}},
      {"likelihood", std::string("poisson")},
      {"batch-size", Int{7}},
      {"batches", std::string("sequential")},
      {"object-step", 0.5},
      {"probe-step", 0.5},
      {"damping", 0.5},
      {"acceleration", std::string("momentum")},
      {"momentum", 0.5, {{"acceleration", std::string("momentum")}}},
      {"alpha", 0.5, {{"algorithm", std::string("rpie")}}},
      {"raar-beta", 0.5, raar},
      {"dm-beta", 0.5, dm},
      {"dm-tolerance", 0.3, dm},
      {"probe-modes", Int{2}},
      {"mode-start", std::string("random"), modes},
      {"mode-power", 0.3, modes},
      {"optimal-steps", std::string("pattern")},
      {"orthogonalise", false, modes},
      {"opr-modes", Int{1}, {{"opr-update-start", Int{1}}}},
      {"probe-start", std::string("mean-pattern")},
      {"probe-diameter", 6.0, {{"probe-start", std::string("aperture")}}},
      {"probe-defocus", 1e-3},
      {"zone-plate-diameter",
       120e-6,
       {{"probe-start", std::string("zone-plate")},
        {"zone-plate-diameter", 100e-6},
        {"zone-plate-outer-zone", 400e-9},
        {"zone-plate-stop", 40e-6}}},
      {"zone-plate-outer-zone", 500e-9, zone_plate},
      {"zone-plate-stop", 50e-6, zone_plate},
      {"rescale-probe", false, {{"probe-start", std::string("aperture")}}},
      {"probe-support", 0.3},
      {"probe-photons", 5e4},
      {"object-start", std::string("stxm")},
      {"object-amplitude-max", 0.7},
      {"object-amplitude-min", 1.2},
      {"object-positive", true},
      {"object-smoothness", 0.2},
      {"object-tv", 0.05},
      {"refine-positions", true, {{"position-update-start", Int{0}}}},
      {"position-model", std::string("free"), positions},
      {"position-step-limit", 0.001, positions},
      {"position-outlier-sigma", 1.0, positions},
      {"position-regularisation", 0.9, positions},
      {"fit-intensity", true, {{"intensity-update-start", Int{0}}}},
      {"fit-background", true, {{"background-update-start", Int{0}}}},
      {"object-update-start", Int{1}, cgml},
      {"object-update-stop", Int{1}},
      {"object-update-stride", Int{2}},
      {"probe-update-start", Int{1}},
      {"probe-update-stop", Int{3}},
      {"probe-update-stride", Int{2}},
      {"mode-update-start", Int{3}, cgml_modes},
      {"mode-update-stop", Int{3}, cgml_modes},
      {"mode-update-stride", Int{3}, cgml_modes},
      {"opr-update-start", Int{2}, opr},
      {"opr-update-stop", Int{2}, opr},
      {"opr-update-stride", Int{2}, opr},
      {"position-update-start", Int{2}, positions},
      {"position-update-stop", Int{2}, positions},
      {"position-update-stride", Int{2}, positions},
      {"intensity-update-start", Int{2}, intensity},
      {"intensity-update-stop", Int{2}, intensity},
      {"intensity-update-stride", Int{2}, intensity},
      {"background-update-start", Int{2}, background},
      {"background-update-stop", Int{2}, background},
      {"background-update-stride", Int{2}, background},
      {"object-constraint-start", Int{4}, clip},
      {"object-constraint-stop", Int{3}, clip},
      {"object-constraint-stride", Int{2}, clip},
      {"probe-constraint-start", Int{4}, support},
      {"probe-constraint-stop", Int{3}, support},
      {"probe-constraint-stride", Int{2}, support},
      {"dc", std::string("corner")},
      {"crop", Int{24}},
      {"bin", Int{2}},
      {"pad", Int{40}},
      {"flip-y", true},
      {"flip-x", true},
      {"transpose", true},
      {"saturation", 200.0},
      {"propagation", std::string("angular-spectrum")},
      {"energy", 9000.0},
      {"distance", 2.5, near},
      {"detector-pixel", 80e-6},
      {"position-scale-y", -1.0},
      {"position-scale-x", -1.0},
      {"swap-positions", true},
  };
  // Tested by themselves: when it ends (stop rules), what lives on between passes, or how fast it is.
  std::set<std::string> rest = {"time-limit",        "convergence-window", "convergence-tolerance",
                                "refine-after-scan", "fft-planning",       "centre-probe"};
  std::map<std::string, model::Product> references;
  for (const auto& effect : effects) {
    rest.insert(effect.option);
    OptionValues without = options(effect.beside);
    const std::string key = core::options_to_json(without);
    if (!references.contains(key)) references[key] = reconstruct(star(), without);
    OptionValues with = without;
    with[effect.option] = effect.value;
    EXPECT_FALSE(technique::same_bits(references[key], reconstruct(star(), with))) << effect.option;
  }
  for (const auto& info : schema().options())
    EXPECT_TRUE(rest.contains(info.name)) << info.name << " is tested nowhere";
}

TEST(ReconstructionOptions, CentringBringsTheProbeBack) {
  Scan scan = make_scan(scan_options({{"start-probe", std::string("exact")}}));
  auto probe = scan.acquisition.inputs["probe"].to<cfloat, 3>();
  for (Index y = 0; y < 32; ++y)
    std::rotate(probe[0].data() + y * 32, probe[0].data() + y * 32 + 3, probe[0].data() + (y + 1) * 32);
  scan.acquisition.inputs["probe"] = core::AnyArray(probe);
  const auto x_of = [](const model::Product& p) {
    const auto field = p.find("probe")->data.view<const cfloat, 3>();
    double sum = 0, moment = 0;
    for (Index y = 0; y < 32; ++y)
      for (Index x = 0; x < 32; ++x) {
        sum += static_cast<double>(math::abs2(field(Index{0}, y, x)));
        moment += static_cast<double>(math::abs2(field(Index{0}, y, x))) * static_cast<double>(x);
      }
    return moment / sum;
  };
  const auto off = reconstruct(scan, options()), centred = reconstruct(scan, options({{"centre-probe", true}}));
  EXPECT_LT(x_of(off), 14);
  EXPECT_NEAR(x_of(centred), 16, 0.51);
}

TEST(ReconstructionOptions, TimeAndConvergenceEndIt) {
  Bench converging(options(
      {{"iterations", std::int64_t{500}}, {"convergence-window", std::int64_t{3}}, {"convergence-tolerance", 0.05}}));
  converging.run(star());
  EXPECT_EQ(converging.state, StepState::converged);
  EXPECT_LT(converging.observer.reports.size(), 200U);

  Bench timed(options({{"iterations", std::int64_t{500}}, {"time-limit", 10.0}}));
  timed.technique->begin(star().acquisition);
  timed.feed(star());
  EXPECT_EQ(timed.technique->step({}, timed.observer), StepState::working);
  timed.clock.time_s = 11;
  EXPECT_EQ(timed.complete(), StepState::finished);
  EXPECT_LE(timed.observer.reports.size(), 2U);
}

TEST(ReconstructionOptions, ContradictionsAreRefused) {
  EXPECT_ERROR(error_of(star(), options({{"probe-start", std::string("zone-plate")}})), ErrorCode::invalid_argument,
               "zone-plate-diameter");
  EXPECT_ERROR(error_of(star(), options({{"centre-probe", true}, {"propagation", std::string("fresnel")}})),
               ErrorCode::invalid_argument, "far-field");
  EXPECT_ERROR(error_of(star(), options({{"crop", std::int64_t{64}}})), ErrorCode::invalid_argument, "crop = 64");
  EXPECT_ERROR(error_of(star(), options({{"probe-modse", std::int64_t{2}}})), ErrorCode::invalid_argument,
               "probe-modes");
}

TEST(ReconstructionProduct, HoldsWhatItSays) {
  const auto p = reconstruct(star(), options({{"probe-modes", std::int64_t{2}}}));
  EXPECT_EQ(p.technique, "ptychography");
  EXPECT_EQ(p.find("cost")->data.shape(), std::vector<Index>{4});
  EXPECT_EQ(p.find("positions")->unit, "m");
  const auto shares = p.find("mode_power")->data.view<const double, 1>();
  EXPECT_NEAR(shares[0] + shares[1], 1, 1e-12);
  EXPECT_GE(shares[0], shares[1]);
  const double pixel = *p.pixel_size_y_m;
  EXPECT_NEAR(pixel, *star().truth.pixel_size_y_m, 1e-6 * pixel);
  // Differences between positions are those of the truth, whatever the origin.
  const auto at = p.find("positions")->data.view<const double, 2>(),
             truth = star().truth.find("positions")->data.view<const double, 2>();
  EXPECT_NEAR((at(7, 0) - at(3, 0)) / pixel, truth(7, 0) - truth(3, 0), 1e-6);
  EXPECT_NEAR((at(7, 1) - at(3, 1)) / pixel, truth(7, 1) - truth(3, 1), 1e-6);
  EXPECT_EQ(p.provenance.at("seed"), "1");
  EXPECT_NE(p.provenance.at("options").find("\"probe-modes\": 2"), std::string::npos) << p.provenance.at("options");
  const double total = [&] {
    double sum = 0;
    for (const float v : p.find("illumination")->data.view<const float, 2>()) sum += static_cast<double>(v);
    return sum;
  }();
  EXPECT_NEAR(total / (49 * 1e5), 1,
              0.3);  // photons of the simulation; four passes do not settle the object's amplitude
}

TEST(ReconstructionProduct, BackgroundLiesAsTheFramesDo) {
  Scan scan = copy_of(star());
  core::AnyArray frame(core::DType::f32, {32, 32});
  for (Index i = 0; i < frame.size(); ++i) static_cast<float*>(frame.data())[i] = static_cast<float>(i % 7);
  scan.acquisition.inputs["background"] = frame;
  const auto p = reconstruct(scan, options());
  ASSERT_NE(p.find("background"), nullptr);
  EXPECT_EQ(std::memcmp(p.find("background")->data.data(), frame.data(), static_cast<std::size_t>(frame.bytes())), 0);
}

TEST(ReconstructionProduct, DivergenceIsSaid) {
  Bench bench(options({{"iterations", std::int64_t{100}}, {"object-step", 10.0}, {"probe-step", 10.0}}));
  const auto p = bench.run(star());
  EXPECT_EQ(bench.state, StepState::not_converged);
  ASSERT_FALSE(bench.observer.warnings.empty());
  EXPECT_NE(bench.observer.warnings.back().find("diverged"), std::string::npos);
  for (const auto& [name, value] : p.metrics) EXPECT_TRUE(std::isfinite(value)) << name;
}

TEST(ReconstructionProduct, WithoutAGeometryThereAreNoMetres) {
  const auto p = reconstruct(make_scan(scan_options({{"pixel-units", true}})), options());
  EXPECT_FALSE(p.pixel_size_y_m);
  EXPECT_FALSE(p.energy_eV);
  EXPECT_EQ(p.find("positions")->unit, "px");
  EXPECT_FALSE(p.metrics.contains("pixel_size_y_m"));
}

}  // namespace
}  // namespace farfield::techniques::ptychography
