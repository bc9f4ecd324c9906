// Frames of few counts, out of bitshuffled chunks, without the frames in between.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/io/hdf5/filters.hpp"
#include "farfield/io/hdf5/stack.hpp"

namespace farfield::io::hdf5 {

using core::DType;
using core::Error;
using core::ErrorCode;
using core::Index;
using core::PixelCount;

namespace {
constexpr Index kMostElements = Index{1} << 28;  // of a chunk: each thread has room for all of them

bool is_good(std::span<const std::byte> valid, Index pixel) {
  return valid.empty() ||
         (std::to_integer<unsigned>(valid[static_cast<std::size_t>(pixel / 8)]) >> (pixel % 8) & 1U) != 0;
}

/// The same from elements in order.
Index collect(std::span<const std::byte> elements, Index item, std::span<const std::byte> valid,
              std::span<PixelCount> out) {
  Index made = 0;
  for (std::size_t i = 0; i < elements.size() / static_cast<std::size_t>(item); ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, elements.data() + i * static_cast<std::size_t>(item), static_cast<std::size_t>(item));
    if (value != 0 && is_good(valid, static_cast<Index>(i)))
      out[static_cast<std::size_t>(made++)] = {static_cast<std::uint32_t>(i), value};
  }
  return made;
}
}  // namespace

bool Stack::can_read_sparse() const {
  if (dtype_ != DType::u8 && dtype_ != DType::u16 && dtype_ != DType::u32) return false;
  return std::all_of(parts_.begin(), parts_.end(), [&](const Part& part) {
    if (!part.raw) return false;
    const auto format = only_bitshuffle(part.dataset.filters());
    const auto& chunk = part.dataset.chunk();
    const auto rank = chunk.size();
    return format && format->element_size == core::item_size(dtype_) && chunk[rank - 2] == ny_ &&
           chunk[rank - 1] == nx_ && (rank > 3 ? 1 : chunk[0]) <= kMostElements / (ny_ * nx_);
  });
}

Index Stack::sparse_chunk(const Part& part, Index frame, Index elements, std::span<const std::byte> valid,
                          std::span<PixelCount> out) const {
  const auto& d = part.dataset;
  const auto& shape = d.shape();
  const Index item = core::item_size(dtype_);
  // Index of a flattened frame along each leading axis.
  std::vector<Index> at(shape.size(), 0);
  Index rest = frame;
  for (std::size_t r = shape.size() - 2; r-- > 0;) {
    at[r] = rest % shape[r];
    rest /= shape[r];
  }
  const auto raw = d.read_chunk(at);
  const auto format = only_bitshuffle(d.filters());
  if (elements != ny_ * nx_) valid = {};  // a mask of one frame fits a chunk of one
  if (raw && raw->skipped == 0 && format)
    return core::value_or_throw(codec::bitshuffle_sparse(raw->bytes, *format, elements, {0, valid}, out));
  std::vector<std::byte> dense(static_cast<std::size_t>(elements * item));
  if (raw) {
    decode_chunk(d.filters(), raw->skipped, item, raw->bytes, dense);
  } else {  // never written: the library knows the fill value
    std::vector<Index> box(shape.size(), 1);
    box[shape.size() - 2] = ny_;
    box[shape.size() - 1] = nx_;
    if (shape.size() == 3) box[0] = std::min(elements / (ny_ * nx_), part.frames - frame);
    d.read_box(at, box, dense.data());
  }
  return collect(dense, item, valid, out);
}

Stack::Bad Stack::read_sparse(Index first, std::span<std::vector<PixelCount>> out, std::span<const std::byte> valid,
                              core::ThreadPool* pool) const {
  const auto count = static_cast<Index>(out.size());
  if (first < 0 || first > frames_ - count) throw Error(ErrorCode::internal, "frames outside of the stack");
  if (!can_read_sparse()) throw Error(ErrorCode::internal, "the frames cannot be read sparse");
  struct Piece {
    const Part* part;
    Index frame;  // its first, within the part
    std::string reason;
  };
  std::vector<Piece> pieces;
  const auto frames_of_chunk = [](const Part& part) {
    return part.dataset.rank() == 3 ? part.dataset.chunk()[0] : Index{1};
  };
  Index most = 0;
  for (const auto& part : parts_) {
    const Index begin = std::max(first, part.first) - part.first;
    const Index end = std::min(first + count - part.first, part.frames), step = frames_of_chunk(part);
    for (Index f = begin / step * step; f < end; f += step) pieces.push_back({&part, f, {}});
    most = std::max(most, step * ny_ * nx_);
  }

  const int threads = pool != nullptr ? pool->size() : 1;
  // Not zeroed: pages that hold no event are never touched.
  std::vector<std::unique_ptr<PixelCount[]>> room(static_cast<std::size_t>(threads));
  const auto decode = [&](Index i, int thread) {
    Piece& piece = pieces[static_cast<std::size_t>(i)];
    auto& buffer = room[static_cast<std::size_t>(thread)];
    if (!buffer) buffer = std::make_unique_for_overwrite<PixelCount[]>(static_cast<std::size_t>(most));
    const Index frames = frames_of_chunk(*piece.part), pixels = ny_ * nx_;
    const Index target = piece.part->first + piece.frame - first;  // of the first frame, may lie outside of `out`
    const auto in_range = [&](Index f) { return target + f >= 0 && target + f < count; };
    Index made = 0;
    try {
      made = sparse_chunk(*piece.part, piece.frame, frames * pixels, valid,
                          {buffer.get(), static_cast<std::size_t>(frames * pixels)});
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      piece.reason = fmt::format("{} ({})", e.what(), piece.part->dataset.where());
    }
    const PixelCount *event = buffer.get(), *const end = event + made;
    for (Index f = 0; f < frames; ++f) {
      const auto first_pixel = static_cast<std::uint32_t>(f * pixels);
      const PixelCount* const after =
          f + 1 == frames ? end : std::lower_bound(event, end, (f + 1) * pixels, [](const PixelCount& e, Index p) {
            return static_cast<Index>(e.pixel) < p;
          });
      if (in_range(f)) {
        auto& list = out[static_cast<std::size_t>(target + f)];
        if (frames == 1) {
          list.assign(event, after);
        } else {
          list.clear();
          for (const auto* e = event; e != after; ++e)
            if (is_good(valid, e->pixel - first_pixel)) list.push_back({e->pixel - first_pixel, e->count});
        }
      }
      event = after;
    }
  };
  if (pool != nullptr) pool->for_each(static_cast<Index>(pieces.size()), decode);
  else
    for (Index i = 0; i < static_cast<Index>(pieces.size()); ++i) decode(i, 0);

  Bad bad;
  for (const auto& piece : pieces) {
    if (piece.reason.empty()) continue;
    const Index begin = piece.part->first + piece.frame;
    const Index end = std::min(begin + frames_of_chunk(*piece.part), piece.part->first + piece.part->frames);
    for (Index f = std::max(begin, first); f < std::min(end, first + count); ++f) bad.emplace_back(f, piece.reason);
  }
  return bad;
}

}  // namespace farfield::io::hdf5
