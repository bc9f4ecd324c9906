// Compiled for x86-64-v2, v3 and v4. A pixel counts rarely: at the first levels its events are a short list, paired
// with the few that follow within the longest lag. Each level halves the time axis but hardly the list, so that soon a
// row with every sample, swept by vectors, is the quicker form; from there on, levels are rows.

#include "farfield/math/simd.hpp"
#include "farfield/techniques/xpcs/kernels_isa.hpp"

namespace farfield::techniques::xpcs::FARFIELD_ISA_NAMESPACE {
namespace {

namespace simd = math::simd::FARFIELD_ISA_NAMESPACE;
using simd::Full;
using simd::kLanes;
using simd::Vec;

/// Terms that a vector lane adds in float before the sum goes on in double.
constexpr std::int64_t kChunk = 64 * kLanes;

/// g[i] += the sum of the lanes of v[i], for four vectors at once: half the work of four sums.
void add_sums(const Vec (&v)[4], double* g) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  const auto fold = [](Vec a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  };
#elif defined(__AVX2__)
  const auto fold = [](Vec a) { return _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1)); };
#else
  const auto fold = [](Vec a) { return a.v; };
#endif
  const __m128 sums = _mm_hadd_ps(_mm_hadd_ps(fold(v[0]), fold(v[1])), _mm_hadd_ps(fold(v[2]), fold(v[3])));
  _mm_storeu_pd(g, _mm_add_pd(_mm_loadu_pd(g), _mm_cvtps_pd(sums)));
  _mm_storeu_pd(g + 2, _mm_add_pd(_mm_loadu_pd(g + 2), _mm_cvtps_pd(_mm_movehl_ps(sums, sums))));
}

/// g[i] += sum_j x[j] x[j - k - i], 0 <= j < n, for four neighbouring lags. x is zero from n to the next vector.
void lag_sums4(const float* x, std::int64_t n, std::int64_t k, double* g) {
  for (std::int64_t from = 0; from < n; from += kChunk) {
    const std::int64_t to = from + kChunk < n ? from + kChunk : n;
    Vec sum[4];
    for (Vec& s : sum) s = simd::set(0);
    for (std::int64_t j = from; j < to; j += kLanes) {
      const Vec v = simd::load(x + j, Full{});
      for (int i = 0; i < 4; ++i) sum[i] = simd::fma(v, simd::load(x + j - k - i, Full{}), sum[i]);
    }
    add_sums(sum, g);
  }
}

/// The same for one lag; lag 0 stands for the plain sum.
double lag_sum(const float* x, std::int64_t n, std::int64_t k) {
  double total = 0;
  for (std::int64_t from = 0; from < n; from += kChunk) {
    const std::int64_t to = from + kChunk < n ? from + kChunk : n;
    Vec sum = simd::set(0);
    for (std::int64_t j = from; j < to; j += kLanes) {
      const Vec v = simd::load(x + j, Full{});
      sum = k == 0 ? sum + v : simd::fma(v, simd::load(x + j - k, Full{}), sum);
    }
    total += static_cast<double>(simd::sum(sum));
  }
  return total;
}

void clear(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = 0;
}

/// One row of a level: its history, then its new samples, at x[-history] ... x[samples - 1].
struct SlotLevel {
  const LevelBlock& level;
  std::int64_t slot;

  float* recent() const { return level.recent + slot * level.history; }
  float* first() const { return level.first + slot * level.history; }
  double* g2() const { return level.g2 + slot * level.lags; }

  void correlate_row(const float* x) const {
    const std::int64_t h = level.history, n = level.samples;
    std::int64_t i = 0;
    double* g = g2();
    for (; i + 4 <= level.lags; i += 4) lag_sums4(x, n, level.first_lag + i, g + i);
    for (; i < level.lags; ++i) g[i] += lag_sum(x, n, level.first_lag + i);
    level.total[slot] += lag_sum(x, n, 0);
    if (level.valid != nullptr) subtract_gaps(x);
    float* f = first();
    for (std::int64_t j = 0; level.before + j < h && j < n; ++j) f[level.before + j] = x[j];
    float* r = recent();
    for (std::int64_t j = 0; j < h; ++j) r[j] = x[n - h + j];
  }

  /// A missing sample is 0 and adds nothing to g2; its partners must leave the sums that normalise.
  void subtract_gaps(const float* x) const {
    const std::int64_t h = level.history, n = level.samples;
    double* past = level.gap_past + slot * level.lags;
    double* future = level.gap_future + slot * level.lags;
    for (std::int64_t j = -h; j < n; ++j) {
      if (level.valid[h + j] != 0) continue;
      for (std::int64_t i = 0; i < level.lags; ++i) {
        const std::int64_t k = level.first_lag + i;
        if (j >= 0) past[i] += static_cast<double>(x[j - k]);
        if (j + k >= 0 && j + k < n) future[i] += static_cast<double>(x[j + k]);
      }
    }
  }

  /// The same from the list of `count` events, the first `old` of them in the history.
  void correlate_list(const TimedCount* list, std::int64_t count, std::int64_t old) const {
    const auto h = static_cast<std::uint32_t>(level.history), n = static_cast<std::uint32_t>(level.samples);
    const auto k0 = static_cast<std::uint32_t>(level.first_lag);
    double* g = g2();
    for (std::int64_t i = 0; i < count; ++i) {
      const TimedCount a = list[i];
      for (std::int64_t j = i + 1 > old ? i + 1 : old; j < count; ++j) {
        const std::uint32_t k = list[j].at - a.at;
        if (k > h) break;
        if (k >= k0) g[k - k0] += static_cast<double>(a.value) * static_cast<double>(list[j].value);
      }
    }
    double total = 0;
    for (std::int64_t i = old; i < count; ++i) total += static_cast<double>(list[i].value);
    level.total[slot] += total;
    if (level.before < level.history) {
      float* f = first();
      for (std::int64_t i = old; i < count; ++i) {
        const std::int64_t at = level.before + list[i].at - h;
        if (at < level.history) f[at] = list[i].value;
      }
    }
    float* r = recent();
    clear(r, level.history);
    for (std::int64_t i = count - 1; i >= 0 && list[i].at >= n; --i) r[list[i].at - n] = list[i].value;
  }

  std::int64_t history_list(TimedCount* out) const {
    std::int64_t count = 0;
    const float* r = recent();
    for (std::int64_t j = 0; j < level.history; ++j)
      if (r[j] != 0) out[count++] = {static_cast<std::uint32_t>(j), r[j]};
    return count;
  }
};

/// Where level l + 1 begins within the samples of level l: one earlier, when one was left over.
std::int64_t left_over(const LevelBlock& level) { return level.before & 1; }

/// Adds the events of level l to the list of level l + 1, which holds its history.
std::int64_t merge_pairs(const LevelBlock& level, const TimedCount* list, std::int64_t count, const LevelBlock& next,
                         TimedCount* out, std::int64_t old) {
  const std::int64_t from = level.history - left_over(level), end = next.history + next.samples;
  std::int64_t made = old;
  for (std::int64_t i = 0; i < count; ++i) {
    if (list[i].at < from) continue;
    const std::int64_t at = next.history + ((list[i].at - from) >> 1);
    if (at >= end) break;
    if (made > old && out[made - 1].at == at) out[made - 1].value += list[i].value;
    else out[made++] = {static_cast<std::uint32_t>(at), list[i].value};
  }
  return made;
}

/// The row of level l + 1 from that of level l.
void merge_row(const LevelBlock& level, const float* x, const LevelBlock& next, const float* recent, float* y) {
  for (std::int64_t j = 0; j < next.history; ++j) y[j - next.history] = recent[j];
  const float* in = x - left_over(level);
  for (std::int64_t i = 0; i < next.samples; i += kLanes)
    simd::store(y + i, simd::pair_sum(simd::load(in + 2 * i, Full{}), simd::load(in + 2 * i + kLanes, Full{})), Full{});
  clear(y + next.samples, kRowPadding / 2);
  if (level.valid == nullptr) return;
  const std::uint8_t* valid = level.valid + level.history - left_over(level);
  for (std::int64_t i = 0; i < next.samples; ++i)
    if (valid[2 * i] + valid[2 * i + 1] == 1) y[i] *= 2;
}

/// Cycles, roughly: each event begins a search that a wrong guess ends; a row costs its vectors.
bool list_pays(const LevelBlock& level, std::int64_t count) {
  const auto n = static_cast<float>(count), samples = static_cast<float>(level.samples + 1);
  const float list = n * (16 + 8 * n * static_cast<float>(level.history) / samples);
  const float row = samples / static_cast<float>(kLanes) * (3 + 1.3F * static_cast<float>(level.lags)) + 30;
  return list < row;
}

void correlate_slot(const TileBlock& tile, std::int64_t slot) {
  const LevelBlock* level = tile.level;
  SlotLevel here{level[0], slot};
  TimedCount *list = tile.list[0], *spare = tile.list[1];
  std::int64_t old = here.history_list(list), count = old;
  for (std::uint32_t e = tile.begin[slot]; e < tile.begin[slot + 1]; ++e) {
    const std::uint32_t at = tile.events[e].at + static_cast<std::uint32_t>(level[0].history);
    if (count > old && list[count - 1].at == at) list[count - 1].value += tile.events[e].value;
    else list[count++] = {at, tile.events[e].value};
  }
  std::int64_t l = 0;
  for (; level[l].valid == nullptr && list_pays(level[l], count); ++l) {
    SlotLevel{level[l], slot}.correlate_list(list, count, old);
    if (l + 1 == tile.levels) return;
    const SlotLevel next{level[l + 1], slot};
    old = next.history_list(spare);
    count = merge_pairs(level[l], list, count, level[l + 1], spare, old);
    TimedCount* t = list;
    list = spare;
    spare = t;
  }

  float *x = tile.row[0] + level[l].history, *other = tile.row[1];
  clear(x - level[l].history, level[l].history + level[l].samples + kRowPadding / 2);
  for (std::int64_t i = 0; i < count; ++i) x[static_cast<std::int64_t>(list[i].at) - level[l].history] = list[i].value;
  for (;;) {
    SlotLevel{level[l], slot}.correlate_row(x);
    if (l + 1 == tile.levels) return;
    float* y = other + level[l + 1].history;
    merge_row(level[l], x, level[l + 1], level[l + 1].recent + slot * level[l + 1].history, y);
    other = x - level[l].history;
    x = y;
    ++l;
  }
}

template <class T>
std::int64_t compact_row(const T* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  std::int64_t made = 0, i = 0;
  constexpr std::int64_t kStep = 64 / sizeof(T);
  for (; i + kStep <= n; i += kStep) {
    // Most stretches are empty: one look at eight words.
    std::uint64_t words[8], any = 0;
    __builtin_memcpy(words, row + i, sizeof words);
    for (const std::uint64_t w : words) any |= w;
    if (any == 0) continue;
    for (int w = 0; w < 8; ++w) {
      constexpr int kBits = 8 * sizeof(T);
      for (std::uint64_t left = words[w]; left != 0;) {
        const int lane = __builtin_ctzll(left) / kBits;
        const T count = static_cast<T>(words[w] >> (lane * kBits));
        out[made++] = {first_pixel + static_cast<std::uint32_t>(i + w * (64 / kBits) + lane), count};
        left &= ~(static_cast<std::uint64_t>(static_cast<T>(~T{0})) << (lane * kBits));
      }
    }
  }
  for (; i < n; ++i)
    if (row[i] != 0) out[made++] = {first_pixel + static_cast<std::uint32_t>(i), row[i]};
  return made;
}

}  // namespace

void correlate_tile(const TileBlock& tile) {
  for (std::int64_t slot = 0; slot < tile.slots; ++slot) correlate_slot(tile, slot);
}

void add_scaled(float* __restrict row, const float* x, float value, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) row[i] += value * x[i];
}

std::int64_t compact(const std::uint8_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}
std::int64_t compact(const std::uint16_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}
std::int64_t compact(const std::uint32_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}

}  // namespace farfield::techniques::xpcs::FARFIELD_ISA_NAMESPACE
