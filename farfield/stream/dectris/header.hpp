#pragma once
// Private to this folder: what both versions do with the scalars of a header.

#include <map>
#include <string>
#include <variant>

#include "farfield/stream/dectris/message.hpp"

namespace farfield::stream::dectris {

/// Scalars of a header by name; lists and what is no scalar as text in JSON.
using Scalars = std::map<std::string, std::variant<bool, double, std::string>>;

std::optional<double> number(const Scalars& scalars, const std::string& name);
std::optional<bool> flag(const Scalars& scalars, const std::string& name);
std::optional<std::string> text(const Scalars& scalars, const std::string& name);
/// A number that is finite and > 0: SIMPLON writes 0 for what is not known.
std::optional<double> positive(const Scalars& scalars, const std::string& name);

/// Everything as metadata.
void keep(const Scalars& scalars, model::Acquisition& acquisition);

/// What Farfield says of a scan in a header appendix (v1) or user data (v2) beside what SIMPLON can: a flat JSON object
/// "farfield" of numbers and texts. Replays write it, so that a replay gives what the file gives.
/// False: there are none.
bool read_own_words(const std::string& json, model::Acquisition& acquisition);
std::string own_words(const model::Acquisition& acquisition);

/// Numbers of a flat JSON object, by name; nothing where the text is something else.
model::Values numbers_of(std::string_view json);

/// Throws `corrupt_data` as model::validate(), apart from the shape.
void check_header(const model::Acquisition& acquisition);

}  // namespace farfield::stream::dectris
