#include "farfield/techniques/xpcs/technique.hpp"

#include "farfield/techniques/xpcs/correlate.hpp"
#include "farfield/techniques/xpcs/options.hpp"
#include "farfield/techniques/xpcs/product_verbs.hpp"
#include "farfield/techniques/xpcs/rebin.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/two_time_analysis.hpp"

namespace farfield::techniques::xpcs {

const technique::TechniqueInfo& info() {
  static const technique::TechniqueInfo value{
      .name = "xpcs",
      .summary = "X-ray photon correlation spectroscopy: how fast speckle patterns change",
      .references = {"10.1063/1.1287637", "10.1088/0954-8998/2/4/002", "10.1364/OE.11.002268"},
      .verbs = with_product_verbs(
          {{.name = "correlate",
            .summary = "g2 of each bin of a q-map over multi-tau or linear delays",
            .options = correlate_schema(),
            .inputs = {"frames", "qmap"},
            .outputs = {result::kDelay, result::kG2, result::kG2Error, result::kSaxs1d, result::kSaxs2d,
                        result::kFrameSum},
            .sparse_frames = true,
            .raw_frames = true,
            .analyse =
                [](const core::OptionValues& values, const technique::Resources& resources) {
                  return make_correlate(correlate_schema().make(values), resources);
                }},
           {.name = "twotime",
            .summary = "two-time correlation c2 of each bin of a q-map, its g2, ageing and cuts",
            .options = twotime_schema(),
            .inputs = {"frames", "qmap"},
            .outputs = {result::kBins, result::kDelay, result::kC2G2, result::kSaxs1d, result::kFrameSum},
            .sparse_frames = true,
            .raw_frames = true,
            .analyse =
                [](const core::OptionValues& values, const technique::Resources& resources) {
                  return make_two_time(twotime_schema().make(values), resources);
                }},
           {.name = "saxs",
            .summary = "scattering curves and images over a q-map, in windows of time",
            .options = saxs_schema(),
            .inputs = {"frames", "qmap"},
            .outputs = {result::kSaxs1d, result::kSaxs1dPartial, result::kSaxs2d, result::kFrameSum},
            .sparse_frames = true,
            .raw_frames = true,
            .analyse =
                [](const core::OptionValues& values, const technique::Resources& resources) {
                  return make_saxs(saxs_schema().make(values), resources);
                }},
           {.name = "rebin",
            .summary = "another q-map for a result that kept its pixels, without the frames",
            .options = {},
            .inputs = {"product", "product"},
            .outputs = {result::kDelay, result::kG2, result::kG2Error, result::kSaxs1d},
            .combine = [](std::span<const model::Product> in, const core::OptionValues&, const technique::Resources&,
                          std::stop_token, technique::Observer&) { return rebin(in[0], in[1]); }}})};
  return value;
}

}  // namespace farfield::techniques::xpcs
