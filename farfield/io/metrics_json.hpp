#pragma once

#include <string>

#include "farfield/model/product.hpp"

namespace farfield::io {

/// Numbers and provenance of a product as one JSON object (indented, one line end at the end):
/// {"technique":..., "verb":..., "metrics":{...}, "provenance":{...}, "datasets":[{name, dtype, shape, unit, axes}]}.
/// A provenance value that is itself a JSON object or array (the options) is embedded as such; a metric
/// that is not finite becomes null.
std::string metrics_json(const model::Product& product);

}  // namespace farfield::io
