#include "farfield/pipeline/events/filter.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;
using core::Error;
using core::ErrorCode;

namespace {
std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kBlank = " \t\n";
  for (std::size_t begin = text.find_first_not_of(kBlank); begin != std::string_view::npos;
       begin = text.find_first_not_of(kBlank, begin)) {
    const std::size_t end = std::min(text.find_first_of(kBlank, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

std::optional<double> scalar(const xtc2::Value& value) {
  if (value.field->rank != 0 || value.field->type == xtc2::FieldType::text) return std::nullopt;
  return value.number();
}

std::optional<double> of_event(RunState& run, std::span<const std::span<const std::byte>> datagrams,
                               const xtc2::ValueName& name) {
  xtc2::Contents contents;
  for (int s = 0; s < run.streams(); ++s) {
    auto& stream = run.stream(s);
    if (datagrams[static_cast<std::size_t>(s)].empty() || stream.index.is_index()) continue;
    const auto datagram = xtc2::Datagram::parse(datagrams[static_cast<std::size_t>(s)]);
    if (!datagram) continue;
    xtc2::read_contents(*datagram, stream.names, contents);
    for (const auto& item : contents.items) {
      const auto* block = std::get_if<xtc2::Block>(&item);
      if (block == nullptr || !name.matches(*block->names)) continue;
      if (const auto value = block->value(block->names->find(name.field)); value) return scalar(*value);
    }
  }
  return std::nullopt;
}
}  // namespace

Filter Filter::parse(std::string_view text) {
  constexpr std::array<std::string_view, 6> kOps{"<", "<=", ">", ">=", "==", "!="};
  Filter out;
  const auto words = words_of(text);
  for (std::size_t i = 0; i < words.size(); i += 4) {
    const auto refuse = [&](const std::string& what) {
      return Error(ErrorCode::invalid_argument,
                   fmt::format("filter \"{}\": {}; it must be NAME OP NUMBER, joined by \"and\", with blanks between",
                               text, what));
    };
    if (words.size() < i + 3) throw refuse("it ends too early");
    const auto* op = std::find(kOps.begin(), kOps.end(), words[i + 1]);
    if (op == kOps.end()) throw refuse(fmt::format("\"{}\" is none of < <= > >= == !=", words[i + 1]));
    double bound = 0;
    const auto number = words[i + 2];
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bound);
    if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(bound))
      throw refuse(fmt::format("\"{}\" is no number", number));
    if (words.size() > i + 3 && (words[i + 3] != "and" || words.size() == i + 4))
      throw refuse(fmt::format("\"{}\" where \"and\" and another comparison were expected", words[i + 3]));
    out.terms_.push_back({xtc2::parse_value_name(words[i]), static_cast<Op>(op - kOps.begin()), bound});
  }
  return out;
}

Filter::Verdict Filter::judge(RunState& run, std::span<const std::span<const std::byte>> datagrams) const {
  for (const Term& term : terms_) {
    auto value = of_event(run, datagrams, term.name);
    if (!value)
      if (const auto* slow = run.slow_value(term.name)) value = scalar(slow->value());
    if (!value) return Verdict::no_value;
    bool holds = false;
    switch (term.op) {
      case Op::less: holds = *value < term.bound; break;
      case Op::less_equal: holds = *value <= term.bound; break;
      case Op::greater: holds = *value > term.bound; break;
      case Op::greater_equal: holds = *value >= term.bound; break;
      case Op::equal: holds = *value == term.bound; break;
      case Op::not_equal: holds = *value != term.bound; break;
    }
    if (!holds) return Verdict::reject;
  }
  return Verdict::keep;
}

}  // namespace farfield::pipeline::events
