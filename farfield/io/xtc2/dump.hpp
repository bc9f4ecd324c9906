#pragma once
// A datagram as text, line by line as the facility's xtcreader prints it.

#include <string>

#include "farfield/io/xtc2/datagram.hpp"

namespace farfield::io::xtc2 {

struct DumpOptions {
  bool values = true;  ///< else the line of the datagram only
  Index words = 8;     ///< elements shown of an array
};

/// Appends the text of datagram `number` (from 1); what could not be read is appended to `faults`. Control characters
/// in names and texts, except line ends and tabs, are written as \xNN: files come from outside and terminals obey.
void dump(const Datagram& datagram, Index number, NamesTable& table, const DumpOptions& options, std::string& text,
          std::vector<std::string>& faults);

}  // namespace farfield::io::xtc2
