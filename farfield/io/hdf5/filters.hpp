#pragma once
// The compressed chunk formats of detectors, without the library: bytes in, elements out.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/core/any_array.hpp"
#include "farfield/io/hdf5/file.hpp"

namespace farfield::io::hdf5 {

/// True where decode_chunk() knows every filter of the pipeline: any sequence of shuffle, deflate, LZ4
/// (32004) and bitshuffle, plain or with LZ4 (32008).
bool can_decode(const std::vector<Filter>& filters);

/// Undoes the filters of one chunk, last one first; bit k of `skipped` set: filter k was not applied.
/// `out` has the size of the decoded chunk. Throws `corrupt_data` for bytes that do not decode to exactly
/// that size. Pure: any thread, no lock.
void decode_chunk(const std::vector<Filter>& filters, std::uint32_t skipped, core::Index item_bytes,
                  std::span<const std::byte> in, std::span<std::byte> out);

/// How bitshuffled counts are packed where nothing but filter 32008 was used; nothing else otherwise.
std::optional<codec::BitshuffleFormat> only_bitshuffle(const std::vector<Filter>& filters);

/// Bitshuffle + LZ4 as filter 32008 stores it (12-byte header, 8 KiB blocks).
std::vector<std::byte> encode_bitshuffle_lz4(std::span<const std::byte> in, core::Index item_bytes);
/// What filter 32008 is to be declared with for elements of this size.
Filter bitshuffle_lz4(core::Index item_bytes);

/// Makes 32004 and 32008 known to the library, for data that it reads itself (virtual datasets, boxes);
/// no plugin has to be installed.
void register_filters();

}  // namespace farfield::io::hdf5
