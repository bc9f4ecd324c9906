// The oracle: each kernel as its definition reads, in double.

#include <cmath>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/line_kernels.hpp"

namespace farfield::techniques::ptychography {
namespace {

using cdouble = std::complex<double>;

void waves(Shape s, const SubPixelShift& shift, const cfloat* probe, const cfloat* direction, const ObjectLine& line,
           cfloat* a, cfloat* b, cfloat* c, float* rows) {
  const auto shifted = [&](const cfloat* tile) {
    std::vector<cfloat> out(static_cast<std::size_t>(s.size()));
    if (tile == nullptr) return out;
    if (shift.identity) return std::vector<cfloat>(tile, tile + s.size());
    reference_kernels().exit_wave(s, all_rows(s), shift, tile, nullptr, 0, out.data(), nullptr, rows);
    return out;
  };
  const auto p = shifted(probe), q = shifted(direction);
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const Index i = y * s.nx + x;
      const cdouble o = line.o[y * line.stride + x], first = line.first[y * line.first_stride + x],
                    second = line.second != nullptr ? line.second[i] : cfloat{};
      const cdouble pi = p[static_cast<std::size_t>(i)], qi = q[static_cast<std::size_t>(i)];
      a[i] = cfloat(pi * o);
      b[i] = cfloat(pi * first + qi * o);
      if (c != nullptr) c[i] = cfloat(qi * first + pi * second);
    }
}

LineSlopes slopes(const LineTask& t) {
  LineSlopes sums;
  const ModulusTask& d = t.detector;
  for (Index i = 0; i < t.n; ++i) {
    double measured = 0;
    core::visit_dtype(d.dtype, [&](auto v) {
      if constexpr (std::is_arithmetic_v<decltype(v)>)
        measured = static_cast<double>(static_cast<const decltype(v)*>(d.counts)[i]);
    });
    if ((d.valid != nullptr && d.valid[i] == 0) || (d.saturation > 0 && measured >= static_cast<double>(d.saturation)))
      continue;
    for (int k = 0; k < kTrials; ++k) {
      const double step = static_cast<double>(t.steps[k]);
      double model = 0, slope = 0;
      for (int m = 0; m < t.modes; ++m) {
        const cdouble a = t.a[m][i], b = t.b[m][i], c = t.c != nullptr ? t.c[m][i] : cfloat{};
        const cdouble psi = a + step * (b + step * c), change = b + 2 * step * c;
        model += std::norm(psi);
        slope += 2 * (std::conj(psi) * change).real();
      }
      const double scale = static_cast<double>(d.intensity_scale);
      model = model * scale + (d.background != nullptr ? static_cast<double>(d.background[i]) : 0.0);
      if (model <= 0) continue;
      const double ratio = std::sqrt(measured / model);
      sums.at[k] += slope * scale * (1 - (d.likelihood == Likelihood::amplitude ? ratio : ratio * ratio));
    }
  }
  return sums;
}

LineSlopes slopes_block(const LineTask& t, Index nx, const math::FftBlock& b) {
  LineSlopes sums;
  const int each = b.images / t.modes;
  for (Index r = 0; r < b.rows; ++r)
    for (Index x = 0; x < b.columns; ++x) {
      const Index at = r * 2 * b.columns + x, i = (b.first_row + r * b.row_step) * nx + b.first_column + x;
      std::vector<cfloat> values;
      for (int image = 0; image < b.images; ++image)
        values.emplace_back(b.data[image][at], b.data[image][at + b.columns]);
      std::vector<const cfloat*> lists[3];
      for (int image = 0; image < b.images; ++image)
        lists[image % each].push_back(&values[static_cast<std::size_t>(image)]);
      LineTask pixel = t;
      pixel.n = 1;
      pixel.a = lists[0].data();
      pixel.b = lists[1].data();
      pixel.c = each == 3 ? lists[2].data() : nullptr;
      pixel.detector.counts = static_cast<const std::byte*>(t.detector.counts) + i * core::item_size(t.detector.dtype);
      if (t.detector.valid != nullptr) pixel.detector.valid += i;
      if (t.detector.background != nullptr) pixel.detector.background += i;
      sums += slopes(pixel);
    }
  return sums;
}

void moving_window(Shape s, const cfloat* o, const cfloat* d, Index stride, float dy, float dx, cfloat* first,
                   cfloat* second) {
  for (Index y = 0; y < s.ny; ++y)
    for (Index x = 0; x < s.nx; ++x) {
      const auto at = [&](const cfloat* a, Index v, Index u) { return cdouble(a[(y + v) * stride + x + u]); };
      const auto along_y = [&](const cfloat* a) { return 0.5 * (at(a, 1, 0) - at(a, -1, 0)); };
      const auto along_x = [&](const cfloat* a) { return 0.5 * (at(a, 0, 1) - at(a, 0, -1)); };
      const double vy = static_cast<double>(dy), vx = static_cast<double>(dx);
      const cdouble yy = at(o, 1, 0) - 2.0 * at(o, 0, 0) + at(o, -1, 0),
                    xx = at(o, 0, 1) - 2.0 * at(o, 0, 0) + at(o, 0, -1),
                    xy = 0.25 * (at(o, 1, 1) - at(o, 1, -1) - at(o, -1, 1) + at(o, -1, -1));
      first[y * s.nx + x] = cfloat(at(d, 0, 0) + vy * along_y(o) + vx * along_x(o));
      second[y * s.nx + x] =
          cfloat(vy * along_y(d) + vx * along_x(d) + 0.5 * (vy * vy * yy + 2 * vy * vx * xy + vx * vx * xx));
    }
}

}  // namespace

const LineKernels& reference_line_kernels() {
  static const LineKernels table{waves, slopes, slopes_block, moving_window};
  return table;
}

}  // namespace farfield::techniques::ptychography
