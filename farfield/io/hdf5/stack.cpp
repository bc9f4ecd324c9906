#include "farfield/io/hdf5/stack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "farfield/io/hdf5/filters.hpp"

namespace farfield::io::hdf5 {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr Index kMostFrameBytes = Index{1} << 30;

// Index of a flattened frame along each leading axis.
std::vector<Index> leading(const std::vector<Index>& shape, Index frame) {
  std::vector<Index> at(shape.size(), 0);
  for (std::size_t r = shape.size() - 2; r-- > 0;) {
    at[r] = frame % shape[r];
    frame /= shape[r];
  }
  return at;
}
}  // namespace

Stack::Stack(std::vector<Dataset> parts) {
  for (auto& dataset : parts) {
    const auto& shape = dataset.shape();
    if (dataset.rank() < 2)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("frames must be an array (frame, y, x), not of shape ({})", fmt::join(shape, ", ")))
          .at(dataset.where());
    const Index ny = shape[shape.size() - 2], nx = shape[shape.size() - 1];
    const core::DType type = dataset.dtype();
    if (type == core::DType::c64 || type == core::DType::c128)
      throw Error(ErrorCode::unsupported, "frames must be counts, not complex numbers").at(dataset.where());
    if (parts_.empty()) {
      ny_ = ny;
      nx_ = nx;
      dtype_ = type;
    } else if (ny != ny_ || nx != nx_ || type != dtype_) {
      throw Error(ErrorCode::corrupt_data, fmt::format("frames of {} x {} {} must be as those before, {} x {} {}", ny,
                                                       nx, core::name(type), ny_, nx_, core::name(dtype_)))
          .at(dataset.where());
    }
    Index bytes = core::item_size(type);
    if (ny < 1 || nx < 1 || __builtin_mul_overflow(bytes, ny, &bytes) || __builtin_mul_overflow(bytes, nx, &bytes) ||
        bytes > kMostFrameBytes)
      throw Error(
          ErrorCode::corrupt_data,
          fmt::format("frames of {} x {} pixels are not possible (at most {} bytes each)", ny, nx, kMostFrameBytes))
          .at(dataset.where());
    Part part;
    part.frames = 1;
    for (std::size_t r = 0; r + 2 < shape.size(); ++r)
      if (__builtin_mul_overflow(part.frames, shape[r], &part.frames) || part.frames > (Index{1} << 40))
        throw Error(ErrorCode::corrupt_data, fmt::format("shape ({}) is not possible", fmt::join(shape, ", ")))
            .at(dataset.where());
    part.first = frames_;
    frames_ += part.frames;
    // Raw chunks need to be cut along one frame axis only; more axes are fine where a chunk holds one frame.
    const auto& chunk = dataset.chunk();
    part.raw = !chunk.empty() && dataset.rank() >= 3 && dataset.bytes_are_elements() && can_decode(dataset.filters());
    if (part.raw && dataset.rank() > 3)
      part.raw = std::all_of(chunk.begin(), chunk.end() - 2, [](Index n) { return n == 1; });
    if (part.raw) {
      Index chunk_bytes = core::item_size(type);
      for (const Index n : chunk)
        if (__builtin_mul_overflow(chunk_bytes, n, &chunk_bytes) || chunk_bytes > 4 * kMostFrameBytes) part.raw = false;
    }
    if (parts_.empty() && part.raw && dataset.rank() == 3)
      chunk_frames_ = std::max<Index>(1, std::min(chunk[0], part.frames));
    part.dataset = std::move(dataset);
    parts_.push_back(std::move(part));
  }
  if (parts_.empty()) throw Error(ErrorCode::internal, "a stack needs a dataset");
}

Stack::Bad Stack::read(Index first, Index count, void* out, core::ThreadPool* pool) const {
  if (first < 0 || count < 0 || first > frames_ - count)
    throw Error(ErrorCode::internal, "frames outside of the stack");
  Bad bad;
  for (const auto& part : parts_) {
    const Index begin = std::max(first, part.first), end = std::min(first + count, part.first + part.frames);
    if (begin >= end) continue;
    auto* target = static_cast<std::byte*>(out) + (begin - first) * frame_bytes();
    if (part.raw) read_raw(part, begin - part.first, end - begin, target, pool, bad);
    else read_part(part, begin - part.first, end - begin, target, pool, bad);
  }
  std::sort(bad.begin(), bad.end());
  return bad;
}

// Through the library: contiguous, converted, virtual datasets and unknown filters.
void Stack::read_part(const Part& part, Index first, Index count, std::byte* out, core::ThreadPool*, Bad& bad) const {
  const auto& shape = part.dataset.shape();
  const auto read_box = [&](Index frame, Index frames, std::byte* target) {
    std::vector<Index> start = leading(shape, frame), box(shape.size(), 1);
    box[shape.size() - 2] = ny_;
    box[shape.size() - 1] = nx_;
    if (shape.size() == 3) box[0] = frames;
    part.dataset.read_box(start, box, target);
  };
  if (shape.size() == 3) {
    try {
      read_box(first, count, out);
      return;
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      // One by one, to find the frames that are damaged.
    }
  }
  for (Index i = 0; i < count; ++i) {
    try {
      read_box(first + i, 1, out + i * frame_bytes());
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      std::memset(out + i * frame_bytes(), 0, static_cast<std::size_t>(frame_bytes()));
      bad.emplace_back(part.first + first + i, e.what());
    }
  }
}

void Stack::read_raw(const Part& part, Index first, Index count, std::byte* out, core::ThreadPool* pool,
                     Bad& bad) const {
  const auto& d = part.dataset;
  const auto& shape = d.shape();
  const auto& chunk = d.chunk();
  const Index item = core::item_size(dtype_);
  const Index cf = shape.size() == 3 ? chunk[0] : 1, cy = chunk[chunk.size() - 2], cx = chunk[chunk.size() - 1];
  const std::size_t chunk_bytes = static_cast<std::size_t>(cf * cy * cx * item);

  struct Piece {
    Index f = 0, y = 0, x = 0;  // first frame, row, column of the chunk
    std::optional<Dataset::RawChunk> raw;
    std::string reason;
  };
  const Index first_chunk = first / cf * cf;
  const auto frames_of = [&](const Piece& p) {
    return std::pair{std::max(p.f, first), std::min(p.f + cf, first + count)};
  };

  const auto decode = [&](Piece& p) {
    const auto [begin, end] = frames_of(p);
    const auto at = [&](Index f, Index y) { return out + ((f - first) * ny_ + y) * nx_ * item; };
    if (!p.reason.empty()) return;
    try {
      if (!p.raw) {
        // Never written: the library knows the fill value.
        for (Index f = begin; f < end; ++f) {
          std::vector<Index> start = leading(shape, f), box(shape.size(), 1);
          start[shape.size() - 2] = p.y;
          start[shape.size() - 1] = p.x;
          box[shape.size() - 2] = std::min(cy, ny_ - p.y);
          box[shape.size() - 1] = std::min(cx, nx_ - p.x);
          std::vector<std::byte> fill(static_cast<std::size_t>(box[shape.size() - 2] * box[shape.size() - 1] * item));
          d.read_box(start, box, fill.data());
          const std::size_t row = static_cast<std::size_t>(box[shape.size() - 1] * item);
          for (Index y = 0; y < box[shape.size() - 2]; ++y)
            std::memcpy(at(f, p.y + y) + p.x * item, fill.data() + static_cast<std::size_t>(y) * row, row);
        }
        return;
      }
      const bool whole = cy == ny_ && cx == nx_ && begin == p.f && end == p.f + cf;
      std::vector<std::byte> scratch;
      if (!whole) scratch.resize(chunk_bytes);
      const std::span<std::byte> target = whole ? std::span(at(begin, 0), chunk_bytes) : std::span(scratch);
      decode_chunk(d.filters(), p.raw->skipped, item, p.raw->bytes, target);
      if (whole) return;
      const std::size_t row = static_cast<std::size_t>(std::min(cx, nx_ - p.x) * item);
      for (Index f = begin; f < end; ++f)
        for (Index y = 0; y < std::min(cy, ny_ - p.y); ++y)
          std::memcpy(at(f, p.y + y) + p.x * item, scratch.data() + (((f - p.f) * cy + y) * cx) * item, row);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      p.reason = e.what();
    }
  };

  // Pieces of bounded size: compressed bytes of a few chunks at a time are held beside `out`.
  std::vector<Piece> pieces;
  const auto flush = [&] {
    if (pool != nullptr && pool->size() > 1 && pieces.size() > 1)
      pool->for_each(static_cast<Index>(pieces.size()),
                     [&](Index i, int) { decode(pieces[static_cast<std::size_t>(i)]); });
    else
      for (auto& p : pieces) decode(p);
    for (const auto& p : pieces) {
      if (p.reason.empty()) continue;
      const auto [begin, end] = frames_of(p);
      for (Index f = begin; f < end; ++f) {
        const Index id = part.first + f;
        if (std::none_of(bad.begin(), bad.end(), [&](const auto& b) { return b.first == id; }))
          bad.emplace_back(id, fmt::format("{} ({})", p.reason, d.where()));
      }
    }
    pieces.clear();
  };
  constexpr std::size_t kMostHeld = std::size_t{32} << 20;
  std::size_t held = 0;
  for (Index f = first_chunk; f < first + count; f += cf)
    for (Index y = 0; y < ny_; y += cy)
      for (Index x = 0; x < nx_; x += cx) {
        Piece p{f, y, x, std::nullopt, {}};
        std::vector<Index> offset = leading(shape, f);
        offset[shape.size() - 2] = y;
        offset[shape.size() - 1] = x;
        try {
          p.raw = d.read_chunk(offset);
        } catch (const Error& e) {
          if (e.code() != ErrorCode::corrupt_data) throw;
          p.raw.emplace();
          p.reason = e.what();
        }
        held += p.raw ? p.raw->bytes.size() : 0;
        pieces.push_back(std::move(p));
        if (held > kMostHeld) {
          flush();
          held = 0;
        }
      }
  flush();
  // At the end: other chunks of a damaged frame may have been good.
  for (const auto& [id, reason] : bad)
    if (const Index f = id - part.first - first; f >= 0 && f < count)
      std::memset(out + f * frame_bytes(), 0, static_cast<std::size_t>(frame_bytes()));
}

}  // namespace farfield::io::hdf5
