#pragma once
// Complex arithmetic for hot loops. operator* of std::complex repairs NaN products as C99 Annex G asks,
// which costs a factor of about 2.7; these do not.

#include <complex>

namespace farfield::math {

template <class T>
constexpr std::complex<T> cmul(std::complex<T> a, std::complex<T> b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}
/// conj(a) * b
template <class T>
constexpr std::complex<T> conj_mul(std::complex<T> a, std::complex<T> b) {
  return {a.real() * b.real() + a.imag() * b.imag(), a.real() * b.imag() - a.imag() * b.real()};
}
/// |a|^2
template <class T>
constexpr T abs2(std::complex<T> a) {
  return a.real() * a.real() + a.imag() * a.imag();
}

}  // namespace farfield::math
