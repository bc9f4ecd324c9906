#include "farfield/math/fft.hpp"

#include <fftw3.h>

#include <chrono>
#include <map>
#include <mutex>
#include <tuple>

#include "farfield/core/array.hpp"
#include "farfield/core/error.hpp"

namespace farfield::math {
namespace {

std::mutex g_planner;  // FFTW's planner and wisdom are the only parts of it that are not thread-safe
double g_planning_s = 0;

template <class T> struct Api;
template <> struct Api<float> {
  using Plan = fftwf_plan;
  using Complex = fftwf_complex;
  static Plan plan(int ny, int nx, Complex* a, int sign, unsigned flags) {
    return fftwf_plan_dft_2d(ny, nx, a, a, sign, flags);
  }
  static void execute(Plan p, Complex* a) { fftwf_execute_dft(p, a, a); }
  static void destroy(Plan p) { fftwf_destroy_plan(p); }
};
template <> struct Api<double> {
  using Plan = fftw_plan;
  using Complex = fftw_complex;
  static Plan plan(int ny, int nx, Complex* a, int sign, unsigned flags) {
    return fftw_plan_dft_2d(ny, nx, a, a, sign, flags);
  }
  static void execute(Plan p, Complex* a) { fftw_execute_dft(p, a, a); }
  static void destroy(Plan p) { fftw_destroy_plan(p); }
};

unsigned flags_of(FftEffort effort) {
  switch (effort) {
    case FftEffort::estimate: return FFTW_ESTIMATE;
    case FftEffort::measure: return FFTW_MEASURE;
    case FftEffort::patient: return FFTW_PATIENT;
  }
  return FFTW_MEASURE;
}

using Key = std::tuple<core::Index, core::Index, int, int>;

template <class T>
std::shared_ptr<void> plan(core::Index ny, core::Index nx, int sign, FftEffort effort) {
  static std::map<Key, std::shared_ptr<void>> plans;
  const std::lock_guard lock(g_planner);
  auto& slot = plans[{ny, nx, sign, static_cast<int>(effort)}];
  if (!slot) {
    const auto start = std::chrono::steady_clock::now();
    core::Array<std::complex<T>, 2> scratch({ny, nx});  // planning overwrites its array
    auto p = Api<T>::plan(static_cast<int>(ny), static_cast<int>(nx),
                          reinterpret_cast<typename Api<T>::Complex*>(scratch.data()), sign, flags_of(effort));
    if (p == nullptr) throw core::Error(core::ErrorCode::internal, "FFTW made no plan");
    slot = std::shared_ptr<void>(p, [](void* q) { Api<T>::destroy(static_cast<typename Api<T>::Plan>(q)); });
    g_planning_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return slot;
}

/// Grows with the largest transform of each thread.
float* scratch(core::Index floats) {
  thread_local core::Array<float, 1> store;
  if (store.size() < floats) store = core::Array<float, 1>({floats});
  return store.data();
}
core::Index strip_floats(const TileFft& tile, core::Index ny) { return 2 * tile.lanes * ny; }

template <class T>
void execute(const std::shared_ptr<void>& plan, std::complex<T>* image) {
  Api<T>::execute(static_cast<typename Api<T>::Plan>(plan.get()), reinterpret_cast<typename Api<T>::Complex*>(image));
}

}  // namespace

template <class T>
Fft2<T>::Fft2(core::Index ny, core::Index nx, FftEffort effort) : ny_(ny), nx_(nx) {
  constexpr core::Index kMax = 1 << 20;
  if (ny < 1 || nx < 1 || ny > kMax || nx > kMax)
    throw core::Error(
        core::ErrorCode::invalid_argument,
        "transform of " + std::to_string(ny) + " x " + std::to_string(nx) + " must be 1 to 1048576 points a side");
  if constexpr (std::is_same_v<T, float>) tile_ = tile_fft(core::isa(), ny, nx);
  if (tile_ != nullptr) return;
  forward_ = plan<T>(ny, nx, FFTW_FORWARD, effort);
  inverse_ = plan<T>(ny, nx, FFTW_BACKWARD, effort);
}

template <class T>
void Fft2<T>::forward(std::complex<T>* image) const {
  if constexpr (std::is_same_v<T, float>)
    if (tile_ != nullptr) return tile_->transform(image, ny_, nx_, false, scratch(strip_floats(*tile_, ny_)));
  execute(forward_, image);
}
template <class T>
void Fft2<T>::inverse(std::complex<T>* image) const {
  if constexpr (std::is_same_v<T, float>)
    if (tile_ != nullptr) return tile_->transform(image, ny_, nx_, true, scratch(strip_floats(*tile_, ny_)));
  execute(inverse_, image);
}
template <class T>
void Fft2<T>::around(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const {
  for (std::complex<T>* image : images) forward_rows(image, ny_);
  columns(images, visitor, context, true);
  for (std::complex<T>* image : images) inverse_rows(image, ny_);
}
template <class T>
void Fft2<T>::visit(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const {
  for (std::complex<T>* image : images) forward_rows(image, ny_);
  columns(images, visitor, context, false);
}
template <class T>
void Fft2<T>::around_columns(std::span<std::complex<T>* const> images, FftVisit visitor, void* context) const {
  columns(images, visitor, context, true);
}
template <class T>
void Fft2<T>::forward_rows(std::complex<T>* rows, core::Index count) const {
  if constexpr (std::is_same_v<T, float>) tile_->forward_rows(rows, count, nx_);
}
template <class T>
void Fft2<T>::inverse_rows(std::complex<T>* rows, core::Index count) const {
  if constexpr (std::is_same_v<T, float>) tile_->inverse_rows(rows, count, nx_);
}
template <class T>
void Fft2<T>::columns(std::span<std::complex<T>* const> images, FftVisit visitor, void* context, bool back) const {
  if (!has_parts(static_cast<int>(images.size())))
    throw core::Error(core::ErrorCode::internal, "these transforms cannot be visited part by part");
  if constexpr (std::is_same_v<T, float>)
    tile_->columns(images.data(), static_cast<int>(images.size()), ny_, nx_, visitor, context, back,
                   scratch(static_cast<core::Index>(images.size()) * strip_floats(*tile_, ny_)));
}

template class Fft2<float>;
template class Fft2<double>;

std::string export_fft_wisdom() {
  const std::lock_guard lock(g_planner);
  std::string text;
  for (char* part : {fftwf_export_wisdom_to_string(), fftw_export_wisdom_to_string()}) {
    if (part != nullptr) text += part;
    text += '\0';
    fftw_free(part);
  }
  return text;
}

bool import_fft_wisdom(const std::string& wisdom) {
  const std::lock_guard lock(g_planner);
  const std::size_t middle = wisdom.find('\0');
  if (middle == std::string::npos) return false;
  // c_str() of each half ends at its own terminator.
  const bool single = fftwf_import_wisdom_from_string(wisdom.c_str()) != 0;
  const bool dual = fftw_import_wisdom_from_string(wisdom.c_str() + middle + 1) != 0;
  return single && dual;
}

double fft_planning_seconds() {
  const std::lock_guard lock(g_planner);
  return g_planning_s;
}

}  // namespace farfield::math
