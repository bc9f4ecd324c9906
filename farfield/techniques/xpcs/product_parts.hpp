#pragma once
// What every verb needs to take products apart and to put them together.

#include <string>
#include <vector>

#include "farfield/model/product.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs {

template <class T>
core::AnyArray array_of(const std::vector<T>& v) {
  return core::AnyArray(core::View<const T, 1>(v.data(), {static_cast<Index>(v.size())}));
}

/// The dataset of this rank. Throws `invalid_argument`: "<whose> has no <name>; <remedy>".
const model::Dataset& needed(const model::Product& product, const char* name, int rank,
                             const std::string& whose = "the result",
                             const std::string& remedy = "correlate the scan first");

/// The q-map that a product carries. Throws as qmap_from() does; `source` names it there.
QMap map_of(const model::Product& product, const std::string& source = "the q-map of the result");

}  // namespace farfield::techniques::xpcs
