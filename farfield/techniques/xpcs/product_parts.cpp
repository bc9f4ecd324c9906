#include "farfield/techniques/xpcs/product_parts.hpp"

#include <fmt/format.h>

#include "farfield/core/error.hpp"
#include "farfield/model/acquisition.hpp"

namespace farfield::techniques::xpcs {

const model::Dataset& needed(const model::Product& product, const char* name, int rank, const std::string& whose,
                             const std::string& remedy) {
  const auto* d = product.find(name);
  if (d == nullptr || d->data.empty() || d->data.rank() != rank)
    throw core::Error(core::ErrorCode::invalid_argument, fmt::format("{} has no {}; {}", whose, name, remedy));
  return *d;
}

QMap map_of(const model::Product& product, const std::string& source) {
  model::Acquisition carrier;
  carrier.source = source;
  for (const auto& d : product.datasets)
    if (d.name.starts_with("qmap/")) carrier.inputs[d.name] = d.data;
  for (const auto& [name, text] : product.provenance)
    if (name.starts_with("qmap/")) carrier.metadata[name] = text;
  return qmap_from(carrier);
}

}  // namespace farfield::techniques::xpcs
