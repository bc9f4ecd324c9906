#pragma once
// The verb `twotime`.

#include <memory>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/xpcs/options.hpp"

namespace farfield::techniques::xpcs {

/// Keeps the events of the whole scan, 8 bytes each; a step is as many bins as there are threads.
std::unique_ptr<technique::Technique> make_two_time(const TwoTimeOptions& options,
                                                    const technique::Resources& resources);

}  // namespace farfield::techniques::xpcs
