#pragma once
// Names of what the XPCS verbs give, in their products. Readers and writers of files know them by these names.

namespace farfield::techniques::xpcs {

/// Product of `correlate`. All f64 unless said; delays are in frames (of the input, before stride and averaging).
///   delay            (delay)          frames; times metric frame_time_s, where known, in seconds
///   g2               (delay, q)       one column per dynamic bin 1 .. q; NaN for a bin without light
///   g2_error         (delay, q)       standard error of the mean over pixels
///   g2_partial       (part, delay, q) of each part of the scan (ageing), where asked for; + g2_partial_error
///   q                (q)              value of the first axis of the map; NaN where not known
///   saxs_1d          (static)         counts per pixel and frame, mean over the frames
///   saxs_1d_partial  (window, static) the same per window of frames
///   saxs_2d          (y, x)           counts per frame; NaN where masked
///   frame            (frame)          ids of the frames used (the first of each averaged group)
///   frame_sum        (frame)          counts per good pixel of the detector
///   transmission     (frame)          monitor over its mean, where frames have monitors
///   G2, IP, IF       (delay, slot)    f32, per pixel, where asked for: sums over pairs / pairs; what a changed q-map
///                                     is reprocessed from. `pixel` u32 (slot) says y * nx + x of each
///   qmap/...                          the map as used, named as in the 8-ID file
/// metrics: frames, bad_frames, frame_time_s (where known), levels, pairs_of_last_delay
/// provenance: qmap/map_names, qmap/map_units; options (JSON)
///
/// Product of `twotime`:
///   bins             (bin)            i64, numbers of the dynamic bins that were correlated
///   c2_00001 ...     (t1, t2)         f32, of dynamic bin 1 ..., symmetric; where all of them would not fit the
///   memory,
///                                     Dataset::rows, 0 before the diagonal, each with an overview_00001 (f32, (t1,
///                                     t2), means over squares)
///   c2_g2            (delay, bin)     mean of c2 along each diagonal; delay 0 included
///   c2_g2_partial    (delay, part, bin) of each window along the diagonal; where there are windows
///   cut              (cut) and c2_cut_time (cut, t, bin) = c2(cut, t), c2_cut_age (cut, delay, bin) = c2 across the
///                    diagonal where (t1 + t2) / 2 is cut, or half a step more for odd delays; where asked for
///   delay, frame, frame_sum, saxs_1d, saxs_1d_partial, saxs_2d, q, qmap/... as above
///
/// Product of `saxs`: saxs_1d, saxs_1d_partial, saxs_2d, frame, frame_sum, transmission, q, qmap/...
namespace result {
inline constexpr const char* kDelay = "delay";
inline constexpr const char* kG2 = "g2";
inline constexpr const char* kG2Error = "g2_error";
inline constexpr const char* kG2Partial = "g2_partial";
inline constexpr const char* kG2PartialError = "g2_partial_error";
inline constexpr const char* kQ = "q";
inline constexpr const char* kSaxs1d = "saxs_1d";
inline constexpr const char* kSaxs1dPartial = "saxs_1d_partial";
inline constexpr const char* kSaxs2d = "saxs_2d";
inline constexpr const char* kFrame = "frame";
inline constexpr const char* kFrameSum = "frame_sum";
inline constexpr const char* kTransmission = "transmission";
inline constexpr const char* kPixelG2 = "G2";
inline constexpr const char* kPixelIp = "IP";
inline constexpr const char* kPixelIf = "IF";
inline constexpr const char* kPixel = "pixel";
inline constexpr const char* kBins = "bins";
inline constexpr const char* kC2 = "c2_{:05d}";  ///< fmt, with the number of the dynamic bin
inline constexpr const char* kC2Overview = "overview_{:05d}";  ///< likewise
inline constexpr const char* kC2G2 = "c2_g2";
inline constexpr const char* kC2G2Partial = "c2_g2_partial";
inline constexpr const char* kCut = "cut";
inline constexpr const char* kC2CutTime = "c2_cut_time";
inline constexpr const char* kC2CutAge = "c2_cut_age";
inline constexpr const char* kFrameTime = "frame_time_s";  ///< metric, and acquisition.metadata
}  // namespace result

}  // namespace farfield::techniques::xpcs
