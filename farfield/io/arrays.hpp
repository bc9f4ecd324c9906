#pragma once
// Shapes of probes, objects and images that programs store with more or fewer axes.

#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::io {

/// The array as T with exactly `Rank` axes: leading axes of extent 1 are dropped, or added. Throws
/// `corrupt_data` for any other shape ("probe has shape (2, 3, 8, 8), which is not (mode, y, x)").
template <class T>
core::AnyArray with_rank(const core::AnyArray& array, int rank, const std::string& what, const std::string& axes,
                         const std::string& where);

extern template core::AnyArray with_rank<core::cfloat>(const core::AnyArray&, int, const std::string&,
                                                       const std::string&, const std::string&);
extern template core::AnyArray with_rank<float>(const core::AnyArray&, int, const std::string&, const std::string&,
                                                const std::string&);
extern template core::AnyArray with_rank<double>(const core::AnyArray&, int, const std::string&, const std::string&,
                                                 const std::string&);

/// Numbers of a real array of any shape, in order.
std::vector<double> numbers_of(const core::AnyArray& array, const std::string& where);

/// A mask(y, x) in which 0 is good, from bits or booleans; any value but 0 that has no bit gets `kUser`.
core::Array<std::uint32_t, 2> mask_of(const core::AnyArray& array, const std::string& where);

}  // namespace farfield::io
