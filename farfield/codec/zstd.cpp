#include "farfield/codec/zstd.hpp"

#include <fmt/core.h>
#include <zstd.h>

#include <memory>

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;

// A context is 150 KB and more: one per thread, not one per block.
ZSTD_DCtx* decompression_context() {
  thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  if (context == nullptr) throw std::bad_alloc();
  return context.get();
}
ZSTD_CCtx* compression_context() {
  thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  if (context == nullptr) throw std::bad_alloc();
  return context.get();
}
}  // namespace

core::Result<void> zstd_decode(std::span<const std::byte> frames, std::span<std::byte> out) {
  std::byte nothing{};
  const std::size_t decoded = ZSTD_decompressDCtx(decompression_context(), out.empty() ? &nothing : out.data(),
                                                  out.size(), frames.data(), frames.size());
  if (ZSTD_isError(decoded) != 0)
    return core::failure(ErrorCode::corrupt_data, fmt::format("Zstandard data of {} bytes for {} decoded ones: {}",
                                                              frames.size(), out.size(), ZSTD_getErrorName(decoded)));
  if (decoded != out.size())
    return core::failure(ErrorCode::corrupt_data,
                         fmt::format("Zstandard data decodes to {} bytes, expected {}", decoded, out.size()));
  return {};
}

Index zstd_bound(Index bytes) { return static_cast<Index>(ZSTD_compressBound(static_cast<std::size_t>(bytes))); }

Index zstd_encode(std::span<const std::byte> data, std::span<std::byte> out, int level) {
  if (level < 1 || level > 19)
    throw core::Error(ErrorCode::invalid_argument, fmt::format("Zstandard level {} must be 1 to 19", level));
  const std::size_t length =
      ZSTD_compressCCtx(compression_context(), out.data(), out.size(), data.data(), data.size(), level);
  if (ZSTD_isError(length) != 0)
    throw core::Error(ErrorCode::invalid_argument, fmt::format("Zstandard cannot compress {} bytes into {}: {}",
                                                               data.size(), out.size(), ZSTD_getErrorName(length)));
  return static_cast<Index>(length);
}

std::vector<std::byte> zstd_encode(std::span<const std::byte> data, int level) {
  std::vector<std::byte> out(static_cast<std::size_t>(zstd_bound(std::ssize(data))));
  out.resize(static_cast<std::size_t>(zstd_encode(data, out, level)));
  return out;
}

struct ZstdStream::State {
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
};

ZstdStream::ZstdStream() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr) throw std::bad_alloc();
  ZSTD_DCtx_setParameter(state_->context.get(), ZSTD_d_windowLogMax, 27);
}
ZstdStream::~ZstdStream() = default;

core::Result<ZstdStream::Step> ZstdStream::decode(std::span<const std::byte> in, std::span<std::byte> out) {
  ZSTD_inBuffer from{in.data(), in.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  const std::size_t left = ZSTD_decompressStream(state_->context.get(), &to, &from);
  if (ZSTD_isError(left) != 0)
    return core::failure(ErrorCode::corrupt_data, fmt::format("Zstandard stream: {}", ZSTD_getErrorName(left)));
  if (from.pos > 0 || to.pos > 0) at_end_ = left == 0;
  return Step{from.pos, to.pos};
}

}  // namespace farfield::codec
