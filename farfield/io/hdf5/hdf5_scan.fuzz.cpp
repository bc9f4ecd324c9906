// Scans of every HDF5 layout with whatever in their places.

#include "farfield/io/fuzz_folder.hpp"
#include "farfield/io/hdf5/fuzz_file.hpp"
#include "farfield/io/scan_file.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr std::string_view paths[] = {"/cxi_version",
                                               "/entry_1",
                                               "/entry_1/data_1/data",
                                               "/entry_1/data_1/x",
                                               "/entry_1/data_1/y",
                                               "/entry_1/data_1/translation",
                                               "/entry_1/instrument_1/detector_1/data",
                                               "/entry_1/instrument_1/detector_1/distance",
                                               "/entry_1/instrument_1/detector_1/x_pixel_size",
                                               "/entry_1/instrument_1/detector_1/y_pixel_size",
                                               "/entry_1/instrument_1/detector_1/basis_vectors",
                                               "/entry_1/instrument_1/detector_1/corner_position",
                                               "/entry_1/instrument_1/detector_1/mask",
                                               "/entry_1/instrument_1/detector_1/pixel_mask",
                                               "/entry_1/instrument_1/detector_1/is_fft_shifted",
                                               "/entry_1/instrument_1/source_1/energy",
                                               "/entry_1/instrument_1/source_1/illumination",
                                               "/entry_1/sample_1/geometry_1/translation",
                                               "/entry_1/title",
                                               "/entry_1/farfield/frame_id",
                                               "/entry_1/farfield/values/monitor",
                                               "/entry_1/farfield/inputs/object",
                                               "/chunks",
                                               "/chunks/0/data",
                                               "/chunks/0/positions",
                                               "/chunks/0/indices",
                                               "/chunks/0/weights",
                                               "/chunks/1/data",
                                               "/chunks/1/positions",
                                               "/meta",
                                               "/meta/energy",
                                               "/meta/psize",
                                               "/meta/distance",
                                               "/meta/weight2d",
                                               "/entry",
                                               "/entry/data",
                                               "/entry/data/data",
                                               "/entry/data/data_000001",
                                               "/entry/data/data_000002",
                                               "/entry/data/x",
                                               "/entry/data/y",
                                               "/entry/instrument/detector/distance",
                                               "/entry/instrument/detector/x_pixel_size",
                                               "/entry/instrument/detector/pixel_mask",
                                               "/entry/instrument/detector/module/fast_pixel_direction",
                                               "/entry/instrument/beam/incident_wavelength",
                                               "/entry/sample/transformations/x",
                                               "/entry/sample/transformations/y",
                                               "/diffamp",
                                               "/points",
                                               "/lambda_nm",
                                               "/z_m",
                                               "/ccd_pixel_um",
                                               "/entry/positions/y",
                                               "/entry/positions/x"};
  const auto path = io::fuzz::scratch("hdf5_scan");
  try {
    io::fuzz::make_file(path, {data, size}, paths);
    io::OpenOptions options;
    options.batch_bytes = 256;
    const auto source = io::open_scan(path, options);
    for (int i = 0; i < 64 && source->next({}, [](const model::FrameBatch&) {}); ++i) {}
  } catch (const core::Error&) {}
  return 0;
}
