#pragma once
// Numbers that read well: tick positions and labels, lengths for scale bars.

#include <string>
#include <vector>

namespace farfield::plot {

struct Tick {
  double value;
  std::string label;  ///< empty: a minor tick
};

/// Multiples of 1, 2 or 5 times a power of ten within [low, high], at most `most` (>= 2) of them.
/// low == high gives one tick, a range that is not finite none.
std::vector<Tick> linear_ticks(double low, double high, int most);

/// Powers of ten within [low, high] (both > 0), thinned to `most` labels, the rest of 1 ... 9 as minor ticks; a range
/// below three decades labels 1, 2, 5 as well, one below a factor of three has linear ticks.
std::vector<Tick> log_ticks(double low, double high, int most);

/// "0.25", "1200", "3×10⁵", "10⁻³": with `decimals` after the point unless the number is large or small.
std::string number_label(double value, int decimals);

/// The largest 1, 2 or 5 times a power of ten that is not above `most` > 0.
double nice_below(double most);

/// "5 µm", "200 nm", "1.5 mm" for a length in metres.
std::string length_label(double length_m);

}  // namespace farfield::plot
