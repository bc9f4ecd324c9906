#pragma once
// The verb `correlate`: g2 of each dynamic bin, while the frames come.

#include <memory>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/xpcs/options.hpp"

namespace farfield::techniques::xpcs {

std::unique_ptr<technique::Technique> make_correlate(const CorrelateOptions& options,
                                                     const technique::Resources& resources);
/// The verb `saxs`: the scattering curves alone.
std::unique_ptr<technique::Technique> make_saxs(const SaxsOptions& options, const technique::Resources& resources);

}  // namespace farfield::techniques::xpcs
