#include "farfield/io/xtc2/environment.hpp"

#include <fmt/format.h>

#include <charconv>

namespace farfield::io::xtc2 {

using core::Error;
using core::ErrorCode;

std::string ValueName::text() const {
  return segment ? fmt::format("{}[{}].{}.{}", detector, *segment, algorithm, field)
                 : fmt::format("{}.{}.{}", detector, algorithm, field);
}

ValueName parse_value_name(std::string_view text) {
  const auto refuse = [&] {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("\"{}\" must be DETECTOR.ALGORITHM.FIELD or DETECTOR[SEGMENT].ALGORITHM.FIELD", text));
  };
  const auto first = text.find('.');
  const auto second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos || first == 0 || second == first + 1 || second + 1 == text.size())
    throw refuse();
  ValueName out{std::string(text.substr(0, first)), std::string(text.substr(first + 1, second - first - 1)),
                std::string(text.substr(second + 1))};
  if (const auto open = out.detector.find('['); open != std::string::npos) {
    std::uint32_t segment = 0;
    const char *begin = out.detector.data() + open + 1, *last = out.detector.data() + out.detector.size();
    const auto [end, error] = std::from_chars(begin, last, segment);
    if (open == 0 || error != std::errc() || end + 1 != last || *end != ']') throw refuse();
    out.detector.resize(open);
    out.segment = segment;
  }
  return out;
}

void Environment::update(Transition transition, const Contents& contents) {
  if (transition == Transition::configure) places_.clear();
  std::vector<Value> values;
  for (const auto& item : contents.items) {
    const auto* block = std::get_if<Block>(&item);
    if (block == nullptr || !block->values(values)) continue;
    Place& place = places_[block->names->id];
    place.names = block->names;
    place.values.clear();
    for (const Value& value : values)
      place.values.push_back({*value.field, {value.bytes.begin(), value.bytes.end()}, value.shape});
  }
}

const SlowValue* Environment::find(const ValueName& name) const {
  for (const auto& [id, place] : places_) {
    if (!name.matches(*place.names)) continue;
    if (const Index at = place.names->find(name.field); at >= 0) return &place.values[static_cast<std::size_t>(at)];
  }
  return nullptr;
}

}  // namespace farfield::io::xtc2
