#include "farfield/techniques/xpcs/product_verbs.hpp"

#include "farfield/techniques/xpcs/average.hpp"
#include "farfield/techniques/xpcs/fit.hpp"
#include "farfield/techniques/xpcs/qmap_make.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/simulate.hpp"

namespace farfield::techniques::xpcs {

namespace {

/// A map as a product, named as in the file that it becomes.
model::Product product_of(const QMap& map) {
  model::Product p;
  p.technique = "xpcs";
  p.verb = "qmap";
  for (auto& [name, array] : to_inputs(map)) {
    const bool image = array.rank() == 2;
    model::Dataset d{name, array};
    if (image) d.axes = {"y", "x"};
    if (!image || name == "qmap/mask") d.draw = "none";
    p.datasets.push_back(std::move(d));
  }
  p.provenance["qmap/map_names"] = axis_names(map);
  p.provenance["qmap/map_units"] = axis_units(map);
  Index used = 0;
  for (const auto bin : map.dynamic_roi_map) used += bin > 0 ? 1 : 0;
  p.metrics = {{"dynamic_bins", static_cast<double>(map.dynamic_bins())},
               {"static_bins", static_cast<double>(map.static_bins())},
               {"pixels", static_cast<double>(used)}};
  return p;
}

using Values = core::OptionValues;
using technique::Observer;
using technique::Resources;
using Products = std::span<const model::Product>;

}  // namespace

std::vector<technique::Verb> with_product_verbs(std::vector<technique::Verb> verbs) {
  verbs.push_back({.name = "qmap",
                   .summary = "make a q-map from the geometry: rings, sectors or a grid of pixels",
                   .options = qmap_schema(),
                   .inputs = {},
                   .outputs = {"qmap/dynamic_roi_map", "qmap/static_roi_map"},
                   .combine = [](Products, const Values& values, const Resources&, std::stop_token, Observer&) {
                     return product_of(make_qmap(qmap_schema().make(values)));
                   }});
  verbs.push_back({.name = "fit",
                   .summary = "fit stretched exponentials to g2, and a power law to tau(q)",
                   .options = fit_schema(),
                   .inputs = {"product"},
                   .outputs = {"tau", "contrast", "baseline", "stretch", "g2_fit", "residual"},
                   .out_optional = true,
                   .combine = [](Products in, const Values& values, const Resources&, std::stop_token,
                                 Observer& observer) { return fit(in[0], fit_schema().make(values), observer); }});
  verbs.push_back({.name = "average",
                   .summary = "average results of the same measurement, leaving out those that do not belong",
                   .options = average_schema(),
                   .inputs = {"product..."},
                   .outputs = {result::kDelay, result::kG2, result::kG2Error, "used", "score"},
                   .combine = [](Products in, const Values& values, const Resources&, std::stop_token,
                                 Observer& observer) { return average(in, average_schema().make(values), observer); }});
  verbs.push_back({.name = "simulate",
                   .summary = "speckle with known dynamics on a photon-counting detector",
                   .options = simulate_schema(),
                   .inputs = {},
                   .outputs = {"q", "tau"},
                   .simulate = [](const Values& values, const Resources& resources) {
                     return make_simulation(simulate_schema().make(values), resources.seed);
                   }});
  return verbs;
}

}  // namespace farfield::techniques::xpcs
