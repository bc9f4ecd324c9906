// XPCS results and q-maps with whatever in their places: read, and what could be read is written again.

#include "farfield/io/fuzz_folder.hpp"
#include "farfield/io/hdf5/fuzz_file.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/io/xpcs/result_file.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr std::string_view paths[] = {"/xpcs/multitau/delay_list",
                                               "/xpcs/multitau/normalized_g2",
                                               "/xpcs/multitau/normalized_g2_err",
                                               "/xpcs/multitau/normalized_g2_partial",
                                               "/xpcs/multitau/unnormalized_G2",
                                               "/xpcs/multitau/config/stride_frame",
                                               "/xpcs/twotime/correlation_map/c2_00001",
                                               "/xpcs/twotime/normalized_g2",
                                               "/xpcs/twotime/normalized_g2_segments",
                                               "/xpcs/twotime/delay_list",
                                               "/xpcs/twotime/processed_bins",
                                               "/xpcs/temporal_mean/scattering_1d",
                                               "/xpcs/temporal_mean/scattering_2d",
                                               "/xpcs/spatial_mean/intensity_vs_time",
                                               "/xpcs/qmap/dynamic_roi_map",
                                               "/xpcs/qmap/static_roi_map",
                                               "/xpcs/qmap/mask",
                                               "/xpcs/qmap/dynamic_v_list_dim0",
                                               "/xpcs/qmap/dynamic_index_mapping",
                                               "/xpcs/qmap/map_names",
                                               "/xpcs/qmap/detector_distance",
                                               "/entry/instrument/detector_1/frame_time",
                                               "/entry/instrument/incident_beam/incident_energy",
                                               "/exchange/tau",
                                               "/exchange/norm-0-g2",
                                               "/exchange/frameSum",
                                               "/exchange/C2T_all/g2_00001",
                                               "/xpcs/dqmap",
                                               "/xpcs/sqmap",
                                               "/farfield/technique",
                                               "/farfield/datasets/g2",
                                               "/farfield/datasets/q",
                                               "/farfield/provenance/names",
                                               "/farfield/provenance/000"};
  const auto path = io::fuzz::scratch("xpcs_result");
  try {
    io::fuzz::make_file(path, {data, size}, paths);
  } catch (const core::Error&) {
    return 0;
  }
  try {
    model::Acquisition acquisition;
    io::xpcs::read_qmap(path, acquisition);
    io::xpcs::read_metadata(path, acquisition);
  } catch (const core::Error&) {}
  try {
    const auto product = io::read_product(path);
    auto file = io::hdf5::File::create(path, path);
    io::xpcs::write_result(file, product);
  } catch (const core::Error&) {}
  return 0;
}
