// Results, ours and others', with whatever in their places; npz results from any bytes.

#include "farfield/io/foreign_product.hpp"
#include "farfield/io/fuzz_folder.hpp"
#include "farfield/io/hdf5/fuzz_file.hpp"
#include "farfield/io/metrics_json.hpp"
#include "farfield/io/product_file.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr std::string_view paths[] = {"/entry_1/farfield/technique",
                                               "/entry_1/farfield/verb",
                                               "/entry_1/farfield/datasets",
                                               "/entry_1/farfield/datasets/object",
                                               "/entry_1/farfield/datasets/probe",
                                               "/entry_1/farfield/metrics/cost",
                                               "/entry_1/farfield/provenance/options",
                                               "/entry_1/farfield/pixel_size_y_m",
                                               "/entry_1/farfield/energy_eV",
                                               "/entry_1/farfield/truth",
                                               "/entry_1/farfield/truth/datasets/object",
                                               "/entry_1/image_1/data",
                                               "/entry_1/image_2/data",
                                               "/entry_1/ptychodus",
                                               "/entry_1/object/data",
                                               "/entry_1/probe/data",
                                               "/entry_1/instrument_1/source_1/illumination",
                                               "/entry_1/instrument_1/source_1/energy",
                                               "/entry_1/sample_1/geometry_1/translation",
                                               "/content/obj/S00G00/data",
                                               "/content/obj/S00G00/_psize",
                                               "/content/obj/S00G00/_energy",
                                               "/content/probe/S00G00/data",
                                               "/object",
                                               "/probe"};
  try {
    model::Product product;
    if (size > 0 && data[0] == 'P') {
      const auto* bytes = reinterpret_cast<const std::byte*>(data);
      product = io::read_npz_product(io::npz::Npz(io::memory_bytes({bytes, bytes + size}), "fuzz.npz"));
    } else {
      const auto path = io::fuzz::scratch("product");
      io::fuzz::make_file(path, {data, size}, paths);
      product = io::read_product(path);
    }
    io::metrics_json(product);
  } catch (const core::Error&) {}
  return 0;
}
