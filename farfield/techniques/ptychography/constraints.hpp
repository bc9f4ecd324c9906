#pragma once
// What is known of probe and object beside the data, applied between passes. The probe's constraints leave the
// exit waves as they are where they can: what is taken from the probe is given to the object.

#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

/// Factor 1 within `radius_px` of the window's centre (ny/2, nx/2), falling to 0 over about a tenth of it.
float support_weight(Shape, double radius_px, Index y, Index x);

/// Fades modes and eigen-probes out beyond probe-support (a fraction of half the shorter side). Not invariant.
void apply_support(State&, double fraction);

/// Scales the probe to sum |P|^2 = `photons` over all modes and the object by the inverse: exit waves stay.
void hold_photons(State&, double photons);

/// Whole pixels by which the centre of mass of the modes' intensity lies from the window's centre.
struct Offset {
  Index y = 0, x = 0;
  bool operator==(const Offset&) const = default;
};
Offset probe_offset(const State&);

/// Moves the probe back by `offset` (circularly) and the object with it: P(r + d) O(r + s + d), every exit wave
/// moves by d, which no far-field pattern shows. The object's pixels stay where they are in memory; origin_y, origin_x
/// and with them all placements change, so the caller runs cover() next.
void move_probe(State&, Offset offset);

/// Clip, positivity, smoothness, total variation, in this order, as far as options ask for them.
void constrain_object(core::View<core::cfloat, 2> object, const Options&);

/// argmin_u |u - object|^2 / 2 + weight TV(u), the total variation of real and imaginary part together, by
/// `iterations` steps on the dual problem (Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e, section 3).
void denoise_total_variation(core::View<core::cfloat, 2> object, double weight, int iterations = 20);

}  // namespace farfield::techniques::ptychography
